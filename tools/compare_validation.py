"""How well do validation trials choose? Their EER against that of the test trials, at every epoch kept of a training.

    python train.py --cfg exps/scratch/scratch_veri.yaml --text_arch GENOTYPE TRAIN.KEEP_EPOCHS 1
    python tools/compare_validation.py runs/train/scratch_veri-... --out FOLDER
    python tools/compare_validation.py a=RUN b=RUN --from_epoch 20 --out FOLDER DATASET.DATA_DIR /path/to/VoxCeleb1

Of the speakers that a run held out, trials of three kinds are drawn: random and hard, as DATASET.VAL_CHOICE has them;
and hard ones of those alone who have several sessions, where not all have. Every network that TRAIN.KEEP_EPOCHS kept
scores them and the test trials, by cosine. The folder gets validation.csv (EER and minDCF at every epoch),
validation.json, .md, .html and pictures: how validation and test go together (Pearson, Spearman), and what the test EER
is at the epoch that each kind would have chosen, at the best and at the last. That is for looking back: whoever trains
by it has tested on the test. The last line of standard output is validation.json.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.system.cli import add_count, name_runs, path, take_options
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="[NAME=]RUN", help="run folders of trainings that kept epochs")
    parser.add_argument("--out", required=True, type=path, metavar="FOLDER", help="for the results")
    parser.add_argument("--trials", type=path, metavar="LIST", help="the test (default: veri_test.txt of DATA_DIR)")
    add_count(parser, "--from_epoch", 1, 1, "leave earlier epochs out, all of whose error rates fall (default: 1)")
    args = parser.parse_intermixed_args()
    args.opts = []
    args.runs = name_runs(take_options(args.runs, args))
    return args


def main() -> None:
    args = parse_args()
    from tools.comparison.validation import compare_validation

    compare_validation(args.runs, args.opts, args.trials, args.out, args.from_epoch)


if __name__ == "__main__":
    run_script(main)
