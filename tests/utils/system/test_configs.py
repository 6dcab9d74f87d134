"""The settings that come with the project, listed and copied."""

import os
from pathlib import Path

import pytest

from tests.helpers import call_script
from utils.system.configs import shipped_configs
from utils.system.errors import UserError
from utils.system.files import ROOT


def test_settings_are_listed_and_copied(tmp_path: Path) -> None:
    """Every file of exps/, by the path that documents name it by; the copies are the same, byte for byte."""
    shipped = shipped_configs()
    assert {path for path in (ROOT / "exps").rglob("*") if path.is_file()} == {ROOT / path for path in shipped}
    assert Path("exps/mini/scratch.yaml") in shipped
    copies = shipped_configs(tmp_path / "exps")
    assert copies == [tmp_path / path for path in shipped]
    assert [copy.read_bytes() for copy in copies] == [(ROOT / path).read_bytes() for path in shipped]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Of one file that is there already nothing is changed, and no other is written."""
    (tmp_path / "search.yaml").write_text("SEED: 5\n")
    outcome = call_script("tools/copy_configs.py", "--to", tmp_path)
    assert outcome.stderr.startswith(f"copy_configs.py: error: {tmp_path / 'search.yaml'} is there already")
    assert (outcome.status, outcome.stderr.count("\n")) == (2, 1)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("search.yaml", "SEED: 5\n")]


def test_no_folder_to_copy_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"cannot write .* \\({os.strerror(20)}\\): give another folder with --to"):
        shipped_configs(tmp_path / "file")
