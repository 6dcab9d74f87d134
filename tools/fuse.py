"""Fuse trained networks: one score of several, by logistic regression on the trials of the speakers held out.

    python tools/fuse.py runs/train/scratch_veri-... runs/train_baseline/statistics_veri-... --out FOLDER
    python tools/fuse.py ours=RUN floor=RUN --trials veri_test2.txt --out FOLDER DATASET.DATA_DIR /path/to/VoxCeleb1

A run's network scores by cosine, with the settings that it was trained with. All must have been trained with the same
speakers held out: nobody's scores on them may be of speakers that it knows. Prints each network's figures and those of
all together; FOLDER gets fusion.json (weights, offset, figures with 95 % intervals) and scores.txt (log-likelihood
ratio, label, enrolment, test). The last line printed is {"eer" in per cent, "min_dcf" at a target prior of 0.01,
"trials", "fusion"}.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.system.cli import name_runs, path, take_options
from utils.system.errors import UserError
from utils.system.files import expand_user
from utils.system.script import run_script

FUSED = "fused"  # as `utils.evaluation.fusion` calls it


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="[NAME=]RUN", help="run folders of two networks or more")
    parser.add_argument("--out", required=True, type=path, metavar="FOLDER", help="for the results")
    parser.add_argument(
        "--trials", nargs="+", default=[], metavar="LIST", help="lists of trials (default: veri_test.txt of DATA_DIR)"
    )
    args = parser.parse_intermixed_args()
    args.opts = []
    args.trials = [expand_user(file, "--trials") for file in take_options(args.trials, args)]
    args.runs = check_runs(name_runs(take_options(args.runs, args)))
    return args


def check_runs(runs: dict[str, Path]) -> dict[str, Path]:
    """Run folders by name, if they can be fused."""
    if FUSED in runs:
        raise UserError(f"{FUSED} is what all together are called: give {runs[FUSED]} another name, as in NAME=RUN")
    if len(runs) < 2:
        raise UserError("two runs or more are needed for a fusion")
    return runs


def main() -> None:
    args = parse_args()
    from utils.reports.fusion import report_fusion

    report_fusion(args.runs, args.opts, args.trials, args.out)


if __name__ == "__main__":
    run_script(main)
