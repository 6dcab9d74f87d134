"""Lists of trials: what is refused, and what is left out."""

from pathlib import Path

import pytest

from data_objects.index import Index
from tests.utils.evaluation.corpus import NAMES
from utils.evaluation.lists import open_lists
from utils.system.errors import UserError


def write_trials(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


GOOD = (f"1 {NAMES[0]} {NAMES[1]}", f"0 {NAMES[0]} {NAMES[-1]}")
GONE = f"0 {NAMES[0]} id10009/a/00001.wav"


def test_missing_utterances_are_an_error(tmp_path: Path, index: Index) -> None:
    """Unless they are allowed; then those trials are kept apart."""
    path = write_trials(tmp_path / "trials.txt", *GOOD, GONE)
    with pytest.raises(UserError, match=r"trials\.txt: 1 of 3 trials name 1 utterances .*id10009.*--allow_missing"):
        open_lists([path], index, allow_missing=False)
    (entry,) = open_lists([path], index, allow_missing=True)
    assert entry.trials.text().splitlines() == list(GOOD)
    assert entry.skipped.text().splitlines() == [GONE]


def test_too_few_utterances(tmp_path: Path, index: Index) -> None:
    """Nothing is left to measure."""
    path = write_trials(tmp_path / "trials.txt", GOOD[0], GONE)
    with pytest.raises(UserError, match="do not hold trials of both kinds"):
        open_lists([path], index, allow_missing=True)


@pytest.mark.parametrize("line", [f"0 {NAMES[0]} {NAMES[1]}", f"1 {NAMES[0]} {NAMES[-1]}"])
def test_labels_that_contradict_the_speakers(tmp_path: Path, index: Index, line: str) -> None:
    """A list of another project, or a column mixed up: the first such trial is named."""
    path = write_trials(tmp_path / "trials.txt", *GOOD, line, line)
    with pytest.raises(UserError, match=rf"trial 3 \('{line}'\) .* 1 more"):
        open_lists([path], index, allow_missing=False)


def test_two_lists_of_one_name(tmp_path: Path, index: Index) -> None:
    """Their results could not be told apart."""
    (tmp_path / "a").mkdir()
    paths = [write_trials(folder / "trials.txt", *GOOD) for folder in (tmp_path, tmp_path / "a")]
    with pytest.raises(UserError, match="several lists are called trials"):
        open_lists(paths, index, allow_missing=False)
