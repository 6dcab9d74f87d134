"""Groups of trials and utterances."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from data_objects.index import Index
from data_objects.lists import Speaker, TrialList, speaker_of
from tests.utils.evaluation.corpus import LENGTHS, all_trials
from utils.evaluation.groups import break_down, group_lengths, group_speakers, group_trials


def test_groups_by_gender_nationality_and_length(index: Index) -> None:
    """Both speakers of a group; the shorter utterance; nothing is in no group or in two."""
    trials = all_trials()
    speakers = {
        "id10001": Speaker("f", "UK", "test"),
        "id10002": Speaker("f", "USA", "test"),
        "id10003": Speaker("m", "UK", "test"),
    }
    table = group_trials(trials, index, speakers)
    assert len(table) == len(trials)
    assert not table.isna().any(axis=None)
    assert list(table["gender"].cat.categories) == ["both f", "both m", "both unknown", "of two"]
    assert list(table["nationality"].cat.categories) == ["both UK", "both USA", "both unknown", "of two"]
    groups = {kind: {name: table[kind] == name for name in table[kind].cat.categories} for kind in table}
    for kind, field in (("gender", "gender"), ("nationality", "nationality")):
        for name, chosen in groups[kind].items():
            for trial in trials.select(chosen.to_numpy()):
                of_two = {getattr(speakers.get(speaker_of(part)), field, "unknown") for part in trial[1:]}
                assert (name == f"both {min(of_two)}") if len(of_two) == 1 else (name == "of two")
    for name, chosen in groups["length"].items():
        shortest = [min(LENGTHS[part] for part in trial[1:]) / 16_000 for trial in trials.select(chosen.to_numpy())]
        assert {"4 to 6 s": (4, 6), "6 to 10 s": (6, 10)}[name][0] <= min(shortest)
        assert max(shortest) < {"4 to 6 s": (4, 6), "6 to 10 s": (6, 10)}[name][1]


def test_lengths_at_the_borders() -> None:
    """A border belongs to the longer group."""
    groups = group_lengths(np.array([3.99, 4.0, 5.99, 6.0, 9.99, 10.0, 100.0]))
    assert list(groups) == ["under 4 s", *["4 to 6 s"] * 2, *["6 to 10 s"] * 2, *["10 s and more"] * 2]
    assert list(group_lengths(np.array([7.0, 3.0])).categories) == ["under 4 s", "6 to 10 s"]


def test_speakers_of_whom_nothing_is_known() -> None:
    """A dash in vox1_meta.csv, or no line there."""
    table = group_speakers(["a", "b", "a"], {"a": Speaker("f", "-", "test")})
    assert table["gender"].tolist() == ["f", "unknown", "f"]
    assert table["nationality"].tolist() == ["unknown"] * 3


def test_a_group_of_nothing_is_listed() -> None:
    """Two speakers of whom there is no trial together; and where no trial is of two kinds, there is no such group."""
    a, b, c = ("id10001/a/1.wav", "id10002/a/1.wav", "id10003/a/1.wav")
    trials = TrialList.of([(1, a, a), (0, a, b), (0, a, c)])
    index = SimpleNamespace(samples=np.full(3, 80_000), rows_of=lambda names: np.arange(len(names)))
    speakers = {name[:7]: Speaker(gender, "UK", "") for name, gender in ((a, "f"), (b, "m"), (c, "x"))}
    table = group_trials(trials, index, speakers)
    assert break_down(table, lambda chosen: {"trials": int(chosen.sum())}) == {
        "gender": [
            {"group": "both f", "trials": 1},
            {"group": "both m", "trials": 0},
            {"group": "both x", "trials": 0},
            {"group": "of two", "trials": 2},
        ],
        "nationality": [{"group": "both UK", "trials": 3}],
        "length": [{"group": "4 to 6 s", "trials": 3}],
    }


def test_groups_of_many_trials_are_light() -> None:
    """The 581,480 of Vox1-E take a byte a trial and kind, not a text."""
    draw, count = np.random.default_rng(0), 581_480
    names = [f"id1{number % 1000:04}/a/{number:05}.wav" for number in range(5_000)]
    trials = TrialList(np.zeros(count, np.int8), *draw.integers(0, len(names), (2, count)).astype(np.int32), names)
    index = SimpleNamespace(samples=np.full(5_000, 80_000), rows_of=lambda names: np.arange(len(names)))
    table = group_trials(
        trials, index, {f"id1{n:04}": Speaker("fm"[n % 2], f"land {n % 36}", "") for n in range(1_000)}
    )
    assert all(isinstance(column.dtype, pd.CategoricalDtype) for _, column in table.items())
    assert table.memory_usage(deep=True, index=False).sum() < 4 * count
