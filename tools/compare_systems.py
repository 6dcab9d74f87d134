"""The published table under one recipe: VGG-M, ResNet-18, ResNet-34 and a genotype's network, trained and tested alike.

    python tools/compare_systems.py --cfg exps/mini/compare.yaml DATASET.DATA_DIR /path/to/corpus
    python tools/compare_systems.py --cfg ... --systems resnet18 network --genotype GENOTYPE --seeds 3 4 5 --out FOLDER

Beside them stand cepstral statistics, which are no network, and know nothing of a recipe: what a network must beat.
Every system is trained twice with the same settings, by the project's own scripts: on all speakers (SUB_DIR merged) for
identification, and without the test speakers (SUB_DIR dev) for verification. The merged network is verified as well: of
speakers that it was trained on, as the first published EERs were, which is no verification result. MODEL.NAME,
DATASET.SUB_DIR and SEED are set here, whatever the settings say.

The folder gets comparison.json, comparison.md and comparison.html with pictures; the last line of standard output is
the comparison as JSON. Stopped and run again with the same --out, it takes over what is finished (finished.jsonl) and
goes on with the training that was interrupted; more --seeds or --systems add to it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import load_config
from tools.comparison.command_line import METHODS, comparison_parser, parse
from utils.system.cli import take_options
from utils.system.files import ROOT
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = comparison_parser(__doc__, "compare_systems", (), "trains with each (default: SEED alone)")
    parser.add_argument(
        "--systems", nargs="+", default=list(METHODS), metavar="SYSTEM", help=f"default: {' '.join(METHODS)}"
    )
    parser.add_argument(
        "--genotype",
        default=str(ROOT / "exps" / "genotypes" / "paper.txt"),
        metavar="GENOTYPE",
        help="of the network: itself, a file that holds it, or a search's folder (default: the paper's)",
    )
    args = parse(parser)
    args.systems = list(dict.fromkeys(take_options(args.systems, args)))
    if unknown := [name for name in args.systems if name not in METHODS]:
        parser.error(f"--systems: there is no {unknown[0]!r}; valid are {', '.join(METHODS)}")
    return args


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from tools.comparison.systems import compare_systems

    compare_systems(cfg, args.cfg, args.out, args.systems, args.genotype, args.seeds or [cfg.SEED])


if __name__ == "__main__":
    run_script(main)
