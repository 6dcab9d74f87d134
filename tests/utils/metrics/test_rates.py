"""Figures of merit against brute force and closed forms."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from utils.metrics.rates import (
    act_dcf,
    cllr,
    equal_error_rate,
    error_rates,
    error_threshold,
    min_cllr,
    min_dcf,
    top_k_accuracy,
)

# Scores with many ties, as whole multiples of a power of two, so that sums and differences are exact.
SCORES = st.integers(-8, 8).map(lambda number: number / 8)


@st.composite
def trials(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of both kinds."""
    count = draw(st.integers(2, 30))
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
    assume(0 < labels.sum() < count)
    return np.array(draw(st.lists(SCORES, min_size=count, max_size=count))), labels


def rates_by_counting(scores: np.ndarray, labels: np.ndarray) -> list[tuple[float, float]]:
    """False-acceptance and false-rejection rate at every threshold, the strictest, which accepts nothing, first."""
    thresholds = [np.inf, *sorted(set(scores), reverse=True)]
    return [
        (float(np.mean(scores[labels == 0] >= threshold)), float(np.mean(scores[labels == 1] < threshold)))
        for threshold in thresholds
    ]


def eer_by_bisection(scores: np.ndarray, labels: np.ndarray) -> float:
    """Where the line through all points (false acceptance, false rejection) meets the diagonal."""
    points = rates_by_counting(scores, labels)
    for (left, upper), (right, lower) in itertools.pairwise(points):
        if lower <= right:
            low, high = 0.0, 1.0
            for _ in range(60):
                share = (low + high) / 2
                above = upper + share * (lower - upper) > left + share * (right - left)
                low, high = (share, high) if above else (low, share)
            return left + low * (right - left)
    raise AssertionError("the last point accepts everything")


@given(trials())
def test_error_rates_by_counting(data: tuple[np.ndarray, np.ndarray]) -> None:
    """The rates at every threshold."""
    false_acceptance, false_rejection, _ = error_rates(*data)
    counted = rates_by_counting(*data)
    assert list(zip(false_acceptance, false_rejection, strict=True)) == pytest.approx(np.array(counted))


@given(trials())
def test_equal_error_rate_by_bisection(data: tuple[np.ndarray, np.ndarray]) -> None:
    """The point where both rates are the same."""
    assert equal_error_rate(*data) == pytest.approx(eer_by_bisection(*data), abs=1e-9)


@given(trials())
def test_min_dcf_by_counting(data: tuple[np.ndarray, np.ndarray]) -> None:
    """The least cost over all thresholds, over that of deciding without the scores."""
    counted = rates_by_counting(*data)
    for prior in (0.01, 0.5, 0.9):
        least = min(prior * rejection + (1 - prior) * acceptance for acceptance, rejection in counted)
        assert min_dcf(*data, prior) == pytest.approx(least / min(prior, 1 - prior))
        assert 0 <= min_dcf(*data, prior) <= 1 + 1e-12


@given(trials())
def test_rates_depend_on_the_order_of_the_scores_alone(data: tuple[np.ndarray, np.ndarray]) -> None:
    """A monotonous map changes nothing; turning everything round gives the same equal error rate."""
    scores, labels = data
    assert equal_error_rate(3 * scores + 1, labels) == equal_error_rate(scores, labels)
    assert equal_error_rate(-scores, 1 - labels) == pytest.approx(equal_error_rate(scores, labels))


@pytest.mark.parametrize(
    ("scores", "labels", "eer", "cost"),
    [
        ([2, 3, 0, 1], [1, 1, 0, 0], 0, 0),  # told apart
        ([0, 1, 2, 3], [1, 1, 0, 0], 1, 1),  # the wrong way round
        ([1, 1, 1, 1], [1, 1, 0, 0], 0.5, 1),  # all alike
        ([3, 1, 2, 0], [1, 1, 0, 0], 0.5, 0.5),  # one of two on either side
        ([4, 3, 1, 2, 0, 0], [1, 1, 1, 0, 0, 0], 1 / 3, 1 / 3),
    ],
)
def test_closed_forms(scores: list[float], labels: list[int], eer: float, cost: float) -> None:
    """Small cases by hand."""
    assert equal_error_rate(np.array(scores), np.array(labels)) == pytest.approx(eer)
    assert min_dcf(np.array(scores), np.array(labels)) == pytest.approx(cost)


