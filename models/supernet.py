"""The supernet: a network whose every edge is a mixed operation, weighted by the architecture parameters alpha."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.genotypes import EDGES, INPUTS, NODES, Genotype, derive_genotype
from models.network import reduction_layers
from models.operations import FactorizedReduce, ReLUConvNorm, build_operation, drop_path_mask


class MixedOperation(nn.Module):
    """All candidate operations of one edge, weighted: sum over k of w_k op_k(x)."""

    def __init__(self, operations: Sequence[str], channels: int, stride: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(build_operation(name, channels, stride, affine=False) for name in operations)

    def forward(self, x: Tensor, weights: Tensor, sampled: int) -> Tensor:
        """Map x (B, C, T, F) with the edge's weights (number of operations,), one-hot at `sampled`.

        Operations of weight 0 give no output, pass no gradient to x, and take none themselves: the sampled one alone
        is run. Only the gradient of the weights needs the others, and `_WeightGradient` computes it when it is asked
        for. So this is sum(w_k op_k(x)) with its exact gradients, without the graphs of the operations not sampled.
        """
        output = self.operations[sampled](x)
        if not weights.requires_grad:
            return output
        return _WeightGradient.apply(output, weights, x.detach(), self.operations, sampled)


class _WeightGradient(torch.autograd.Function):
    """The identity on an edge's output, which gives the edge's weights their gradient on the way back.

    The gradient of the loss L in w_k is the inner product of its gradient in the output y with op_k(x).
    """

    @staticmethod
    def forward(
        ctx: Any, output: Tensor, weights: Tensor, x: Tensor, operations: nn.ModuleList, sampled: int
    ) -> Tensor:
        ctx.save_for_backward(output, x)
        ctx.operations, ctx.sampled = operations, sampled
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        output, x = ctx.saved_tensors
        products = [
            torch.sum(gradient * (output if k == ctx.sampled else operation(x)))
            for k, operation in enumerate(ctx.operations)
        ]
        return gradient, torch.stack(products), None, None, None


class SearchCell(nn.Module):
    """A cell of the supernet: 4 nodes, each the sum of one mixed operation from every earlier node."""

    def __init__(
        self,
        operations: Sequence[str],
        channels_older: int,
        channels_newer: int,
        channels: int,
        reduction: bool,
        previous_reduction: bool,
    ) -> None:
        super().__init__()
        self.reduction = reduction
        if previous_reduction:
            self.preprocess_older = FactorizedReduce(channels_older, channels, affine=False)
        else:
            self.preprocess_older = ReLUConvNorm(channels_older, channels, affine=False)
        self.preprocess_newer = ReLUConvNorm(channels_newer, channels, affine=False)
        self.edges = nn.ModuleList(
            MixedOperation(operations, channels, 2 if reduction and source < INPUTS else 1)
            for node in range(NODES)
            for source in range(INPUTS + node)
        )

    def forward(
        self, older: Tensor, newer: Tensor, weights: Tensor, sampled: Sequence[int], drop_path_probability: float
    ) -> Tensor:
        """Map two inputs with weights (14, number of operations), one-hot at `sampled`, to (B, 4C, T/s, F/s)."""
        states = [self.preprocess_older(older), self.preprocess_newer(newer)]
        rows = iter(zip(self.edges, weights, sampled, strict=True))
        for _ in range(NODES):
            states.append(sum(self._edge(state, *next(rows), drop_path_probability) for state in list(states)))
        return torch.cat(states[INPUTS:], dim=1)

    def _edge(self, x: Tensor, edge: MixedOperation, weights: Tensor, sampled: int, drop_probability: float) -> Tensor:
        output = edge(x, weights, sampled)
        if self.training and drop_probability > 0:
            output = output * drop_path_mask(output, 1 - drop_probability)
        return output


class Supernet(nn.Module):
    """The network that is searched in.

    Args:
        operations: names of the candidate operations, in the order of alpha's columns.
        channels: C; the stem has 3C, the cells C, doubled at each of the two reductions.
        layers: number of cells; cells layers//3 and 2*layers//3 are reductions.
        num_classes: K.

    The architecture parameters `alpha_normal` and `alpha_reduce`, each (14, number of operations), are shared by all
    cells of a kind and start at 1e-3 times a standard normal. `drop_path_probability` is set by the loop every epoch.
    """

    def __init__(self, operations: Sequence[str], channels: int, layers: int, num_classes: int) -> None:
        super().__init__()
        self.operation_names = tuple(operations)
        self.stem = nn.Sequential(
            nn.Conv2d(1, 3 * channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(3 * channels),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.cells = nn.ModuleList()
        older, newer, previous_reduction = 3 * channels, 3 * channels, False
        for layer in range(layers):
            reduction = layer in reduction_layers(layers)
            channels = 2 * channels if reduction else channels
            self.cells.append(SearchCell(operations, older, newer, channels, reduction, previous_reduction))
            older, newer, previous_reduction = newer, 4 * channels, reduction
        self.embedding_dim = newer
        self.classifier = nn.Linear(newer, num_classes)
        self.alpha_normal = nn.Parameter(1e-3 * torch.randn(EDGES, len(operations)))
        self.alpha_reduce = nn.Parameter(1e-3 * torch.randn(EDGES, len(operations)))
        self.drop_path_probability = 0.0
        alphas = {id(alpha) for alpha in self.arch_parameters()}
        self._weights = [parameter for parameter in self.parameters() if id(parameter) not in alphas]

    def learn_alpha(self) -> None:
        """Let alpha alone take gradients: every operation runs, no other weight's gradient is computed."""
        self._set_learning(alpha=True)

    def learn_weights(self) -> None:
        """Let all parameters but alpha take gradients: the sampled operations alone run."""
        self._set_learning(alpha=False)

    def _set_learning(self, alpha: bool) -> None:
        for parameter in self.weight_parameters():
            parameter.requires_grad_(not alpha)
        for parameter in self.arch_parameters():
            parameter.requires_grad_(alpha)

    def arch_parameters(self) -> list[nn.Parameter]:
        """Alpha alone."""
        return [self.alpha_normal, self.alpha_reduce]

    def weight_parameters(self) -> list[nn.Parameter]:
        """Everything but alpha."""
        return self._weights

    def alpha_entropies(self) -> dict[str, float]:
        """entropy_normal and entropy_reduce: the mean entropy, in nats, of the operations' probabilities on an edge.

        It is log(number of operations) at first and 0 when all is decided.
        """
        entropies = {}
        for name, alpha in (("normal", self.alpha_normal), ("reduce", self.alpha_reduce)):
            log_probabilities = alpha.detach().log_softmax(dim=-1)
            entropies[f"entropy_{name}"] = -(log_probabilities.exp() * log_probabilities).sum(dim=-1).mean().item()
        return entropies

    def genotype(self) -> Genotype:
        """What the present alpha derives to."""
        return derive_genotype(self.alpha_normal, self.alpha_reduce, self.operation_names)

    def draw_noise(self) -> Tensor:
        """Gumbel noise (cells, 14, number of operations) from torch's CPU generator, so alike on every device."""
        uniform = torch.rand(len(self.cells), *self.alpha_normal.shape)
        smallest = torch.finfo(uniform.dtype).tiny
        return -(-uniform.clamp_min(smallest).log()).clamp_min(smallest).log()

    def sample_paths(self, noise: Tensor | None) -> tuple[Tensor, list[list[int]]]:
        """One operation for every edge of every cell.

        w = one_hot(argmax) - stop_gradient(soft) + soft, soft = softmax(log_softmax(alpha) + noise): one operation
        forward, the gradient of the soft weights backward (straight-through Gumbel-softmax at temperature 1; Jang et
        al., ICLR 2017, section 2.2). Without noise, the argmax of alpha.

        Returns:
            The weights (cells, 14, number of operations), and the position of each edge's sampled operation.
        """
        alphas = [self.alpha_reduce if cell.reduction else self.alpha_normal for cell in self.cells]
        logits = torch.stack(alphas).log_softmax(dim=-1)
        soft = (logits if noise is None else logits + noise.to(logits)).softmax(dim=-1)
        sampled = soft.argmax(dim=-1)
        hard = nn.functional.one_hot(sampled, soft.size(-1)).to(soft)
        return hard - soft.detach() + soft, sampled.tolist()

    def embed(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Embeddings (B, D) of features (B, T, F); see `forward`."""
        if noise is None and self.training:
            noise = self.draw_noise()
        weights, sampled = self.sample_paths(noise)
        older = newer = self.stem(features.unsqueeze(1))  # (B, 1, T, F) -> (B, 3C, T/2, F/2)
        for cell, cell_weights, cell_sampled in zip(self.cells, weights, sampled, strict=True):
            output = cell(older, newer, cell_weights, cell_sampled, self.drop_path_probability)
            older, newer = newer, output
        return newer.mean(dim=(2, 3))

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Logits (B, K) of features (B, T, F).

        In training every cell draws its own operations, with `noise` (cells, 14, number of operations) where it is
        given; in evaluation each edge runs the argmax of alpha, without noise (the original samples there too).
        """
        return self.classifier(self.embed(features, noise))
