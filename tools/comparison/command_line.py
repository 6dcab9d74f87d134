"""The options that all comparisons have; read before anything slow is imported."""

import argparse
from collections.abc import Sequence

from config import RANGES
from utils.system.cli import config_parser, path, take_options

METHODS = {  # by MODEL.NAME
    "statistics": "cepstral statistics, LDA",
    "vggm": "VGG-M",
    "resnet18": "ResNet-18",
    "resnet34": "ResNet-34",
    "network": "AutoSpeech",
}


def comparison_parser(description: str, tool: str, seeds: Sequence[int], of_seeds: str) -> argparse.ArgumentParser:
    """A parser of a comparison's options; `seeds` are the default and `of_seeds` the help of --seeds."""
    parser = config_parser(description)
    parser.add_argument("--seeds", nargs="+", default=[str(seed) for seed in seeds], metavar="N", help=of_seeds)
    parser.add_argument("--out", type=path, metavar="FOLDER", help=f"default: a new one, OUT_DIR/{tool}/...")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options; seeds are numbers, each once, and KEY VALUE pairs that came right after them stand in `opts`."""
    args = parser.parse_intermixed_args()
    words, (least, greatest) = take_options(args.seeds, args), RANGES["SEED"]
    assert greatest is not None
    if (args.seeds and not words) or not all(word.isdecimal() and int(word) <= greatest for word in words):
        parser.error(f"--seeds: whole numbers from {least} to {greatest} are needed")
    args.seeds = list(dict.fromkeys(map(int, words)))
    return args
