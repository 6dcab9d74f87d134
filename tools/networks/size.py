"""The size of a network: parameters, and what an input costs."""

import sys
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from yacs.config import CfgNode

from data_objects.corpus import Corpus
from data_objects.frontend import BINS, count_bins, front_end_settings
from models import DERIVED, build_model, count_parameters, describe, network_kind
from models.genotypes import PAPER_GENOTYPE, read_genotype
from utils.system.errors import UserError


def summarize(cfg: CfgNode, text_arch: str | None) -> dict[str, Any]:
    """Name, parameters, macs, embedding_dim and num_classes of the network that settings mean.

    Args:
        text_arch: a genotype, or a file that holds one; None for the paper's.

    Raises:
        UserError: a genotype for a network that has none.
    """
    kind = network_kind(cfg)
    if kind == DERIVED and not text_arch:
        print("no --text_arch: this is the network of the paper's genotype", file=sys.stderr)
    if text_arch and kind != DERIVED:
        raise UserError(f"--text_arch is for networks of a genotype, but MODEL.NAME is {kind}")
    num_classes = cfg.MODEL.NUM_CLASSES or len(Corpus(cfg).speakers)
    genotype = read_genotype(text_arch) if text_arch else PAPER_GENOTYPE
    torch.manual_seed(cfg.SEED)  # the supernet's alpha, and so its path, is drawn
    network = build_model(describe(cfg, kind) | {"num_classes": num_classes, "genotype": str(genotype)})
    return {
        "name": kind,
        "parameters": count_parameters(network),
        "macs": count_macs(network, cfg.DATASET.PARTIAL_N_FRAMES, count_bins(front_end_settings(cfg))),
        "embedding_dim": network.embedding_dim,
        "num_classes": num_classes,
    }


def count_macs(network: nn.Module, frames: int, bins: int = BINS) -> int:
    """Multiply-accumulates of the convolutions and linear layers that one input (1, frames, bins) passes through."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, frames, bins))
    return counter.get_total_flops() // 2
