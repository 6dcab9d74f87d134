"""Groups of trials and utterances, for breakdowns: by gender, nationality and length."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from data_objects.audio import SAMPLE_RATE
from data_objects.index import Index
from data_objects.lists import Speaker, TrialList

LENGTHS = (4.0, 6.0, 10.0)  # seconds, borders of the groups by the shorter utterance of a trial


def group_trials(trials: TrialList, index: Index, speakers: Mapping[str, Speaker]) -> dict[str, dict[str, np.ndarray]]:
    """Which trials (N,) bool belong to which group: by gender, nationality and length.

    By gender and nationality, a group has the trials both of whose speakers are of it; by length, those whose shorter
    utterance is. A speaker of whom vox1_meta.csv does not tell is `unknown`.
    """
    unknown = Speaker("unknown", "unknown", "")
    meta = [speakers.get(speaker, unknown) for speaker in trials.speakers]
    by_gender = _by_speaker(trials, [known(entry.gender) for entry in meta])
    by_nationality = _by_speaker(trials, [known(entry.nationality) for entry in meta])
    seconds = index.samples[index.rows_of(trials.utterances)] / SAMPLE_RATE
    shorter = np.minimum(seconds[trials.enrolment], seconds[trials.test])
    return {"gender": by_gender, "nationality": by_nationality, "length": group_lengths(shorter)}


def known(text: str) -> str:
    """What vox1_meta.csv says, or `unknown` for a dash."""
    return text if text.strip("-") else "unknown"


def _by_speaker(trials: TrialList, kinds: Sequence[str]) -> dict[str, np.ndarray]:
    names, codes = np.unique(kinds, return_inverse=True)
    pairs = codes[trials.speaker_pairs]
    groups = {f"both {name}": (pairs == code).all(axis=1) for code, name in enumerate(names)}
    mixed = pairs[:, 0] != pairs[:, 1]
    return groups | ({"of two": mixed} if mixed.any() else {})


def group_lengths(seconds: np.ndarray) -> dict[str, np.ndarray]:
    """By name, which of the lengths (N,) are in a group: those groups that have something in them."""
    borders = (0.0, *LENGTHS, np.inf)
    groups = {}
    for low, high in pairwise(borders):
        name = (
            f"{low:g} s and more" if np.isinf(high) else f"under {high:g} s" if low == 0 else f"{low:g} to {high:g} s"
        )
        chosen = (seconds >= low) & (seconds < high)
        if chosen.any():
            groups[name] = chosen
    return groups
