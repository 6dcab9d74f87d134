"""Train a baseline: ResNet-18, ResNet-34 or VGG-M, by MODEL.NAME; or fit cepstral statistics, which are no network.

    python train_baseline.py --cfg exps/baseline/resnet18.yaml
    python train_baseline.py --cfg exps/baseline/resnet18.yaml --load_path runs/train_baseline/...    # go on with a run
    torchrun --standalone --nproc_per_node 8 train_baseline.py --cfg exps/baseline/resnet18.yaml    # on 8 GPUs
    python train_baseline.py --cfg exps/baseline/statistics.yaml    # what a network must beat

The best epoch is chosen on the val part and kept as best.pt in the run folder. Standard output gets one line: the best
epoch's figures on the val and the test part, as JSON.
"""

import argparse

from config import load_config
from utils.system.cli import training_parser
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    return training_parser(__doc__).parse_intermixed_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from utils.training.loop import run_baseline_training

    run_baseline_training(cfg, args.cfg, args.load_path)


if __name__ == "__main__":
    run_script(main)
