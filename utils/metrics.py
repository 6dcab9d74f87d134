"""Figures of merit, as pure functions over arrays. Rates are fractions of 1; the scripts print per cent."""

import numpy as np


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of the rows of logits (N, K) whose label (N,) is among the k largest; all K count where k > K."""
    k = min(k, logits.shape[1])
    best = np.argpartition(-logits, k - 1, axis=1)[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean())


def error_rates(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False-acceptance and false-rejection rates at every threshold, from the strictest on, and the thresholds.

    Args:
        scores: (N,), larger for the same speaker.
        labels: (N,), 1 for the same speaker, 0 for different ones; both must occur.
    """
    from sklearn.metrics import roc_curve

    if not {0, 1} <= set(np.unique(labels).tolist()):
        raise ValueError("error rates need trials of both kinds")
    false_acceptance, acceptance, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    return false_acceptance, 1 - acceptance, thresholds


def equal_error_rate(scores: np.ndarray, labels: np.ndarray) -> float:
    """The rate at which false acceptances and false rejections are equally frequent.

    Between the two neighbouring thresholds where their order changes, both rates are interpolated linearly.
    """
    false_acceptance, false_rejection, _ = error_rates(scores, labels)
    difference = false_rejection - false_acceptance  # falls from 1 to -1
    after = int(np.argmax(difference <= 0))
    before = after - 1
    share = difference[before] / (difference[before] - difference[after])
    return float(false_acceptance[before] + share * (false_acceptance[after] - false_acceptance[before]))


def min_dcf(scores: np.ndarray, labels: np.ndarray, target_prior: float = 0.01) -> float:
    """The least normalised detection cost over all thresholds, with costs of 1 for either error.

    NIST, speaker recognition evaluation plan, 2008. A cost of 1 is what deciding without the scores costs.
    """
    false_acceptance, false_rejection, _ = error_rates(scores, labels)
    cost = target_prior * false_rejection + (1 - target_prior) * false_acceptance
    return float(cost.min() / min(target_prior, 1 - target_prior))


def cosine_scores(embeddings: np.ndarray, enrolment: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Cosine similarity (N,) of the rows enrolment (N,) and test (N,) of embeddings (M, D)."""
    normalised = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    scores = np.empty(len(enrolment), dtype=embeddings.dtype)
    for chunk in range(0, len(scores), 4096):  # the rows that a chunk gathers stay small
        part = slice(chunk, chunk + 4096)
        scores[part] = np.einsum("nd,nd->n", normalised[enrolment[part]], normalised[test[part]])
    return scores
