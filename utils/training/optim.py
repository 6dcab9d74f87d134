"""Optimizers and the learning rate, a pure function of the epoch."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

FACTOR = "lr_factor"  # of a parameter group


def build_weight_optimizer(
    cfg: CfgNode, weights: Iterable[nn.Parameter], pretrained: Iterable[nn.Parameter] = ()
) -> torch.optim.Adam:
    """Adam for a network's weights, by TRAIN.LR, BETA1, BETA2 and WD; those pretrained by LR_PRETRAINED, too."""
    groups: list[dict[str, Any]] = [{"params": list(weights)}]
    if slower := list(pretrained):
        groups.append({"params": slower, FACTOR: cfg.TRAIN.LR_PRETRAINED})
    return _build_adam(groups, cfg.TRAIN.LR, (cfg.TRAIN.BETA1, cfg.TRAIN.BETA2), cfg.TRAIN.WD)


def build_alpha_optimizer(cfg: CfgNode, alphas: Iterable[nn.Parameter]) -> torch.optim.Adam:
    """Adam for architecture parameters, by TRAIN.ARCH_LR, ARCH_BETA1, ARCH_BETA2 and ARCH_WD."""
    return _build_adam(
        [{"params": list(alphas)}], cfg.TRAIN.ARCH_LR, (cfg.TRAIN.ARCH_BETA1, cfg.TRAIN.ARCH_BETA2), cfg.TRAIN.ARCH_WD
    )


def _build_adam(
    groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Adam:
    # Fused into one kernel: networks of hundreds of small tensors spend less on the overhead.
    return torch.optim.Adam(groups, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)


def cosine_lr(epoch: int, epochs: int, lr: float, lr_min: float) -> float:
    """The learning rate of an epoch: lr in epoch 0, falling by half a cosine to lr_min at `epochs`.

    Loshchilov and Hutter, SGDR, ICLR 2017, equation 5, without restarts.
    """
    return lr_min + 0.5 * (lr - lr_min) * (1 + math.cos(math.pi * epoch / epochs))


def linear(epoch: int, epochs: int, first: float, last: float) -> float:
    """A value that goes in a straight line from `first` in epoch 0 to `last` in the last of `epochs`."""
    return first + (last - first) * epoch / max(epochs - 1, 1)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group this learning rate, or its share of it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get(FACTOR, 1)


def learning_rates(optimizers: dict[str, torch.optim.Optimizer]) -> dict[str, float]:
    """lr_NAME of every optimizer, for the log."""
    return {f"lr_{name}": optimizer.param_groups[0]["lr"] for name, optimizer in optimizers.items()}
