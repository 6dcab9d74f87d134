"""Step 3: train the network of a genotype from scratch.

    python train.py --cfg exps/scratch/scratch.yaml --text_arch "Genotype(normal=[...], ...)"
    python train.py --cfg exps/scratch/scratch.yaml --text_arch runs/search/.../genotype.txt
    python train.py --cfg runs/train/.../config.yaml --load_path runs/train/...                   # go on with a run
    torchrun --standalone --nproc_per_node 8 train.py --cfg exps/scratch/scratch.yaml --text_arch GENOTYPE  # on 8 GPUs

The best epoch is chosen on the val part and kept as best.pt in the run folder. Standard output gets one line: the best
epoch's figures on the val and the test part, as JSON.
"""

import argparse

from config import load_config
from utils.system.cli import training_parser
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = training_parser(__doc__)
    parser.add_argument(
        "--text_arch", metavar="GENOTYPE", help="a genotype, a file that holds one, or a search's folder"
    )
    args = parser.parse_intermixed_args()
    if not (args.text_arch or args.load_path):
        parser.error("--text_arch is needed for a new run")
    return args


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from utils.training.loop import run_training

    run_training(cfg, args.cfg, args.load_path, args.text_arch)


if __name__ == "__main__":
    run_script(main)
