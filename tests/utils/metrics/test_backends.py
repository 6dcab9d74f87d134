"""LDA against its definition, PLDA against the densities of its model and on data that were drawn by it."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.linalg import eigh
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf

from utils.metrics.backends import Plda, fit_discriminants, fit_plda
from utils.metrics.rates import equal_error_rate
from utils.metrics.scoring import cosine_scores


def draw_covariance(dimensions: int, seed: int) -> np.ndarray:
    """Any one, of deviations between a half and three, about."""
    factor = np.random.default_rng(seed).normal(0, 1, (dimensions, dimensions))
    return factor @ factor.T / dimensions + 0.3 * np.eye(dimensions)


def draw(between: np.ndarray, within: np.ndarray, counts: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Utterances of speakers, of whom each has so many, by the two-covariance model around 2; and whose they are."""
    generator, labels = np.random.default_rng(seed), np.repeat(np.arange(len(counts)), counts)
    speakers = generator.multivariate_normal(np.full(len(between), 2.0), between, len(counts))
    return speakers[labels] + generator.multivariate_normal(np.zeros(len(within)), within, len(labels)), labels


def covariances(plda: Plda) -> tuple[np.ndarray, np.ndarray]:
    """Those between and within speakers, (d, d), in the coordinates of the vectors."""
    back = np.linalg.inv(plda.directions)
    return (back.T * plda.between) @ back, back.T @ back


# ------------------------------------------------------------------------------------------------------------------
# LDA
# ------------------------------------------------------------------------------------------------------------------
def shrunk(vectors: np.ndarray) -> np.ndarray:
    """Ledoit and Wolf's covariance of vectors (N, D) whose dimensions have a deviation of 1 meanwhile."""
    deviation = vectors.std(axis=0)
    return ledoit_wolf((vectors - vectors.mean(axis=0)) / deviation)[0] * np.outer(deviation, deviation)


@pytest.mark.parametrize("dimensions", [2, 4, 100])
def test_lda_by_definition(dimensions: int) -> None:
    """Directions that maximise the covariance between speakers over that within them, of vectors of length 1."""
    vectors, labels = draw(draw_covariance(6, 0), draw_covariance(6, 1), np.array([9, 12, 5, 7, 11]), 2)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    within = sum((labels == speaker).mean() * shrunk(unit[labels == speaker]) for speaker in range(5))
    _, directions = eigh(shrunk(unit) - within, within)
    directions = directions[:, ::-1][:, : min(dimensions, 4)]
    expected = (unit - unit.mean(axis=0)) @ directions
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    chosen = np.array([3, 0, 3, 40])
    projected = fit_discriminants(vectors.astype(np.float32), labels, dimensions).project(vectors, chosen)
    signs = np.sign((projected * expected[chosen]).sum(axis=0))  # of directions, which are anybody's
    np.testing.assert_allclose(projected * signs, expected[chosen], atol=1e-4)


def test_speakers_of_one_utterance_teach_lda_nothing() -> None:
    """They would seem to be speakers whose utterances never differ."""
    vectors, labels = draw(draw_covariance(5, 0), draw_covariance(5, 1), np.array([9, 8, 9, 6, 1, 1]), 2)
    without = labels < 4
    with_them = fit_discriminants(vectors, labels, 100)
    np.testing.assert_array_equal(
        with_them.directions, fit_discriminants(vectors[without], labels[without], 100).directions
    )


def test_lda_finds_where_speakers_differ() -> None:
    """Beneath noise that cosines alone do not see through; scores are the same in either order."""
    between, within = np.diag([1.0] * 4 + [0.01] * 16), np.diag([0.3] * 4 + [4.0] * 16)
    vectors, labels = draw(between, within, np.full(60, 10), 3)
    fresh, theirs = draw(between, within, np.full(60, 5), 4)
    enrolment, test = np.random.default_rng(0).integers(len(fresh), size=(2, 20_000))
    same = (theirs[enrolment] == theirs[test]).astype(int)
    discriminants = fit_discriminants(vectors - 2, labels, 4)
    reduced = discriminants.project(fresh - 2, np.arange(len(fresh)))
    plain, scores = cosine_scores(fresh - 2, enrolment, test), cosine_scores(reduced, enrolment, test)
    assert equal_error_rate(scores, same) < 0.6 * equal_error_rate(plain, same)
    np.testing.assert_array_equal(cosine_scores(reduced, test, enrolment), scores)


