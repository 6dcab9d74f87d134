"""Text from outside on a terminal: nothing in it is obeyed."""

import logging
import os
from pathlib import Path

import pytest

from tests.helpers import call_script
from utils.system.logger import Formatter
from utils.system.text import printable

TEXTS = {
    "Zoë 王芳\n\ttab": "Zoë 王芳\n\ttab",
    "\x1b[31mred\x07": r"\x1b[31mred\x07",
    "\r\x9b2J": r"\r\x9b2J",
    "\u202egnp": r"\u202egnp",
    os.fsdecode(b"caf\xe9"): r"caf\udce9",
}


@pytest.mark.parametrize(("text", "shown"), TEXTS.items(), ids=map(repr, TEXTS))
def test_printable(text: str, shown: str) -> None:
    """Letters of any writing, line ends and tabs stay; what a terminal obeys, or cannot print, is escaped."""
    assert printable(text) == shown


def test_log() -> None:
    """What is logged is printable, too."""
    record = logging.LogRecord("", logging.WARNING, "", 0, "no %s", ("\x1b[2J",), None)
    assert Formatter("%(message)s").format(record) == r"WARNING: no \x1b[2J"


def test_error_that_names_a_folder(tmp_path: Path) -> None:
    """Its name reaches the terminal without its escapes."""
    outcome = call_script("data_preprocess.py", tmp_path / "\x1b[31m\udce9")
    assert outcome.status == 2
    assert r"no such folder: " in outcome.stderr
    assert r"\x1b[31m\udce9" in outcome.stderr
    assert "\x1b" not in outcome.stderr