def test_normal_scores() -> None:
    """Scores of two normal distributions, two deviations apart: their tails beyond one, 15.87 %."""
    generator = np.random.default_rng(0)
    scores = np.concatenate([generator.normal(1, 1, 20_000), generator.normal(-1, 1, 20_000)])
    labels = np.repeat([1, 0], 20_000)
    assert equal_error_rate(scores, labels) == pytest.approx(0.1587, abs=0.005)


@given(trials())
def test_threshold_at_the_equal_error_rate(data: tuple[np.ndarray, np.ndarray]) -> None:
    """It lies between the scores where the order of the rates changes; a linear map of the scores maps it too."""
    scores, labels = data
    threshold = error_threshold(*data)
    assert scores.min() <= threshold <= scores.max()
    below = scores[scores <= threshold].max()
    for rate in ((scores[labels == 0] > threshold).mean(), (scores[labels == 1] < below).mean()):
        assert rate <= equal_error_rate(*data) + 1e-9
    assert error_threshold(4 * scores - 2, labels) == pytest.approx(4 * threshold - 2)


@pytest.mark.parametrize(
    ("scores", "labels", "threshold"),
    [
        ([2, 3, 0, 1], [1, 1, 0, 0], 2),  # told apart: the first threshold at which nothing is rejected
        ([1, 1, 1, 1], [1, 1, 0, 0], 1),  # all alike: above 1 there is no score
        ([10, 9, 0, 4, 1], [1, 1, 1, 0, 0], 9 - 2 / 3 * 5),  # acceptance from 0 to 1/2, rejection 1/3
        ([5, 1, 3], [1, 1, 0], 4),  # acceptance 0 at 5 and 1 at 3, rejection 1/2 at both: equal halfway
    ],
)
def test_threshold_by_hand(scores: list[float], labels: list[int], threshold: float) -> None:
    """Small cases."""
    assert error_threshold(np.array(scores), np.array(labels)) == pytest.approx(threshold)


# ------------------------------------------------------------------------------------------------------------------
# Calibrated scores
# ------------------------------------------------------------------------------------------------------------------
def normal_llrs(count: int, separation: float) -> tuple[np.ndarray, np.ndarray]:
    """LLRs that are what they say, and labels: of N(±d²/2, d²), twice `count`."""
    generator = np.random.default_rng(0)
    half = separation**2 / 2
    llrs = np.concatenate([generator.normal(half, separation, count), generator.normal(-half, separation, count)])
    return llrs, np.repeat([1, 0], count)


@given(trials(), st.sampled_from([0.01, 0.05, 0.5, 0.9]))
def test_act_dcf_by_counting(data: tuple[np.ndarray, np.ndarray], prior: float) -> None:
    """Errors of the decisions, trial by trial; never less than the best threshold costs."""
    llrs, labels = 6 * data[0], data[1]
    rejected = accepted = 0
    for llr, label in zip(llrs, labels, strict=True):
        says_same = prior * np.exp(llr) >= 1 - prior
        rejected += label == 1 and not says_same
        accepted += label == 0 and says_same
    cost = prior * rejected / (labels == 1).sum() + (1 - prior) * accepted / (labels == 0).sum()
    assert act_dcf(llrs, labels, prior) == pytest.approx(cost / min(prior, 1 - prior))
    assert act_dcf(llrs, labels, prior) >= min_dcf(llrs, labels, prior) - 1e-12


def test_act_dcf_at_its_threshold() -> None:
    """A trial exactly there is accepted; LLRs of 0 cost what deciding without them does."""
    labels = np.array([1, 0])
    assert act_dcf(np.array([0.0, -0.1]), labels, 0.5) == 0
    assert act_dcf(np.array([0.0, 0.0]), labels, 0.01) == pytest.approx(1)
    assert act_dcf(np.array([np.inf, -np.inf]), labels, 0.01) == 0


@given(trials())
def test_cllr_by_definition(data: tuple[np.ndarray, np.ndarray]) -> None:
    """The mean of both kinds' mean surprise, in bits."""
    llrs, labels = 20 * data[0], data[1]
    costs = {1: [], 0: []}
    for llr, label in zip(llrs, labels, strict=True):
        costs[int(label)].append(np.log2(1 + np.exp(-llr if label else llr)))
    assert cllr(llrs, labels) == pytest.approx((np.mean(costs[1]) + np.mean(costs[0])) / 2)


