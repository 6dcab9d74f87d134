"""Who is at work: files that a process locks for as long as it lives, on any machine that shares the folder."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from utils.system.errors import UserError


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[int | None]:
    """A file's descriptor while this process has it for itself; None where another has it, and `wait` is False.

    The lock ends with the process, whatever becomes of it, and with all to whom it handed the descriptor down.

    Raises:
        UserError: the file system has no locks.
    """
    with open(path, "ab") as file:
        yield file.fileno() if _lock(file.fileno(), path, wait) else None


def _lock(descriptor: int, path: Path, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(
            f"{path} cannot be locked ({error.strerror}): name a place on a file system that has locks"
        ) from error
    return True
