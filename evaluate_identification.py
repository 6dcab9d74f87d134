"""Step 4: identification accuracy of a trained network on the test part of SUB_DIR merged.

    python evaluate_identification.py --cfg exps/scratch/scratch.yaml --load_path runs/train/...
    torchrun --standalone --nproc_per_node 8 evaluate_identification.py --cfg ... --load_path ...    # on 8 GPUs

The genotype, the classes and the front end come from the checkpoint. An utterance's embedding is the mean of those of
its 3-second windows, its decision the classifier's for that embedding. Writes results-identification.json beside the
checkpoint; the last line printed is {"top1", "top5" in per cent, "utterances", "speakers"}.
"""

import argparse
import time

from config import load_config
from utils.cli import config_parser
from utils.runtime import run_script

SUMMARY = ("top1", "top5", "utterances", "speakers")


def parse_args() -> argparse.Namespace:
    parser = config_parser(__doc__, load_path="trained model: a run folder or a checkpoint", load_path_required=True)
    return parser.parse_intermixed_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from data_objects.datasets import Corpus
    from data_objects.voxceleb import speaker_of
    from utils.engine import identify, load_system, write_results
    from utils.errors import UserError
    from utils.logger import get_logger
    from utils.runtime import prepare

    device = prepare(cfg)
    network, front_end, checkpoint, path = load_system(cfg, args.load_path, device)
    if checkpoint.sub_dir != "merged":
        raise UserError(
            f"{path} was trained with SUB_DIR {checkpoint.sub_dir}, which leaves the test speakers out: it cannot "
            "identify them; use evaluate_verification.py, or train with SUB_DIR merged"
        )
    corpus = Corpus(cfg)
    rows = corpus.index.rows("merged", "test")
    speakers = {speaker_of(corpus.index.utterances[row]) for row in rows}
    if not speakers:
        raise UserError(f"the test part of {corpus.data_dir} has no utterances; check its iden_split.txt")
    if unknown := sorted(speakers - set(checkpoint.speakers)):
        raise UserError(
            f"{path} does not know {len(unknown)} of the {len(speakers)} test speakers of {corpus.data_dir} "
            f"({unknown[0]}, ...): evaluate on the corpus that it was trained on"
        )
    began = time.perf_counter()
    figures = identify(network, front_end, corpus, rows, checkpoint.speakers, device)
    seconds = time.perf_counter() - began
    get_logger().info(f"{len(rows):,} utterances of {len(speakers):,} speakers in {seconds:.1f} s on {device}")
    results = {
        **figures,
        "utterances": len(rows),
        "speakers": len(speakers),
        "classes": len(checkpoint.speakers),
        "checkpoint": str(path),
        "epoch": checkpoint.epoch,
        "window_frames": corpus.frames,
        "index": corpus.index.fingerprint,
        "seconds": round(seconds, 2),
    }
    write_results(path.parent / "results-identification.json", results, keys=SUMMARY)


if __name__ == "__main__":
    run_script(main)
