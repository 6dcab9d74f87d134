"""Machines that are short of something, and runs that meet: every script ends in one line, and soon."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT, call_script, environment
from tests.runs import long_run, only_run, start, wait_for
from utils.system.locks import locked

WORKERS = ("DATASET.NUM_WORKERS", 2)
SMALL = "mount -t tmpfs -o size={size} tmpfs /dev/shm && "


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes that a process has begun."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in path.read_text().split()]


def is_under_way(out: Path) -> bool:
    return bool(list(out.glob("*/*/last.pt")))


@pytest.fixture
def endless(toy: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A training with loader processes, whose first epoch is over."""
    process = start(sys.executable, "train.py", *long_run("train", toy, tmp_path, *WORKERS, "TRAIN.END_EPOCH", 1000))
    assert wait_for(lambda: is_under_way(tmp_path), process)
    yield process
    process.kill()
    process.wait()


def test_loader_process_killed(endless: subprocess.Popen[str], tmp_path: Path) -> None:
    """Out of memory, say: what it was, most likely, and the command that goes on."""
    os.kill(children(endless)[0], signal.SIGKILL)
    _, said = endless.communicate(timeout=60)
    assert endless.returncode == 2
    (line,) = [line for line in said.splitlines() if "error: " in line]
    assert "train.py: error: a loader process was killed" in line and "DATASET.NUM_WORKERS" in line
    run_dir = only_run(tmp_path, "train")
    assert line.endswith(f"--cfg {run_dir / 'config.yaml'} --load_path {run_dir}")
    assert "Traceback" not in said


def test_signal_while_loader_processes_hang(endless: subprocess.Popen[str]) -> None:
    """The run stops though its batch never comes, and does not wait for them at its end."""
    for number in children(endless):
        os.kill(number, signal.SIGSTOP)
    endless.send_signal(signal.SIGTERM)
    _, said = endless.communicate(timeout=60)
    assert endless.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in said.splitlines()[-1]


def test_second_job_on_a_run(endless: subprocess.Popen[str], tmp_path: Path) -> None:
    """Is refused in one line, and leaves the first alone; the lock goes with that, however it ends."""
    run_dir = only_run(tmp_path, "train")
    again = "--cfg", run_dir / "config.yaml", "--load_path", run_dir
    outcome = call_script("train.py", *again)
    assert outcome.status == 2
    assert f"error: {run_dir} is being written by another job" in outcome.stderr.splitlines()[-1]
    assert endless.poll() is None
    endless.kill()
    endless.wait()
    with locked(run_dir / "log.txt", wait=False) as free:
        assert free is not None


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "--mount", "sh", "-c", SMALL.format(size="64k") + "true"], check=False).returncode
    != 0,
    reason="needs a mount namespace of its own, for a small /dev/shm",
)
@pytest.mark.parametrize("others", [0, 900_000])
def test_little_shared_memory(toy: Path, tmp_path: Path, others: int) -> None:
    """Said before anything begins, whether there is little or others have taken it."""
    command = f'{SMALL.format(size="1m" if others else "64k")}head -c {others} /dev/zero > /dev/shm/others; exec "$@"'
    run = [sys.executable, "train.py", *long_run("train", toy, tmp_path, *WORKERS)]
    line = ["unshare", "--mount", "sh", "-c", command, "sh", *run]
    done = subprocess.run(line, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    said = done.stderr.splitlines()[-1]
    assert all(word in said for word in ("/dev/shm", "--shm-size", "DATASET.NUM_WORKERS"))
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
