"""Step 5: equal error rate of a trained network on the trials of veri_test.txt.

    python evaluate_verification.py --cfg exps/scratch/scratch_veri.yaml --load_path runs/train/...

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


def parse_args() -> argparse.Namespace:
    parser = config_parser(__doc__, load_path="trained model: a run folder or a checkpoint", load_path_required=True)
    return parser.parse_intermixed_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    import numpy as np

    from data_objects.datasets import Corpus
    from data_objects.voxceleb import TRIALS, read_trials, speaker_of
    from utils.engine import embed_utterances, load_system, write_results
    from utils.logger import get_logger
    from utils.metrics import cosine_scores, equal_error_rate, min_dcf
    from utils.runtime import prepare

    log, device = get_logger(), prepare(cfg)
    network, front_end, checkpoint, path = load_system(cfg, args.load_path, device)
    corpus = Corpus(cfg)
    trials_file = corpus.data_dir / TRIALS
    trials, skipped = split_trials(read_trials(trials_file), corpus.index, trials_file)
    utterances = sorted({utterance for trial in trials for utterance in trial[1:]})
    overlap = {speaker_of(utterance) for utterance in utterances} & set(checkpoint.speakers)

    began = time.perf_counter()
    rows = [corpus.index.row_of(utterance) for utterance in utterances]
    embeddings = embed_utterances(network, front_end, corpus, rows, device).numpy()
    place = {utterance: number for number, utterance in enumerate(utterances)}
    enrolment, test = (np.array([place[trial[side]] for trial in trials]) for side in (1, 2))
    scores = cosine_scores(embeddings, enrolment, test)
    labels = np.array([trial.label for trial in trials])
    seconds = time.perf_counter() - began
    log.info(f"{len(trials):,} trials over {len(utterances):,} utterances in {seconds:.1f} s on {device}")

    scored = [(f"{score:.8f}", *trial) for score, trial in zip(scores, trials, strict=True)]
    write_trials(path.parent / "scores.txt", scored)
    skipped_file = path.parent / "skipped_trials.txt"
    skipped_file.unlink(missing_ok=True)  # of an earlier evaluation
    if skipped:
        write_trials(skipped_file, skipped)
        log.warning(
            f"WARNING: {len(skipped):,} of {len(trials) + len(skipped):,} trials were skipped, because utterances are "
            f"not in the index; they are listed in {skipped_file}"
        )
    if overlap:
        log.warning(
            f"WARNING: {len(overlap)} of the trials' speakers were trained on: this is not a verification result; "
            "train with SUB_DIR dev for one"
        )
    results = {
        "eer": 100 * equal_error_rate(scores, labels),
        "min_dcf": min_dcf(scores, labels),
        "trials": len(trials),
        "skipped_trials": len(skipped),
        "utterances": len(utterances),
        "speaker_overlap": len(overlap),
        "checkpoint": str(path),
        "epoch": checkpoint.epoch,
        "sub_dir": checkpoint.sub_dir,
        "index": corpus.index.fingerprint,
        "seconds": round(seconds, 2),
    }
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


def write_trials(path, lines) -> None:
    """Write tuples a line each, their items separated by blanks."""
    path.write_text("".join(" ".join(map(str, line)) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    run_script(main)
