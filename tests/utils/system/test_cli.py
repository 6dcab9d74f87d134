"""The command line that the scripts share."""

import argparse
from pathlib import Path

import pytest

from utils.system.cli import config_parser, evaluation_parser, split_name, take_options, training_parser


@pytest.mark.parametrize(
    ("line", "load_path", "opts"),
    [
        ("--cfg a.yaml", None, []),
        ("--cfg a.yaml TRAIN.LR 0.1 --load_path run", "run", ["TRAIN.LR", "0.1"]),
        ("TRAIN.LR 0.1 --load_path run --cfg a.yaml SEED 3", "run", ["TRAIN.LR", "0.1", "SEED", "3"]),
    ],
)
def test_options_and_settings_in_any_order(line: str, load_path: str | None, opts: list[str]) -> None:
    """KEY VALUE pairs may stand before, between and after options."""
    args = training_parser("what it does").parse_intermixed_args(line.split())
    assert (args.cfg, args.load_path, args.opts) == ("a.yaml", load_path, opts)


def test_load_path_only_where_it_is_wanted() -> None:
    """A script that takes none refuses it; one that needs it says so."""
    assert not hasattr(config_parser("search").parse_intermixed_args(["--cfg", "a.yaml"]), "load_path")
    with pytest.raises(SystemExit):
        evaluation_parser("what it does").parse_intermixed_args(["--cfg", "a.yaml"])


@pytest.mark.parametrize(
    ("words", "taken", "opts"),
    [
        ([], [], ["SEED", "3"]),
        (["a.txt", "B.txt"], ["a.txt", "B.txt"], ["SEED", "3"]),
        (["a.txt", "TRAIN.LR", "0.1"], ["a.txt"], ["TRAIN.LR", "0.1", "SEED", "3"]),
        (["DEVICE", "cpu"], [], ["DEVICE", "cpu", "SEED", "3"]),
    ],
)
def test_option_that_takes_several_words(words: list[str], taken: list[str], opts: list[str]) -> None:
    """It gives back the settings that came after them."""
    args = argparse.Namespace(opts=["SEED", "3"])
    assert take_options(words, args) == taken
    assert args.opts == opts


def test_names_before_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what looks like one: not of a text that begins otherwise, nor of a path that exists."""
    (tmp_path / "a=b").mkdir()
    assert split_name("found-2=runs/a=b") == ("found-2", "runs/a=b")
    assert split_name("runs/a=b") == ("", "runs/a=b")
    monkeypatch.chdir(tmp_path)
    assert split_name("a=b") == ("", "a=b")
