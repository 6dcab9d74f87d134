"""Genotypes against random ones: permutation, and size."""

import itertools

import numpy as np
import pytest
from pandas import DataFrame

from tools.comparison.chance import against_chance, group_of


def summary_of(own: list[float], chance: list[float], sizes: list[int] | None = None) -> DataFrame:
    names = [f"found-{n}" for n in range(1, len(own) + 1)] + [f"random-{n}" for n in range(1, len(chance) + 1)]
    return DataFrame({"top1_mean": own + chance, "parameters": sizes or [100] * len(names)}, index=names)


def test_p_against_chance_by_counting() -> None:
    """All partitions, by hand: of the 10 pairs of 5 values, so many have a mean as high as the found ones'."""
    values = [70.0, 60.0, 50.0, 65.0, 40.0]
    (test,) = against_chance(summary_of(values[:2], values[2:]), {"top1": 1})
    pairs = [np.mean(pair) for pair in itertools.combinations(values, 2)]
    assert test["p"] == pytest.approx(sum(mean >= 65.0 for mean in pairs) / 10)
    assert test["beats"] == [1.0, pytest.approx(2 / 3)]
    assert test["p_size"] == test["p"]  # all of one size
    (worse,) = against_chance(summary_of(values[:2], values[2:]), {"top1": -1})  # as of a loss
    assert worse["p"] == pytest.approx(sum(mean <= 65.0 for mean in pairs) / 10)
    assert against_chance(summary_of([70.0], [60.0]), {"top1": 1}) == []


def test_size_is_taken_out() -> None:
    """What size alone explains is no merit: good by being large, and good at its size, come apart."""
    sizes = [100, 200, 400, 800, 1600]
    by_size = [10 * np.log2(size) for size in sizes]
    (large,) = against_chance(summary_of(by_size[-1:], by_size[:-1], [sizes[-1], *sizes[:-1]]), {"top1": 1})
    assert large["p"] == pytest.approx(0.2)
    assert large["p_size"] > 0.2
    (small,) = against_chance(summary_of([by_size[0] + 5], by_size[1:], sizes), {"top1": 1})
    assert small["p"] == pytest.approx(1.0)
    assert small["p_size"] < 0.5


@pytest.mark.parametrize(("name", "group"), [("found", "found"), ("found-2", "found"), ("a-b-10", "a-b"), ("x2", "x2")])
def test_groups(name: str, group: str) -> None:
    """A number at the end counts the members of a group."""
    assert group_of(name) == group
