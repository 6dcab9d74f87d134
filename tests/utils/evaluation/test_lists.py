"""Lists of trials: what is refused, and what is left out."""

from pathlib import Path
from unittest import mock

import pytest

from data_objects.index import Index
from tests.utils.evaluation.corpus import NAMES
from utils.evaluation.lists import ListOfTrials, open_lists
from utils.system.errors import UserError
from utils.system.logger import WarningCollector


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


def open_with_warnings(path: Path, index: Index) -> tuple[ListOfTrials, list[str]]:
    """The list, and what is warned of."""
    warned = WarningCollector()
    (entry,) = open_lists([path], index, allow_missing=True)
    return entry, warned.messages


def test_doubtful_trials_are_counted_and_warned_of(tmp_path: Path, index: Index) -> None:
    """With an example; they stay in the list. Those that are skipped do not count."""
    one, two = NAMES[:2]
    again = f"1 {two} {one}"
    path = write_trials(tmp_path / "trials.txt", *GOOD, again, f"1 {one} {one}", GONE, GONE)
    entry, (skipped, repeated, itself) = open_with_warnings(path, index)
    expected = {"repeated": 1, "same_utterance": 1, "same_recording": 0, "contradicted": 0, "silent": 0}
    assert (entry.doubtful, len(entry.trials), len(entry.skipped)) == (expected, 4, 2)
    assert "2 of 6 trials name 1 utterances" in skipped
    assert repeated.startswith(f"{path}: 1 of 4 trials compare two recordings that an earlier trial compares")
    assert repeated.endswith(f"({again})")
    assert itself == f"{path}: 1 of 4 trials compare an utterance with itself (1 {one} {one})"
    assert open_with_warnings(write_trials(path, *GOOD), index)[1] == []


def test_list_with_the_name_of_an_official_one(tmp_path: Path, index: Index) -> None:
    """Where the corpus is VoxCeleb1, a list that is not what its name says is warned of; elsewhere it is a name."""
    path = write_trials(tmp_path / "veri_test.txt", *GOOD)
    entry, warnings = open_with_warnings(path, index)
    assert (entry.title, warnings) == ("veri_test.txt", [])
    with mock.patch("utils.evaluation.lists.claims_to_be_voxceleb1", return_value=True):
        entry, (warning,) = open_with_warnings(path, index)
    assert entry.title == "veri_test.txt"
    assert "has the name of Vox1-O, which has 37,720 trials" in warning


def test_two_lists_of_one_name(tmp_path: Path, index: Index) -> None:
    """Their results could not be told apart."""
    (tmp_path / "a").mkdir()
    paths = [write_trials(folder / "trials.txt", *GOOD) for folder in (tmp_path, tmp_path / "a")]
    with pytest.raises(UserError, match="several lists are called trials"):
        open_lists(paths, index, allow_missing=False)
