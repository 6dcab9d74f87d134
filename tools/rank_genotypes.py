"""Ranks genotypes by the supernet of a search, and measures how far such a ranking can be trusted.

    python tools/rank_genotypes.py --run RUN --cfg exps/mini/scratch.yaml DATASET.DATA_DIR DIR
    python tools/rank_genotypes.py --run RUN --cfg exps/mini/scratch.yaml --train 12 --seeds 1 2 DATASET.DATA_DIR DIR

RUN is a search's run folder. Candidates are alpha's argmax, draws from the distribution that alpha means and draws by
chance; each is scored as one path of the supernet, with norms calibrated for it, on the val part. With --train, so many
of them, evenly spread over the ranking, are trained from scratch by the recipe (--cfg and what follows), and Kendall's
tau of the supernet's scores with what they come to is measured: by Top-1 and loss with DATASET.SUB_DIR merged, by EER
with dev. The folder gets ranking.csv, trust.json, .md, .html and a picture; the last line of standard output is
trust.json. Stopped and run again with the same --out, it goes on.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import load_config
from tools.comparison.command_line import comparison_parser, parse
from utils.system.cli import add_count, path
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = comparison_parser(__doc__, "rank_genotypes", (1,), "of the trainings (default: 1)")
    parser.add_argument("--run", type=path, required=True, metavar="RUN", help="the run folder of a search")
    add_count(parser, "--candidates", 2, 50, "genotypes to rank (default: 50)")
    add_count(parser, "--train", 0, 0, "genotypes to train, 3 or more (default: 0, none)")
    add_count(parser, "--draw_seed", 0, 0, "draws the candidates (default: 0)")
    return parse(parser)


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from tools.comparison.trust import rank_and_train

    rank_and_train(cfg, args.cfg, args.out, args.run, (args.candidates, args.draw_seed), args.train, args.seeds)


if __name__ == "__main__":
    run_script(main)
