"""Files that are whole or not there."""

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file, whole or not at all: to a partial file beside it, synced to the disk, then renamed."""
    partial = path.with_name(f"{path.name}.partial")
    with open(partial, "wb") as file:
        # Names on disk need not be valid Unicode; what Python read of them it writes back as it was.
        file.write(content.encode(errors="surrogateescape") if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
