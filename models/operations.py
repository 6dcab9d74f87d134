"""The candidate operations of the search space, and their registry.

Every operation maps (B, C, T, F) to (B, C, T/s, F/s) for a stride s of 1 or 2; T is time, F frequency. The same modules
serve the supernet (norms not affine) and the derived networks (norms affine). Source: Liu et al., DARTS, ICLR 2019,
appendix A.1; Ding et al., AutoSpeech, Interspeech 2020.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.norms import Norm
from utils.system.errors import UserError

KernelSize = tuple[int, int]  # (along time, along frequency)


class ReLUFirst(nn.Sequential):
    """Layers that begin with a ReLU: where several such modules read one tensor, it can be rectified once for all."""

    def after_relu(self, rectified: Tensor) -> Tensor:
        """The output for an input (B, C, T, F) that has been rectified already."""
        for layer in itertools.islice(self, 1, None):
            rectified = layer(rectified)
        return rectified


class ReLUConvNorm(ReLUFirst):
    """ReLU, 1x1 convolution, norm: how a cell brings its inputs to its own number of channels."""

    def __init__(self, channels_in: int, channels_out: int, affine: bool = True) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels_in, channels_out, 1, bias=False),
            Norm(channels_out, affine=affine),
        )


class FactorizedReduce(nn.Module):
    """Halve time and frequency with two pointwise convolutions of stride 2, concatenated.

    DARTS shifts the second convolution by one pixel. AutoSpeech does not: both read the same grid, so that odd sizes
    give the same shape on either side.
    """

    def __init__(self, channels_in: int, channels_out: int, affine: bool = True) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv_1 = nn.Conv2d(channels_in, channels_out // 2, 1, bias=False)
        self.conv_2 = nn.Conv2d(channels_in, channels_out - channels_out // 2, 1, bias=False)
        self.norm = Norm(channels_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.after_relu(self.relu(x))

    def after_relu(self, rectified: Tensor) -> Tensor:
        """The output for an input (B, C, T, F) that has been rectified already."""
        if memory_format(rectified) == torch.channels_last:
            return self.combine(_EverySecond.apply(rectified))
        convolved = [
            nn.functional.conv2d(rectified, conv.weight, conv.bias, stride=2) for conv in (self.conv_1, self.conv_2)
        ]
        return self.norm(torch.cat(convolved, dim=1))

    def combine(self, grid: Tensor) -> Tensor:
        """What is made of every second frame and bin of relu(x)."""
        return self.norm(torch.cat([self.conv_1(grid), self.conv_2(grid)], dim=1))


class _EverySecond(torch.autograd.Function):
    """x[:, :, ::2, ::2], in x's memory format, as its gradient is.

    Convolutions of stride 2 would do, but their gradients are slow on CPUs, and plain indexing's is channels-first.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape, ctx.format = x.shape, memory_format(x)
        return x[:, :, ::2, ::2].contiguous(memory_format=ctx.format)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        spread = torch.empty(ctx.shape, dtype=gradient.dtype, device=gradient.device, memory_format=ctx.format).zero_()
        spread[:, :, ::2, ::2] = gradient
        return spread


def memory_format(x: Tensor) -> torch.memory_format:
    is_last = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_last else torch.contiguous_format


