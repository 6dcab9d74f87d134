"""What the corpora that are made have in common: the command line, the folder, the lists and the names in them."""

import argparse
import string
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data_objects.lists import META, META_COLUMNS, SPLIT, TRIALS
from utils.system.cli import add_count, path
from utils.system.errors import UserError

LETTERS = list(string.ascii_letters + string.digits + "-_")  # of a video's name


def corpus_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of `OUT [--seed N]`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=path, help="folder to make; must not exist or be empty")
    add_count(parser, "--seed", 0, 0)
    return parser


def make_folder(out: Path) -> None:
    """Make the folder of a corpus; nothing is overwritten.

    Raises:
        UserError: it is there, and not an empty folder; it cannot be made.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder: remove it, or name another")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {out} ({error.strerror}): name another folder") from error


def draw_videos(count: int, generator: np.random.Generator) -> list[str]:
    """Names as YouTube gives them."""
    return ["".join(letters) for letters in generator.choice(LETTERS, (count, 11))]


def write_lists(
    out: Path, speakers: Iterable[tuple], split: Iterable[tuple[int, str]], trials: Iterable[tuple[int, str, str]]
) -> None:
    """vox1_meta.csv, iden_split.txt and, at last, veri_test.txt, in the official form.

    Args:
        speakers: their META_COLUMNS.
        split: 1 (train), 2 (val) or 3 (test), and an utterance.
    """
    for file, separator, rows in ((META, "\t", [META_COLUMNS, *speakers]), (SPLIT, " ", split), (TRIALS, " ", trials)):
        (out / file).write_text("".join(f"{separator.join(map(str, row))}\n" for row in rows))
