"""Genotypes as parameters of Optuna: for every node of both cells a pair of sources, and an operation on each."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from models.genotypes import CONCAT, SEARCH_SPACES, Gene, Genotype
from utils.search.monitor import KINDS


def parameters_of(space: str) -> dict[str, BaseDistribution]:
    """The parameters of a space; drawn evenly they are genotypes as `random_genotype` draws them.

    Sources of a node ascend: which of its two edges is named first, its sum does not know.
    """
    operations = [name for name in SEARCH_SPACES[space] if name != "none"]
    parameters: dict[str, BaseDistribution] = {}
    for cell in KINDS:
        for node in CONCAT:
            pairs = [f"{first} {second}" for first, second in combinations(range(node), 2)]
            parameters[f"{cell} {node} sources"] = CategoricalDistribution(pairs)
            parameters[f"{cell} {node} first"] = CategoricalDistribution(operations)
            parameters[f"{cell} {node} second"] = CategoricalDistribution(operations)
    return parameters


def genotype_of(values: Mapping[str, Any]) -> Genotype:
    """The genotype of the parameters' values."""
    normal, reduce = (_cell_of(values, cell) for cell in KINDS)
    return Genotype(normal, CONCAT, reduce, CONCAT)


def _cell_of(values: Mapping[str, Any], cell: str) -> tuple[Gene, ...]:
    genes: list[Gene] = []
    for node in CONCAT:
        first, second = map(int, values[f"{cell} {node} sources"].split())
        genes += [(values[f"{cell} {node} first"], first), (values[f"{cell} {node} second"], second)]
    return tuple(genes)
