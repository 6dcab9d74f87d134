"""Files that a process locks for as long as it lives."""

import errno
import fcntl
import subprocess
from pathlib import Path
from unittest import mock

import pytest

from utils.system.errors import UserError
from utils.system.locks import locked


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


def test_file_system_without_locks(tmp_path: Path) -> None:
    """One line, with the file and what to do."""
    refusal = OSError(errno.ENOLCK, "No locks available")
    with (
        mock.patch.object(fcntl, "flock", side_effect=refusal),
        pytest.raises(UserError, match="lock cannot be locked"),
        locked(tmp_path / "lock"),
    ):
        pass
