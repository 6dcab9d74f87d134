"""Step 5: equal error rate of a trained network on the trials of veri_test.txt.

    python evaluate_verification.py --cfg exps/scratch/scratch_veri.yaml --load_path runs/train/...
    torchrun --standalone --nproc_per_node 8 evaluate_verification.py --cfg ... --load_path ...    # on 8 GPUs

The genotype and the front end come from the checkpoint. Every utterance is embedded once (the mean over its 3-second
windows); a trial's score is the cosine of two embeddings. Writes results-verification.json and scores.txt (score label
enrolment test) beside the checkpoint, and skipped_trials.txt where utterances are missing. The last line printed is
{"eer" in per cent, "min_dcf" at a target prior of 0.01, "trials", "skipped_trials", "utterances", "speaker_overlap"}.
"""

import argparse
import time

from config import load_config
from utils.cli import config_parser
from utils.runtime import run_script

SUMMARY = ("eer", "min_dcf", "trials", "skipped_trials", "utterances", "speaker_overlap")
SKIPPED = "skipped_trials.txt"


def parse_args() -> argparse.Namespace:
    parser = config_parser(__doc__, load_path="trained model: a run folder or a checkpoint", load_path_required=True)
    return parser.parse_intermixed_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    import numpy as np

    from data_objects.datasets import Corpus
    from data_objects.voxceleb import TRIALS, read_trials, speaker_of
    from utils.engine import load_system, score_trials, write_results
    from utils.logger import get_logger
    from utils.metrics import equal_error_rate, min_dcf
    from utils.runtime import prepare

    device = prepare(cfg)
    network, front_end, checkpoint, path = load_system(cfg, args.load_path, device)
    corpus = Corpus(cfg)
    trials_file = corpus.data_dir / TRIALS
    trials, skipped = split_trials(read_trials(trials_file), corpus.index, trials_file)
    began = time.perf_counter()
    scores = score_trials(network, front_end, corpus, trials, device)
    if scores is None:  # the main process goes on alone
        return
    seconds = time.perf_counter() - began

    labels = np.array([trial.label for trial in trials])
    utterances = {utterance for trial in trials for utterance in trial[1:]}
    results = {
        "eer": 100 * equal_error_rate(scores, labels),
        "min_dcf": min_dcf(scores, labels),
        "trials": len(trials),
        "skipped_trials": len(skipped),
        "utterances": len(utterances),
        "speaker_overlap": len({speaker_of(utterance) for utterance in utterances} & set(checkpoint.speakers)),
        "checkpoint": str(path),
        "epoch": checkpoint.epoch,
        "window_frames": corpus.frames,
        "sub_dir": checkpoint.sub_dir,
        "index": corpus.index.fingerprint,
        "seconds": round(seconds, 2),
    }
    get_logger().info(f"{len(trials):,} trials over {len(utterances):,} utterances in {seconds:.1f} s on {device}")
    write_scores(path.parent, scores, trials, skipped)
    warn(results, path.parent)
    write_results(path.parent / "results-verification.json", results, keys=SUMMARY)


def split_trials(trials, index, trials_file):
    """The trials whose utterances the index has, and the others.

    Raises:
        UserError: too few are left for an error rate.
    """
    from utils.errors import UserError

    usable, skipped = [], []
    for trial in trials:
        known = all(index.row_of(utterance) is not None for utterance in trial[1:])
        (usable if known else skipped).append(trial)
    if len({trial.label for trial in usable}) < 2:
        raise UserError(
            f"{trials_file}: {len(skipped):,} of {len(trials):,} trials name utterances that are not in the index, and "
            "the rest do not hold trials of both kinds; are the test speakers' wavs there? Run data_preprocess.py again"
        )
    return usable, skipped


def write_scores(folder, scores, trials, skipped) -> None:
    """scores.txt, and skipped_trials.txt where there are any; an earlier evaluation's is removed."""
    from utils.files import write_atomically

    lines = (f"{score:.8f} {' '.join(map(str, trial))}\n" for score, trial in zip(scores, trials, strict=True))
    write_atomically(folder / "scores.txt", "".join(lines))
    (folder / SKIPPED).unlink(missing_ok=True)
    if skipped:
        write_atomically(folder / SKIPPED, "".join(f"{' '.join(map(str, trial))}\n" for trial in skipped))


def warn(results, folder) -> None:
    """Say what keeps the results from being what they seem."""
    from utils.logger import get_logger

    if results["skipped_trials"]:
        get_logger().warning(
            f"WARNING: {results['skipped_trials']:,} of {results['trials'] + results['skipped_trials']:,} trials were "
            f"skipped, because utterances are not in the index; they are listed in {folder / SKIPPED}"
        )
    if results["speaker_overlap"]:
        get_logger().warning(
            f"WARNING: {results['speaker_overlap']} of the trials' speakers were trained on: this is not a "
            "verification result; train with SUB_DIR dev for one"
        )


if __name__ == "__main__":
    run_script(main)
