"""Scores by what the speakers trained on teach of embeddings: linear discriminant analysis, and PLDA."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from sklearn.covariance import ledoit_wolf

from utils.metrics.scoring import ROWS, row_norms

LEAST_SHARE = 1e-10  # of the squares, within speakers: below it there is but the rounding of float32
FEWEST_SPEAKERS = 3  # two give one direction, along which all cosines are 1 or -1


@dataclass(frozen=True, eq=False)
class Discriminants:
    """What reduces embeddings to the dimensions in which speakers differ.

    Attributes:
        mean: (D,), of embeddings of length 1.
        directions: (D, d), in which the covariance within speakers is the identity.
    """

    mean: np.ndarray
    directions: np.ndarray

    def project(self, embeddings: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Vectors (N, d) float64 of length 1, of the rows chosen (N,) of embeddings (M, D), which are not copied."""
        reduced = np.empty((len(chosen), self.directions.shape[1]))
        for start in range(0, len(chosen), ROWS):
            rows = slice(start, start + ROWS)
            reduced[rows] = (_unit(embeddings[chosen[rows]]) - self.mean) @ self.directions
        return _unit(reduced)


def fit_discriminants(embeddings: np.ndarray, labels: np.ndarray, dimensions: int) -> Discriminants:
    """Linear discriminant analysis of embeddings, each brought to length 1.

    The covariance within each speaker is shrunk as Ledoit and Wolf do (Journal of Multivariate Analysis, 2004); of two
    utterances that does nothing. The result is that of scikit-learn's LinearDiscriminantAnalysis with shrinkage `auto`
    (as in `utils.training.fitting.fit`), which estimates a matrix (D, D) for every speaker.

    Args:
        embeddings: (N, D), of several utterances of each speaker: of a speaker with one nothing is learnt here.
        labels: (N,), whose they are.
        dimensions: d; as many as there are speakers but one, or D, where that is less.

    Raises:
        ValueError: fewer than three speakers have several utterances; utterances that differ by speaker alone, or are
            too few for D.
    """
    several = _have_several(labels)
    unit, labels = _unit(embeddings[several]), labels[several]
    _, counts, residuals = _group(unit, labels)
    most, mean = min(dimensions, len(counts) - 1, unit.shape[1]), unit.mean(axis=0)
    within, deviation = shrink_within(residuals, labels), _deviation(unit)
    whole = ledoit_wolf((unit - mean) / deviation)[0] * np.outer(deviation, deviation)
    size = len(within)
    try:
        _, directions = eigh(whole - within, within, subset_by_index=(size - most, size - 1))
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"no covariance in {unit.shape[1]} dimensions comes of so few utterances: three or more are needed of most "
            "speakers"
        ) from error
    return Discriminants(mean, directions[:, ::-1])


