"""What the derived networks of a search space cost, one by one and on average: multiply-accumulates for one input.

Costs are additive: a fixed part (stems, preprocessing, classifier), and what each kept edge's operation costs in each
cell. So the expected cost under alpha's distribution is a sum of constants, weighted by probabilities that are smooth
in alpha: Cai et al., ProxylessNAS, ICLR 2019, section 3.3, with edges that are kept or not. What counts is what
`tools/summarize.py` counts: convolutions and linear layers.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.base import CellPlan, halve, plan_cells
from models.distribution import keep_probabilities, operation_probabilities
from models.genotypes import CONCAT, EDGES, INPUTS, NODES, Gene, Genotype, edge_rows
from models.network import Cell, Network
from models.operations import FactorizedReduce, build_operation

Size = tuple[int, int]  # frames and frequency bins

_SOURCES = [source for node in range(NODES) for source in range(INPUTS + node)]  # of alpha's rows
_POOLS: tuple[Gene, ...] = (("max_pool_3x3", 0), ("max_pool_3x3", 1)) * NODES  # which cost nothing


class DerivedCost:
    """The cost of every network that a space's genotypes derive to, with a linear classifier after average pooling.

    Args:
        operations: the space's, in the order of alpha's columns.
        channels, layers, num_classes: of the derived network.
        frames, bins: of one input.

    Attributes:
        fixed: what every one of these networks costs.
        normal, reduce: what an operation on an edge costs beside that, in all cells of a kind together:
            (14, number of operations), float64, which holds them to the unit.
    """

    def __init__(
        self, operations: Sequence[str], channels: int, layers: int, num_classes: int, frames: int, bins: int
    ) -> None:
        self.operations = tuple(operations)
        self.normal, self.reduce = torch.zeros(2, EDGES, len(operations), dtype=torch.float64)
        with torch.device("meta"):  # shapes alone: no memory is taken, and no random number drawn
            network = Network(Genotype(_POOLS, CONCAT, _POOLS, CONCAT), channels, layers, num_classes)
            stem_0, older = _count(network.stem_0, (frames, bins))
            stem_1, newer = _count(network.stem_1, older)
            self.fixed = stem_0 + stem_1 + network.classifier.weight.numel()
            plans = plan_cells(layers, channels, channels, previous_reduction=True)
            for cell, plan in zip(network.cells, plans, strict=True):
                assert isinstance(cell, Cell)
                self.fixed += _count(cell.preprocess_older, older)[0] + _count(cell.preprocess_newer, newer)[0]
                older, newer = newer, self._count_edges(plan, newer)

    def _count_edges(self, plan: CellPlan, size: Size) -> Size:
        """Add what the operations of a cell cost, whose inputs have this size; returns the size of what it gives."""
        within = _halve(size) if plan.reduction else size
        from_input = self._count_operations(plan.channels, 2 if plan.reduction else 1, size)
        from_node = self._count_operations(plan.channels, 1, within)
        table = self.reduce if plan.reduction else self.normal
        table += torch.stack([from_input if source < INPUTS else from_node for source in _SOURCES])
        return within

    def _count_operations(self, channels: int, stride: int, size: Size) -> Tensor:
        """What each operation costs, (number of operations,), on a state of this size."""
        built = (build_operation(name, channels, stride, affine=True) for name in self.operations)
        return torch.tensor([_count(operation, size)[0] for operation in built], dtype=torch.float64, device="cpu")

    def of(self, genotype: Genotype) -> int:
        """Multiply-accumulates of the network of a genotype of the space."""
        return self.fixed + sum(
            int(table[edge_rows(position // 2)][source, self.operations.index(operation)])
            for table, genes in ((self.normal, genotype.normal), (self.reduce, genotype.reduce))
            for position, (operation, source) in enumerate(genes)
        )

    def expected(self, alpha_normal: Tensor, alpha_reduce: Tensor) -> Tensor:
        """The mean () of what the genotypes of alpha's distribution cost, each alpha (14, number of operations)."""
        total = alpha_normal.new_full((), self.fixed, dtype=torch.float64)
        for alpha, table in ((alpha_normal.double(), self.normal), (alpha_reduce.double(), self.reduce)):
            chosen = operation_probabilities(alpha, self.operations)
            of_edges = (chosen * table.to(alpha.device)).sum(dim=-1)
            total = total + keep_probabilities(alpha, self.operations) @ of_edges
        return total

    def extremes(self) -> tuple[int, int]:
        """What the cheapest genotype of the space costs, and the dearest."""
        choices = [column for column, name in enumerate(self.operations) if name != "none"]
        least = most = self.fixed
        for table in (self.normal[:, choices], self.reduce[:, choices]):
            for node in range(NODES):
                edges = table[edge_rows(node)]
                least += int(edges.amin(dim=-1).sort().values[:2].sum())
                most += int(edges.amax(dim=-1).sort().values[-2:].sum())
        return least, most


def cost_loss(expected: Tensor, target: float, weight: float) -> Tensor:
    """What a search's loss grows by where the expected cost is not the target: weight * log(expected / target)^2.

    0 at the target, and as much for half of it as for twice. Wu et al., FBNet, CVPR 2019, section 3.2, weigh the
    logarithm of the expected cost, too; without a target it has no end but the cheapest network.
    """
    return weight * (expected / target).log().square()


def _count(layers: nn.Module, size: Size) -> tuple[int, Size]:
    """The cost of layers that follow each other, for an input of this size, and the size of what they give.

    Whatever its stride, padding and dilation, a convolution multiplies each of its weights once for each position of
    its output. Pooling is not looked at.
    """
    if isinstance(layers, FactorizedReduce):  # whose convolutions stand side by side
        size = _halve(size)
    total = 0
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            size = _halve(size) if layer.stride[0] == 2 else size
            total += layer.weight.numel() * math.prod(size)
    return total, size


def _halve(size: Size) -> Size:
    return halve(size[0]), halve(size[1])
