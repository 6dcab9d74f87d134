"""The network of a genotype: its embedding, drop-path, and its training step compiled."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models import build_model
from models.base import CellPlan
from models.genotypes import NODES, PAPER_GENOTYPE
from models.network import Cell, Network
from models.operations import draw_drop_path
from tests.networks import derived


def test_embedding_of_the_derived_network_has_16_numbers_a_channel() -> None:
    """4 nodes of 4C channels each, after two reductions."""
    assert derived(3, 8, 2).embedding_dim == 16 * 8


@pytest.mark.parametrize(("operation", "is_dropped"), [("skip_connect", False), ("max_pool_3x3", True)])
def test_drop_path_never_drops_the_identity(operation: str, is_dropped: bool) -> None:
    """A cell of identities computes the same with any factors; one of anything else does not."""
    cell = Cell(((operation, 0), (operation, 1)) * NODES, CellPlan(4, 4, 4, reduction=False, previous_reduction=False))
    x = torch.randn(8, 4, 6, 5).relu()
    (masks,) = draw_drop_path(1, 2 * NODES, 8, 0.9)
    assert torch.equal(cell(x, x, masks), cell(x, x, [None] * 2 * NODES)) is not is_dropped


def test_drop_path_is_for_training_alone() -> None:
    """In evaluation, or at a probability of 0, nothing is drawn."""
    network = Network(PAPER_GENOTYPE, 4, 3, 5)
    assert network.draw_drop_path(2) is None
    network.drop_path_probability = 0.5
    assert network.draw_drop_path(2) is not None
    assert network.eval().draw_drop_path(2) is None


def test_compiled_training_step_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as torch.compile does, with drop-path's factors as an input; evaluation is not compiled."""
    architecture = {"kind": "network", "layers": 3, "channels": 4, "num_classes": 3, "genotype": str(PAPER_GENOTYPE)}
    traces, compile_for_real = [], torch.compile
    monkeypatch.setattr(torch, "compile", lambda run, **_: compile_for_real(run, backend="aot_eager", fullgraph=True))
    features, gradients = torch.randn(2, 40, 257), []
    for is_compiled in (False, True):
        torch.manual_seed(0)
        network = build_model(architecture).train()
        network.drop_path_probability = 0.5
        if is_compiled:
            network.compile_for_training()
            network._compiled = traced(network._compiled, traces)
        network(features).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
        network.eval()(features)
    assert len(traces) == 1
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def traced(run: Callable, traces: list) -> Callable:
    """The same function, which counts its calls."""

    def counting(*arguments: object) -> Tensor:
        traces.append(1)
        return run(*arguments)

    return counting
