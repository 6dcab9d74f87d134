"""What stands still, and what learns more slowly, of a network that starts from another one's weights."""

from pathlib import Path

import pytest
import torch
from torch import nn

from models.base import SpeakerNetwork
from tests.networks import build_small, configured
from utils.training.finetuning import freeze, split_parameters
from utils.training.loop import train_step
from utils.training.optim import build_weight_optimizer, set_lr

KINDS = ("network", "resnet18", "vggm")


def features(network_kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of four."""
    generator = torch.Generator().manual_seed(0)
    frames = 70 if network_kind == "vggm" else 40
    return torch.rand(4, frames, 257, generator=generator), torch.tensor([0, 1, 2, 3])


def step(network: SpeakerNetwork, kind: str, optimizer: torch.optim.Optimizer, frozen: bool) -> None:
    """A training step."""
    network.train()
    freeze(network, frozen)
    still = split_parameters(network)[1] if frozen else ()
    train_step(network, optimizer, features(kind), nn.CrossEntropyLoss(), "fp32", still)


def state(network: nn.Module, is_head: bool) -> dict[str, torch.Tensor]:
    """Copies of the values of head or backbone, statistics of norms among them."""
    return {
        name: value.clone()
        for name, value in network.state_dict().items()
        if name.startswith(("classifier.", "pooling.")) == is_head
    }


def is_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("kind", "name"), [*((kind, "adam") for kind in KINDS), ("network", "adamw"), ("network", "sgd")]
)
def test_frozen_and_freed(kind: str, name: str) -> None:
    """The backbone does not move by a bit, its norms neither, while the classifier learns; then all does."""
    network = build_small(kind)
    cfg = configured(TRAIN__LR=0.01, TRAIN__OPTIMIZER=name, TRAIN__WD=0.1)
    optimizer = build_weight_optimizer(cfg, network.parameters())
    before = state(network, False), state(network, True)
    step(network, kind, optimizer, frozen=True)
    assert is_same(state(network, False), before[0])
    assert not is_same(state(network, True), before[1])
    step(network, kind, optimizer, frozen=False)
    learnt = {name: value for name, value in state(network, False).items() if not name.endswith("num_batches_tracked")}
    assert sum(not torch.equal(value, before[0][name]) for name, value in learnt.items()) > 0.9 * len(learnt)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_in_several_processes_alike(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There gradients are computed and dropped, since DistributedDataParallel must know of all parameters."""
    states = []
    for processes in (1, 2):
        torch.manual_seed(0)
        network = build_small(kind)
        monkeypatch.setattr("utils.training.finetuning.processes", lambda processes=processes: processes)
        optimizer = build_weight_optimizer(configured(TRAIN__LR=0.01), network.parameters())
        step(network, kind, optimizer, frozen=True)
        assert all(parameter.requires_grad for parameter in network.parameters()) == (processes == 2)
        states.append(network.state_dict())
    assert is_same(*states)


@pytest.mark.parametrize("kind", KINDS)
def test_backbone_at_a_share_of_the_rate(kind: str) -> None:
    """Adam's first step is of the rate's size; every parameter is in one of both groups."""
    network = build_small(kind)
    optimizer = build_weight_optimizer(configured(TRAIN__LR_PRETRAINED=0.1), *split_parameters(network))
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(network.parameters()))
    set_lr(optimizer, 0.01)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, pytest.approx(0.001)]
    before = {name: value.clone() for name, value in network.named_parameters()}
    step(network, kind, optimizer, frozen=False)
    for name, value in network.named_parameters():
        moved = (value - before[name]).abs().max()
        assert moved <= (0.01001 if name.startswith(("classifier.", "pooling.")) else 0.001001)
    assert (network.classifier.weight - before["classifier.weight"]).abs().max() > 0.009


def test_by_default_there_is_one_group(tmp_path: Path) -> None:
    """As in every checkpoint of before."""
    network = build_small("network")
    optimizer = build_weight_optimizer(configured(), network.parameters())
    (group,) = optimizer.param_groups
    assert "lr_factor" not in group
