"""Groups of trials and utterances, for breakdowns: by gender, nationality and length.

A table of groups has a row an item and a categorical column a kind, whose categories are the groups.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from data_objects.audio import SAMPLE_RATE
from data_objects.index import Index
from data_objects.lists import Speaker, TrialList

LENGTHS = (4.0, 6.0, 10.0)  # seconds, borders of the groups by the shorter utterance of a trial
Breakdowns = dict[str, list[dict[str, Any]]]  # of every kind, a row a group


def group_trials(trials: TrialList, index: Index, speakers: Mapping[str, Speaker]) -> pd.DataFrame:
    """The groups of trials (N rows): by gender, nationality and length.

    By gender and nationality, a group has the trials both of whose speakers are of it; by length, those whose shorter
    utterance is.
    """
    kinds = group_speakers(trials.speakers, speakers)
    groups = {name: _group_pairs(column, trials.speaker_pairs) for name, column in kinds.items()}
    seconds = index.samples[index.rows_of(trials.utterances)] / SAMPLE_RATE
    groups["length"] = group_lengths(np.minimum(seconds[trials.enrolment], seconds[trials.test]))
    return pd.DataFrame(groups)


def group_speakers(names: Iterable[str], speakers: Mapping[str, Speaker]) -> pd.DataFrame:
    """Gender and nationality of speakers: `unknown` where vox1_meta.csv has a dash, or not the speaker."""
    known = (speakers.get(name, Speaker("", "", "")) for name in names)
    texts = [[text if text.strip("-") else "unknown" for text in (one.gender, one.nationality)] for one in known]
    return pd.DataFrame(texts, columns=["gender", "nationality"], dtype="category")


def _group_pairs(kinds: pd.Series, pairs: np.ndarray) -> pd.Categorical:
    """The groups of pairs (N, 2) of speakers: those both of one kind, and those of two kinds, if there are any."""
    first, second = kinds.cat.codes.to_numpy()[pairs].T
    names = [f"both {kind}" for kind in kinds.cat.categories] + ["of two"] * bool((first != second).any())
    return pd.Categorical.from_codes(np.where(first == second, first, len(names) - 1), names)


def group_lengths(seconds: np.ndarray) -> pd.Categorical:
    """The groups of lengths (N,): those that have something in them. A border belongs to the longer group."""
    first, last = LENGTHS[0], LENGTHS[-1]
    between = [f"{low:g} to {high:g} s" for low, high in pairwise(LENGTHS)]
    names = [f"under {first:g} s", *between, f"{last:g} s and more"]
    return pd.cut(seconds, [0, *LENGTHS, np.inf], right=False, labels=names).remove_unused_categories()


def break_down(groups: pd.DataFrame, measure: Callable[[np.ndarray], dict[str, Any]]) -> Breakdowns:
    """What `measure` says of the items (N,) bool of every group, by kind."""
    return {
        kind: [{"group": name} | measure((column == name).to_numpy()) for name in column.cat.categories]
        for kind, column in groups.items()
    }


def scaled(interval: tuple[float, float] | None, scale: float = 100) -> list[float] | None:
    """An interval for the results, in per cent unless another scale is given."""
    return None if interval is None else [scale * end for end in interval]
