"""What a machine lacks, in one line, told from what PyTorch and Python say."""

import errno
import shutil
import tempfile
from pathlib import Path

import pytest
from torch._inductor.exc import CppCompileError

from utils.system import shortage
from utils.system.shortage import explain_shortage

WORKER = "Caught OSError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  ...\nOSError: "
EMPTY, FULL = shutil._ntuple_diskusage(64_000_000, 0, 64_000_000), shutil._ntuple_diskusage(64_000_000, 64_000_000, 0)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left (28)"), "--shm-size"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that"), "--shm-size"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "memory ran out"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "memory ran out"),
        (OSError(f"{WORKER}[Errno 24] Too many open files"), "ulimit -n"),
        (OSError(errno.EMFILE, "Zu viele offene Dateien"), "ulimit -n"),
        (RuntimeError("received 0 items of ancdata"), "ulimit -n"),
        (OSError(f"{WORKER}[Errno 28] No space left on device: '{tempfile.gettempdir()}/pymp-1'"), "TMPDIR"),
    ],
)
def test_what_is_lacking(error: Exception, says: str) -> None:
    """The culprit and the setting that helps."""
    line = explain_shortage(error)
    assert says in line and "DATASET.NUM_WORKERS" in line
    assert "\n" not in line


def test_compiling_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the C++ compiler says it; what else fails in compiling is no shortage."""
    monkeypatch.setenv("TMPDIR", "/full")
    line = explain_shortage(CppCompileError(["g++"], "error closing /full/ccwdkZeE.s: No space left on device"))
    assert "/full" in line and "TRAIN.COMPILE False" in line
    assert "\n" not in line
    assert explain_shortage(CppCompileError(["g++"], "error: expected ';'")) == ""


def test_full_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A semaphore that finds no room says nothing of where; a file that finds none is of a disk."""
    error = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(shortage.shutil, "disk_usage", lambda path: FULL)
    assert "/dev/shm has 0 MB free of 64" in explain_shortage(error)
    monkeypatch.setattr(shortage.shutil, "disk_usage", lambda path: EMPTY)
    assert explain_shortage(error) == ""


def test_shared_memory_that_is_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on macOS: how much of it there is, nothing says, but the remedy."""
    monkeypatch.setattr(shortage, "SHARED", tmp_path / "none")
    assert "too little of it: give the container more" in explain_shortage(RuntimeError("unable to mmap 8 bytes"))


@pytest.mark.parametrize("error", [None, ValueError("killed by signal"), RuntimeError("killed by signal"), OSError()])
def test_other_errors(error: Exception | None) -> None:
    """Nothing is made up."""
    assert explain_shortage(error) == ""
