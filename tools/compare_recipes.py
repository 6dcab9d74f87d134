"""What is each option of training worth? Trains with none, with each alone and with all of them, and compares.

    python tools/compare_recipes.py --cfg exps/mini/modern.yaml --recipes exps/options/more.yaml DATASET.DATA_DIR ...
    python tools/compare_recipes.py --cfg ... --recipes FILE --without --seeds 1 2 3 4 5 --genotype RUN --out FOLDER
    python tools/compare_recipes.py --cfg ... --recipes FILE --only none aam DATASET.DATA_DIR ...

FILE holds options, {name: {KEY: VALUE, ...}, ...}: what each sets over the settings as they are. Compared are these
settings (none), each option alone, all together (all; where several set one key, the last counts) and, with --without,
all but each one (all-but-NAME); with --alone, not all together. Every recipe is trained with every seed, with the
network that MODEL.NAME says, and the best epoch verified by the corpus's trials, with SUB_DIR dev; options that differ
in how trials are scored alone share a training.

The folder gets comparison.json, .md and .html, comparison.png and .pdf; the last line of standard output is the
comparison as JSON. Stopped and run again with the same --out, it takes over what is finished (finished.jsonl) and goes
on with the training that was interrupted; more --seeds or options add to it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import load_config
from tools.comparison.command_line import comparison_parser, parse
from utils.system.cli import path, take_options
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = comparison_parser(__doc__, "compare_recipes", (1, 2, 3), "default: 1 2 3")
    parser.add_argument("--recipes", required=True, type=path, metavar="FILE", help="the options, as YAML")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--only", nargs="+", default=[], metavar="NAME", help="compare these recipes alone")
    chosen.add_argument("--without", action="store_true", help="compare all but each option, too")
    chosen.add_argument("--alone", action="store_true", help="do not compare all options together")
    parser.add_argument(
        "--genotype",
        metavar="GENOTYPE",
        help="of the network: itself, a file that holds it, or a search's folder (default: the paper's)",
    )
    args = parse(parser)
    given, args.only = args.only, take_options(args.only, args)
    if given and not args.only:
        parser.error("--only: names of recipes are needed")
    return args


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from tools.comparison.recipes import compare_recipes

    chosen = args.only, args.without, args.alone
    compare_recipes(cfg, args.cfg, args.out, args.recipes, chosen, args.genotype, args.seeds)


if __name__ == "__main__":
    run_script(main)
