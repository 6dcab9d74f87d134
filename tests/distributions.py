"""Alphas, and what genotypes they mean, computed as the definition says it."""

import itertools

import torch
from torch import Tensor

from models.genotypes import EDGES, Gene, edge_rows


def random_alpha(operations: tuple[str, ...], seed: int = 0, scale: float = 1.5) -> Tensor:
    """Alpha (14, number of operations) in float64, drawn by a seed."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(EDGES, len(operations), generator=generator, dtype=torch.float64)


def enumerate_node(alpha: Tensor, operations: tuple[str, ...], node: int) -> dict[tuple[Gene, Gene], float]:
    """The probability of every ordered pair of genes, as the definition says it, drawing after drawing."""
    p = alpha.softmax(dim=-1)[edge_rows(node)].tolist()
    strengths = [sum(p_o for p_o, name in zip(row, operations, strict=True) if name != "none") for row in p]
    choices = [column for column, name in enumerate(operations) if name != "none"]
    found = {}
    for first, second in itertools.permutations(range(len(p)), 2):
        order = strengths[first] / sum(strengths) * strengths[second] / (sum(strengths) - strengths[first])
        for a, b in itertools.product(choices, repeat=2):
            probability = order * p[first][a] / strengths[first] * p[second][b] / strengths[second]
            found[(operations[a], first), (operations[b], second)] = probability
    return found


def one_hot(genes: tuple[Gene, ...], operations: tuple[str, ...], off: float = -1e4, on: float = 1e4) -> Tensor:
    """Alpha that means these genes alone: all other edges are `none`."""
    alpha = torch.full((EDGES, len(operations)), off)
    alpha[:, operations.index("none")] = on
    for position, (operation, source) in enumerate(genes):
        row = edge_rows(position // 2).start + source
        alpha[row] = off
        alpha[row, operations.index(operation)] = on
    return alpha
