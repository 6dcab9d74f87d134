"""The network that a genotype derives to: a stem, stacked cells, pooling over time and frequency, a classifier."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn, relu

from models.base import BINS, CellPlan, SpeakerNetwork, build_stems, halve, plan_cells
from models.genotypes import INPUTS, NODES, Gene, Genotype
from models.heads import build_classifier
from models.operations import (
    FactorizedReduce,
    Identity,
    ReLUConvNorm,
    ReLUFirst,
    build_operation,
    concatenate,
    draw_drop_path,
)
from models.pooling import POOLINGS


class Cell(nn.Module):
    """One cell: its two inputs are brought to `channels`, each node sums two operations, the nodes are concatenated.

    Maps (B, C_older, T', F') and (B, C_newer, T, F) to (B, 4 channels, T/s, F/s), s = 2 for a reduction cell. All that
    reads a cell's output begins with a ReLU, as all convolutions within a cell do: every state is rectified once.
    """

    def __init__(self, genes: tuple[Gene, ...], plan: CellPlan) -> None:
        super().__init__()
        preprocess = FactorizedReduce if plan.previous_reduction else ReLUConvNorm
        self.preprocess_older = preprocess(plan.older, plan.channels)
        self.preprocess_newer = ReLUConvNorm(plan.newer, plan.channels)
        self.sources = [source for _, source in genes]
        self.operations = nn.ModuleList(
            build_operation(name, plan.channels, 2 if plan.reduction and source < INPUTS else 1, affine=True)
            for name, source in genes
        )

    def forward(self, older: Tensor, newer: Tensor, masks: Sequence[Tensor | None]) -> Tensor:
        """The output for two inputs that are rectified already, with drop-path's factors for every operation."""
        states = [self.preprocess_older.after_relu(older), self.preprocess_newer.after_relu(newer)]
        rectified: dict[int, Tensor] = {}
        outputs: list[Tensor] = []
        for source, operation, mask in zip(self.sources, self.operations, masks, strict=True):
            if isinstance(operation, ReLUFirst | FactorizedReduce):
                if source not in rectified:
                    rectified[source] = relu(states[source])
                output = operation.after_relu(rectified[source])
            else:
                output = operation(states[source])
            if mask is not None and not isinstance(operation, Identity):
                output = output.mul_(mask.to(output.dtype))
            outputs.append(output)
            if len(outputs) == 2:
                states.append(outputs[0] + outputs[1])
                outputs.clear()
        return concatenate(states[INPUTS:])


class Network(SpeakerNetwork):
    """The derived network.

    Args:
        genotype: the two cells.
        channels: C, the first cell's number of channels; doubled at each of the two reduction cells.
        layers: number of cells; cells layers//3 and 2*layers//3 are reductions.
        num_classes: K.
        pooling: which of `models.pooling.POOLINGS` makes the embedding of the maps: the features, stem_0's output, what
            goes into the two reductions, and the last cell's output.
        bins: F, which a pooling may need to know.
        cosine_scale: of a cosine classifier's logits; None for a linear classifier.
        subcenters: of each class of a cosine classifier.

    Attributes:
        drop_path_probability: set by the training loop every epoch.
        shares: this process's place among those that share a batch, and their number.
        uses_all: whether every parameter takes part in the forward pass.
        replays: whether training steps are replayed as CUDA graphs, which write over what they gave before.
    """

    def __init__(
        self,
        genotype: Genotype,
        channels: int,
        layers: int,
        num_classes: int,
        pooling: str = "average",
        cosine_scale: float | None = None,
        subcenters: int = 1,
        bins: int = BINS,
    ) -> None:
        super().__init__()
        self.stem_0, self.stem_1 = build_stems(channels)
        plans = plan_cells(layers, channels, channels, previous_reduction=True)  # stem_1 halves stem_0's output
        kinds = [genotype.reduce if plan.reduction else genotype.normal for plan in plans]
        self.cells = nn.ModuleList(Cell(genes, plan) for genes, plan in zip(kinds, plans, strict=True))
        self.pooling = POOLINGS[pooling](_list_shapes(plans, channels, bins))
        self.embedding_dim = self.pooling.embedding_dim
        self.classifier = build_classifier(self.embedding_dim, num_classes, cosine_scale, subcenters)
        self._reductions = [number for number, plan in enumerate(plans) if plan.reduction]
        self.drop_path_probability = 0.0
        self.shares = (0, 1)
        # Where no operation of a kind of cell reads one of its inputs, what prepares that input learns nothing.
        self.uses_all = all({0, 1} <= {source for _, source in genes} for genes in kinds)
        self.replays = False
        self._compiled: Callable[[Tensor, Tensor | None], Tensor] | None = None

    def compile_for_training(self, *, kernels: bool = True, graphs: bool = False) -> None:
        """Have torch.compile take over a training step's forward and backward pass, at the first one.

        Evaluation is left as it is: its batches come in many sizes, each of which would be compiled anew.

        Args:
            kernels: new ones are made; otherwise PyTorch's own are launched.
            graphs: they are recorded as CUDA graphs and replayed, so that a GPU does not wait for Python. Where
                torch.compile finds that they cannot be, on CPUs say, they are launched one by one.
        """
        self.replays = graphs
        if kernels:
            self._compiled = torch.compile(self.compute, mode="reduce-overhead" if graphs else None)
        else:
            self._compiled = torch.compile(self.compute, backend="cudagraphs") if graphs else None

    def draw_drop_path(self, batch_size: int) -> Tensor | None:
        """Drop-path's factors (cells, 8, B, 1, 1, 1) for every operation's output; None for 1."""
        if not self.training or self.drop_path_probability == 0:
            return None
        return draw_drop_path(len(self.cells), 2 * NODES, batch_size, self.drop_path_probability, self.shares)

    def embed(self, features: Tensor) -> Tensor:
        """Embeddings (B, D) of features (B, T, F): the last cell's output, pooled over time and frequency."""
        masks = self.draw_drop_path(features.size(0))
        compute = self._compiled if self.training and self._compiled else self.compute
        return compute(features, None if masks is None else masks.to(features.device, non_blocking=True))

    def compute(self, features: Tensor, masks: Tensor | None) -> Tensor:
        """Embeddings (B, D) of features (B, T, F), with drop-path's factors: see `draw_drop_path`."""
        # In place: outputs of a norm, and of cells, that nothing reads unrectified.
        image = features.unsqueeze(1)
        older = self.stem_0(image).relu_()  # (B, 1, T, F) -> (B, C, T/4, F/4)
        maps = [image, older]
        output = self.stem_1.after_relu(older)  # (B, C, T/8, F/8)
        rows = [[None] * 2 * NODES] * len(self.cells) if masks is None else masks
        for number, (cell, row) in enumerate(zip(self.cells, rows, strict=True)):
            newer = output.relu_()
            if number in self._reductions:
                maps.append(newer)
            output = cell(older, newer, row)
            older = newer
        return self.pooling([*maps, output])


def _list_shapes(plans: Sequence[CellPlan], channels: int, bins: int) -> list[tuple[int, int]]:
    """Channels and frequency bins of what is pooled."""
    left = halve(halve(bins))
    shapes = [(1, bins), (channels, left)]
    left = halve(left)
    for plan in plans:
        if plan.reduction:
            shapes.append((plan.newer, left))
            left = halve(left)
    return [*shapes, (4 * plans[-1].channels, left)]
