"""Decisions on utterances: of every speaker, and of groups."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data_objects.lists import Speaker
from utils.evaluation.identification import PER_SPEAKER, Identification, write_per_speaker

# Of speakers a to e; d has no utterance.
LABELS = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 4])
DECISIONS = np.array([0, 2, 1, 1, 1, 1, 1, 3, 3, 2])


@pytest.fixture
def identification() -> Identification:
    logits = np.eye(5, dtype=np.float32)[DECISIONS]
    return Identification(np.arange(10), list("abcde"), LABELS, logits)


def test_per_speaker(identification: Identification, tmp_path: Path) -> None:
    """The worst first, equals in their order; whom they were most often taken for, of equals the first."""
    table = identification.per_speaker()
    assert table.to_dict("records") == [
        {"speaker": "c", "utterances": 2, "top1": 0.0, "most_often_taken_for": "d"},
        {"speaker": "e", "utterances": 1, "top1": 0.0, "most_often_taken_for": "c"},
        {"speaker": "a", "utterances": 3, "top1": 100 * (1 / 3), "most_often_taken_for": "b"},
        {"speaker": "b", "utterances": 4, "top1": 100.0, "most_often_taken_for": ""},
    ]
    json.dumps(table.to_dict("records"))  # plain numbers
    assert write_per_speaker(tmp_path, table) == tmp_path / PER_SPEAKER
    assert (tmp_path / PER_SPEAKER).read_bytes().decode() == (
        f"speaker,utterances,top1,most_often_taken_for\nc,2,0.0,d\ne,1,0.0,c\na,3,{100 * (1 / 3)!r},b\nb,4,100.0,\n"
    )


def test_per_speaker_without_errors() -> None:
    right = np.eye(5, dtype=np.float32)[LABELS]
    table = Identification(np.arange(10), list("abcde"), LABELS, right).per_speaker()
    assert table["most_often_taken_for"].tolist() == [""] * 4
    assert table["top1"].tolist() == [100.0] * 4


def test_figures_and_breakdowns(identification: Identification) -> None:
    """By definition; groups are those of the utterances that there are, and few speakers have no interval."""
    figures = identification.figures(0)
    assert (figures["top1"], figures["top5"]) == (50.0, 100.0)
    assert "intervals" not in figures
    index = SimpleNamespace(samples=np.array([3, 3, 5, 5, 5, 7, 7, 7, 7, 20]) * 16_000)
    meta = {"a": Speaker("f", "UK", ""), "b": Speaker("m", "-", ""), "c": Speaker("m", "UK", "")}
    found = identification.break_down(index, meta, 100)
    shown = {kind: [tuple(row.values()) for row in rows] for kind, rows in found.items()}
    assert shown == {
        "gender": [("f", 3, 1, 100 * (1 / 3), None), ("m", 6, 2, 100 * (4 / 6), None), ("unknown", 1, 1, 0.0, None)],
        "nationality": [("UK", 5, 2, 20.0, None), ("unknown", 5, 2, 80.0, None)],
        "length": [
            ("under 4 s", 2, 1, 50.0, None),
            ("4 to 6 s", 3, 2, 100 * (2 / 3), None),
            ("6 to 10 s", 4, 2, 50.0, None),
            ("10 s and more", 1, 1, 0.0, None),
        ],
    }
    assert list(found["length"][0]) == ["group", "utterances", "speakers", "top1", "top1_interval"]


def test_intervals_are_in_per_cent() -> None:
    labels = np.repeat(np.arange(6), 4)
    logits = np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)
    logits[np.arange(24), labels] += 1.5
    some = Identification(np.arange(24), list("abcdef"), labels, logits)
    low, high = some.figures(200)["intervals"]["top1"]
    assert 1 < low < some.figures(0)["top1"] < high
    index = SimpleNamespace(samples=np.full(24, 80_000))
    (row,) = some.break_down(index, {}, 200)["gender"]
    assert row["top1_interval"] == [low, high]
