"""Commands and their scripts: what a user is told to call, and files that came along."""

import sys
from pathlib import Path

import pytest

from utils.system.commands import COMMANDS, call_of, script_of, shipped, this_call
from utils.system.errors import UserError
from utils.system.files import ROOT

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}


@pytest.mark.parametrize(
    ("called", "alone", "together"),
    [
        ("train.py", "python train.py", "torchrun --standalone --nproc_per_node 2 train.py"),
        ("autospeech search", "autospeech train", "torchrun --standalone --nproc_per_node 2 -m autospeech train"),
    ],
)
def test_a_script_is_called_as_this_one_was(
    monkeypatch: pytest.MonkeyPatch, called: str, alone: str, together: str
) -> None:
    """By the command for those who have it, by python in a checkout; with torchrun where that started us."""
    monkeypatch.setattr(sys, "argv", [called])
    assert call_of("train.py") == call_of("train.py", together=True) == alone
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert (call_of("train.py"), call_of("train.py", together=True)) == (alone, together)


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["/a b/train.py", "--cfg", "c d"], "python '/a b/train.py' --cfg 'c d'"),
        (["autospeech verify-test", "--cfg", "c d"], "autospeech verify-test --cfg 'c d'"),
    ],
)
def test_how_this_script_was_called(monkeypatch: pytest.MonkeyPatch, words: list[str], call: str) -> None:
    """As a line for a shell."""
    monkeypatch.setattr(sys, "argv", words)
    assert this_call() == call


def test_shipped_file_where_there_is_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One's own file of that name comes first; folders, and what is no such path, stay as they are."""
    monkeypatch.chdir(tmp_path)
    assert shipped("exps/search.yaml") == str(ROOT / "exps/search.yaml")
    assert shipped("--cfg=exps/search.yaml") == f"--cfg={ROOT / 'exps/search.yaml'}"
    for word in ("exps", "exps/mini", "exps/none.yaml", "train.py", "--cfg", "Genotype(normal=[])"):
        assert shipped(word) == word
    (tmp_path / "exps").mkdir()
    (tmp_path / "exps/search.yaml").touch()
    assert shipped("exps/search.yaml") == "exps/search.yaml"


def test_missing_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose script an installation lacks."""
    monkeypatch.setitem(COMMANDS, "train", "nobody.py")
    with pytest.raises(UserError, match=r"^train: .*nobody\.py is missing from this installation"):
        script_of("train")
