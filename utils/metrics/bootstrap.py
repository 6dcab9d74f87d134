"""How far figures can be trusted: intervals by bootstrap over speakers, as pure functions over arrays.

Trials of one speaker are alike, and so are their errors: drawing trials would give intervals that are far too narrow.
Here speakers are drawn, as many as there are, with replacement. A trial of one speaker counts as often as the speaker
is drawn, a trial of two as often as the product of both. An interval holds the middle 95 % of a figure's replicates
(percentile method: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).

Speakers alone are drawn: what another training of the network would change is not in the intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array

from utils.metrics.rates import detection_cost, equal_rate, logit, surprises

Interval = tuple[float, float]
# 4 speakers can be drawn in 35 ways that differ, too few for tails of 2.5 %; 5 in 126.
FEWEST_SPEAKERS = 5
REPLICATES = 500  # worked on at once
BLOCKS = 2048  # of trials, about, whose weights are summed for all replicates at once
ROWS = 4096  # of trials at once at most: sums of their weights stay whole numbers that float32 can tell apart
DRAWS = 100  # times to draw a replicate again


def verification_intervals(
    scores: np.ndarray,
    labels: np.ndarray,
    speakers: np.ndarray,
    *,
    llrs: np.ndarray | None = None,
    target_priors: Sequence[float] = (0.01, 0.05),
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval | None]:
    """Intervals of the figures of trials, by drawing speakers.

    Replicates are exact: each figure is what `utils.metrics.rates` would say of the trials, repeated as often as they
    count.
    A replicate without trials of both kinds is drawn again.

    Args:
        scores: (N,), larger for the same speaker.
        labels: (N,), 1 for the same speaker, 0 for different ones.
        speakers: (N, 2), whole numbers, of either side of each trial.
        llrs: (N,), calibrated scores, natural logarithms.
        target_priors: of the detection costs.
        level: how much of the replicates an interval holds.

    Returns:
        `eer`, a fraction, and `min_dcf_PRIOR`; with llrs also `act_dcf_PRIOR` and `cllr`. All are None where the trials
        have fewer than 5 speakers, or hardly ever both kinds. There is none of min Cllr, which would take longer than
        all others.

    Raises:
        ValueError: trials of one kind alone; numbers that are none or infinite.
    """
    drawn = verification_replicates(
        scores, labels, speakers, llrs=llrs, target_priors=target_priors, replicates=replicates, seed=seed
    )
    return {name: None if values is None else middle(values, level) for name, values in drawn.items()}


def verification_replicates(
    scores: np.ndarray,
    labels: np.ndarray,
    speakers: np.ndarray,
    *,
    llrs: np.ndarray | None = None,
    target_priors: Sequence[float] = (0.01, 0.05),
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, np.ndarray | None]:
    """The figures (replicates,) that `verification_intervals` takes the middle of.

    Which speakers are drawn does not depend on the scores. So the differences of two systems' figures on the same
    trials, with the same seed, are those of a paired bootstrap (Bisani and Ney, ICASSP 2004): what the speakers drawn
    do to both systems alike is not in them.
    """
    trials = WeightedTrials(scores, labels, speakers, llrs, target_priors)
    generator = np.random.default_rng(seed)
    batches = []
    for count in _batches(replicates):
        weights = _draw_usable(trials, count, generator)
        if weights is None:
            return dict.fromkeys(trials.names)
        batches.append(trials.figures(weights))
    return {name: np.concatenate([batch[name] for batch in batches]) for name in trials.names}


def identification_intervals(
    correct: Mapping[str, np.ndarray],
    speakers: np.ndarray,
    *,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval | None]:
    """Intervals of accuracies, fractions of 1, by drawing speakers.

    Args:
        correct: by name of an accuracy, whether each utterance (N,) is right.
        speakers: (N,), whole numbers or names, of the utterances.
        level: how much of the replicates an interval holds.

    Returns:
        By name; None where there are fewer than 5 speakers.
    """
    names, places = np.unique(np.asarray(speakers), return_inverse=True)
    if len(names) < FEWEST_SPEAKERS:
        return dict.fromkeys(correct)
    generator = np.random.default_rng(seed)
    weights = np.concatenate([_draw(len(names), count, generator) for count in _batches(replicates)], axis=1)  # (S, R)
    totals = np.bincount(places) @ weights
    shares = {name: np.bincount(places, weights=right) @ weights / totals for name, right in correct.items()}
    return {name: middle(share, level) for name, share in shares.items()}


def _batches(replicates: int) -> list[int]:
    return [min(REPLICATES, replicates - start) for start in range(0, replicates, REPLICATES)]


def _draw(speakers: int, replicates: int, generator: np.random.Generator) -> np.ndarray:
    """How often each speaker is drawn (S, R), in each of so many replicates."""
    return generator.multinomial(speakers, np.full(speakers, 1 / speakers), size=replicates).T.astype(np.float64)


def _draw_usable(trials: "WeightedTrials", replicates: int, generator: np.random.Generator) -> np.ndarray | None:
    """Weights of the speakers (S, R) such that trials of both kinds count; None if they hardly ever do."""
    if trials.speakers < FEWEST_SPEAKERS:
        return None
    weights = _draw(trials.speakers, replicates, generator)
    for _ in range(DRAWS):
        unusable = (trials.totals(weights) == 0).any(axis=0)
        if not unusable.any():
            return weights
        weights[:, unusable] = _draw(trials.speakers, int(unusable.sum()), generator)
    return None


def middle(values: np.ndarray, level: float = 0.95) -> Interval:
    """The ends of what holds so much of replicates (R,), as much being below as above."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


