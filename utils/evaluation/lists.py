"""Lists of trials as they are evaluated: read, checked, and looked up in an index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_objects.index import Index
from data_objects.lists import TrialList, read_trials
from data_objects.trials import DOUBTS, claims_to_be_voxceleb1, find_doubtful, identify_list
from utils.system.errors import UserError
from utils.system.files import hash_file
from utils.system.logger import get_logger


@dataclass(frozen=True, eq=False)
class ListOfTrials:
    """A list as it is evaluated.

    Attributes:
        name: what the list is called: its file's name without suffix.
        title: what it is known as (Vox1-O, ...), or the name of the file.
        trials, skipped: those whose utterances the index has, and the others.
        doubtful: how many of the trials are of each kind in `DOUBTS`.
    """

    name: str
    title: str
    file: Path
    trials: TrialList
    skipped: TrialList
    doubtful: dict[str, int] = field(default_factory=dict)

    def source(self) -> dict[str, Any]:
        """Where it comes from, for the provenance."""
        return {"file": str(self.file), "title": self.title, "sha256": hash_file(self.file)}


def open_lists(files: Sequence[Path], index: Index, allow_missing: bool) -> list[ListOfTrials]:
    """Read lists in the official form and look their utterances up.

    Raises:
        UserError: one is malformed or given twice; labels that contradict the speakers; utterances that the index does
            not have, unless `allow_missing`, or too few that it has.
    """
    lists = [_open_list(file, index, allow_missing) for file in files]
    names = [entry.name for entry in lists]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"--trials: several lists are called {min(twice)}: give them different file names")
    return lists


def _open_list(file: Path, index: Index, allow_missing: bool) -> ListOfTrials:
    trials = read_trials(file)
    _check_labels(file, trials)
    title, warning = identify_list(file.name, len(trials))
    if warning and claims_to_be_voxceleb1(index):
        get_logger().warning(warning)
    rows = index.rows_of(trials.utterances)
    is_there = rows >= 0
    usable = is_there[trials.enrolment] & is_there[trials.test]
    if not usable.all():
        _check_missing(file, trials, is_there, usable, allow_missing)
    kept, skipped = (trials if usable.all() else trials.select(usable)), trials.select(~usable)
    doubtful = find_doubtful(kept, index, rows if usable.all() else index.rows_of(kept.utterances))
    title = title if not warning and title else file.name
    return ListOfTrials(file.stem, title, file, kept, skipped, _count_doubtful(file, kept, doubtful))


def _count_doubtful(file: Path, trials: TrialList, doubtful: Mapping[str, np.ndarray]) -> dict[str, int]:
    """How many trials of a list say less than they seem to, by kind; they are warned of, and stay."""
    for kind, which in doubtful.items():
        if count := int(which.sum()):
            example = " ".join(map(str, trials[int(np.argmax(which))]))
            get_logger().warning(f"{file}: {count:,} of {len(trials):,} trials {DOUBTS[kind]} ({example})")
    return {kind: int(which.sum()) for kind, which in doubtful.items()}


def _check_labels(file: Path, trials: TrialList) -> None:
    same = trials.speaker_pairs[:, 0] == trials.speaker_pairs[:, 1]
    if (wrong := same != (trials.labels == 1)).any():
        place, more = int(np.argmax(wrong)), int(wrong.sum()) - 1
        others = f", and so have {more:,} more" if more else ""
        raise UserError(
            f"{file}: trial {place + 1} ('{' '.join(map(str, trials[place]))}') has a label that contradicts its "
            f"speakers{others}: 1 is the same speaker, 0 another"
        )


def _check_missing(
    file: Path, trials: TrialList, is_there: np.ndarray, usable: np.ndarray, allow_missing: bool
) -> None:
    missing = [name for name, there in zip(trials.utterances, is_there, strict=True) if not there]
    message = (
        f"{file}: {int((~usable).sum()):,} of {len(trials):,} trials name {len(missing):,} utterances that are not in "
        f"the index ({missing[0]}, ...)"
    )
    if not allow_missing:
        raise UserError(
            f"{message}: are the names right, and their wavs there? Mend the list or run data_preprocess.py again, or "
            "give --allow_missing to evaluate on the others"
        )
    if len(np.unique(trials.labels[usable])) < 2:
        raise UserError(f"{message}, and the rest do not hold trials of both kinds")
    get_logger().warning(f"{message}; they are skipped, and the figures are not those of the list")
