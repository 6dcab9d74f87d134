"""A moving average of a network's weights, which is often the better network: see TRAIN.EMA."""

import copy

import torch
from torch import Tensor

from models.base import SpeakerNetwork


class MovingAverage:
    """The exponential moving average of a network's weights, and of its norms' statistics.

    Polyak and Juditsky, SIAM Journal on Control and Optimization, 1992, average alike; to forget the first steps, the
    decay is (1 + t) / (10 + t) after t steps, until that is more than what is asked for.

    Args:
        network: whose weights are averaged.
        decay: how much of the average is kept in a step, less than 1.

    Attributes:
        network: a copy, with the averages for weights.
    """

    def __init__(self, network: SpeakerNetwork, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, network: SpeakerNetwork, step: int) -> None:
        """Count the network's weights in, after a step before which there were `step` others."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, values = (_floats(each) for each in (self.network, network))
        torch._foreach_lerp_(averages, values, 1 - decay)


def _floats(network: SpeakerNetwork) -> list[Tensor]:
    """Weights and statistics; not what norms count."""
    return [value for value in (*network.parameters(), *network.buffers()) if value.is_floating_point()]
