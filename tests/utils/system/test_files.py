"""Files that are whole or not there."""

import errno
import hashlib
import os
import subprocess
from pathlib import Path
from unittest import mock

import pytest

from utils.system.errors import UserError
from utils.system.files import hash_file, partial_name, read_text, write_atomically


def test_file_keeps_what_was_there_under_another_name(tmp_path: Path) -> None:
    """Whole under one name or the other at every moment; also where there are no hard links."""
    path, before = tmp_path / "last.pt", tmp_path / "previous.pt"
    for number in range(3):
        write_atomically(path, f"{number}", keep_as=before)
    assert (path.read_text(), before.read_text()) == ("2", "1")
    with mock.patch("os.link", side_effect=OSError("not here")):
        write_atomically(path, "3", keep_as=before)
    assert (path.read_text(), before.read_text()) == ("3", "2")
    with mock.patch("os.fsync", side_effect=OSError("full")), pytest.raises(OSError, match="full"):
        write_atomically(path, "4", keep_as=before)
    assert (path.read_text(), before.read_text()) == ("3", "2")
    assert {item.name for item in tmp_path.iterdir()} == {"last.pt", "previous.pt"}


def test_partial_files_are_of_processes(tmp_path: Path) -> None:
    """Two that write one file do not meet; what those of this machine that are gone have left is deleted."""
    path = tmp_path / "last.pt"
    dead = subprocess.Popen(["true"])
    dead.wait()
    here, process = partial_name(path).name, os.getpid()
    gone = tmp_path / here.replace(f"-{process}.", f"-{dead.pid}.")
    alive = tmp_path / here.replace(f"-{process}.", f"-{os.getppid()}.")
    elsewhere = tmp_path / f"last.pt.elsewhere-{dead.pid}.partial"
    for left in (gone, alive, elsewhere):
        left.write_text("half")
    write_atomically(path, "whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, alive, elsewhere])


def test_text_that_a_user_named(tmp_path: Path) -> None:
    """With or without a byte order mark; what cannot be read is named, with the reason and what is needed."""
    path = tmp_path / "list.txt"
    for content in ("täxt\n", "\ufefftäxt\n"):
        path.write_text(content, encoding="utf-8")
        assert read_text(path, "needed is a list") == "täxt\n"
    with pytest.raises(UserError, match=f"^{tmp_path} is a folder; needed is a list$"):
        read_text(tmp_path, "needed is a list")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=f"^{path} is not a text file; needed is a list$"):
        read_text(path, "needed is a list")
    denied = PermissionError(errno.EACCES, "Permission denied", str(path))  # not for root, who may run this
    with mock.patch.object(Path, "read_text", side_effect=denied), pytest.raises(UserError, match="Permission denied"):
        read_text(path, "needed is a list")
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none", "needed is a list")


def test_hash_of_a_file(tmp_path: Path) -> None:
    """sha256, also of a file that is read in several blocks."""
    for content in (b"", b"text", b"x" * (3 << 20)):
        (tmp_path / "file").write_bytes(content)
        assert hash_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_names_that_are_no_unicode(tmp_path: Path) -> None:
    """What Python reads of such a name is written back as it was."""
    write_atomically(tmp_path / "list", os.fsdecode(b"id\xff"))
    assert (tmp_path / "list").read_bytes() == b"id\xff"