def shrink_within(residuals: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean over utterances of their speakers' covariances (D, D), each shrunk as Ledoit and Wolf do.

    That of a speaker with n utterances, in coordinates in which each has a deviation of 1, is (1 - s) S + s I; how much
    it is shrunk, s, follows from the n x n products of the utterances alone (their equations 14 to 16), so all S are
    summed in one product.

    Args:
        residuals: (N, D), less the speaker's mean.
        labels: (N,), whose they are.
    """
    weighted, diagonal = np.empty_like(residuals), np.zeros(residuals.shape[1])
    for label in np.unique(labels):
        rows = labels == label
        own = residuals[rows]
        deviation = _deviation(own)
        standard = own / deviation
        count, size = own.shape
        products = standard @ standard.T  # (n, n)
        level = np.trace(products) / count / size  # the mean variance: 1, but for what never varies
        distance = np.square(products).sum() / count**2 / size - level**2
        error = (np.square(np.diag(products)).sum() / count - np.square(products).sum() / count**2) / count / size
        share = min(error, distance) / distance if distance > 0 else 0.0
        weighted[rows] = own * np.sqrt(1 - share)
        diagonal += count * share * level * deviation**2
    return (weighted.T @ weighted + np.diag(diagonal)) / len(residuals)


def _deviation(vectors: np.ndarray) -> np.ndarray:
    """The deviation (D,) of every dimension of vectors (N, D); 1 where it never varies."""
    deviation = vectors.std(axis=0)
    return np.where(deviation > 0, deviation, 1.0)


@dataclass(frozen=True, eq=False)
class Plda:
    """The two-covariance model of vectors: mean + speaker + utterance, both normally distributed.

    Brümmer and de Villiers, "The speaker partitioning problem", Odyssey 2010. It is kept in the coordinates in which
    the utterances' covariance is the identity, and the speakers' diagonal.

    Attributes:
        mean: (d,).
        directions: (d, d): coordinates are (vector - mean) @ directions.
        between: (d,), variances of the speakers in these coordinates, 0 or more.
    """

    mean: np.ndarray
    directions: np.ndarray
    between: np.ndarray

    def llrs(self, vectors: np.ndarray, enrolment: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Natural log-likelihood ratios (N,) of one speaker against two, of the rows enrolment and test of (M, d).

        In each coordinate two utterances of one speaker have the covariance [[1 + b, b], [b, 1 + b]], those of two
        [[1 + b, 0], [0, 1 + b]]; the ratio of the densities at (x, y) is, in logarithms,
        log(1 + b) - log(1 + 2b) / 2 + b x y / (1 + 2b) - b² (x² + y²) / (2 (1 + b) (1 + 2b)).
        """
        between = self.between
        together, apart = 1 + 2 * between, 1 + between
        coordinates = (vectors - self.mean) @ self.directions
        own = coordinates**2 @ (between**2 / (2 * apart * together))  # (M,)
        coordinates *= np.sqrt(between / together)
        llrs = np.log(apart).sum() - np.log(together).sum() / 2 - (own[enrolment] + own[test])
        for start in range(0, len(llrs), ROWS):
            part = slice(start, start + ROWS)
            llrs[part] += np.einsum("nd,nd->n", coordinates[enrolment[part]], coordinates[test[part]])
        return llrs


def fit_plda(vectors: np.ndarray, labels: np.ndarray) -> Plda:
    """Fit the two-covariance model by moments: analysis of variance for speakers with unlike numbers of utterances.

    Of K speakers with n utterances each, N in all: the covariance W within speakers is the sum of squares within
    them over N - K, shrunk as Ledoit and Wolf do; that between them over K - 1, n-weighted, is expected to be
    W + n0 B, where n0 = (N - sum of n² / N) / (K - 1), which gives B (Searle, Casella and McCulloch, "Variance
    Components", 1992, chapter 3). Directions in which that is negative have 0. A speaker with one utterance says
    nothing of W, and something of B.

    Args:
        vectors: (N, d).
        labels: (N,), whose they are.

    Raises:
        ValueError: fewer than three speakers have several utterances; utterances that differ by speaker alone.
    """
    _have_several(labels)
    vectors = np.asarray(vectors, dtype=np.float64)
    means, counts, residuals = _group(vectors, labels)
    number, speakers = len(vectors), len(counts)
    within = ledoit_wolf(residuals, assume_centered=True)[0] * number / (number - speakers)
    mean = vectors.mean(axis=0)
    deviations = means - mean
    squares = (deviations.T * counts) @ deviations / (speakers - 1)
    count = (number - (counts**2).sum() / number) / (speakers - 1)
    between, directions = eigh((squares - within) / count, within)
    return Plda(mean, directions, np.maximum(between, 0))


def _unit(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings (M, D) brought to length 1, float64."""
    wide = np.asarray(embeddings, dtype=np.float64)
    return wide / row_norms(wide)[:, None]


def _have_several(labels: np.ndarray) -> np.ndarray:
    """Which of the utterances (N,) bool are of a speaker with two or more."""
    _, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if (speakers := int((counts > 1).sum())) < FEWEST_SPEAKERS:
        raise ValueError(f"{FEWEST_SPEAKERS} speakers with two utterances or more are needed, and there are {speakers}")
    return counts[places] > 1


def _group(vectors: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means (K, d) of the speakers, their numbers of utterances (K,), and what is left of the vectors (N, d)."""
    _, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(means, places, vectors)
    means /= counts[:, None]
    residuals = vectors - means[places]
    if np.square(residuals).sum() <= LEAST_SHARE * np.square(vectors - vectors.mean(axis=0)).sum():
        raise ValueError("the utterances of each speaker are all alike")
    return means, counts, residuals
