"""Step 5: verification by a trained network: EER, minDCF, actDCF, Cllr with 95 % intervals, on any lists of trials.

    python evaluate_verification.py --cfg exps/scratch/scratch_veri.yaml --load_path runs/train/...
    python evaluate_verification.py --cfg ... --load_path ... --trials veri_test2.txt list_test_hard.txt
    python evaluate_verification.py --cfg ... --load_path ... EVAL.BACKENDS cosine,snorm,plda
    torchrun --standalone --nproc_per_node 8 evaluate_verification.py --cfg ... --load_path ...    # on 8 GPUs

The genotype and the front end come from the checkpoint. Every utterance is embedded once (the mean over its 3-second
windows; kept in embeddings-*.npz); a trial's score is the cosine of two embeddings, or what EVAL.BACKENDS says. A
network with held-out speakers has its scores calibrated on their trials. Writes, beside the checkpoint, the figures and
where they come from (results-verification.json), scores.txt (score label enrolment test), calibration.json (how to
decide "same" or "different") and verification/report.html with pictures. The last line printed is {"eer" in per cent,
"min_dcf" at a target prior of 0.01, "trials", "skipped_trials", "utterances", "speaker_overlap", "speaker_disjoint"}.
"""

import argparse

from config import load_config
from utils.system.cli import evaluation_parser, take_options
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = evaluation_parser(__doc__)
    parser.add_argument(
        "--trials", nargs="+", default=[], metavar="LIST", help="lists of trials (default: veri_test.txt of DATA_DIR)"
    )
    parser.add_argument(
        "--allow_missing", action="store_true", help="skip trials without utterances, instead of refusing the list"
    )
    args = parser.parse_intermixed_args()
    args.trials = take_options(args.trials, args)
    return args


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from utils.reports.verification import report_verification

    report_verification(
        cfg,
        args.load_path,
        args.trials,
        text_arch=args.text_arch,
        allow_missing=args.allow_missing,
        allow_index_change=args.allow_index_change,
        out_dir=args.out_dir,
    )


if __name__ == "__main__":
    run_script(main)
