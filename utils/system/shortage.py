"""What a machine lacks when loader processes fail, told from what PyTorch and Python say of it."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

SHARED = Path("/dev/shm")  # Linux's memory that processes share
MEGABYTE = 1e6

# Parts of messages, and one that is given.
NO_SHARED_MEMORY = ("unable to allocate shared memory", "unable to mmap", "Bus error")
KILLED = ("killed by signal", "exited unexpectedly")
NO_ROOM = "No space left on device"
LOADER_KILLED = (
    "a loader process was killed, most likely since memory ran out: give the job more memory, or lower "
    "DATASET.NUM_WORKERS"
)
TOO_MANY_FILES = ("Too many open files", "received 0 items of ancdata")


def explain_shortage(error: BaseException | None) -> str:
    """What the machine lacks, and the remedy, in one line; empty for any other error.

    An error of a loader process comes with its traceback in its message; that one was killed comes at any moment.
    """
    if not isinstance(error, RuntimeError | OSError):
        return ""
    text, is_full = str(error), _has(error, errno.ENOSPC)
    is_of_loader = "DataLoader worker" in text
    if any(part in text for part in NO_SHARED_MEMORY) or (is_full and _is_shared_memory_full()):
        return f"loader processes hand batches over in shared memory, and {shared_memory()}: {more_shared_memory(0)}"
    if is_of_loader and any(part in text for part in KILLED):
        return LOADER_KILLED
    if any(part in text for part in TOO_MANY_FILES) or _has(error, errno.EMFILE):
        return "too many files are open: raise the limit (ulimit -n 65536), or lower DATASET.NUM_WORKERS"
    if NO_ROOM in text and type(error).__module__.startswith("torch._inductor"):
        folder = os.environ.get("TMPDIR", tempfile.gettempdir())
        return (
            f"torch.compile has no room for its files, in {folder} or TORCHINDUCTOR_CACHE_DIR: make some, have TMPDIR "
            "and that variable name other folders, or set TRAIN.COMPILE False"
        )
    if is_full and is_of_loader and tempfile.gettempdir() in text:
        return (
            f"the loader processes' temporary files have no room in {tempfile.gettempdir()}: make some, have TMPDIR "
            "name another folder, or set DATASET.NUM_WORKERS 0"
        )
    return ""


def is_cut_off(error: BaseException | None) -> bool:
    """Whether this, raised while a batch is waited for, is of the socket over which a process handed its batch.

    What reads files has a message in its EOFError; one that writes to a closed pipe is not waiting.
    """
    is_end = isinstance(error, EOFError) and not error.args
    return is_end or isinstance(error, ConnectionResetError | ConnectionRefusedError)


def shared_memory() -> str:
    """How much of it there is."""
    if not SHARED.is_dir():
        return "this machine has too little of it"
    room = shutil.disk_usage(SHARED)
    return f"{SHARED} has {room.free / MEGABYTE:,.0f} MB free of {room.total / MEGABYTE:,.0f}"


def more_shared_memory(num_workers: int) -> str:
    """The remedy, where there is enough for so many loader processes."""
    fewer = f"DATASET.NUM_WORKERS {num_workers} or less" if num_workers else "DATASET.NUM_WORKERS 0, which needs none"
    return f"give the container more (docker run --shm-size 8g, or --ipc host), or set {fewer}"


def _has(error: BaseException, number: int) -> bool:
    return isinstance(error, OSError) and (error.errno == number or f"[Errno {number}]" in str(error))


def _is_shared_memory_full() -> bool:
    return SHARED.is_dir() and shutil.disk_usage(SHARED).free < os.sysconf("SC_PAGE_SIZE")
