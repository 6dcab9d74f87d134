"""Step 3: train the network of a genotype from scratch.

    python train.py --cfg exps/scratch/scratch.yaml --text_arch "Genotype(normal=[...], ...)"
    python train.py --cfg exps/scratch/scratch.yaml --text_arch runs/search/.../genotype.txt
    python train.py --cfg exps/scratch/scratch.yaml --text_arch ... --load_path runs/train/...     # go on with a run

The best epoch is chosen on the val part and kept as best.pt in the run folder; the last line printed is its figures,
as JSON, with those of the test part.
"""

import argparse

from config import load_config
from utils.cli import config_parser
from utils.runtime import run_script


def parse_args() -> argparse.Namespace:
    parser = config_parser(__doc__, load_path="run folder, or a checkpoint in it, to go on with")
    parser.add_argument("--text_arch", required=True, metavar="GENOTYPE", help="a genotype, or a file that holds one")
    return parser.parse_intermixed_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from models import build_network
    from models.genotypes import read_genotype
    from utils.engine import run_training

    genotype = read_genotype(args.text_arch)
    run_training(cfg, args.cfg, args.load_path, "train", lambda classes: build_network(cfg, genotype, classes))


if __name__ == "__main__":
    run_script(main)
