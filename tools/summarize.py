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
    from tools.networks.size import summarize

    print(json.dumps(summarize(cfg, args.text_arch)))


if __name__ == "__main__":
    run_script(main)
