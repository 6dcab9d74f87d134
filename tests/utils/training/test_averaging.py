"""The moving average of a network's weights by its definition."""

import torch
from torch import nn

from models.resnet import resnet18
from tests.networks import build_small
from utils.training.averaging import MovingAverage


def wander(network: nn.Module) -> None:
    """Change all that may change in training."""
    with torch.no_grad():
        for value in (*network.parameters(), *network.buffers()):
            if value.is_floating_point():
                value.add_(torch.randn_like(value))


def test_average_by_its_definition() -> None:
    """Of every weight and statistic, from the first ones on, with a decay that rises to what was asked for."""
    network = build_small("network").double()
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    average, decays = MovingAverage(network, 0.3), []
    for step in range(6):
        wander(network)
        average.update(network, step)
        decays.append(min(0.3, (1 + step) / (10 + step)))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                expected[name] = decays[-1] * expected[name] + (1 - decays[-1]) * value
    assert decays[:4] == [1 / 10, 2 / 11, 3 / 12, 0.3]
    torch.testing.assert_close(average.network.state_dict(), expected)


def test_what_stands_still_stays_to_the_bit() -> None:
    """As a backbone that is frozen; and the network that is averaged is left alone."""
    network = resnet18(3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    average = MovingAverage(network, 0.999)
    for step in range(20):
        average.update(network, step)
    for each in (network, average.network):
        assert all(torch.equal(value, before[name]) for name, value in each.state_dict().items())
    assert network.training
    assert not average.network.training
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