def test_cllr_in_closed_form() -> None:
    """Nothing known, all known, the wrong way round; scores in the thousands do not overflow."""
    labels = np.array([1, 1, 0])
    assert cllr(np.zeros(3), labels) == 1
    assert cllr(np.array([np.inf, np.inf, -np.inf]), labels) == 0
    assert cllr(np.array([np.inf, -np.inf, -np.inf]), labels) == np.inf
    assert cllr(np.array([2000, 2000, 2000], dtype=np.float32), labels) == pytest.approx(1000 / np.log(2))


def test_cllr_of_normal_scores() -> None:
    """What is lost of a bit, by integration; a calibrated score is as good as it can be, and scaled ones are not."""
    llrs, labels = normal_llrs(100_000, 2.0)
    grid = np.linspace(-14, 18, 20_001)
    density = np.exp(-((grid - 2) ** 2) / 8) / np.sqrt(8 * np.pi)
    expected = float((density * np.log2(1 + np.exp(-grid))).sum() * (grid[1] - grid[0]))
    assert cllr(llrs, labels) == pytest.approx(expected, abs=0.005)
    assert min_cllr(llrs, labels) == pytest.approx(expected, abs=0.005)
    assert cllr(2 * llrs, labels) > expected + 0.05
    assert cllr(llrs + 1, labels) > expected + 0.02


@given(trials(), st.floats(-30, 30), st.floats(-10, 10))
def test_no_calibration_is_better_than_the_best(
    data: tuple[np.ndarray, np.ndarray], scale: float, offset: float
) -> None:
    """Of growing ones; a growing map of the scores changes nothing."""
    scores, labels = data
    best = min_cllr(scores, labels)
    assert 0 <= best <= cllr(abs(scale) * scores + offset, labels) + 1e-9
    assert min_cllr(np.exp(3 * scores), labels) == best
    assert min_cllr(1e-9 * scores, labels) == best  # far closer together than scikit-learn tells apart
    assert min_cllr(1e-9 * scores.astype(np.float32), labels) == best


@given(trials())
def test_min_cllr_by_pooling(data: tuple[np.ndarray, np.ndarray]) -> None:
    """Pools found by trying: the largest mean over all that a score begins, of the smallest over all that it ends."""
    scores, labels = data
    distinct = sorted(set(scores))
    within = [labels[scores == score] for score in distinct]
    odds = np.sum(labels == 1) / np.sum(labels == 0)
    cost = {1: 0.0, 0: 0.0}
    for place, own in enumerate(within):
        share = max(
            min(np.concatenate(within[low:high]).mean() for high in range(place + 1, len(within) + 1))
            for low in range(place + 1)
        )
        for label in own:
            chance = share if label else 1 - share
            ratio = share / (1 - share) / odds if chance < 1 else None
            cost[int(label)] += 0 if ratio is None else np.log2(1 + (1 / ratio if label else ratio))
    expected = (cost[1] / (labels == 1).sum() + cost[0] / (labels == 0).sum()) / 2
    assert min_cllr(scores, labels) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("scores", "labels", "bits"),
    [([2, 3, 0, 1], [1, 1, 0, 0], 0), ([0, 1, 2, 3], [1, 1, 0, 0], 1), ([1, 1, 1], [1, 0, 0], 1)],
)
def test_min_cllr_by_hand(scores: list[float], labels: list[int], bits: float) -> None:
    """Told apart, the wrong way round, all alike."""
    assert min_cllr(np.array(scores), np.array(labels)) == pytest.approx(bits, abs=1e-12)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("figure", [equal_error_rate, error_threshold, min_dcf, act_dcf, cllr, min_cllr])
def test_trials_of_one_kind(figure: Callable[[np.ndarray, np.ndarray], float], label: int) -> None:
    """They have no rates."""
    with pytest.raises(ValueError, match="both kinds"):
        figure(np.array([0.1, 0.2]), np.array([label, label]))


# ------------------------------------------------------------------------------------------------------------------
# Identification
# ------------------------------------------------------------------------------------------------------------------
@given(st.data())
def test_top_k_by_sorting(data: st.DataObject) -> None:
    """The share of the rows whose label is among the k largest; every one where k reaches the number of classes."""
    rows, classes = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 8))
    order = data.draw(st.permutations(range(rows * classes)))  # no ties
    logits = np.array(order, dtype=np.float32).reshape(rows, classes)
    labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows)))
    for k in (1, 2, 5, classes):
        best = np.argsort(-logits, axis=1)[:, :k]
        expected = np.mean([label in row for label, row in zip(labels, best, strict=True)])
        assert top_k_accuracy(logits, labels, k) == pytest.approx(expected)
    assert top_k_accuracy(logits, labels, classes) == 1
