"""Draw the two cells of a genotype as graphs.

    python tools/draw_genotype.py paper                                              # genotype.png and genotype.pdf
    python tools/draw_genotype.py runs/search/search-20200701-120000 --out found   # found.png and found.pdf
    python tools/draw_genotype.py GENOTYPE-or-file --out cells.svg

The paths of the pictures are printed, one a line.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "genotype",
        metavar="GENOTYPE",
        help="a genotype, a file that holds one, the folder of a search, or `paper` for the paper's",
    )
    parser.add_argument(
        "--out",
        metavar="NAME",
        default="genotype",
        help="the picture to write, .png, .pdf or .svg; without a suffix, both .png and .pdf (default: %(default)s)",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from tools.networks.drawing import draw_cells

    print(*draw_cells(args.genotype, args.out), sep="\n")


if __name__ == "__main__":
    run_script(main)
