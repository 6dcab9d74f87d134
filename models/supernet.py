"""The supernet: a network whose every edge is a mixed operation, weighted by the architecture parameters alpha."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.base import CellPlan, SpeakerNetwork, build_stems, plan_cells
from models.distribution import draw_genotype
from models.genotypes import EDGES, INPUTS, NODES, Gene, Genotype, derive_genotype, edge_row
from models.norms import Norm
from models.operations import (
    FactorizedReduce,
    GraphlessSource,
    ReLUConvNorm,
    Zero,
    build_operation,
    concatenate,
    draw_drop_path,
    memory_format,
)


class MixedOperation(nn.Module):
    """All candidate operations of one edge, weighted: sum over k of w_k op_k(x)."""

    def __init__(self, operations: Sequence[str], channels: int, stride: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(build_operation(name, channels, stride, affine=False) for name in operations)

    def forward(self, source: GraphlessSource, weights: Tensor, sampled: int | None, mix: "Mix") -> Tensor:
        """Map a state (B, C, T, F) with weights (number of operations,) to (B, C, T/s, F/s), as `mix` does."""
        return mix(self.operations, source, weights, sampled)


def mix_dense(operations: nn.ModuleList, source: GraphlessSource, weights: Tensor, sampled: int | None) -> Tensor:
    """The sum as it is written: every operation runs, with its graph. Right for any weights."""
    return sum(weight * operation(source.x) for weight, operation in zip(weights, operations, strict=True))


def mix_exact(operations: nn.ModuleList, source: GraphlessSource, weights: Tensor, sampled: int | None) -> Tensor:
    """The same output and the same gradients where the weights are one-hot at `sampled`, for little.

    Operations of weight 0 give no output, pass no gradient to x, and take none themselves: the sampled one alone is
    run. Only the gradient of the weights needs the others, and `_WeightGradient` computes it when it is asked for.
    """
    assert sampled is not None
    output = operations[sampled](source.x)
    if not weights.requires_grad:
        return output
    source.expect(operations, sampled)
    return _WeightGradient.apply(output, weights, source, operations, sampled)


def mix_sampled(operations: nn.ModuleList, source: GraphlessSource, weights: Tensor, sampled: int | None) -> Tensor:
    """The same output, but the weights' gradient is that of the sampled operation alone (Dong and Yang, GDAS, 2019)."""
    assert sampled is not None
    output = operations[sampled](source.x)
    return weights[sampled] * output if weights.requires_grad else output


# Operations, the state they run on, their weights, and the position of the sampled one (None: none is).
Mix = Callable[[nn.ModuleList, GraphlessSource, Tensor, int | None], Tensor]
# One operation for every edge: of each cell, the position of each edge's operation.
Path = Sequence[Sequence[int]]
# SEARCH.GRADIENT: how an edge with one-hot weights is computed.
GRADIENTS: dict[str, Mix] = {"exact": mix_exact, "dense": mix_dense, "sampled": mix_sampled}


class _WeightGradient(torch.autograd.Function):
    """The identity on an edge's output, which gives the edge's weights their gradient on the way back.

    The gradient of the loss L in w_k is the inner product of its gradient in the output y with op_k(x). It is needed
    only once the former is there, so the operations that were not sampled run then, one after another, without graphs.
    """

    @staticmethod
    def forward(
        ctx: Any, output: Tensor, weights: Tensor, source: GraphlessSource, operations: nn.ModuleList, sampled: int
    ) -> Tensor:
        ctx.save_for_backward(output)
        ctx.source, ctx.operations, ctx.sampled, ctx.weights_dtype = source, operations, sampled, weights.dtype
        device = output.device.type
        ctx.autocast = device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        return output.view_as(output)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (output,) = ctx.saved_tensors
        source, ctx.source = ctx.source, None  # which would stay in memory as long as the loss does
        device, dtype, enabled = ctx.autocast
        precise = torch.promote_types(gradient.dtype, torch.float32)
        like, flat = memory_format(gradient), _lay_flat(gradient, memory_format(gradient), precise)
        products = source.zeros(len(ctx.operations), flat)
        with torch.autocast(device, dtype, enabled):
            for k, operation in enumerate(ctx.operations):
                if not isinstance(operation, Zero):
                    y = output if k == ctx.sampled else source.run(k, operation)
                    torch.dot(flat, _lay_flat(y, like, precise), out=products[k])
        return gradient, products.to(ctx.weights_dtype), None, None, None


