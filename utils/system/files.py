"""Files that are whole or not there."""

import contextlib
import glob
import hashlib
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from utils.system.errors import UserError

ROOT = Path(__file__).resolve().parents[2]  # of the project


def write_atomically(path: Path, content: bytes | str, keep_as: Path | None = None) -> None:
    """Write a file, whole or not at all: to a partial file beside it, synced to the disk, then renamed.

    Args:
        keep_as: the name that the file had so far lives on under; at every moment one of both is there, whole.

    Raises:
        OSError: it cannot be written; what was there is left as it was.
    """
    with partial_file(path, keep_as) as file:
        # Names on disk need not be valid Unicode; what Python read of them it writes back as it was.
        file.write(content.encode(errors="surrogateescape") if isinstance(content, str) else content)


@contextlib.contextmanager
def partial_file(path: Path, keep_as: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write, which becomes `path` when the block ends, and is gone if it fails: see `write_atomically`."""
    partial = partial_name(path)
    _clear_left(path)
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep_as is not None and path.exists():
            _link(path, keep_as)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()  # half a file takes room, which may be what was wanting
        raise
    _sync_folder(path.parent)


def partial_name(path: Path) -> Path:
    """What a file is called while this process writes it."""
    return path.with_name(f"{path.name}.{_host()}-{os.getpid()}.partial")


def _host() -> str:
    return re.sub(r"[^\w-]", "_", platform.node())


def _clear_left(path: Path) -> None:
    """Delete what processes of this machine that are gone left of the file."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.{_host()}-*.partial"):
        number = left.name.removesuffix(".partial").rpartition("-")[2]
        if number.isdecimal() and not _is_alive(int(number)):
            with contextlib.suppress(OSError):  # another may be at it, too
                left.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        pass
    return True


def _link(path: Path, name: Path) -> None:
    """Give a file a second name, which may have been another file's."""
    partial = partial_name(name)
    partial.unlink(missing_ok=True)
    try:
        os.link(path, partial)
    except OSError:  # a file system without hard links: whoever comes back from a crash finds the file at one name
        path.replace(name)
    else:
        partial.replace(name)
        partial.unlink(missing_ok=True)  # still there where both were names of one file already


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder last, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an OSError of what is done here name the file, as those of writing to an open one do not.

    Raises:
        OSError: the same, with the name.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def expand_user(path: str | Path, what: str) -> Path:
    """A path that a user gave, with the home folder in place of a ~ at its beginning.

    Args:
        what: the setting or option, for the error.

    Raises:
        UserError: it is the home of a user that there is not.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{what}: {path} begins with the home folder of a user that is not known") from error


def read_text(path: Path, needed: str) -> str:
    """The text of a file that a user named, without the byte order mark that some editors put before it.

    Args:
        needed: what should stand there, for the error.

    Raises:
        FileNotFoundError: there is none.
        UserError: it is a folder, cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file; {needed}") from error
    except OSError as error:
        what = "is a folder" if os.path.isdir(path) else f"cannot be read ({error.strerror or error})"
        raise UserError(f"{path} {what}; {needed}") from error


def hash_file(path: Path) -> str:
    """sha256 of a file."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
