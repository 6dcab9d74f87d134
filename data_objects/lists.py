"""The official lists: their form, reading them, and trials in arrays.

An utterance is named as the lists name it: `id10001/1zcIwhmdeo4/00001.wav`, speaker, video (or whatever folders lie
between) and file; see `data_objects.names` for other characters than these.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_objects.names import canonical, canonical_part
from utils.system.errors import UserError
from utils.system.files import read_text

UTTERANCE = re.compile(r"[^/\s]+(?:/[^/\s]+)+\.wav")
META, SPLIT, TRIALS = "vox1_meta.csv", "iden_split.txt", "veri_test.txt"
META_COLUMNS = ("VoxCeleb1 ID", "VGGFace1 ID", "Gender", "Nationality", "Set")
SPLIT_PARTS = {"1": "train", "2": "val", "3": "test"}
SETS = ("dev", "test")
SUB_DIRS = ("merged", "dev")


class Speaker(NamedTuple):
    """A line of vox1_meta.csv."""

    gender: str
    nationality: str
    set: str  # dev or test


class Trial(NamedTuple):
    """A line of veri_test.txt; label 1 for the same speaker, 0 for different ones."""

    label: int
    enrolment: str
    test: str


@dataclass(frozen=True, eq=False)
class TrialList(Sequence[Trial]):
    """Trials in arrays: the 581,480 of Vox1-E take 5 MB, and a name of an utterance stands once."""

    labels: np.ndarray  # (N,) int8
    enrolment: np.ndarray  # (N,) int32, places in utterances
    test: np.ndarray  # (N,) int32, places in utterances
    utterances: list[str]  # (M,), sorted, each once

    @classmethod
    def of(cls, trials: Iterable[tuple[int, str, str]]) -> "TrialList":
        """The list of (label, enrolment, test)."""
        labels, places = [], []
        place_of: dict[str, int] = {}
        for label, *pair in trials:
            labels.append(label)
            places.append([place_of.setdefault(utterance, len(place_of)) for utterance in pair])
        names = sorted(place_of)
        order = np.empty(len(names), dtype=np.int32)  # by the place at first sight, the place in the sorted names
        order[[place_of[name] for name in names]] = np.arange(len(names))
        pairs = order[np.array(places, dtype=np.int64).reshape(-1, 2)]
        return cls(np.array(labels, dtype=np.int8), pairs[:, 0], pairs[:, 1], names)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> Trial:  # type: ignore[override]  # no slices
        pair = (self.utterances[side[place]] for side in (self.enrolment, self.test))
        return Trial(int(self.labels[place]), *pair)

    def select(self, chosen: np.ndarray) -> "TrialList":
        """The trials that chosen (N,) bool says, and their utterances alone."""
        pairs = np.stack([self.enrolment[chosen], self.test[chosen]])
        used, places = np.unique(pairs, return_inverse=True)
        enrolment, test = places.reshape(pairs.shape).astype(np.int32)
        return TrialList(self.labels[chosen], enrolment, test, [self.utterances[place] for place in used])

    @cached_property
    def speakers(self) -> list[str]:
        """The speakers of the utterances, sorted, each once."""
        return sorted({speaker_of(utterance) for utterance in self.utterances})

    @cached_property
    def speaker_pairs(self) -> np.ndarray:
        """Places in `speakers` (N, 2) of every trial's two speakers."""
        place_of = {speaker: place for place, speaker in enumerate(self.speakers)}
        of_utterance = np.array([place_of[speaker_of(name)] for name in self.utterances], dtype=np.int32)
        return np.stack([of_utterance[self.enrolment], of_utterance[self.test]], axis=1)

    def text(self) -> str:
        """The lines of the official form: label, enrolment, test."""
        return "".join(f"{label} {enrolment} {test}\n" for label, enrolment, test in self)


def speaker_of(utterance: str) -> str:
    """id10001 of id10001/1zcIwhmdeo4/00001.wav."""
    return utterance.split("/", 1)[0]


def video_of(utterance: str) -> str:
    """id10001/1zcIwhmdeo4 of id10001/1zcIwhmdeo4/00001.wav."""
    return utterance.rsplit("/", 1)[0]


def _read_lines(path: Path, expected: str) -> list[str]:
    """A list's lines; those that are blank are counted as lines too."""
    try:
        lines = read_text(path, f"expected is a list, one line each: {expected}").splitlines()
    except FileNotFoundError as error:
        raise UserError(
            f"missing list: {path} (one line each: {expected}); preprocessing makes it where it can, or give your own"
        ) from error
    if not any(line.strip() for line in lines):
        raise UserError(f"{path} is empty; expected one line each: {expected}")
    return lines