class DepthwiseConv(nn.Conv2d):
    """A depthwise convolution that keeps the size at stride 1, with a fast gradient on CPUs where it is dilated.

    On CPUs it computes in float32 under bfloat16 autocast too: PyTorch's bfloat16 kernels for it are slower there, and
    the gradients of dilated ones are not finite now and then.
    """

    def __init__(self, channels: int, kernel_size: KernelSize, stride: int, dilation: int) -> None:
        along_time, along_frequency = (dilation * (size - 1) // 2 for size in kernel_size)
        padding = (along_time, along_frequency)
        super().__init__(channels, channels, kernel_size, stride, padding, dilation, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return self.forward(x.float())
        is_slow = max(self.dilation) > 1 and x.requires_grad and x.device.type == "cpu"
        if is_slow and memory_format(x) == torch.channels_last:
            return _DepthwiseConv.apply(x, self.weight, self.stride[0], self.padding, self.dilation)
        return super().forward(x)


class _DepthwiseConv(torch.autograd.Function):
    """The gradient of the input is a convolution too: of the output's, spread over the grid, with the kernel turned."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: tuple[int, int], dilation: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings = stride, padding, dilation
        return nn.functional.conv2d(x, weight, None, stride, padding, dilation, groups=x.size(1))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation = ctx.settings
        of_x = of_weight = None
        if ctx.needs_input_grad[1]:
            arguments = [stride, stride], padding, dilation, False, [0, 0], x.size(1), [False, True, False]
            of_weight = torch.ops.aten.convolution_backward(gradient, x, weight, None, *arguments)[1]
        if ctx.needs_input_grad[0]:
            if stride > 1:
                spread = torch.zeros_like(x)
                spread[:, :, ::stride, ::stride] = gradient
                gradient = spread
            turned = weight.flip(2, 3).contiguous(memory_format=torch.channels_last)
            of_x = nn.functional.conv2d(gradient, turned, None, 1, padding, dilation, groups=x.size(1))
        return of_x, of_weight, None, None, None


def concatenate(states: Sequence[Tensor]) -> Tensor:
    """Tensors (B, C, T, F) side by side, (B, nC, T, F), with gradients that are whole tensors in the memory format.

    Plain concatenation gives each a slice of the gradient, whose layout makes a norm's gradient ten times as slow on
    CPUs.
    """
    return torch.cat(list(states), dim=1) if torch.compiler.is_compiling() else _Concatenation.apply(*states)


class _Concatenation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *states: Tensor) -> Tensor:
        ctx.channels, ctx.format = [state.size(1) for state in states], memory_format(states[0])
        return torch.cat(states, dim=1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return tuple(part.contiguous(memory_format=ctx.format) for part in gradient.split(ctx.channels, dim=1))


def depthwise_separable(
    channels: int, kernel_size: KernelSize, stride: int, dilation: int, affine: bool, inplace: bool = False
) -> list[nn.Module]:
    """The layers ReLU, depthwise convolution, pointwise convolution, norm; the size is kept at stride 1.

    The ReLU may work in place where nobody else reads its input, and no gradient needs it: a norm's output, say.
    """
    return [
        nn.ReLU(inplace),
        DepthwiseConv(channels, kernel_size, stride, dilation),
        nn.Conv2d(channels, channels, 1, bias=False),
        Norm(channels, affine=affine),
    ]


class SeparableConv(ReLUFirst):
    """A depthwise-separable convolution applied twice; only the first one strides."""

    def __init__(self, channels: int, kernel_size: KernelSize, stride: int, affine: bool) -> None:
        super().__init__(
            *depthwise_separable(channels, kernel_size, stride, 1, affine),
            *depthwise_separable(channels, kernel_size, 1, 1, affine, inplace=True),
        )


class DilatedConv(ReLUFirst):
    """A depthwise-separable convolution of dilation 2."""

    def __init__(self, channels: int, kernel_size: KernelSize, stride: int, affine: bool) -> None:
        super().__init__(*depthwise_separable(channels, kernel_size, stride, 2, affine))


class Identity(nn.Identity):
    """The skip connection at stride 1. Drop-path never drops it."""


class Zero(nn.Module):
    """No connection: zeros in the shape that the other operations of the edge give."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


def pooling(kind: str, channels: int, stride: int, affine: bool) -> nn.Module:
    """3x3 pooling; the supernet (affine False) puts a norm behind it, a derived network does not."""
    if kind == "max":
        pool: nn.Module = nn.MaxPool2d(3, stride, padding=1)
    else:
        pool = nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
    return pool if affine else nn.Sequential(pool, Norm(channels, affine=False))


def skip_connect(channels: int, stride: int, affine: bool) -> nn.Module:
    """Identity at stride 1, a factorised reduction at stride 2."""
    return Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)


# name -> builder(channels, stride, affine)
OPERATIONS: dict[str, Callable[[int, int, bool], nn.Module]] = {
    "none": lambda channels, stride, affine: Zero(stride),
    "max_pool_3x3": lambda channels, stride, affine: pooling("max", channels, stride, affine),
    "avg_pool_3x3": lambda channels, stride, affine: pooling("avg", channels, stride, affine),
    "skip_connect": skip_connect,
    "sep_conv_3x3": lambda channels, stride, affine: SeparableConv(channels, (3, 3), stride, affine),
    "sep_conv_5x5": lambda channels, stride, affine: SeparableConv(channels, (5, 5), stride, affine),
    "sep_conv_7x7": lambda channels, stride, affine: SeparableConv(channels, (7, 7), stride, affine),
    "sep_conv_3x1": lambda channels, stride, affine: SeparableConv(channels, (3, 1), stride, affine),
    "sep_conv_1x3": lambda channels, stride, affine: SeparableConv(channels, (1, 3), stride, affine),
    "dil_conv_3x3": lambda channels, stride, affine: DilatedConv(channels, (3, 3), stride, affine),
    "dil_conv_5x5": lambda channels, stride, affine: DilatedConv(channels, (5, 5), stride, affine),
    "dil_conv_3x1": lambda channels, stride, affine: DilatedConv(channels, (3, 1), stride, affine),
    "dil_conv_1x3": lambda channels, stride, affine: DilatedConv(channels, (1, 3), stride, affine),
}


PARAMETER_FREE = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect")  # at stride 1


def build_operation(name: str, channels: int, stride: int, affine: bool) -> nn.Module:
    """The operation `name` on `channels` channels; `affine` is True in derived networks, False in the supernet.

    Raises:
        UserError: no operation has this name.
    """
    if name not in OPERATIONS:
        raise UserError(f"unknown operation {name!r}: valid are {', '.join(OPERATIONS)}")
    return OPERATIONS[name](channels, stride, affine)


class GraphlessSource:
    """A state x (B, C, T, F) that edges begin at; runs their operations where no gradient will be asked for.

    What the edges have in common is computed once, when the first one needs it: the ReLU that all convolutions begin
    with, and pooling with its norm, which has no weights.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self._rectified: Tensor | None = None
        self._pooled: dict[int, Tensor] = {}  # by position
        self._edges: list[tuple[nn.ModuleList, int]] = []
        self._rows: Iterator[Tensor] | None = None

    def expect(self, operations: nn.ModuleList, sampled: int) -> None:
        """Say that `run` will be called for all of an edge's operations but the sampled one."""
        self._edges.append((operations, sampled))

    def zeros(self, columns: int, like: Tensor) -> Tensor:
        """A row (columns,) for each of the edges that are expected, made together."""
        self._rows = self._rows or iter(like.new_zeros(len(self._edges), columns))
        return next(self._rows)

    @torch.no_grad()
    def run(self, position: int, operation: nn.Module) -> Tensor:
        """What `operation`, at this position among its edge's, makes of x."""
        if isinstance(operation, Identity | Zero):
            return operation(self.x)
        if isinstance(operation, nn.Sequential) and not isinstance(operation[0], nn.ReLU):
            if position not in self._pooled:
                self._pooled[position] = self._pool(position, operation[0])
            return self._pooled[position]
        if self._rectified is None:
            self._rectified = torch.relu(self.x)
        if isinstance(operation, FactorizedReduce):
            return operation.combine(self._rectified[:, :, ::2, ::2])
        x = self._rectified
        for number, layer in enumerate(operation.children()):
            if not isinstance(layer, nn.ReLU):
                x = layer(x)
            elif number > 0:
                x = x.relu_()  # in place: x is nobody else's
        return x

    def _pool(self, position: int, pool: nn.Module) -> Tensor:
        """What pooling and norm make of x; the running statistics of all edges that were expected are renewed."""
        others: Iterator[Any] = (operations[position] for operations, sampled in self._edges if sampled != position)
        norms = [operation[1] for operation in others]
        pooled = _pool_without_graph(pool, self.x)
        first = norms[0].get_buffer("running_mean")
        mean, variance = first.new_zeros(2, len(first))  # with a momentum of 1, they become the batch's
        output = nn.functional.batch_norm(pooled, mean, variance, None, None, True, 1.0, norms[0].eps)
        renewed = [norm.get_buffer(name) for norm in norms for name in ("running_mean", "running_var")]
        torch._foreach_lerp_(renewed, [mean, variance] * len(norms), norms[0].momentum)
        return output


def _pool_without_graph(pool: nn.Module, x: Tensor) -> Tensor:
    """3x3 pooling. PyTorch's is slow on CPUs: the maximum's looks for positions that nobody needs here."""
    if x.device.type != "cpu" or pool.stride != 1 or min(x.shape[2:]) == 1:
        return pool(x)
    if isinstance(pool, nn.MaxPool2d):
        return _largest_of_three(_largest_of_three(x, 2), 3)
    ones = x.new_ones(x.size(1), 1, 3, 3).contiguous(memory_format=torch.channels_last)
    sums = nn.functional.conv2d(x, ones, padding=1, groups=x.size(1))
    rows, columns = (_neighbours(size, x) for size in x.shape[2:])
    return sums.div_(rows[:, None] * columns)


def _neighbours(size: int, like: Tensor) -> Tensor:
    """How many elements of a row are next to each one, itself among them: 2 at the ends, else 3."""
    counts = like.new_full((size,), 3)
    counts[[0, -1]] = 2
    return counts


def _largest_of_three(x: Tensor, dim: int) -> Tensor:
    """The maximum of every element and its neighbours along a dimension of two or more elements."""
    size = x.size(dim)
    pairs = torch.maximum(x.narrow(dim, 0, size - 1), x.narrow(dim, 1, size - 1))
    largest = torch.empty_like(x)
    torch.maximum(pairs.narrow(dim, 0, size - 2), pairs.narrow(dim, 1, size - 2), out=largest.narrow(dim, 1, size - 2))
    for end in (0, -1):
        largest.select(dim, end).copy_(pairs.select(dim, end))
    return largest


def draw_drop_path(
    cells: int, edges: int, batch_size: int, probability: float, shares: tuple[int, int] = (0, 1)
) -> Tensor:
    """Drop-path's factors (cells, edges, B, 1, 1, 1): each 1 / (1 - p) with the probability 1 - p, else 0.

    Larsson et al., FractalNet, ICLR 2017; for whole samples. One draw for all cells, from torch's CPU
    generator: alike on every device, and a GPU gets it in a single transfer.

    Args:
        batch_size: B, of this process.
        shares: this process's place among those that share a batch, and their number. The factors of the whole batch
            are drawn by each of them, so that together they drop what one process alone would drop.
    """
    place, processes = shares
    keep = 1 - probability
    masks = torch.empty(cells, edges, batch_size * processes, 1, 1, 1).bernoulli_(keep).div_(keep)
    return masks[:, :, place * batch_size : (place + 1) * batch_size]
