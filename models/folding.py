"""Evaluation with fewer operations: norms whose statistics stand still become part of the convolutions before them."""

import copy
from itertools import pairwise
from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.base import SpeakerNetwork
from models.operations import FactorizedReduce
from models.resnet import BasicBlock, ResNet


def fold_norms(network: SpeakerNetwork) -> SpeakerNetwork:
    """A copy of a network, for evaluation alone, whose convolutions do the work of the norms that follow them.

    It computes the same but for rounding. Norms that follow something else (pooling) stay.
    """
    folded = copy.deepcopy(network).eval()
    for module in list(folded.modules()):
        if isinstance(module, nn.Sequential):
            _fold_sequence(module)
        elif isinstance(module, FactorizedReduce):
            _fold_reduction(module)
        elif isinstance(module, BasicBlock | ResNet):
            _fold(module, "conv1", "bn1")
        if isinstance(module, BasicBlock):
            _fold(module, "conv2", "bn2")
    return folded


def _fold_sequence(layers: nn.Sequential) -> None:
    for (first, conv), (second, norm) in pairwise(list(layers.named_children())):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            _fold(layers, first, second)


def _fold(module: nn.Module, conv: str, norm: str) -> None:
    """Let a convolution do the work of the norm behind it; both are given by their names in the module."""
    layers: dict[str, Any] = dict(module.named_children())
    module.add_module(conv, fuse_conv_bn_eval(layers[conv], layers[norm]))
    module.add_module(norm, nn.Identity())


def _fold_reduction(reduction: FactorizedReduce) -> None:
    """One norm follows two convolutions side by side: each takes its channels of it."""
    border = reduction.conv_1.out_channels
    halves = _channels(reduction.norm, slice(border)), _channels(reduction.norm, slice(border, None))
    reduction.conv_1 = fuse_conv_bn_eval(reduction.conv_1, halves[0])
    reduction.conv_2 = fuse_conv_bn_eval(reduction.conv_2, halves[1])
    reduction.add_module("norm", nn.Identity())


def _channels(norm: nn.BatchNorm2d, chosen: slice) -> nn.BatchNorm2d:
    own = norm.state_dict()
    mean = own["running_mean"]
    part = nn.BatchNorm2d(len(mean[chosen]), norm.eps, affine=norm.affine, device=mean.device, dtype=mean.dtype)
    part.load_state_dict({name: own[name][chosen] if own[name].dim() else own[name] for name in part.state_dict()})
    return part.eval()
