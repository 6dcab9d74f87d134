"""An option that both comparisons have; read before anything slow is imported."""

import argparse

from config import RANGES
from utils.system.cli import take_options


def take_seeds(parser: argparse.ArgumentParser, args: argparse.Namespace) -> list[int]:
    """The numbers of --seeds, each once; the KEY VALUE pairs that came right after them become `args.opts`."""
    words, (least, greatest) = take_options(args.seeds, args), RANGES["SEED"]
    assert greatest is not None
    if (args.seeds and not words) or not all(word.isdecimal() and int(word) <= greatest for word in words):
        parser.error(f"--seeds: whole numbers from {least} to {greatest} are needed")
    return list(dict.fromkeys(map(int, words)))
