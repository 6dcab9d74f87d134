"""Is what a search found better than chance? Trains it, the paper's genotype and random ones alike, and compares.

    python tools/compare_genotypes.py --cfg exps/mini/scratch.yaml --genotype runs/search/... DATASET.DATA_DIR ...
    python tools/compare_genotypes.py --cfg ... --genotype A --genotype B --random 10 --seeds 1 2 3 4 5 --out comparison

Every genotype is trained with the same settings, data and seeds for TRAIN.END_EPOCH epochs, and the network of the last
epoch is evaluated: no epoch is chosen. With DATASET.SUB_DIR merged it identifies the test part (the val part where that
is empty), with dev it verifies the corpus's trials. What was found is ranked among the random genotypes, with the p of
a permutation test, with and without the effect of size. The last line of standard output is the comparison as JSON; the
folder also gets comparison.json, .md and .html, comparison.png and .pdf,
the trainings' figures in trainings.jsonl and their runs in runs/. Stopped and run again with the same --out, it takes
over what is finished and goes on with the training that was interrupted; more --seeds, --genotype or a greater --random
add to it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import CHOICES, load_config
from tools.comparison.command_line import comparison_parser, parse
from utils.system.cli import add_count
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = comparison_parser(__doc__, "compare_genotypes", (1, 2, 3), "default: 1 2 3")
    parser.add_argument(
        "--genotype",
        action="append",
        default=[],
        metavar="[NAME=]GENOTYPE",
        help="a genotype, a file that holds one, or a search's folder, under a name of its own or as found; several "
        "with an option each. Those of one name but for a number at its end (halving-1, halving-2) are compared with "
        "chance together",
    )
    add_count(parser, "--random", 0, 5, "random genotypes (default: 5)")
    add_count(parser, "--draw_seed", 0, 0, "draws them (default: 0)")
    parser.add_argument("--space", choices=CHOICES["SEARCH.SPACE"], help="draws from it (default: SEARCH.SPACE)")
    return parse(parser)


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from tools.comparison.genotypes import compare_genotypes

    drawn = args.random, args.draw_seed, args.space or cfg.SEARCH.SPACE
    compare_genotypes(cfg, args.cfg, args.out, args.genotype, drawn, args.seeds)


if __name__ == "__main__":
    run_script(main)
