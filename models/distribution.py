"""The distribution over genotypes that alpha means; derivation takes its most likely edges and operations.

A row of alpha, softmaxed, is the distribution p over an edge's operations, and s = 1 - p(none) the edge's strength. A
node keeps two different ones of its edges, drawn one after another without replacement in proportion to their
strengths (Plackett, "The analysis of permutations", 1975; Luce, "Individual choice behavior", 1959). A kept edge has
the operation o with the probability p(o) / s. What decides where strengths are 0, and by that a proportion of nothing,
is what decides between equals in derivation: the earlier edge is kept, with the first operation.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from models.genotypes import CONCAT, EDGES, INPUTS, NODES, Gene, Genotype, edge_rows

# The logarithm of what is drawn after all else: below that of any strength that is not 0 by more than float64 can tell
# apart from nothing, and than Gumbel noise ever adds.
_LAST = -1e4


def keep_probabilities(alpha: Tensor, operations: Sequence[str]) -> Tensor:
    """The probability (14,) that an edge is kept, of alpha (14, number of operations); differentiable.

    pi_e = s_e / S + sum over j != e of s_j / S * s_e / (S - s_j), S the sum of the strengths of the edges of e's node;
    the sum of pi over a node's edges is 2. Exact, and with finite gradients, where strengths are 0.
    """
    strengths = _log_strengths(alpha, operations).expand(EDGES, EDGES)
    nodes = torch.repeat_interleave(torch.arange(NODES), torch.arange(INPUTS, INPUTS + NODES)).to(alpha.device)
    apart = nodes[:, None] != nodes
    first = strengths.masked_fill(apart, -torch.inf).softmax(dim=-1).diagonal()
    itself = torch.eye(EDGES, dtype=torch.bool, device=alpha.device)
    second = strengths.masked_fill(apart | itself, -torch.inf).softmax(dim=-1)  # (drawn first, drawn second)
    return first + first @ second


def operation_probabilities(alpha: Tensor, operations: Sequence[str]) -> Tensor:
    """The probability of each operation on each edge, given that the edge is kept; differentiable.

    Maps alpha (14, number of operations) to as much: p(o) / s, and 0 for `none`.
    """
    return _choices(alpha, operations).softmax(dim=-1)


def draw_genotype(
    alpha_normal: Tensor, alpha_reduce: Tensor, operations: Sequence[str], generator: np.random.Generator
) -> Genotype:
    """A genotype drawn from alpha's distribution, each alpha (14, number of operations).

    Each node's edges stand in the order in which they were drawn. Where all operations but `none` are alike, and all
    edges, it is the distribution of `models.genotypes.random_genotype`.
    """
    normal, reduce = (_draw_cell(alpha.detach(), operations, generator) for alpha in (alpha_normal, alpha_reduce))
    return Genotype(normal, CONCAT, reduce, CONCAT)


def _draw_cell(alpha: Tensor, operations: Sequence[str], generator: np.random.Generator) -> tuple[Gene, ...]:
    """Gumbel noise on logarithms makes their order a draw (Yellott, 1977; Kool et al., ICML 2019, section 2.3)."""
    strengths, choices = (of(alpha, operations).double().cpu().numpy() for of in (_log_strengths, _choices))
    strengths = strengths + generator.gumbel(size=strengths.shape)
    drawn = (choices + generator.gumbel(size=choices.shape)).argmax(axis=-1)
    genes: list[Gene] = []
    for node in range(NODES):
        rows = edge_rows(node)
        sources = np.argsort(-strengths[rows])[:2]
        genes.extend((operations[drawn[rows][source]], int(source)) for source in sources)
    return tuple(genes)


def _log_strengths(alpha: Tensor, operations: Sequence[str]) -> Tensor:
    """The logarithms (14,) of the edges' strengths; where they are 0, descending numbers far below all others."""
    weak = _is_weak(alpha, operations)
    safe = alpha.masked_fill(weak[:, None], 0.0)  # its gradient, which is not asked for, would be of 0 / 0
    strengths = safe.log_softmax(dim=-1).masked_fill(_is_none(alpha, operations), -torch.inf).logsumexp(dim=-1)
    return torch.where(weak, _LAST * torch.arange(1, EDGES + 1).to(alpha), strengths)


def _choices(alpha: Tensor, operations: Sequence[str]) -> Tensor:
    """Alpha without `none`, which is -inf; of edges without strength, the first operation alone is not."""
    is_none = _is_none(alpha, operations)
    first = torch.where(torch.arange(len(operations)).to(is_none.device) == (~is_none).int().argmax(), 0.0, -torch.inf)
    weak = _is_weak(alpha, operations)[:, None]
    return torch.where(weak, first.to(alpha), alpha.masked_fill(is_none, -torch.inf))


def _is_weak(alpha: Tensor, operations: Sequence[str]) -> Tensor:
    """Which edges (14,) have no strength at all: as derivation sees it, in alpha's own precision."""
    return ~(alpha.detach().softmax(dim=-1).masked_fill(_is_none(alpha, operations), 0.0) > 0).any(dim=-1)


def _is_none(alpha: Tensor, operations: Sequence[str]) -> Tensor:
    """Which of alpha's columns is `none`."""
    return torch.tensor([name == "none" for name in operations], device=alpha.device)
