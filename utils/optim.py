"""Optimizers and the learning rate, a pure function of the epoch."""

import math
from collections.abc import Iterable

import torch
from torch import nn


def build_adam(
    parameters: Iterable[nn.Parameter], *, lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Adam:
    """Adam with its update fused into one kernel: networks of hundreds of small tensors spend less on the overhead."""
    return torch.optim.Adam(parameters, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)


def cosine_lr(epoch: int, epochs: int, lr: float, lr_min: float) -> float:
    """The learning rate of an epoch: lr in epoch 0, falling by half a cosine to lr_min at `epochs`.

    Loshchilov and Hutter, SGDR, ICLR 2017, equation 5, without restarts.
    """
    return lr_min + 0.5 * (lr - lr_min) * (1 + math.cos(math.pi * epoch / epochs))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
