"""Small networks, and small settings to use and train them by."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from yacs.config import CfgNode

from config import default_config
from data_objects.corpus import Corpus
from data_objects.frontend import SETTINGS, FrontEnd, count_bins
from models import BASELINES, build_model, build_network
from models.base import SpeakerNetwork
from models.folding import fold_norms
from models.genotypes import PAPER_GENOTYPE
from models.network import Network
from tests.helpers import GENOTYPE
from utils.records.checkpoint import Checkpoint, identity_of, save_checkpoint

FRAMES = 40  # of the crops and windows that `settings` asks for


def build_small(kind: str) -> SpeakerNetwork:
    """A small network of this kind for 5 classes."""
    architecture = {"kind": kind, "layers": 4, "channels": 4, "num_classes": 5, "space": "s2"}
    return build_model(architecture | {"genotype": GENOTYPE})


def derived(layers: int, channels: int, num_classes: int) -> SpeakerNetwork:
    """The network of the paper's genotype."""
    architecture = {"kind": "network", "layers": layers, "channels": channels, "num_classes": num_classes}
    return build_model(architecture | {"genotype": GENOTYPE})


def configured(**changes: object) -> CfgNode:
    """The defaults, but for these settings, whose dots are written as double underscores."""
    cfg = default_config()
    cfg.merge_from_list([item for key, value in changes.items() for item in (key.replace("__", "."), value)])
    return cfg


def settings(data_dir: Path, **changes: object) -> CfgNode:
    """Small settings for a corpus, with changes as in `configured`."""
    small = {"DATASET__DATA_DIR": str(data_dir), "DATASET__PARTIAL_N_FRAMES": FRAMES, "TRAIN__BATCH_SIZE": 3}
    small |= {"MODEL__LAYERS": 3, "MODEL__INIT_CHANNELS": 4, "DEVICE": "cpu"}
    return configured(**(small | changes))


def build(cfg: CfgNode) -> tuple[Network, FrontEnd, Corpus]:
    """A network with random weights, in training mode, its front end, and the corpus."""
    torch.manual_seed(0)
    corpus = Corpus(cfg)
    return build_network(cfg, PAPER_GENOTYPE, len(corpus.speakers)).train(), corpus.build_front_end(), corpus


def save_run(folder: Path, kind: str, *, front_end_settings: dict[str, Any] = SETTINGS, **architecture: object) -> Path:
    """A run folder with the checkpoint of a small network of this kind, whose norms and front end have seen something.

    Args:
        front_end_settings: of its front end.
        architecture: pooling, loss and scale, where they are not as `models.USUAL`.
    """
    torch.manual_seed(0)
    cfg = configured(DATASET__PARTIAL_N_FRAMES=70 if kind == "vggm" else FRAMES, EVAL__BATCH_SIZE=4)
    whole = {"kind": kind, "num_classes": 5} | architecture
    if kind == "network":
        whole |= {"layers": 3, "channels": 4, "genotype": GENOTYPE}
    network = build_model(whole)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    bins = count_bins(front_end_settings)
    front_end = FrontEnd(np.linspace(1, 0.1, bins), np.linspace(0.5, 2, bins), front_end_settings)
    checkpoint = Checkpoint(
        script="train_baseline" if kind in BASELINES else "train",
        architecture=whole,
        model=network.state_dict(),
        front_end=front_end.state_dict(),
        front_end_settings=front_end_settings,
        optimizers={},
        generators={},
        epoch=1,
        step=1,
        best={"epoch": 1},
        config=cfg.dump(),
        sub_dir="dev",
        speakers=[f"id1000{number}" for number in range(5)],
        index="",
    )
    checkpoint.identity = identity_of(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(checkpoint, folder / "best.pt")
    return folder


# ------------------------------------------------------------------------------------------------------------------
# Folding
# ------------------------------------------------------------------------------------------------------------------
def settled(network: SpeakerNetwork) -> SpeakerNetwork:
    """A network in float64 whose norms have statistics and scales of their own."""
    torch.manual_seed(0)
    for module in network.double().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.bias)
    return network.eval()


def assert_folds(network: SpeakerNetwork) -> SpeakerNetwork:
    """The folded network, which computes the same with fewer norms."""
    before, features = copy.deepcopy(network.state_dict()), torch.randn(2, 70, 257, dtype=torch.float64)
    folded = fold_norms(network)
    with torch.no_grad():
        torch.testing.assert_close(folded(features), network(features), rtol=1e-9, atol=1e-9)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    norms = [sum(isinstance(m, nn.BatchNorm2d) for m in each.modules()) for each in (folded, network)]
    assert norms[0] < norms[1]
    return folded
