"""Are some genotypes better than chance? Their means against those of random ones, by permutation.

Random genotypes are what a search must beat (Li and Talwalkar, UAI 2019). A genotype is the unit here, and its figure
the mean over its seeds: more seeds make a genotype's figure surer, not the genotypes more.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pandas import DataFrame
from scipy.stats import kendalltau, permutation_test

RANDOM = "random"
RESAMPLES = 9999  # partitions at most; where there are fewer, all are tried, and p is exact


def group_of(name: str) -> str:
    """What a genotype is one of: found of found-2, random of random-10."""
    return re.sub(r"-\d+$", "", name)


def against_chance(summary: DataFrame, figures: Mapping[str, int]) -> list[dict[str, Any]]:
    """Every group of genotypes against the random ones, figure by figure.

    Args:
        summary: by name, parameters and FIGURE_mean.
        figures: 1 where more is better, -1 where less is.

    Returns:
        For each group and figure: genotypes and random ones; beats (for each of the group's genotypes, which share of
        the random ones it beats); p, one-sided, that the group's mean is as good as it is by chance; p_size, the same
        with the effect of the number of parameters taken out. Nothing without two random genotypes.
    """
    groups = summary.index.map(group_of)
    drawn = summary[groups == RANDOM]
    if len(drawn) < 2:
        return []
    tests = []
    for group in dict.fromkeys(groups[groups != RANDOM]):
        for figure, sign in figures.items():
            own, chance = (sign * rows[f"{figure}_mean"].to_numpy() for rows in (summary[groups == group], drawn))
            sizes = (rows["parameters"].to_numpy() for rows in (summary[groups == group], drawn))
            same_size = without_size(own, chance, *sizes)
            row = {"group": group, "figure": figure, "genotypes": len(own), "random": len(chance)}
            row |= {"beats": [float(np.mean(chance < value)) for value in own]}
            tests.append(row | {"p": permutation_p(own, chance), "p_size": permutation_p(*same_size)})
    return tests


def permutation_p(own: np.ndarray, chance: np.ndarray) -> float:
    """The one-sided p of a difference of means as large as this, if the names were given to the values by chance."""
    if len(own) == 1:  # which SciPy does not take: each value could as well be the one
        return float(np.mean(np.append(chance, own) >= own[0]))

    def difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(a, axis=axis) - np.mean(b, axis=axis)

    outcome = permutation_test(
        (own, chance), difference, n_resamples=RESAMPLES, alternative="greater", rng=np.random.default_rng(0)
    )
    return float(outcome.pvalue)


def without_size(
    own: np.ndarray, chance: np.ndarray, own_sizes: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both less what a line through all of them over the logarithm of the parameters says."""
    values, logarithms = np.concatenate([own, chance]), np.log(np.concatenate([own_sizes, sizes]))
    if np.ptp(logarithms) == 0:
        return own, chance
    rest = values - np.polyval(np.polyfit(logarithms, values, 1), logarithms)
    return rest[: len(own)], rest[len(own) :]


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Kendall's tau-b of two figures, and its two-sided p; NaN where either is constant."""
    outcome = kendalltau(a, b)
    return float(outcome.statistic), float(outcome.pvalue)
