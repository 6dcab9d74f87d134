"""Step 4: identification by a trained network: Top-1 and Top-5 with 95 % intervals on the test part of SUB_DIR merged.

    python evaluate_identification.py --cfg exps/scratch/scratch.yaml --load_path runs/train/...
    torchrun --standalone --nproc_per_node 8 evaluate_identification.py --cfg ... --load_path ...    # on 8 GPUs

The genotype, the classes and the front end come from the checkpoint. An utterance's embedding is the mean of those of
its 3-second windows (kept in embeddings-*.npz), its decision the classifier's for that embedding. Writes, beside the
checkpoint, results-identification.json with all figures and where they come from, accuracy_per_speaker.csv, and
identification/report.html with pictures. The last line printed is {"top1", "top5" in per cent, "utterances",
"speakers"}.
"""

import argparse

from config import load_config
from utils.system.cli import evaluation_parser
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    return evaluation_parser(__doc__).parse_intermixed_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from utils.reports.identification import report_identification

    report_identification(
        cfg,
        args.load_path,
        text_arch=args.text_arch,
        allow_index_change=args.allow_index_change,
        out_dir=args.out_dir,
    )


if __name__ == "__main__":
    run_script(main)
