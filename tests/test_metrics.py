"""Figures of merit against brute force and closed forms."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from utils.metrics import cosine_scores, equal_error_rate, error_rates, min_dcf, top_k_accuracy

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


@pytest.mark.parametrize("label", [0, 1])
def test_trials_of_one_kind(label: int) -> None:
    """They have no rates."""
    with pytest.raises(ValueError, match="both kinds"):
        equal_error_rate(np.array([0.1, 0.2]), np.array([label, label]))


# ------------------------------------------------------------------------------------------------------------------
# Identification and scores
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


@given(arrays(np.float64, (6, 3), elements=st.floats(-10, 10)))
def test_cosine_by_definition(embeddings: np.ndarray) -> None:
    """The inner product over both lengths; of any pair, any number of times, in either order."""
    assume((np.linalg.norm(embeddings, axis=1) > 1e-3).all())
    enrolment, test = np.array([0, 1, 2, 3, 3, 5]), np.array([1, 1, 4, 5, 5, 0])
    scores = cosine_scores(embeddings, enrolment, test)
    for score, one, other in zip(scores, embeddings[enrolment], embeddings[test], strict=True):
        assert score == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), abs=1e-9)
    assert np.array_equal(cosine_scores(embeddings, test, enrolment), scores)


def test_many_trials() -> None:
    """More than a chunk holds."""
    embeddings = np.random.default_rng(0).standard_normal((50, 8))
    enrolment, test = np.random.default_rng(1).integers(50, size=(2, 10_000))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert cosine_scores(embeddings, enrolment, test) == pytest.approx((unit @ unit.T)[enrolment, test])


def test_embedding_of_zeros() -> None:
    """A score of 0, not a number that is none."""
    assert cosine_scores(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([0]), np.array([1])).tolist() == [0]
