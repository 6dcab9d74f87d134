"""Optimizers and the learning rate, a pure function of the epoch and, while it warms up, of the step."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

FACTOR = "lr_factor"  # of a parameter group


def build_weight_optimizer(
    cfg: CfgNode, weights: Iterable[nn.Parameter], pretrained: Iterable[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """TRAIN.OPTIMIZER for a network's weights, by LR, WD and BETA1 and BETA2, or MOMENTUM; those pretrained by
    LR_PRETRAINED, too.

    Adam's weight decay is of all weights; the others' not of biases and norms.
    """
    groups: list[dict[str, Any]] = [{"params": list(weights)}]
    if slower := list(pretrained):
        groups.append({"params": slower, FACTOR: cfg.TRAIN.LR_PRETRAINED})
    train, betas = cfg.TRAIN, (cfg.TRAIN.BETA1, cfg.TRAIN.BETA2)
    if train.OPTIMIZER == "adam":
        return _build_adam(groups, train.LR, betas, train.WD)
    groups = [part for group in groups for part in _part(group)]
    if train.OPTIMIZER == "adamw":
        return torch.optim.AdamW(groups, lr=train.LR, betas=betas, weight_decay=train.WD, fused=True)
    # Not fused: that kernel wants a momentum of all weights or of none, and those that stood still have none yet.
    return torch.optim.SGD(
        groups, lr=train.LR, momentum=train.MOMENTUM, weight_decay=train.WD, nesterov=train.MOMENTUM > 0
    )


def _part(group: dict[str, Any]) -> list[dict[str, Any]]:
    """A group as one whose weights decay, and one whose weights, of biases and norms, do not; without an empty one."""
    decaying = [parameter for parameter in group["params"] if parameter.ndim > 1]
    others = [parameter for parameter in group["params"] if parameter.ndim <= 1]
    parts = [group | {"params": decaying}, group | {"params": others, "weight_decay": 0.0}]
    return [part for part in parts if part["params"]]


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


def count_steps(batches: int, accumulate: int) -> int:
    """Steps that so many batches of an epoch make, each of `accumulate` of them, the last one maybe of fewer."""
    return -(-batches // accumulate)


def learning_rate(cfg: CfgNode, epoch: int, step: int, steps: int) -> float:
    """The learning rate of a step, the first of which is 0, of an epoch of so many.

    For TRAIN.LR_WARMUP epochs every step raises it by as much as the first one has, up to what the cosine has in the
    epoch after them. From there on it is the cosine's, epoch by epoch.
    """
    train = cfg.TRAIN
    warm = train.BEGIN_EPOCH + train.LR_WARMUP
    rate = cosine_lr(max(epoch, warm), train.END_EPOCH, train.LR, train.LR_MIN)
    if epoch >= warm:
        return rate
    return rate * ((epoch - train.BEGIN_EPOCH) * steps + step + 1) / (train.LR_WARMUP * steps)


def margin_share(cfg: CfgNode, epoch: int, step: int, steps: int) -> float:
    """The share of the margins that counts in a step: from 0 in a straight line to 1 after TRAIN.MARGIN_WARMUP epochs.

    Args:
        epoch, step, steps: see `learning_rate`.
    """
    done, needed = (epoch - cfg.TRAIN.BEGIN_EPOCH) * steps + step, cfg.TRAIN.MARGIN_WARMUP * steps
    return min(done / needed, 1.0) if needed else 1.0


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
