"""The operations: sizes, norms, reach, drop-path, and how they run without a graph."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from models.operations import OPERATIONS, FactorizedReduce, GraphlessSource, Identity, build_operation, draw_drop_path
from utils.system.errors import UserError

KERNELS = {"3x3": (3, 3), "5x5": (5, 5), "7x7": (7, 7), "3x1": (3, 1), "1x3": (1, 3)}  # along time, along frequency
CONVOLUTIONS = [name for name in OPERATIONS if "conv" in name]


# ------------------------------------------------------------------------------------------------------------------
# Each by itself
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_shape_of_an_operation(name: str, stride: int, affine: bool) -> None:
    """Stride 1 keeps the size, stride 2 halves it and rounds up."""
    operation = build_operation(name, 4, stride, affine)
    for size in ((9, 7), (8, 6), (1, 1)):
        expected = tuple(math.ceil(length / stride) for length in size)
        assert operation(torch.randn(2, 4, *size)).shape == (2, 4, *expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_norms_of_an_operation(name: str, stride: int) -> None:
    """Affine in derived networks, where pooling has none; not affine in the supernet."""
    is_pooling, is_bare = "pool" in name, name == "none" or (name, stride) == ("skip_connect", 1)
    for affine in (True, False):
        layers = build_operation(name, 4, stride, affine).modules()
        norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
        assert all(norm.affine is affine for norm in norms)
        assert bool(norms) is not (is_bare or (is_pooling and affine))


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_reach_of_a_convolution(name: str) -> None:
    """Which outputs one input reaches: K-1 steps each way for sep (twice K), every second step for dil."""
    kind, _, size = name.split("_")
    operation = build_operation(name, 2, 1, affine=True).eval()
    for layer in operation.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    impulse = torch.zeros(1, 2, 21, 21)
    impulse[0, 0, 10, 10] = 1
    reached = {(int(time) - 10, int(frequency) - 10) for time, frequency in operation(impulse)[0, 0].nonzero()}
    reach = [(length - 1) if kind == "sep" else 2 * (length // 2) for length in KERNELS[size]]
    step = 1 if kind == "sep" else 2
    assert reached == set(itertools.product(*(range(-length, length + 1, step) for length in reach)))


def test_average_pooling_does_not_count_its_padding() -> None:
    """A constant stays that constant up to the edges."""
    ones = torch.ones(1, 2, 5, 5)
    assert torch.equal(build_operation("avg_pool_3x3", 2, 1, affine=True)(ones), ones)


def test_factorized_reduction_reads_one_grid() -> None:
    """Both halves see the pixels of even position alone, unlike in DARTS."""
    reduce = FactorizedReduce(2, 4).eval()
    image = torch.rand(1, 2, 6, 6)
    changed = image.clone()
    changed[:, :, 1::2] += 1
    changed[:, :, :, 1::2] += 1
    assert torch.equal(reduce(image), reduce(changed))


def test_strided_skip_connection_is_no_identity() -> None:
    """In a reduction cell it is a factorised reduction, which drop-path may drop."""
    assert isinstance(build_operation("skip_connect", 4, 1, affine=True), Identity)
    assert isinstance(build_operation("skip_connect", 4, 2, affine=True), FactorizedReduce)


def test_unknown_operation_lists_the_valid_ones() -> None:
    """The error is for the user."""
    with pytest.raises(UserError, match=r"'conv_9x9'.*sep_conv_3x3"):
        build_operation("conv_9x9", 2, 1, affine=True)


OTHERS = [nn.Identity() for _ in range(3)]


@pytest.mark.parametrize("size", [(2, 2), (2, 9), (7, 3), (8, 8), (1, 5)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_without_a_graph(name: str, stride: int, size: tuple[int, int]) -> None:
    """The short cuts give what the operations give, and leave their inputs alone."""
    operation = build_operation(name, 4, stride, affine=False).double()
    x = torch.randn(3, 4, *size, dtype=torch.float64).to(memory_format=torch.channels_last)
    twins, given, source = [copy.deepcopy(operation) for _ in range(2)], x.clone(), GraphlessSource(x)
    for twin in twins:
        source.expect(nn.ModuleList([*OTHERS, twin]), sampled=0)
    with torch.no_grad():
        expected = operation(x)
    for edge in twins:  # the second edge from the same state, whose norms see the batch too
        torch.testing.assert_close(source.run(3, edge), expected, rtol=0, atol=1e-12)
        for actual, buffer in zip(edge.buffers(), operation.buffers(), strict=True):
            torch.testing.assert_close(actual, buffer, rtol=0, atol=1e-12)
    assert torch.equal(x, given)


# ------------------------------------------------------------------------------------------------------------------
# Drop-path
# ------------------------------------------------------------------------------------------------------------------
def test_drop_path_keeps_the_mean() -> None:
    """Each factor is 0 or 1/keep, in such shares that the mean stays."""
    torch.manual_seed(0)
    masks = draw_drop_path(2, 3, 5_000, 0.25)
    assert masks.shape == (2, 3, 5_000, 1, 1, 1)
    assert masks.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert masks.mean().item() == pytest.approx(1, abs=0.02)


def test_drop_path_of_several_processes_is_that_of_one() -> None:
    """Each draws the factors of the whole batch and takes those of its share."""
    torch.manual_seed(0)
    whole = draw_drop_path(2, 3, 6, 0.5)
    shares = []
    for place in range(3):
        torch.manual_seed(0)
        shares.append(draw_drop_path(2, 3, 2, 0.5, (place, 3)))
    assert torch.equal(torch.cat(shares, dim=2), whole)
