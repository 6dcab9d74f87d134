"""benchmark.py scale: what VoxCeleb1's size takes, from the index to the scores of the trials."""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_objects.corpus import Corpus
from data_objects.lists import TRIALS, TrialList, read_trials
from tools.benchmarks.measure import CPU, Steps, build_settings, describe_machine
from tools.benchmarks.processes import Case, Outcome, run_alone, summarise
from tools.benchmarks.tables import Columns, format_heading, format_table
from tools.corpora.simulated import make_corpus
from tools.corpora.sizes import scale_sizes
from utils.metrics.rates import equal_error_rate, min_dcf
from utils.metrics.scoring import cosine_scores

BATCH_SIZE, FRAMES, DIMENSIONS = 96, 300, 2048  # of a batch, a crop and an embedding (128 channels), as in the paper
STEPS = {
    "index": "load the index",
    "classes": "the class of every row",
    "first_batch": f"sampler, and an epoch's first batch of {BATCH_SIZE}",
    "trials": "read the trials",
    "scores": f"score them from {DIMENSIONS:,} numbers an utterance: EER, minDCF",
}
COLUMNS: Columns = {
    "seconds": ("seconds", "{:.3f}".format),
    "peak_mb": ("peak MB", "{:.1f}".format),
    "kept_mb": ("kept MB", "{:.1f}".format),
}


def run(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir = args.data_dir or Path(folder) / "corpus"
        if args.data_dir is None:
            make_corpus(data_dir, scale_sizes(args.utterances, args.speakers))
        rounds = run_alone(measure, {"data_dir": str(data_dir.resolve())}, "scale", args.rounds)
    of_steps = {step: [outcome["steps"][step] for outcome in rounds] for step in STEPS}
    yield rounds[0] | {"steps": {step: summarise(of_step, COLUMNS) for step, of_step in of_steps.items()}}


def measure(case: Case) -> Outcome:
    """Seconds and MB of every step in this process, and what the corpus holds."""
    take = Steps()
    cfg = build_settings({"device": "cpu", "batch_size": BATCH_SIZE, "frames": FRAMES, "num_workers": 0} | case)
    loaded = take("index", lambda: Corpus(cfg))
    take("classes", lambda: loaded.index.labels(loaded.speakers))
    batch = take("first_batch", lambda: next(iter(loaded.crops("train").batches)))
    trials = take("trials", lambda: read_trials(loaded.list_path(TRIALS)))
    used = len(trials.utterances)
    embeddings = np.random.default_rng(0).standard_normal((used, DIMENSIONS), dtype=np.float32)
    eer, least_cost = take("scores", lambda: score(trials, embeddings))
    counts = {"utterances": len(loaded.index), "speakers": len(loaded.speakers), "batch": len(batch)}
    counts |= {"trials": len(trials), "trial_utterances": used}
    return counts | {"eer": eer, "min_dcf": least_cost} | take.report() | describe_machine(CPU)


def score(trials: TrialList, embeddings: np.ndarray) -> tuple[float, float]:
    """EER and minDCF of the trials; utterance number n, by name, has row n of embeddings (M, D)."""
    scores = cosine_scores(embeddings, trials.enrolment, trials.test)
    return equal_error_rate(scores, trials.labels), min_dcf(scores, trials.labels)


def print_report(report: dict[str, Any]) -> None:
    """A report, for people."""
    corpus = f"{report['utterances']:,} utterances of {report['speakers']:,} speakers"
    trials = f"{report['trials']:,} trials of {report['trial_utterances']:,} utterances"
    print(format_heading(report, (), f"{corpus}, {trials}"))
    print(format_table({STEPS[step]: taken for step, taken in report["steps"].items()}, COLUMNS))
