"""VGG-M: the table of its layers."""

import torch
from torch import nn

from models.vggm import VGGM


def test_vggm_has_the_sizes_of_the_table() -> None:
    """Every layer's output as in table 3 of the VoxCeleb paper (frequency x time there), but for 253 rows, not 254."""
    shapes = []
    network = VGGM(5).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AdaptiveAvgPool2d):
            layer.register_forward_hook(lambda layer, inputs, output: shapes.append(tuple(output.shape[1:])))
    network(torch.randn(1, 300, 257))
    assert shapes == [
        (96, 148, 253),
        (96, 73, 126),
        (256, 36, 62),
        (256, 17, 30),
        (384, 17, 30),
        (256, 17, 30),
        (256, 17, 30),
        (256, 8, 9),
        (4096, 8, 1),
        (4096, 1, 1),
        (1024, 1, 1),
    ]
