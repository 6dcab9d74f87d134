"""tools/benchmark.py trials: its simulated embeddings and trials, what it reports, and what it refuses."""

import json

import numpy as np
import pytest

from tests.helpers import call_script
from tests.tools.benchmarks.cases import on_linux, refusal
from tools.benchmarks import trials

SMALL = ("--trials", 400, "--utterances", 120, "--speakers", 10, "--dimensions", 64)


def test_embeddings_have_their_speakers_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of the last rows, fewer than are drawn at once; noise is what else there is."""
    monkeypatch.setattr(trials, "ROWS", 32)
    embeddings = trials.draw_embeddings(1000, 7, 50, np.random.default_rng(0))
    means = trials.SIGNAL * np.random.default_rng(0).standard_normal((7, 50), dtype=np.float32)
    assert embeddings.dtype == np.float32
    for speaker in range(7):
        assert embeddings[speaker::7].mean(axis=0) == pytest.approx(means[speaker], abs=0.4)
    noise = embeddings - means[np.arange(1000) % 7]
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(("count", "utterances", "speakers"), [(1000, 50, 7), (11, 20, 10), (2, 4, 2)])
def test_trials_are_of_their_speakers(count: int, utterances: int, speakers: int) -> None:
    """By turns of one speaker and of two; labels say so, and utterances are there."""
    enrolment, test, labels, pairs = trials.draw_trials(count, utterances, speakers, np.random.default_rng(1))
    assert labels.tolist() == [1 - place % 2 for place in range(count)]
    assert np.array_equal(pairs, np.stack([enrolment, test], axis=1) % speakers)
    assert np.array_equal(pairs[:, 0] == pairs[:, 1], labels == 1)
    assert 0 <= min(enrolment.min(), test.min()) <= max(enrolment.max(), test.max()) < utterances


@on_linux
def test_benchmark_of_trials(capsys: pytest.CaptureFixture) -> None:
    """In a process of its own: every step in order, and figures that their intervals surround."""
    report = json.loads(call_script("tools/benchmark.py", "trials", *SMALL, "--json").stdout)
    assert list(report["steps"]) == list(trials.STEPS)
    assert (report["trials"], report["utterances"], report["dimensions"], report["speakers"]) == (400, 120, 64, 10)
    assert report["embeddings_mb"] == 120 * 64 * 4 / 1e6
    for taken in report["steps"].values():
        assert taken["seconds"] > 0
        assert taken["process_mb"] == pytest.approx(taken["peak_mb"] + report["imports_mb"])
        assert taken["process_mb"] > taken["added_mb"]
    low, high = report["intervals"]["eer"]
    assert low <= report["figures"]["eer"] <= high < 0.5
    assert "cllr" in report["intervals"]
    assert 0 < report["snorm_eer"] < 0.5
    trials.print_report(report)
    printed = capsys.readouterr().out
    assert "400 trials of 120 utterances of 10 speakers, 64 numbers each" in printed
    assert f"EER {100 * report['figures']['eer']:.2f} %, 95 % interval {100 * low:.2f} to" in printed


@pytest.mark.parametrize("option", [("--trials", 1), ("--dimensions", 0), ("--utterances", 19), ("--speakers", 1)])
def test_benchmark_of_trials_refuses_what_cannot_be(option: tuple) -> None:
    """In one line, with exit status 2."""
    line = refusal(call_script("tools/benchmark.py", "trials", *SMALL, *option))
    assert f"{option[0]} must be at least" in line
