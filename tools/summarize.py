"""Print a network's size as JSON: name, parameters, macs, embedding_dim, num_classes.

    python tools/summarize.py --cfg exps/scratch/scratch.yaml                        # the paper's genotype
    python tools/summarize.py --cfg exps/scratch/scratch.yaml --text_arch GENOTYPE-or-file
    python tools/summarize.py --cfg exps/baseline/resnet34.yaml
    python tools/summarize.py --cfg exps/search.yaml                                 # the supernet

macs are the multiply-accumulates of convolutions and linear layers for one input of DATASET.PARTIAL_N_FRAMES frames; of
the supernet, those of one sampled path. Where MODEL.NUM_CLASSES is 0, the corpus in
DATASET.DATA_DIR tells how many; or give MODEL.NUM_CLASSES.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import load_config
from utils.system.cli import config_parser
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = config_parser(__doc__)
    parser.add_argument("--text_arch", metavar="GENOTYPE", help="a genotype, or a file that holds one")
    return parser.parse_intermixed_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    import torch

    from data_objects.corpus import Corpus
    from models import DERIVED, build_model, count_parameters, describe, network_kind
    from models.genotypes import PAPER_GENOTYPE, read_genotype
    from utils.system.errors import UserError

    kind = network_kind(cfg)
    if kind == DERIVED and not args.text_arch:
        print("no --text_arch: this is the network of the paper's genotype", file=sys.stderr)
    if args.text_arch and kind != DERIVED:
        raise UserError(f"--text_arch is for networks of a genotype, but MODEL.NAME is {kind}")
    architecture = {"num_classes": cfg.MODEL.NUM_CLASSES or len(Corpus(cfg).speakers)} | describe(cfg, kind)
    if kind == DERIVED:
        architecture["genotype"] = str(read_genotype(args.text_arch) if args.text_arch else PAPER_GENOTYPE)
    torch.manual_seed(cfg.SEED)  # the supernet's alpha, and so its path, is drawn
    network = build_model(architecture)
    summary = {
        "name": kind,
        "parameters": count_parameters(network),
        "macs": count_macs(network, cfg.DATASET.PARTIAL_N_FRAMES),
        "embedding_dim": network.embedding_dim,
        "num_classes": architecture["num_classes"],
    }
    print(json.dumps(summary))


def count_macs(network, frames: int) -> int:
    """Multiply-accumulates of the convolutions and linear layers that one input (1, frames, 257) passes through."""
    import torch
    from torch import nn

    from data_objects.frontend import BINS

    total = 0

    def add(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal total
        total += output[0].numel() * module.weight[0].numel()

    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(add) for layer in layers]
    with torch.no_grad():
        network.eval()(torch.zeros(1, frames, BINS))
    for handle in handles:
        handle.remove()
    return total


if __name__ == "__main__":
    run_script(main)