class WeightedTrials:
    """Trials whose figures are wanted many times, each time with other weights of their speakers.

    Attributes:
        speakers: how many there are; weights are in the order of their numbers.
        names: of the figures.
    """

    def __init__(
        self,
        scores: np.ndarray,
        labels: np.ndarray,
        speakers: np.ndarray,
        llrs: np.ndarray | None = None,
        target_priors: Sequence[float] = (0.01, 0.05),
    ) -> None:
        """See `verification_intervals` for what the arguments are."""
        is_target = np.asarray(labels) == 1
        if is_target.all() or not is_target.any():
            raise ValueError("error rates need trials of both kinds")
        if not np.isfinite(scores).all() or (llrs is not None and not np.isfinite(llrs).all()):
            raise ValueError("scores and likelihood ratios must be finite numbers")
        codes, pairs = np.unique(np.asarray(speakers), return_inverse=True)
        pairs = pairs.reshape(-1, 2)
        self.speakers = len(codes)
        self.target_priors = target_priors
        self._ranking = Ranking.of(np.asarray(scores), is_target, pairs, self.speakers)
        self._counts = _kinds(np.ones(len(pairs)), is_target, pairs, self.speakers)
        self._errors, self._surprises = {}, None
        if llrs is not None:
            for prior in target_priors:
                wrong = (llrs >= -logit(prior)) != is_target
                self._errors[prior] = _kinds(wrong.astype(np.float64), is_target, pairs, self.speakers)
            self._surprises = _kinds(surprises(llrs, is_target), is_target, pairs, self.speakers)
        self.names = ["eer", *(f"min_dcf_{prior}" for prior in target_priors)]
        if llrs is not None:
            self.names += [*(f"act_dcf_{prior}" for prior in target_priors), "cllr"]

    def totals(self, weights: np.ndarray) -> np.ndarray:
        """How much the trials of different speakers and those of one (2, R) count, with weights (S, R)."""
        return np.stack([kind(weights) for kind in self._counts])

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Every figure (R,), by name.

        Args:
            weights: (S, R), whole numbers, how often each speaker counts; both kinds of trials must.
        """
        totals = self.totals(weights)
        figures = _threshold_figures(self._ranking, weights, totals, self.target_priors)
        for prior, kinds in self._errors.items():
            false_acceptance, false_rejection = _means(kinds, weights, totals)
            figures[f"act_dcf_{prior}"] = detection_cost(false_acceptance, false_rejection, prior)
        if self._surprises is not None:
            figures["cllr"] = np.mean(_means(self._surprises, weights, totals), axis=0)
        return figures


class PairSum:
    """The sum of a value over trials, each as often as its speakers are drawn.

    Values are summed by pair of speakers once; so a replicate costs a number for each pair, not for each trial.
    """

    def __init__(self, values: np.ndarray, pairs: np.ndarray, speakers: int) -> None:
        """Values (N,) of trials, and their speakers (N, 2), numbers under `speakers`."""
        is_one = pairs[:, 0] == pairs[:, 1]
        self.of_one = np.bincount(pairs[is_one, 0], weights=values[is_one], minlength=speakers)
        used = ~is_one & (values != 0)
        self.of_two = csr_array((values[used], tuple(pairs[used].T)), shape=(speakers, speakers))

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """The sums (R,), with weights (S, R)."""
        return self.of_one @ weights + np.einsum("sr,sr->r", weights, self.of_two @ weights)


def _kinds(values: np.ndarray, is_target: np.ndarray, pairs: np.ndarray, speakers: int) -> list[PairSum]:
    """Sums over the trials of different speakers, and over those of one."""
    return [PairSum(values[kind], pairs[kind], speakers) for kind in (~is_target, is_target)]


def _means(kinds: list[PairSum], weights: np.ndarray, totals: np.ndarray) -> list[np.ndarray]:
    return [kind(weights) / total for kind, total in zip(kinds, totals, strict=True)]


@dataclass(frozen=True, eq=False)
class Ranking:
    """Trials from the highest score down, and the thresholds between them: one for every distinct score.

    Attributes:
        first, second: (N,), rows of the weights whose product is a trial's weight; for a trial of one speaker, second
            is the row after the last speaker's, which is all ones.
        is_target: (N,) float32, 1 and 0.
        ends: (T + 1,), how many trials are accepted at every threshold; none at the first one.
        borders: (B + 1,), places in `ends` that divide it into blocks of about as many trials.
    """

    first: np.ndarray
    second: np.ndarray
    is_target: np.ndarray
    ends: np.ndarray
    borders: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, is_target: np.ndarray, pairs: np.ndarray, speakers: int) -> "Ranking":
        order = np.argsort(-scores, kind="stable")
        falls = np.flatnonzero(np.diff(scores[order])) + 1  # equal scores are accepted together
        ends = np.concatenate([[0], falls, [len(scores)]])
        block = max(16, len(scores) // BLOCKS)
        borders = np.flatnonzero(np.diff(ends // block, prepend=-1))
        borders = np.union1d(borders, [len(ends) - 1])
        first, second = pairs[order].T.astype(np.int32)
        second = np.where(first == second, np.int32(speakers), second)
        return cls(first, second, is_target[order].astype(np.float32), ends, borders)

    def accepted_at_borders(self, weights: np.ndarray) -> np.ndarray:
        """What the trials accepted at the borders count (2, B + 1, R): of different speakers, and of one.

        Args:
            weights: (S + 1, R) float32, whole numbers.
        """
        sums = np.zeros((2, len(self.borders), weights.shape[1]))
        kinds = np.stack([1 - self.is_target, self.is_target])
        for block, (start, end) in enumerate(pairwise(self.ends[self.borders]), start=1):
            for row in range(start, end, ROWS):
                rows = slice(row, min(row + ROWS, end))
                sums[:, block] += kinds[:, rows] @ (weights[self.first[rows]] * weights[self.second[rows]])
        return np.cumsum(sums, axis=1, out=sums)

    def accepted_between(self, weights: np.ndarray, low: int, high: int) -> np.ndarray:
        """What is accepted more than at the threshold `low` (2, high - low + 1), at the thresholds from it to `high`.

        Args:
            weights: (S + 1,), of one replicate.
        """
        rows = slice(self.ends[low], self.ends[high])
        counts = np.zeros((2, rows.stop - rows.start + 1))
        counts[:, 1:] = weights[self.first[rows]] * weights[self.second[rows]]
        counts[1, 1:] *= self.is_target[rows]
        counts[0] -= counts[1]
        return np.cumsum(counts, axis=1)[:, self.ends[low : high + 1] - rows.start]


def _threshold_figures(
    ranking: Ranking, weights: np.ndarray, totals: np.ndarray, target_priors: Sequence[float]
) -> dict[str, np.ndarray]:
    """EER and minDCFs (R,), exactly, although few thresholds are looked at.

    The rates are computed at the borders for all replicates at once. They tell in which blocks the rates can cross, and
    the cost be least; at the thresholds within those the rates are computed for each replicate.

    Args:
        weights, totals: (S, R) of the speakers, (2, R) of all trials of either kind.
    """
    weights = np.concatenate([weights, np.ones((1, weights.shape[1]))]).astype(np.float32)
    accepted = ranking.accepted_at_borders(weights)
    false_acceptance = accepted[0] / totals[0]  # (B + 1, R)
    false_rejection = 1 - accepted[1] / totals[1]
    crossing = np.argmax(false_rejection <= false_acceptance, axis=0)
    costs = {prior: detection_cost(false_acceptance, false_rejection, prior) for prior in target_priors}
    spans = {prior: _least_cost_span(false_acceptance, false_rejection, costs[prior], prior) for prior in target_priors}
    columns = np.ascontiguousarray(weights.T)

    def rates(replicate: int, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        """At the thresholds from one border to another (T,): false acceptance and rejection."""
        first, last = ranking.borders[[low, high]]
        if last - first == high - low:  # no thresholds but the borders, for few distinct scores
            counts = accepted[:, low : high + 1, replicate]
        else:
            more = ranking.accepted_between(columns[replicate], first, last)
            counts = accepted[:, low, replicate, None] + more
        shares = counts / totals[:, replicate, None]
        return shares[0], 1 - shares[1]

    replicates = range(weights.shape[1])
    figures = {"eer": np.array([equal_rate(*rates(r, crossing[r] - 1, crossing[r])) for r in replicates])}
    for prior, span in spans.items():
        least = [detection_cost(*rates(r, *span[r]), prior).min() for r in replicates]
        figures[f"min_dcf_{prior}"] = np.minimum(least, costs[prior].min(axis=0))
    return figures


def _least_cost_span(
    false_acceptance: np.ndarray, false_rejection: np.ndarray, cost: np.ndarray, target_prior: float
) -> np.ndarray:
    """The borders (R, 2) between which the least cost must be, if it is at none of the borders.

    Within a block, acceptances are at least those at its strict end, and rejections at least those at the other: where
    the cost of these two is not below the least one at the borders, there is nothing to find.

    Args:
        false_acceptance, false_rejection, cost: (B + 1, R), at the borders.
    """
    bound = detection_cost(false_acceptance[:-1], false_rejection[1:], target_prior)  # (B, R)
    may_be_less = bound < cost.min(axis=0)
    first = np.argmax(may_be_less, axis=0)
    last = len(bound) - np.argmax(may_be_less[::-1], axis=0)
    return np.stack([first, np.where(may_be_less.any(axis=0), last, first)], axis=1)
