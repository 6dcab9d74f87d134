"""What becomes of cosine scores: centring, adaptive s-norm, calibration, as pure functions over arrays."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from utils.metrics.rates import logit

ROWS = 1024  # of embeddings worked on at once: some megabytes


def cosine_scores(embeddings: np.ndarray, enrolment: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Cosine similarity (N,) of the rows enrolment (N,) and test (N,) of embeddings (M, D).

    The embeddings may be as large as memory allows: they are not copied, but for a few rows at a time.
    """
    norms = row_norms(embeddings)
    scores = np.empty(len(enrolment), dtype=embeddings.dtype)
    for start in range(0, len(scores), ROWS):
        part = slice(start, start + ROWS)
        one, other = enrolment[part], test[part]
        products = np.einsum("nd,nd->n", embeddings[one], embeddings[other])
        scores[part] = products / (norms[one] * norms[other])
    return scores


def row_norms(embeddings: np.ndarray) -> np.ndarray:
    """Lengths (M,) of embeddings (M, D), at least 1e-12, so that one can divide by them."""
    return np.maximum(np.sqrt(np.einsum("md,md->m", embeddings, embeddings)), 1e-12)


LEAST_DEVIATION = 1e-6  # of cohort scores: below it there is but the rounding of float32
LIKELY_SCALE = 10.0  # of scores of a deviation of 1: about 3 at an EER of 16 %, 9 at 2 %, 19 at 0.1 %


def centre(embeddings: np.ndarray, mean: np.ndarray) -> None:
    """Subtract a mean (D,) from embeddings (M, D), in place: there may be no room for two sets of them."""
    np.subtract(embeddings, np.asarray(mean, dtype=embeddings.dtype), out=embeddings)