def _lay_flat(x: Tensor, order: torch.memory_format, dtype: torch.dtype) -> Tensor:
    """The elements of a state (B, C, T, F) in a row, as they lie in memory where that is in this order."""
    x = x.to(dtype).contiguous(memory_format=order)
    return (x.permute(0, 2, 3, 1) if order == torch.channels_last else x).reshape(-1)


class SearchCell(nn.Module):
    """A cell of the supernet: 4 nodes, each the sum of one mixed operation from every earlier node."""

    def __init__(self, operations: Sequence[str], plan: CellPlan) -> None:
        super().__init__()
        self.reduction = plan.reduction
        preprocess = FactorizedReduce if plan.previous_reduction else ReLUConvNorm
        self.preprocess_older = preprocess(plan.older, plan.channels, affine=False)
        self.preprocess_newer = ReLUConvNorm(plan.newer, plan.channels, affine=False)
        self.edges = nn.ModuleList(
            MixedOperation(operations, plan.channels, 2 if plan.reduction and source < INPUTS else 1)
            for node in range(NODES)
            for source in range(INPUTS + node)
        )

    def forward(
        self,
        older: Tensor,
        newer: Tensor,
        weights: Iterable[Tensor],
        sampled: Iterable[int | None],
        masks: Iterable[Tensor | None],
        mix: Mix,
    ) -> Tensor:
        """Map two inputs to (B, 4C, T/s, F/s).

        Each edge has weights (number of operations,), the sampled operation's position, and drop-path's factors
        (B, 1, 1, 1) for its output, None for none.
        """
        states = [GraphlessSource(self.preprocess_older(older)), GraphlessSource(self.preprocess_newer(newer))]
        rows: Iterator[Any] = iter(zip(self.edges, weights, sampled, masks, strict=True))
        for _ in range(NODES):
            first, *others = (self._edge(state, mix, *next(rows)) for state in list(states))
            states.append(GraphlessSource(sum(others, start=first)))
        return concatenate([state.x for state in states[INPUTS:]])

    @staticmethod
    def _edge(
        source: GraphlessSource,
        mix: Mix,
        edge: MixedOperation,
        weights: Tensor,
        sampled: int | None,
        mask: Tensor | None,
    ) -> Tensor:
        output = edge(source, weights, sampled, mix)
        return output if mask is None else output * mask.to(output.dtype)


