"""Files that a process locks for as long as it lives."""

import errno
import fcntl
import os
import subprocess
from pathlib import Path
from unittest import mock

import pytest

from utils.system.errors import UserError
from utils.system.locks import claim, locked


def test_lock_is_the_childs_too(tmp_path: Path) -> None:
    """It lasts as long as whoever has inherited it, whatever becomes of the process that took it."""
    with locked(tmp_path / "lock") as descriptor:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[descriptor])
    with locked(tmp_path / "lock", wait=False) as free:
        assert free is None
    child.kill()
    child.wait()
    with locked(tmp_path / "lock", wait=False) as free:
        assert free is not None


def test_lock_is_not_that_of_forks(tmp_path: Path) -> None:
    """Or the loader processes of a run that was killed would keep its folder."""
    ready, done = os.pipe(), os.pipe()
    with locked(tmp_path / "lock"):
        child = os.fork()
        if child == 0:
            os.write(ready[1], b"x")
            os.read(done[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
    with locked(tmp_path / "lock", wait=False) as free:
        assert free is not None
    os.write(done[1], b"x")
    os.waitpid(child, 0)
    for descriptor in (*ready, *done):
        os.close(descriptor)


def test_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second job is refused in one line; without locks, a warning says what to see to."""
    with claim(tmp_path, "log.txt", "set OUT_DIR"), pytest.raises(UserError, match=r"another job.*; or set OUT_DIR$"):
        claim(tmp_path, "log.txt", "set OUT_DIR")
    claim(tmp_path, "log.txt", "set OUT_DIR").close()
    with mock.patch.object(fcntl, "flock", side_effect=OSError(errno.ENOLCK, "No locks available")):
        claim(tmp_path, "log.txt", "set OUT_DIR").close()
    assert f"WARNING: {tmp_path} is on a file system without locks" in capsys.readouterr().err


def test_file_system_without_locks(tmp_path: Path) -> None:
    """One line, with the file and what to do."""
    refusal = OSError(errno.ENOLCK, "No locks available")
    with (
        mock.patch.object(fcntl, "flock", side_effect=refusal),
        pytest.raises(UserError, match="lock cannot be locked"),
        locked(tmp_path / "lock"),
    ):
        pass
