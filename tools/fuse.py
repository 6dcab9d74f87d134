"""Fuse trained networks: one score of several, by logistic regression on the trials of the speakers held out.

    python tools/fuse.py runs/train/scratch_veri-... runs/train_baseline/statistics_veri-... --out FOLDER
    python tools/fuse.py ours=RUN floor=RUN --trials veri_test2.txt --out FOLDER DATASET.DATA_DIR /path/to/VoxCeleb1
    python tools/fuse.py ours=RUN:plda floor=RUN --quality duration,norm --out FOLDER

A run's network scores by cosine, or as :SYSTEM says (one of EVAL.BACKENDS), with the settings that it was trained with.
All must have been trained with the same speakers held out: nobody's scores on them may be of speakers that it knows.
--quality fuses what tells how far scores are to be trusted, too: the logarithms of the durations, or of the lengths of
each network's embeddings, the smaller and the greater of a trial's two. Prints each system's figures and those of all
together; FOLDER gets fusion.json (weights, offset, figures with 95 % intervals) and scores.txt (log-likelihood ratio,
label, enrolment, test). The last line printed is {"eer" in per cent, "min_dcf" at a target prior of 0.01, "trials",
"fusion"}.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import BACKENDS
from utils.system.cli import each_once, path, split_name, take_options
from utils.system.errors import UserError
from utils.system.files import expand_user
from utils.system.script import run_script

FUSED = "fused"  # as `utils.evaluation.fusion` calls it


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="[NAME=]RUN[:SYSTEM]", help="run folders of two networks or more")
    parser.add_argument("--out", required=True, type=path, metavar="FOLDER", help="for the results")
    parser.add_argument(
        "--trials", nargs="+", default=[], metavar="LIST", help="lists of trials (default: veri_test.txt of DATA_DIR)"
    )
    parser.add_argument(
        "--quality", default="", metavar="MEASURES", help="fuse these, too: duration, norm or duration,norm"
    )
    args = parser.parse_intermixed_args()
    args.opts = []
    args.trials = [expand_user(file, "--trials") for file in take_options(args.trials, args)]
    args.runs = name_runs(take_options(args.runs, args))
    if len(args.runs) < 2 and not args.quality:
        raise UserError("two runs or more are needed for a fusion, or one with --quality")
    return args


def name_runs(words: list[str]) -> dict[str, tuple[Path, str]]:
    """Run folders and ways of scoring by name: as given, or the folder's own with :SYSTEM."""
    named = []
    for word in words:
        name, rest = split_name(word)
        run, system = split_system(rest)
        named.append((name or run.name + (f":{system}" if system != BACKENDS[0] else ""), (run, system)))
    runs = each_once(named)
    if FUSED in runs:
        raise UserError(f"{FUSED} is what all together are called: give {runs[FUSED][0]} another name, as in NAME=RUN")
    return runs


def split_system(text: str) -> tuple[Path, str]:
    """The folder and the way of scoring of RUN:SYSTEM: cosine where there is none, or the whole is a path."""
    folder, colon, system = text.rpartition(":")
    if not colon or "/" in system or (whole := expand_user(text, "RUN")).exists():
        return expand_user(text, "RUN"), BACKENDS[0]
    if system not in BACKENDS:
        raise UserError(f"{whole}: SYSTEM in RUN:SYSTEM must be one of {', '.join(BACKENDS)}, not {system!r}")
    return expand_user(folder, "RUN"), system


def main() -> None:
    args = parse_args()
    from utils.reports.fusion import report_fusion

    report_fusion(args.runs, args.opts, args.trials, args.out, args.quality)


if __name__ == "__main__":
    run_script(main)
