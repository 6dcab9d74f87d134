"""Weights to start from: what is taken over, and what does not fit."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.resnet import resnet18
from utils.records.pretraining import load_pretrained
from utils.system.errors import UserError


def imagenet_like() -> dict[str, Tensor]:
    """Weights as published for three input channels and a thousand classes under another name."""
    weights = resnet18(2).state_dict()
    weights["conv1.weight"] = torch.randn(64, 3, 7, 7)
    del weights["classifier.weight"], weights["classifier.bias"]
    return weights | {"fc.weight": torch.randn(1000, 512), "fc.bias": torch.randn(1000)}


def test_pretrained_weights_of_three_channels(tmp_path: Path) -> None:
    """The first convolution is summed over its input channels; the classifier stays as it was drawn."""
    weights = imagenet_like()
    torch.save(weights, tmp_path / "weights.pt")
    network = resnet18(5)
    classifier = network.classifier.weight.clone()
    load_pretrained(network, str(tmp_path / "weights.pt"))
    torch.testing.assert_close(network.conv1.weight, weights["conv1.weight"].sum(dim=1, keepdim=True))
    assert torch.equal(network.layer4[1].conv2.weight, weights["layer4.1.conv2.weight"])
    assert torch.equal(network.classifier.weight, classifier)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"layer2.0.conv1.weight": torch.zeros(1, 2, 3, 3)}, r"layer2\.0\.conv1\.weight is \(1, 2, 3, 3\).*\(128, 64"),
        ({"layer3.0.bn1.weight": None}, r"layer3\.0\.bn1\.weight is missing"),
    ],
)
def test_pretrained_weights_that_do_not_fit(tmp_path: Path, change: dict, complaint: str) -> None:
    """The error names the file, the weight and both shapes."""
    weights = {name: value for name, value in (imagenet_like() | change).items() if value is not None}
    torch.save(weights, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=rf"weights\.pt.*{complaint}"):
        load_pretrained(resnet18(5), str(tmp_path / "weights.pt"))


def test_weights_from_a_network_without_attention(tmp_path: Path) -> None:
    """Its layers are taken over; the attention stays as it was drawn."""
    weights = resnet18(5).state_dict()
    torch.save(weights, tmp_path / "weights.pt")
    network = resnet18(5, pooling="attentive")
    drawn = network.pooling.hidden.weight.clone()
    load_pretrained(network, str(tmp_path / "weights.pt"))
    assert torch.equal(network.conv1.weight, weights["conv1.weight"])
    assert torch.equal(network.pooling.hidden.weight, drawn)