class Supernet(SpeakerNetwork):
    """The network that is searched in.

    Args:
        operations: names of the candidate operations, in the order of alpha's columns.
        channels: C; the stem has 3C, the cells C, doubled at each of the two reductions.
        layers: number of cells; cells layers//3 and 2*layers//3 are reductions.
        num_classes: K.
        stem: paper (the cells see features at half their size in time and frequency) or network (the stem of the
            network that is derived, behind which the cells see them at an eighth, as they will in that network).

    The architecture parameters `alpha_normal` and `alpha_reduce`, each (14, number of operations), are shared by all
    cells of a kind and start at 1e-3 times a standard normal.

    Attributes:
        gradient: how an edge is computed in training: see GRADIENTS.
        sampling: gumbel (one operation an edge is drawn) or softmax (all are mixed, which is dense by nature).
        paths: what `draw_path` draws for the weights: edges (nothing: every forward pass draws its own) or genotypes.
        temperature: of the softmax over an edge's operations.
        drop_path_probability: on every edge's output.
        shares: this process's place among those that share a batch, and their number.
        path: what every forward pass runs, whatever alpha says and without a gradient for it; None: see `forward`.

    The loop sets temperature and drop_path_probability every epoch.
    """

    def __init__(
        self, operations: Sequence[str], channels: int, layers: int, num_classes: int, stem: str = "paper"
    ) -> None:
        super().__init__()
        self.operation_names = tuple(operations)
        if stem == "network":
            self.stem_0, self.stem_1 = build_stems(channels)
            plans = plan_cells(layers, channels, channels, previous_reduction=True)
        else:
            self.stem = nn.Sequential(
                nn.Conv2d(1, 3 * channels, 3, padding=1, bias=False),
                Norm(3 * channels),
                nn.MaxPool2d(3, stride=2, padding=1),
            )
            plans = plan_cells(layers, channels, 3 * channels, previous_reduction=False)
        self.cells = nn.ModuleList(SearchCell(operations, plan) for plan in plans)
        self.embedding_dim = 4 * plans[-1].channels
        self.classifier = nn.Linear(self.embedding_dim, num_classes)
        self.alpha_normal = nn.Parameter(1e-3 * torch.randn(EDGES, len(operations)))
        self.alpha_reduce = nn.Parameter(1e-3 * torch.randn(EDGES, len(operations)))
        self.gradient = "exact"
        self.sampling = "gumbel"
        self.paths = "edges"
        self.temperature = 1.0
        self.drop_path_probability = 0.0
        self.shares = (0, 1)
        self.path: Path | None = None
        alphas = {id(alpha) for alpha in self.arch_parameters()}
        self._weights = [parameter for parameter in self.parameters() if id(parameter) not in alphas]

    def learn_alpha(self) -> None:
        """Let alpha alone take gradients (`gradient` dense: all parameters, as in the original)."""
        self._set_learning(alpha=True)

    def learn_weights(self) -> None:
        """Let all parameters but alpha take gradients (`gradient` dense: alpha too)."""
        self._set_learning(alpha=False)

    def _set_learning(self, alpha: bool) -> None:
        for parameter in self.weight_parameters():
            parameter.requires_grad_(not alpha or self.gradient == "dense")
        for parameter in self.arch_parameters():
            parameter.requires_grad_(alpha or self.gradient == "dense")

    def arch_parameters(self) -> list[nn.Parameter]:
        """Alpha alone."""
        return [self.alpha_normal, self.alpha_reduce]

    def weight_parameters(self) -> list[nn.Parameter]:
        """Everything but alpha."""
        return self._weights

    def genotype(self) -> Genotype:
        """What the present alpha derives to."""
        return derive_genotype(self.alpha_normal, self.alpha_reduce, self.operation_names)

    def genotype_path(self, genotype: Genotype) -> Path:
        """The path of a genotype's cells: `none` on the edges that it does not keep."""
        normal, reduce = self._cell_path(genotype.normal), self._cell_path(genotype.reduce)
        return [reduce if cell.reduction else normal for cell in self.cells]

    def _cell_path(self, genes: tuple[Gene, ...]) -> list[int]:
        path = [self.operation_names.index("none")] * EDGES
        for position, (operation, source) in enumerate(genes):
            path[edge_row(position // 2, source)] = self.operation_names.index(operation)
        return path

    def draw_path(self) -> Path | None:
        """What a step of the weights runs: with `paths` genotypes, one drawn as alpha weighs them, by torch's CPU
        generator."""
        if self.paths != "genotypes":
            return None
        generator = np.random.default_rng(int(torch.randint(2**62, ())))
        return self.genotype_path(draw_genotype(self.alpha_normal, self.alpha_reduce, self.operation_names, generator))

    def argmax_path(self) -> Path:
        """What alpha decides: the path of its genotype with `paths` genotypes, else every edge's heaviest operation."""
        if self.paths == "genotypes":
            return self.genotype_path(self.genotype())
        return self._stack_alphas().argmax(dim=-1).tolist()

    def draw_noise(self) -> Tensor:
        """Gumbel noise (cells, 14, number of operations) from torch's CPU generator, so alike on every device."""
        uniform = torch.rand(len(self.cells), *self.alpha_normal.shape)
        smallest = torch.finfo(uniform.dtype).tiny
        return -(-uniform.clamp_min(smallest).log()).clamp_min(smallest).log()

    def draw_drop_path(self, batch_size: int) -> Tensor | None:
        """Drop-path's factors (cells, 14, B, 1, 1, 1) for every edge's output; None for 1."""
        if not self.training or self.drop_path_probability == 0:
            return None
        return draw_drop_path(len(self.cells), EDGES, batch_size, self.drop_path_probability, self.shares)

    def sample_paths(self, noise: Tensor | None) -> tuple[Tensor, list[list[int]]]:
        """One operation for every edge of every cell.

        w = one_hot(argmax) - stop_gradient(soft) + soft, soft = softmax((log_softmax(alpha) + noise) / temperature):
        one operation forward, the gradient of the soft weights backward (straight-through Gumbel-softmax; Jang et al.,
        ICLR 2017, section 2.2). Without noise, the argmax of alpha.

        Returns:
            The weights (cells, 14, number of operations), and the position of each edge's sampled operation.
        """
        logits = self._stack_alphas().log_softmax(dim=-1)
        noisy = logits if noise is None else logits + noise.to(logits)
        soft = (noisy / self.temperature).softmax(dim=-1)
        sampled = noisy.argmax(dim=-1)
        hard = nn.functional.one_hot(sampled, soft.size(-1)).to(soft)
        return hard - soft.detach() + soft, sampled.tolist()

    def mix_weights(self) -> Tensor:
        """The weights (cells, 14, number of operations) of DARTS's mixture: softmax(alpha / temperature)."""
        return (self._stack_alphas() / self.temperature).softmax(dim=-1)

    def _stack_alphas(self) -> Tensor:
        return torch.stack([self.alpha_reduce if cell.reduction else self.alpha_normal for cell in self.cells])

    def embed(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Embeddings (B, D) of features (B, T, F); see `forward`."""
        sampled: Any
        mix: Mix
        if self.path is not None:
            weights, sampled, mix = self.alpha_normal.new_zeros(len(self.cells), EDGES, 0), self.path, mix_exact
        elif self.training and self.sampling == "softmax":
            weights, mix = self.mix_weights(), GRADIENTS["dense"]
            sampled = [[None] * EDGES] * len(self.cells)
        else:
            noise = self.draw_noise() if noise is None and self.training else noise
            weights, sampled = self.sample_paths(noise)
            mix = GRADIENTS[self.gradient] if self.training else mix_exact
        drawn = self.draw_drop_path(features.size(0))
        masks: Any = [[None] * EDGES] * len(self.cells) if drawn is None else drawn.to(features, non_blocking=True)
        older, newer = self._run_stem(features.unsqueeze(1))
        for cell, *edges in zip(self.cells, weights, sampled, masks, strict=True):
            older, newer = newer, cell(older, newer, *edges, mix)
        return newer.mean(dim=(2, 3))

    def _run_stem(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The first cell's older and newer input, of (B, 1, T, F)."""
        if hasattr(self, "stem"):
            x = self.stem(x)  # (B, 3C, T/2, F/2)
            return x, x
        x = self.stem_0(x)  # (B, C, T/4, F/4)
        return x, self.stem_1(x)  # (B, C, T/8, F/8)

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Logits (B, K) of features (B, T, F).

        Where `path` is set, it runs. Else, in training every cell draws its own operations, with `noise` (cells, 14,
        number of operations) where it is given, or mixes all of them (`sampling` softmax); in evaluation each edge runs
        the argmax of alpha, without noise (the original samples there too).
        """
        return self.classifier(self.embed(features, noise))
