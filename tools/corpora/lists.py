"""The official lists, and the names in them, of corpora that are made."""

import string
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data_objects.lists import META, META_COLUMNS, SPLIT, TRIALS

LETTERS = list(string.ascii_letters + string.digits + "-_")  # of a video's name


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
