"""The residual networks: how they are initialised."""

from models.resnet import resnet18

SCALE, CLASSES = 30.0, 50


def test_weights_of_resnets_are_not_initialised_twice() -> None:
    """Rows of a length of about 1, not the 0.2 of N(0, 0.01)."""
    lengths = resnet18(50, cosine_scale=SCALE).classifier.weight.norm(dim=1)
    assert (lengths - 1).abs().max() < 0.2
