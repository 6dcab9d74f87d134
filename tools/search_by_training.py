"""Searches by training: draws genotypes by chance, trains all of them a little, and the best ones further.

    python tools/search_by_training.py --cfg exps/mini/scratch.yaml --candidates 30 DATASET.DATA_DIR /path/to/corpus
    python tools/search_by_training.py --cfg ... --hours 8 --first_rung 3 --objective eer DATASET.SUB_DIR dev
    CUDA_VISIBLE_DEVICES=1 python tools/search_by_training.py ... --out FOLDER    # one more process for the same search

The baseline that an architecture search must beat: random search with successive halving. A candidate is trained as
train.py trains it, with one recipe for all. After FIRST_RUNG epochs, after REDUCTION times as many, and so on, it goes
on where it is among the best 1 / REDUCTION of those that have come so far; the others end there.

Any number of processes, GPUs and machines may share a search: each is started with the same settings and --out. Stopped
in whatever way and started again with the same --out, a search goes on where it was, with more --candidates or --hours
too. It ends with genotype.txt (the winner), report.html, .md and .json, candidates.csv, curves.png and .pdf in the
folder; the last line of standard output is report.json in one line.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import CHOICES, load_config
from utils.system.cli import add_count, at_least, config_parser, path
from utils.system.errors import UserError
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = config_parser(__doc__)
    parser.add_argument(
        "--objective",
        choices=("top1", "eer", "loss"),
        help="what candidates are compared by: Top-1 or loss of the val part, or EER of the speakers held out "
        "(default: what chooses the best epoch of a training: eer where speakers are held out, else top1)",
    )
    limit = "draw so many, all processes together; --candidates, --hours or both are needed"
    parser.add_argument("--candidates", type=at_least("--candidates", 1), metavar="N", help=limit)
    parser.add_argument(
        "--hours",
        type=hours,
        metavar="H",
        help="hours of training, summed over all processes and over what was spent before an interruption (of a "
        "process that was killed, up to its candidate's last rung); after them no candidate is begun, and those under "
        "way end at their next rung",
    )
    add_count(parser, "--first_rung", 1, 1, "epochs before candidates are first compared (default: 1)")
    add_count(parser, "--reduction", 2, 3, "one in so many goes on from a rung (default: 3)")
    parser.add_argument(
        "--sampler",
        choices=("random", "tpe"),
        default="random",
        help="tpe learns from earlier candidates (default: random)",
    )
    add_count(parser, "--seed", 0, 0, "draws the candidates; SEED is that of every training (default: 0)")
    parser.add_argument("--space", choices=CHOICES["SEARCH.SPACE"], help="draws from it (default: SEARCH.SPACE)")
    parser.add_argument("--out", type=path, metavar="FOLDER", help="default: a new one, OUT_DIR/search_by_training/...")
    args = parser.parse_intermixed_args()
    if args.candidates is None and args.hours is None:
        parser.error("--candidates, --hours or both are needed")
    return args


def hours(text: str) -> float:
    """A type for argparse: hours, more than 0."""
    if not float(text) > 0:
        raise UserError(f"--hours must be more than 0, not {text}")
    return float(text)


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from tools.halving.search import search_by_training

    drawn = args.sampler, args.seed, args.space or cfg.SEARCH.SPACE
    rungs, limits = (args.first_rung, args.reduction), (args.candidates, args.hours)
    search_by_training(cfg, args.cfg, args.out, args.objective, drawn, rungs, limits)


if __name__ == "__main__":
    run_script(main)