# ------------------------------------------------------------------------------------------------------------------
# PLDA
# ------------------------------------------------------------------------------------------------------------------
def test_likelihood_ratios_by_the_densities() -> None:
    """Of both vectors together, (2d,): one covariance where the speaker is one, another where there are two."""
    vectors, labels = draw(draw_covariance(4, 0), draw_covariance(4, 1), np.array([4, 3, 6, 2, 5, 8, 1]), 2)
    plda = fit_plda(vectors, labels)
    between, within = covariances(plda)
    enrolment, test = np.random.default_rng(3).integers(len(vectors), size=(2, 3000))
    both, mean = np.hstack([vectors[enrolment], vectors[test]]), np.tile(plda.mean, 2)
    one = np.block([[between + within, between], [between, between + within]])
    two = np.kron(np.eye(2), between + within)
    expected = multivariate_normal(mean, one).logpdf(both) - multivariate_normal(mean, two).logpdf(both)
    np.testing.assert_allclose(plda.llrs(vectors, enrolment, test), expected, atol=1e-9)
    np.testing.assert_array_equal(plda.llrs(vectors, test, enrolment), plda.llrs(vectors, enrolment, test))


@pytest.mark.parametrize("counts", [np.full(40_000, 3), np.tile([1, 2, 9], 20_000)], ids=["alike", "unlike"])
def test_covariances_are_recovered(counts: np.ndarray) -> None:
    """Those that the data were drawn by, however many utterances a speaker has."""
    between, within = draw_covariance(4, 0), draw_covariance(4, 1)
    plda = fit_plda(*draw(between, within, counts, 2))
    found = covariances(plda)
    np.testing.assert_allclose(found[0], between, atol=0.05)
    np.testing.assert_allclose(found[1], within, atol=0.03)
    np.testing.assert_allclose(plda.mean, 2, atol=0.05)


def test_moments_by_definition() -> None:
    """Analysis of variance, with sums written out; in directions where it finds less than nothing there is nothing."""
    counts = np.array([4, 3, 6, 2, 1, 5])
    vectors, labels = draw(np.diag([2.0, 1e-9]), np.eye(2), counts, 5)
    means = np.array([vectors[labels == speaker].mean(axis=0) for speaker in range(6)])
    residuals = vectors - means[labels]
    within = ledoit_wolf(residuals, assume_centered=True)[0] * 21 / 15
    squares = sum(n * np.outer(row, row) for n, row in zip(counts, means - vectors.mean(axis=0), strict=True)) / 5
    between = (squares - within) / ((21 - sum(counts**2) / 21) / 5)
    values, directions = eigh(between, within)
    assert values[0] < 0 < values[1]
    plda = fit_plda(vectors, labels)
    np.testing.assert_allclose(covariances(plda)[1], within)
    kept = (within @ directions * [0, values[1]]) @ directions.T @ within
    np.testing.assert_allclose(covariances(plda)[0], kept, atol=1e-12)


@pytest.mark.parametrize("fit", [lambda vectors, labels: fit_discriminants(vectors, labels, 2), fit_plda])
@pytest.mark.parametrize(
    ("vectors", "labels", "message"),
    [
        (np.eye(5), [0, 0, 1, 1, 2], "3 speakers with two utterances or more are needed, and there are 2"),
        (np.eye(3)[[0, 0, 1, 1, 2, 2]], [0, 0, 1, 1, 2, 2], "the utterances of each speaker are all alike"),
    ],
)
def test_what_cannot_be_fitted_to(
    fit: Callable[[np.ndarray, np.ndarray], object], vectors: np.ndarray, labels: list[int], message: str
) -> None:
    """Is refused, and it is said why."""
    with pytest.raises(ValueError, match=message):
        fit(vectors, np.array(labels))


def test_too_few_utterances_for_lda() -> None:
    """Of two utterances each, shrinkage makes no covariance in more dimensions than they span."""
    vectors, labels = draw(np.eye(30), np.eye(30), np.full(4, 2), 0)
    with pytest.raises(ValueError, match="no covariance in 30 dimensions comes of so few utterances"):
        fit_discriminants(vectors, labels, 100)
