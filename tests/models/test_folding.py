"""Norms folded into convolutions: the same computed, and no network changed."""

import numpy as np
import pytest
import torch

from models import BASELINES, build_model
from models.genotypes import SEARCH_SPACES, random_genotype
from tests.helpers import GENOTYPE
from tests.networks import assert_folds, settled


@pytest.mark.parametrize("space", ["s2", "s3"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_folded_network_computes_the_same(space: str, memory_format: torch.memory_format) -> None:
    """Without a norm behind a convolution; the network itself stays as it was."""
    genotype = random_genotype(SEARCH_SPACES[space], np.random.default_rng(5))
    skips = (("skip_connect", 0), ("skip_connect", 1))  # a factorised reduction has two convolutions before its norm
    genotype = genotype._replace(reduce=(*skips, *genotype.reduce[2:]))
    architecture = {"kind": "network", "layers": 3, "channels": 6, "num_classes": 4, "genotype": str(genotype)}
    network = settled(build_model(architecture)).to(memory_format=memory_format)
    assert_folds(network)


@pytest.mark.parametrize("kind", BASELINES)
def test_folded_baseline_computes_the_same(kind: str) -> None:
    """No norm is left: in a baseline each follows a convolution."""
    folded = assert_folds(settled(build_model({"kind": kind, "num_classes": 4})))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())


@pytest.mark.parametrize("pooling", ["attentive", "correlation"])
@pytest.mark.parametrize("kind", ["network", "resnet18", "resnet34"])
def test_folded_network_pools_as_before(kind: str, pooling: str) -> None:
    """Norms become part of convolutions, the pooling's too."""
    architecture = {"kind": kind, "layers": 3, "channels": 4, "num_classes": 5, "genotype": GENOTYPE}
    architecture |= {"pooling": pooling} | ({"bins": 257} if pooling == "correlation" else {})
    assert_folds(settled(build_model(architecture)))