def read_list(path: Path, expected: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and words of a list's lines, blank ones left out.

    Raises:
        UserError: the file is missing, not text, empty, or a line has another number of words than `expected`.
    """
    count = len(expected.split())
    for number, line in enumerate(_read_lines(path, expected), start=1):
        words = line.split()
        if words and len(words) != count:
            raise malformed(path, number, line, expected)
        if words:
            yield number, words


def malformed(path: Path, number: int, line: str, expected: str) -> UserError:
    """The error that names a list's line."""
    hint = "; names end in .wav whatever their files do, a space in them is %20" if ".wav" in expected else ""
    return UserError(f"{path}, line {number}: expected '{expected}', found {line[:80]!r}{hint}")


def read_split(path: Path) -> dict[str, str]:
    """iden_split.txt: utterance -> train, val or test.

    Raises:
        UserError: missing or malformed; an utterance given twice.
    """
    expected = "1|2|3 SPEAKER/SESSION/FILE.wav"
    parts: dict[str, str] = {}
    for number, (part, utterance) in read_list(path, expected):
        if part not in SPLIT_PARTS or not UTTERANCE.fullmatch(utterance):
            raise malformed(path, number, f"{part} {utterance}", expected)
        name = canonical(utterance)
        if name in parts:
            raise UserError(f"{path}, line {number}: {name[:80]} stands in the list twice")
        parts[name] = SPLIT_PARTS[part]
    return parts


def read_trials(path: Path) -> TrialList:
    """veri_test.txt, or another list in its form.

    Raises:
        UserError: missing or malformed; trials of one kind only, which have no error rate.
    """
    expected = "1|0 SPEAKER/SESSION/FILE.wav SPEAKER/SESSION/FILE.wav"
    known: dict[str, str] = {}  # lists name an utterance many times; it is looked at once

    def is_utterance(name: str) -> bool:
        if name not in known and UTTERANCE.fullmatch(name):
            known[name] = canonical(name)
        return name in known

    def lines() -> Iterable[tuple[int, str, str]]:
        for number, (label, enrolment, test) in read_list(path, expected):
            if label not in ("0", "1") or not is_utterance(enrolment) or not is_utterance(test):
                raise malformed(path, number, f"{label} {enrolment} {test}", expected)
            yield int(label), known[enrolment], known[test]

    trials = TrialList.of(lines())
    if len(kinds := np.unique(trials.labels)) < 2:
        raise UserError(f"{path}: all trials have label {kinds[0]}; both 0 and 1 are needed")
    return trials


def read_meta(path: Path) -> dict[str, Speaker]:
    """vox1_meta.csv: speaker -> gender, nationality, set.

    Raises:
        UserError: missing or malformed; a speaker given twice.
    """
    expected = "<TAB>".join(META_COLUMNS)
    lines = _read_lines(path, expected)
    speakers: dict[str, Speaker] = {}
    for number, line in enumerate(lines, start=1):
        cells = [cell.strip() for cell in line.split("\t")]
        if number == 1 and tuple(cells) != META_COLUMNS:
            raise malformed(path, number, line, f"the header {expected}")
        if number == 1 or not line.strip():
            continue
        if len(cells) != len(META_COLUMNS) or not re.fullmatch(r"[^/\s]+", cells[0]) or cells[4] not in SETS:
            raise malformed(path, number, line, f"{expected}, with an ID without spaces and a Set dev or test")
        speaker = canonical_part(cells[0])
        if speaker in speakers:
            raise UserError(f"{path}, line {number}: {speaker[:80]} stands in the list twice")
        speakers[speaker] = Speaker(*cells[2:])
    if not speakers:
        raise UserError(f"{path} lists no speakers; expected tab-separated lines: {expected}")
    return speakers


@dataclass(frozen=True)
class Lists:
    """The three lists."""

    speakers: dict[str, Speaker]
    split: dict[str, str]
    trials: TrialList | None  # not made yet

    @property
    def trial_utterances(self) -> set[str]:
        """Every utterance that a trial uses: 4,715 in the official list."""
        return set(self.trials.utterances) if self.trials is not None else set()


def find_list(data_dir: Path, feature_dir: Path, name: str) -> Path:
    """Where a list is: in DATA_DIR, or else in the index's folder, as `data_objects.making` made it."""
    given, made = data_dir / name, feature_dir / name
    return made if made.exists() and not given.exists() else given


def read_lists(data_dir: Path) -> Lists:
    """The lists of a folder; for errors see `read_meta`, `read_split` and `read_trials`."""
    return Lists(read_meta(data_dir / META), read_split(data_dir / SPLIT), read_trials(data_dir / TRIALS))
