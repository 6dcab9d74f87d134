"""The distribution over genotypes: against the enumeration of all of a node's, and against draws."""

from collections import Counter

import numpy as np
import pytest
import torch

from models.distribution import draw_genotype, keep_probabilities, operation_probabilities
from models.genotypes import (
    EDGES,
    INPUTS,
    NODES,
    PAPER_GENOTYPE,
    SEARCH_SPACES,
    derive_genotype,
    edge_rows,
    parse_genotype,
    random_genotype,
)
from tests.distributions import enumerate_node, one_hot, random_alpha

SMALL = ("none", "skip_connect", "sep_conv_3x3")


@pytest.mark.parametrize("space", [*SEARCH_SPACES.values(), SMALL, SMALL[1:]])
def test_probabilities_by_enumeration(space: tuple[str, ...]) -> None:
    """In spaces with `none` and without."""
    alpha = random_alpha(space)
    keep, chosen = keep_probabilities(alpha, space), operation_probabilities(alpha, space)
    for node in range(NODES):
        expected = torch.zeros(INPUTS + node, len(space), dtype=torch.float64)
        for pair, probability in enumerate_node(alpha, space, node).items():
            for operation, source in pair:
                expected[source, space.index(operation)] += probability
        rows = edge_rows(node)
        torch.testing.assert_close(keep[rows, None] * chosen[rows], expected, rtol=0, atol=1e-14)
        torch.testing.assert_close(keep[rows].sum().item(), 2.0, rtol=0, atol=1e-14)
        torch.testing.assert_close(expected.sum(dim=-1), keep[rows], rtol=0, atol=1e-14)


def test_draws_have_the_probabilities_of_the_enumeration() -> None:
    """Order, pairs and operations of every node: each count within 4.5 of its standard deviations."""
    alphas = random_alpha(SMALL, 1), random_alpha(SMALL, 2)
    generator, draws = np.random.default_rng(0), 1000
    drawn = [draw_genotype(*alphas, SMALL, generator) for _ in range(draws)]
    for alpha, kind in zip(alphas, ("normal", "reduce"), strict=True):
        for node in range(NODES):
            counts = Counter(getattr(genotype, kind)[2 * node : 2 * node + 2] for genotype in drawn)
            expected = enumerate_node(alpha, SMALL, node)
            assert counts.keys() <= expected.keys()
            for pair, p in expected.items():
                assert abs(counts[pair] - draws * p) <= 4.5 * (draws * p * (1 - p)) ** 0.5 + 1


def test_a_draw_is_the_generators() -> None:
    alphas, space = (random_alpha(SEARCH_SPACES["s2"], 1), random_alpha(SEARCH_SPACES["s2"], 2)), SEARCH_SPACES["s2"]
    one, same, other = (draw_genotype(*alphas, space, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert one == same == parse_genotype(str(one))
    assert one != other


def test_even_alpha_draws_random_genotypes() -> None:
    """Whatever the share of `none`: as often as `random_genotype`'s own draws, by node, edge and operation."""
    space, draws = SEARCH_SPACES["s2"], 800
    alpha = torch.zeros(EDGES, len(space))
    alpha[:, 0] = 3.0
    counts = []
    for seed, draw in enumerate((lambda g: draw_genotype(alpha, alpha, space, g), lambda g: random_genotype(space, g))):
        generator = np.random.default_rng(seed)
        genotypes = [draw(generator) for _ in range(draws)]
        cells = [cell for genotype in genotypes for cell in (genotype.normal, genotype.reduce)]
        counts.append(Counter((place, gene) for cell in cells for place, gene in enumerate(cell)))
    assert len(counts[1]) == sum(2 * (INPUTS + node) * 7 for node in range(NODES)) == len(counts[0])
    for place, count in counts[1].items():
        assert abs(counts[0][place] - count) < 5 * (2 * count) ** 0.5 + 5


@pytest.mark.parametrize("off, on", [(-1e4, 1e4), (-torch.inf, 0.0)])
def test_one_hot_is_certain(off: float, on: float) -> None:
    """Exactly, and the gradients are finite."""
    space = SEARCH_SPACES["s2"]
    alpha = one_hot(PAPER_GENOTYPE.normal, space, off, on).requires_grad_()
    keep, chosen = keep_probabilities(alpha, space), operation_probabilities(alpha, space)
    expected = torch.zeros_like(chosen)
    for position, (operation, source) in enumerate(PAPER_GENOTYPE.normal):
        expected[edge_rows(position // 2).start + source, space.index(operation)] = 1.0
    assert torch.equal(keep[:, None] * chosen, expected)
    ((keep[:, None] * chosen) * torch.arange(expected.numel()).view_as(expected)).sum().backward()
    assert torch.isfinite(alpha.grad).all()
    drawn = draw_genotype(alpha, alpha, space, np.random.default_rng(0))
    nodes = range(0, 2 * NODES, 2)
    assert all({*drawn.normal[i : i + 2]} == {*PAPER_GENOTYPE.normal[i : i + 2]} for i in nodes)


@pytest.mark.parametrize("off", [-1e4, -torch.inf])
@pytest.mark.parametrize("strong", [(), (0,), (1,), (3,)])
def test_without_strengths_it_is_what_derivation_keeps(off: float, strong: tuple[int, ...]) -> None:
    """Of the last node, none or one edge has any strength: the earlier ones are kept, as derivation keeps equals."""
    space = SEARCH_SPACES["s2"]
    alpha = one_hot((), space, off)
    for source in strong:
        alpha[edge_rows(3).start + source] = torch.arange(len(space), dtype=torch.float32)
    alpha.requires_grad_()
    keep, chosen = keep_probabilities(alpha, space), operation_probabilities(alpha, space)
    derived = derive_genotype(alpha, alpha, space)
    sources = {source for _, source in derived.normal[6:]}
    assert keep[edge_rows(3)].tolist() == [float(source in sources) for source in range(5)]
    weak = [row for row in range(EDGES) if row - edge_rows(3).start not in strong]
    assert chosen[weak].argmax(dim=-1).tolist() == [1] * len(weak) and chosen[weak].max(dim=-1).values.eq(1).all()
    (keep.cumsum(0).sum() + (chosen * chosen).sum()).backward()
    assert torch.isfinite(alpha.grad).all()
    drawn = draw_genotype(alpha, alpha, space, np.random.default_rng(0))
    assert {source for _, source in drawn.normal[6:]} == sources
    assert drawn.normal[:2] == derived.normal[:2] == (("max_pool_3x3", 0), ("max_pool_3x3", 1))


def test_strengths_next_to_nothing_are_in_proportion() -> None:
    """In float32, where 1 - p(none) is 0: twice the strength is drawn first twice as often."""
    space = SEARCH_SPACES["s2"]
    alpha = torch.zeros(EDGES, len(space), dtype=torch.float64)
    alpha[:, 0] = 85.0  # the others' probabilities are near 1e-37, and their gradients' inverses beyond float32
    alpha[::2, 1:] += np.log(2)
    expected, found = (keep_probabilities(x, space) for x in (alpha, alpha.float()))
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    weak = alpha.float().requires_grad_()
    (keep_probabilities(weak, space) * torch.arange(EDGES)).sum().backward()
    assert torch.isfinite(weak.grad).all() and weak.grad.abs().max() > 0.1


@pytest.mark.parametrize("probabilities", [keep_probabilities, operation_probabilities])
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_gradients(probabilities, scale: float) -> None:
    space = SEARCH_SPACES["s3"]
    alpha = random_alpha(space, 3, scale).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: probabilities(x, space), alpha)
