"""silent.csv: which utterances of an index hold nothing but zeros. Preprocessing finds out, since it reads them all."""

import csv
from pathlib import Path

from utils.system.errors import UserError

SILENT = "silent.csv"
HEADER = ("utterance",)


def read_silent(feature_dir: Path) -> set[str]:
    """The silent utterances of an index; none where it was written before there was such a file.

    Raises:
        UserError: the file cannot be read, or is none of ours.
    """
    path = feature_dir / SILENT
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = [tuple(row) for row in csv.reader(file)]
    except FileNotFoundError:
        return set()
    except (OSError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}): run data_preprocess.py again") from error
    if rows[:1] != [HEADER] or any(len(row) != len(HEADER) for row in rows):
        raise UserError(f"{path} is damaged: run data_preprocess.py again")
    return {name for (name,) in rows[1:]}