def cohort_statistics(embeddings: np.ndarray, cohort: np.ndarray, top_n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (M,) of the highest cosine scores of each utterance with a cohort.

    Memory is that of the cohort, of some rows of the embeddings' scores, and of the results.

    Args:
        embeddings: (M, D).
        cohort: (K, D), of speakers who are in no trial.
        top_n: how many scores of an utterance to take; all K where it is more.

    Raises:
        ValueError: no cohort, or top_n below 1.
    """
    if not len(cohort) or top_n < 1:
        raise ValueError(f"s-norm needs a cohort and at least one score, not {top_n} of {len(cohort)}")
    unit = (cohort / row_norms(cohort)[:, None]).astype(embeddings.dtype)
    left_out = len(cohort) - min(top_n, len(cohort))
    means, deviations = np.empty(len(embeddings)), np.empty(len(embeddings))
    for start in range(0, len(embeddings), ROWS):
        rows = slice(start, start + ROWS)
        scores = embeddings[rows] @ unit.T / row_norms(embeddings[rows])[:, None]  # (rows, K)
        highest = np.partition(scores, left_out, axis=1)[:, left_out:] if left_out else scores
        means[rows] = highest.mean(axis=1, dtype=np.float64)
        deviations[rows] = highest.std(axis=1, dtype=np.float64)
    return means, deviations


def adaptive_s_norm(
    scores: np.ndarray, enrolment: np.ndarray, test: np.ndarray, means: np.ndarray, deviations: np.ndarray
) -> np.ndarray:
    """Scores (N,) float64 by how far they are above those of either utterance with its nearest cohort.

    Adaptive s-norm 1 of Matějka et al., "Analysis of Score Normalization in Multilingual Speaker Recognition",
    Interspeech 2017: each utterance has a cohort of its own, the speakers that are nearest to it.

    Args:
        scores: (N,), cosines of the utterances enrolment (N,) and test (N,).
        means, deviations: (M,), of the utterances, from `cohort_statistics`; a deviation of 0 is taken for 1e-6.
    """
    deviations = np.maximum(deviations, LEAST_DEVIATION)
    sides = [(scores - means[side]) / deviations[side] for side in (enrolment, test)]
    return (sides[0] + sides[1]) / 2


@dataclass(frozen=True)
class Calibration:
    """What makes scores natural log-likelihood ratios: scale × score + offset.

    Attributes:
        target_prior: how much same-speaker trials weighed in the fit.
    """

    scale: float
    offset: float
    target_prior: float

    def llrs(self, scores: np.ndarray) -> np.ndarray:
        """Log-likelihood ratios (N,) float64 of scores (N,)."""
        return self.scale * np.asarray(scores, dtype=np.float64) + self.offset

    def threshold(self, target_prior: float) -> float:
        """The score from which on one decides for the same speaker, if so many trials are of one and errors cost alike.

        There the log-likelihood ratio is -logit(target_prior).
        """
        return (-logit(target_prior) - self.offset) / self.scale

    def as_dict(self) -> dict[str, float]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> "Calibration":
        """The calibration that `as_dict` made values of."""
        return cls(**{name: float(values[name]) for name in ("scale", "offset", "target_prior")})


def fit_calibration(scores: np.ndarray, labels: np.ndarray, target_prior: float = 0.5) -> Calibration:
    """Fit a calibration by logistic regression; both kinds of trials weigh as the prior says, however many they are.

    Brümmer and du Preez, "Application-independent evaluation of speaker detection", 2006. The scale of the scores,
    brought to a deviation of 1, has a normal prior of deviation 10: an L2 penalty of scale² / 200 beside the sum of the
    losses in nats. It keeps the scale of scores without any error finite, and that of a few trials modest; beside
    thousands of trials with errors among them it does little.

    Args:
        scores: (N,), of trials that are not those to be evaluated.
        labels: (N,), 1 for the same speaker, 0 for different ones.
        target_prior: where decisions are to be best.

    Raises:
        ValueError: trials of one kind alone; scores that are infinite, all alike, or lower for the same speaker.
    """
    (scale,), offset = _regress(np.asarray(scores)[:, None], labels, target_prior)
    if scale <= 0:
        raise ValueError("scores are not higher for the same speaker than for different ones")
    return Calibration(scale, offset, target_prior)


def log_sides(values: np.ndarray, enrolment: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Logarithms (N, 2) of a measure (M,) of the utterances enrolment (N,) and test (N,): the smaller, the greater.

    They are the same for both orders of the two, as a fused score must be.
    """
    logarithms = np.log(values)
    return np.sort(np.stack([logarithms[enrolment], logarithms[test]], axis=1), axis=1)


@dataclass(frozen=True)
class Fusion:
    """What makes natural log-likelihood ratios of several systems' scores: their weighted sum and an offset.

    Measures of quality may stand among the scores: Mandasari et al., IEEE TASLP 21 (11), 2013; Thienpondt et al.,
    "The IDLab VoxSRC-20 submission", ICASSP 2021. They move the threshold from trial to trial.

    Attributes:
        weights: of each system's scores; negative where a system is better heard against another.
        target_prior: how much same-speaker trials weighed in the fit.
    """

    weights: tuple[float, ...]
    offset: float
    target_prior: float

    def llrs(self, scores: np.ndarray) -> np.ndarray:
        """Log-likelihood ratios (N,) float64 of the scores (N, S) of S systems."""
        return np.asarray(scores, dtype=np.float64) @ np.array(self.weights) + self.offset


def fit_fusion(scores: np.ndarray, labels: np.ndarray, target_prior: float = 0.5) -> Fusion:
    """Fit a fusion as `fit_calibration` fits a calibration: Brümmer et al., IEEE TASLP 15 (7), 2007.

    Args:
        scores: (N, S), of trials that are not those to be evaluated.
        labels: (N,), 1 for the same speaker, 0 for different ones.
        target_prior: where decisions are to be best.

    Raises:
        ValueError: trials of one kind alone; scores of a system that are infinite or all alike.
    """
    return Fusion(*_regress(scores, labels, target_prior), target_prior)


def _regress(scores: np.ndarray, labels: np.ndarray, target_prior: float) -> tuple[tuple[float, ...], float]:
    """Weights (S,) and offset of a logistic regression on scores (N, S)."""
    scores, is_target = np.asarray(scores, dtype=np.float64), np.asarray(labels) == 1
    for column in scores.T:
        _check_scores(column, is_target)
    means, deviations = scores.mean(axis=0), scores.std(axis=0)
    share = is_target.mean()
    weights = np.where(is_target, target_prior / share, (1 - target_prior) / (1 - share))  # 1 on average
    regression = LogisticRegression(C=LIKELY_SCALE**2, solver="newton-cholesky", tol=1e-9, max_iter=1000).fit(
        (scores - means) / deviations, is_target, sample_weight=weights
    )
    scales = regression.coef_[0] / deviations
    # The regression gives the logarithm of the odds after the score; those before it are taken off.
    offset = regression.intercept_[0] - scales @ means - logit(target_prior)
    return tuple(scales.tolist()), float(offset)


def _check_scores(scores: np.ndarray, is_target: np.ndarray) -> None:
    if is_target.all() or not is_target.any():
        raise ValueError("calibration needs trials of both kinds")
    if not np.isfinite(scores).all():
        raise ValueError("calibration needs scores that are finite numbers")
    if scores.min() == scores.max():
        raise ValueError("all scores are the same")
