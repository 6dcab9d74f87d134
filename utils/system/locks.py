"""Who is at work: files that a process locks for as long as it lives, on any machine that shares the folder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from utils.system.distributed import broadcast
from utils.system.errors import UserError
from utils.system.logger import get_logger
from utils.system.processes import is_main

_held: set[BinaryIO] = set()


class NoLocksError(UserError):
    """A file system has no locks."""


def _let_go() -> None:
    for file in _held:
        file.close()
    _held.clear()


# Or the loader processes of a run that was killed would keep its folder locked for some seconds.
os.register_at_fork(after_in_child=_let_go)


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[int | None]:
    """A file's descriptor while this process has it for itself; None where another has it, and `wait` is False.

    The lock ends with the process, whatever becomes of it, and with all programs to whom it handed the descriptor down;
    processes that are forked from it have no part in it.

    Raises:
        NoLocksError: the file system has none.
    """
    with open(path, "ab") as file:
        is_free = _lock(file.fileno(), path, wait)
        _held.add(file)
        try:
            yield file.fileno() if is_free else None
        finally:
            _held.discard(file)


def claim(folder: Path, file: str, otherwise: str) -> contextlib.ExitStack:
    """Have a folder for this job alone until what is returned is closed, or the process ends, however it does.

    All processes of a job call this; the main one locks the file in the folder. Two jobs that write the same would mix
    their figures, and overwrite each other's checkpoints.

    Args:
        otherwise: what the user can do instead of waiting.

    Raises:
        UserError: another job has it.
    """
    claimed, is_free = contextlib.ExitStack(), True
    if is_main():
        try:
            is_free = claimed.enter_context(locked(folder / file, wait=False)) is not None
        except NoLocksError:
            get_logger().warning(
                f"{folder} is on a file system without locks: nothing keeps another job from writing to it at the same "
                f"time: see to it that none does, or {otherwise}"
            )
    if not broadcast(is_free):
        claimed.close()
        raise UserError(f"{folder} is being written by another job: wait for its end, or stop it; or {otherwise}")
    return claimed


def _lock(descriptor: int, path: Path, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        raise NoLocksError(
            f"{path} cannot be locked ({error.strerror}): name a place on a file system that has locks"
        ) from error
    return True
