"""What derived networks cost: against real ones, counted while they run, and against the enumeration of genotypes."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from models.cost import DerivedCost, cost_loss
from models.genotypes import (
    EDGES,
    INPUTS,
    NODES,
    PAPER_GENOTYPE,
    SEARCH_SPACES,
    Gene,
    Genotype,
    edge_rows,
    random_genotype,
)
from models.network import Network
from models.operations import OPERATIONS
from tests.distributions import enumerate_node, one_hot, random_alpha
from tools.networks.size import BINS, count_macs

CONCAT = range(INPUTS, INPUTS + NODES)
CHOICES = [name for name in OPERATIONS if name != "none"]
SMALL = ("none", "skip_connect", "sep_conv_3x3")


def small_cost(space: tuple[str, ...]) -> DerivedCost:
    return DerivedCost(space, channels=4, layers=3, num_classes=5, frames=40, bins=BINS)


def change_node(cell: tuple[Gene, ...], node: int, genes: tuple[Gene, Gene]) -> tuple[Gene, ...]:
    return (*cell[: 2 * node], *genes, *cell[2 * node + 2 :])


@pytest.mark.parametrize("name", CHOICES)
def test_every_operation_costs_what_runs(name: str) -> None:
    """On every edge of either cell, at odd sizes and an odd number of channels."""
    cost = DerivedCost(("none", *CHOICES), channels=5, layers=4, num_classes=7, frames=77, bins=BINS)
    other = CHOICES[CHOICES.index(name) - 1]
    cell = tuple((name, node - place) for node in range(NODES) for place in (0, -1))
    mirrored = tuple((name if position % 3 else other, position % 2) for position in range(2 * NODES))
    for cells in ((cell, mirrored), (mirrored, cell)):
        genotype = Genotype(cells[0], CONCAT, cells[1], CONCAT)
        assert cost.of(genotype) == count_macs(Network(genotype, channels=5, layers=4, num_classes=7), 77)


@pytest.mark.parametrize(
    ("space", "channels", "layers", "frames"),
    [("s2", 6, 3, 32), ("s3", 4, 8, 101), ("s2", 8, 5, 300), ("s3", 2, 9, 64)],
)
def test_certain_alpha_is_expected_to_cost_what_its_network_does(
    space: str, channels: int, layers: int, frames: int
) -> None:
    """To the unit, whatever the network's size."""
    operations = SEARCH_SPACES[space]
    genotype = random_genotype(operations, np.random.default_rng(channels))
    cost = DerivedCost(operations, channels, layers, 11, frames, BINS)
    alphas = [one_hot(genes, operations) for genes in (genotype.normal, genotype.reduce)]
    macs = count_macs(Network(genotype, channels, layers, 11), frames)
    assert cost.expected(*alphas).item() == cost.of(genotype) == macs


def test_cost_of_the_paper() -> None:
    """At the size of its best network, for a crop of 3 s: 3.608 G and the classifier's 16 x 128 x 1,251."""
    cost = DerivedCost(SEARCH_SPACES["s2"], channels=128, layers=8, num_classes=1251, frames=300, bins=BINS)
    assert cost.of(PAPER_GENOTYPE) == 3_610_492_032
    alphas = [one_hot(genes, cost.operations) for genes in (PAPER_GENOTYPE.normal, PAPER_GENOTYPE.reduce)]
    assert cost.expected(*alphas).item() == 3_610_492_032


@pytest.mark.parametrize("space", SEARCH_SPACES.values(), ids=SEARCH_SPACES)
def test_expected_cost_by_enumeration(space: tuple[str, ...]) -> None:
    """Costs are additive, so that each node's pairs of genes can be enumerated apart."""
    cost, alphas = small_cost(space), (random_alpha(space, 1), random_alpha(space, 2))
    cell = tuple(("max_pool_3x3", source) for _ in range(NODES) for source in (0, 1))  # which costs nothing
    expected = float(cost.fixed)
    for kind, alpha in enumerate(alphas):
        for node in range(NODES):
            for pair, probability in enumerate_node(alpha, space, node).items():
                cells = [cell, cell]
                cells[kind] = change_node(cell, node, pair)
                expected += probability * (cost.of(Genotype(cells[0], CONCAT, cells[1], CONCAT)) - cost.fixed)
    assert math.isclose(cost.expected(*alphas).item(), expected, rel_tol=1e-12)


def test_extremes_by_enumeration() -> None:
    cost = small_cost(SMALL)
    cell = tuple(("sep_conv_3x3", source) for _ in range(NODES) for source in (0, 1))
    least = most = base = cost.of(Genotype(cell, CONCAT, cell, CONCAT))
    for kind, node in itertools.product(range(2), range(NODES)):
        costs = []
        for pair in enumerate_node(random_alpha(SMALL), SMALL, node):
            cells = [cell, cell]
            cells[kind] = change_node(cell, node, pair)
            costs.append(cost.of(Genotype(cells[0], CONCAT, cells[1], CONCAT)) - base)
        least, most = least + min(costs), most + max(costs)
    assert cost.extremes() == (least, most)


def test_a_dear_edge_gets_cheaper_by_a_cheap_operation_and_by_none() -> None:
    """By `none` because another edge is kept in its place."""
    space = SEARCH_SPACES["s2"]
    cost, alpha = small_cost(space), torch.zeros(EDGES, len(space))
    row = edge_rows(3).start + 1
    alpha[row, space.index("sep_conv_5x5")] = 2.0
    alpha.requires_grad_()
    cost.expected(alpha, alpha.detach()).backward()
    of_names = dict(zip(space, alpha.grad[row].tolist(), strict=True))
    assert of_names["none"] < 0 and of_names["max_pool_3x3"] < 0 < of_names["sep_conv_5x5"]


def test_gradients_of_the_expected_cost() -> None:
    cost = small_cost(SMALL)
    alphas = [random_alpha(SMALL, seed).requires_grad_() for seed in (4, 5)]
    assert torch.autograd.gradcheck(lambda *x: cost_loss(cost.expected(*x), 1.1 * cost.fixed, 3.0), alphas)


@pytest.mark.parametrize("expected", [0.5, 1.0, 2.0])
def test_loss_is_the_squared_logarithm(expected: float) -> None:
    x: Tensor = torch.tensor(7e9 * expected, dtype=torch.float64, requires_grad=True)
    loss = cost_loss(x, 7e9, 10.0)
    loss.backward()
    assert math.isclose(loss.item(), 10 * math.log(expected) ** 2, abs_tol=1e-12)
    assert np.sign(x.grad.item()) == np.sign(expected - 1)


def test_counting_draws_nothing() -> None:
    """Or a search would be another one than it was before costs were counted."""
    state = torch.get_rng_state()
    cost = small_cost(SEARCH_SPACES["s2"])
    assert torch.equal(torch.get_rng_state(), state)
    assert cost.normal.device == torch.zeros(1).device == torch.device("cpu")
