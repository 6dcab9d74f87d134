"""Figures of trials are those of the metrics, of all and of groups."""

from itertools import combinations

import numpy as np
import pytest

from data_objects.lists import TrialList, speaker_of
from tests.utils.evaluation.corpus import all_trials
from utils.evaluation.verification import METRICS, measure, measure_part
from utils.metrics.rates import cllr, equal_error_rate, min_dcf
from utils.metrics.scoring import Calibration


def test_figures_are_those_of_the_metrics() -> None:
    """Rates in per cent; without a calibration no actDCF and no Cllr."""
    names = [f"id1000{speaker}/a/0000{number}.wav" for speaker in range(1, 8) for number in range(3)]
    trials = TrialList.of((int(speaker_of(a) == speaker_of(b)), a, b) for a, b in combinations(names, 2))
    scores = np.random.default_rng(2).normal(trials.labels, 0.7)
    figures = measure(scores, trials, Calibration(3.0, -2.0, 0.5), replicates=200)
    assert figures["eer"] == pytest.approx(100 * equal_error_rate(scores, trials.labels))
    assert figures["min_dcf_0.05"] == pytest.approx(min_dcf(scores, trials.labels, 0.05))
    assert figures["cllr"] == pytest.approx(cllr(3 * scores - 2, trials.labels))
    llrs = 3 * scores - 2
    assert {name: figures[name] for name in METRICS} == {
        name: pytest.approx(metric.scale * metric.compute(llrs if metric.of_llrs else scores, trials.labels))
        for name, metric in METRICS.items()
    }
    for name, least in (("eer", 5), ("min_dcf_0.01", 0.3), ("act_dcf_0.05", 0.3), ("cllr", 0.3)):  # eer: per cent
        low, high = figures["intervals"][name]
        assert low < figures[name] < high
        assert low > least
    raw = measure(scores, trials, None, replicates=0)
    assert raw["cllr"] is raw["act_dcf_0.01"] is None
    assert "intervals" not in raw
    assert raw["eer"] == figures["eer"]


def test_part_by_definition() -> None:
    """A group's own EER; none where there is one kind of trials alone, or no trial."""
    trials = all_trials()
    scores = np.random.default_rng(1).normal(trials.labels, 1.0)
    chosen = trials.speaker_pairs.max(axis=1) < 2
    some, of_two, empty = (
        measure_part(scores, trials, 100, part) for part in (chosen, trials.labels == 0, np.zeros(len(trials), bool))
    )
    assert some["eer"] == pytest.approx(100 * equal_error_rate(scores[chosen], trials.labels[chosen]))
    assert (some["trials"], some["targets"], some["speakers"]) == (28, 12, 2)
    assert (of_two["trials"], of_two["targets"], of_two["eer"], of_two["eer_interval"]) == (96, 0, None, None)
    assert (empty["trials"], empty["speakers"], empty["eer"]) == (0, 0, None)


def test_interval_of_a_part() -> None:
    """In per cent, by bootstrap over its speakers; none without replicates."""
    names = [f"id1000{speaker}/a/0000{number}.wav" for speaker in range(1, 8) for number in range(3)]
    trials = TrialList.of((int(speaker_of(a) == speaker_of(b)), a, b) for a, b in combinations(names, 2))
    scores = np.random.default_rng(2).normal(trials.labels, 0.7)
    everything = np.ones(len(trials), dtype=bool)
    part = measure_part(scores, trials, 200, everything)
    assert part["eer_interval"] == measure(scores, trials, None, replicates=200)["intervals"]["eer"]
    assert part["eer_interval"][0] > 5
    assert measure_part(scores, trials, 0, everything)["eer_interval"] is None
