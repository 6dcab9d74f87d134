"""Figures of merit, as pure functions over arrays. Rates are fractions of 1; the scripts print per cent.

Log-likelihood ratios (LLRs) are natural: the logarithm of how much likelier a score is if the speaker is the same one.
"""

from typing import TypeVar

import numpy as np
from sklearn.isotonic import isotonic_regression
from sklearn.metrics import roc_curve

Rate = TypeVar("Rate", float, np.ndarray)  # one, or many


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of the rows of logits (N, K) whose label (N,) is among the k largest; all K count where k > K."""
    return float(top_k_hits(logits, labels, k).mean())


def top_k_hits(logits: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Which rows (N,) bool of logits (N, K) have their label (N,) among the k largest; all K count where k > K."""
    k = min(k, logits.shape[1])
    best = np.argpartition(-logits, k - 1, axis=1)[:, :k]
    return (best == labels[:, None]).any(axis=1)


def error_rates(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False-acceptance and false-rejection rates at every threshold, from the strictest on, and the thresholds.

    Args:
        scores: (N,), larger for the same speaker.
        labels: (N,), 1 for the same speaker, 0 for different ones; both must occur.
    """
    _check_kinds(labels)
    false_acceptance, acceptance, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    return false_acceptance, 1 - acceptance, thresholds


def _check_kinds(labels: np.ndarray) -> None:
    if not {0, 1} <= set(np.unique(labels).tolist()):
        raise ValueError("error rates need trials of both kinds")


def equal_error_rate(scores: np.ndarray, labels: np.ndarray) -> float:
    """The rate at which false acceptances and false rejections are equally frequent.

    By linear interpolation: between the two neighbouring thresholds where the order of the two rates changes, points of
    the ROC curve, both are taken to change linearly.
    """
    false_acceptance, false_rejection, _ = error_rates(scores, labels)
    return equal_rate(false_acceptance, false_rejection)


def equal_rate(false_acceptance: np.ndarray, false_rejection: np.ndarray) -> float:
    """Where the two rates (T,), at thresholds from a strict one on, are equal, interpolated linearly."""
    after, share = _find_crossing(false_acceptance, false_rejection)
    return _interpolate(false_acceptance, after, share)


def error_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """The score at the equal error rate, interpolated linearly as the rate is.

    Above the highest score there is nothing to interpolate to: then it is that score.
    """
    false_acceptance, false_rejection, thresholds = error_rates(scores, labels)
    after, share = _find_crossing(false_acceptance, false_rejection)
    return float(thresholds[1]) if after == 1 else _interpolate(thresholds, after, share)


def _find_crossing(false_acceptance: np.ndarray, false_rejection: np.ndarray) -> tuple[int, float]:
    """The first place where rejections are not more frequent, and how much of the step to it goes to the crossing."""
    difference = false_rejection - false_acceptance  # falls, at most from 1 to -1
    after = int(np.argmax(difference <= 0))
    before = after - 1
    return after, difference[before] / (difference[before] - difference[after])


def _interpolate(values: np.ndarray, after: int, share: float) -> float:
    return float(values[after - 1] + share * (values[after] - values[after - 1]))


def min_dcf(scores: np.ndarray, labels: np.ndarray, target_prior: float = 0.01) -> float:
    """The least normalised detection cost over all thresholds, with costs of 1 for either error.

    NIST, speaker recognition evaluation plan, 2008. A cost of 1 is what deciding without the scores costs.
    """
    false_acceptance, false_rejection, _ = error_rates(scores, labels)
    return float(detection_cost(false_acceptance, false_rejection, target_prior).min())


def detection_cost(false_acceptance: Rate, false_rejection: Rate, target_prior: float) -> Rate:
    """The normalised detection cost at rates, of any shape, with costs of 1 for either error."""
    cost = target_prior * false_rejection + (1 - target_prior) * false_acceptance
    return cost / min(target_prior, 1 - target_prior)


def logit(probability: float) -> float:
    """The logarithm of the odds."""
    return float(np.log(probability) - np.log1p(-probability))


def act_dcf(llrs: np.ndarray, labels: np.ndarray, target_prior: float = 0.01) -> float:
    """The normalised detection cost of decisions by LLRs (N,), with costs of 1 for either error.

    A trial is accepted where its LLR is at least -logit(target_prior), which is the best decision (Bayes) if the LLRs
    are what they say. What this costs more than `min_dcf` is the price of bad calibration.
    """
    _check_kinds(labels)
    accepted = np.asarray(llrs) >= -logit(target_prior)
    return float(detection_cost(accepted[labels == 0].mean(), 1 - accepted[labels == 1].mean(), target_prior))


def cllr(llrs: np.ndarray, labels: np.ndarray) -> float:
    """The cost of LLRs (N,) over all operating points, in bits: what they withhold of the one bit that a label is.

    0 is perfect, 1 is what LLRs of 0 have; worse than 1 they mislead, and infinitely if one is infinite and wrong.
    Brümmer and du Preez, "Application-independent evaluation of speaker detection", 2006.
    """
    _check_kinds(labels)
    surprise = surprises(llrs, labels)
    return float((surprise[labels == 1].mean() + surprise[labels == 0].mean()) / 2)


def surprises(llrs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """In bits (N,), -log2 of the probability that LLRs give to the labels if both kinds are equally likely before."""
    against = np.where(labels == 1, -1.0, 1.0) * llrs  # for the wrong label
    return np.logaddexp(0, against) / np.log(2)


def min_cllr(scores: np.ndarray, labels: np.ndarray) -> float:
    """The least Cllr, in bits, that a growing function of the scores (N,) can reach.

    That function is found by pooling adjacent violators: it makes every score the share of same-speaker trials in its
    pool, without smoothing, and is the best one for these labels.
    """
    _check_kinds(labels)
    # Distinct scores and how often they occur: scikit-learn's own search takes scores for equal that are merely close.
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    shares = np.bincount(places, weights=labels == 1) / counts
    shares = isotonic_regression(shares, sample_weight=counts.astype(np.float64), y_min=0, y_max=1)
    with np.errstate(divide="ignore"):  # a pool of one kind alone has an infinite LLR, which costs nothing
        llrs = np.log(shares) - np.log1p(-shares) - logit(float(np.mean(labels == 1)))
    return cllr(llrs[places], labels)
