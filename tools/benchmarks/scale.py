"""What VoxCeleb1's size takes: the index, the first batch, the classes, the trials and their scores.

On the corpus of --data_dir, which must be preprocessed, or on a simulated one of VoxCeleb1's size (see
tools/make_simulated_corpus.py), whose wav files are not needed. All steps are taken one after the other in a fresh
process, --rounds times. Seconds are the median. Memory is beyond what the process had after its imports: `peak` at most
during a step, `kept` after it. The embeddings that the trials are scored from are drawn at random, before that step,
and count in its memory.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tools.benchmarks.measure import Steps, build_settings, describe_machine, format_table, run_case
from utils.system.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from data_objects.lists import TrialList

SUMMARY = "what VoxCeleb1's size takes in time and memory, without its files"
BATCH_SIZE, FRAMES, DIMENSIONS = 96, 300, 2048  # of a batch, a crop and an embedding (128 channels), as in the paper
STEPS = {
    "index": "load the index",
    "classes": "the class of every row",
    "first_batch": f"sampler, and an epoch's first batch of {BATCH_SIZE}",
    "trials": "read the trials",
    "scores": f"score them from {DIMENSIONS:,} numbers an utterance: EER, minDCF",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `benchmark.py scale`."""
    parser.add_argument("--data_dir", type=Path, help="a preprocessed corpus (default: a simulated one)")
    parser.add_argument("--utterances", type=int, default=153_516, help="of the simulated corpus (default: 153,516)")
    parser.add_argument("--speakers", type=int, default=1_251, help="of the simulated corpus (default: 1,251)")
    parser.add_argument("--rounds", type=int, default=3, help="processes, one after the other (default: 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, no table")
    parser.add_argument("--worker", help=argparse.SUPPRESS)  # a case to measure in this process, as JSON


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    if args.worker:
        print(json.dumps(measure(json.loads(args.worker))))
        return
    if args.rounds < 1:
        raise UserError(f"--rounds must be at least 1, not {args.rounds}")
    if not args.data_dir and (args.speakers < 4 or args.utterances < 10 * args.speakers):
        raise UserError(
            f"--speakers must be at least 4 and --utterances 10 a speaker, not {args.speakers} and {args.utterances}"
        )
    with corpus(args.data_dir, args.utterances, args.speakers) as data_dir:
        case = {"data_dir": str(data_dir.resolve())}
        rounds = [run_case("scale", case, "scale") for _ in range(args.rounds)]
    report = rounds[0] | {"steps": {step: summarize([outcome["steps"][step] for outcome in rounds]) for step in STEPS}}
    if args.json:
        print(json.dumps(report))
    else:
        print_table(report)


@contextlib.contextmanager
def corpus(data_dir: Path | None, utterances: int, speakers: int) -> Iterator[Path]:
    """The folder given, or that of a simulated corpus, which is removed afterwards."""
    if data_dir is not None:
        yield data_dir
        return
    from tools.make_simulated_corpus import make_corpus, scale_sizes

    with tempfile.TemporaryDirectory() as folder:
        make_corpus(Path(folder) / "corpus", scale_sizes(utterances, speakers))
        yield Path(folder) / "corpus"


def summarize(outcomes: list[dict]) -> dict:
    """Median seconds and most memory of one step."""
    seconds = statistics.median(outcome["seconds"] for outcome in outcomes)
    return {"seconds": seconds} | {key: max(outcome[key] for outcome in outcomes) for key in ("peak_mb", "kept_mb")}


# ------------------------------------------------------------------------------------------------------------------
# One process
# ------------------------------------------------------------------------------------------------------------------
def measure(case: dict) -> dict:
    """Seconds and MB of every step in this process, and what the corpus holds."""
    # The error rates import scikit-learn; here it is imported first, since imports do not count.
    import numpy as np
    import sklearn.metrics  # noqa: F401
    import torch

    from data_objects.corpus import Corpus
    from data_objects.lists import TRIALS, read_trials

    take = Steps()
    cfg = build_settings("cpu", BATCH_SIZE, FRAMES, case["data_dir"])
    loaded = take("index", lambda: Corpus(cfg))
    take("classes", lambda: loaded.index.labels(loaded.speakers))
    batch = take("first_batch", lambda: next(iter(loaded.crops("train").batches)))
    trials = take("trials", lambda: read_trials(loaded.data_dir / TRIALS))
    used = len(trials.utterances)
    embeddings = np.random.default_rng(0).standard_normal((used, DIMENSIONS), dtype=np.float32)
    rates = take("scores", lambda: score(trials, embeddings))
    return {
        "utterances": len(loaded.index),
        "speakers": len(loaded.speakers),
        "batch": len(batch),
        "trials": len(trials),
        "trial_utterances": used,
        "eer": rates[0],
        "min_dcf": rates[1],
        "imports_mb": take.imports_mb,
        "steps": take.taken,
        "machine": describe_machine(torch.device("cpu")),
        "torch": torch.__version__,
    }


def score(trials: "TrialList", embeddings: "np.ndarray") -> tuple[float, float]:
    """EER and minDCF of the trials; utterance number n, by name, has row n of embeddings (M, D)."""
    from utils.metrics.rates import equal_error_rate, min_dcf
    from utils.metrics.scoring import cosine_scores

    scores = cosine_scores(embeddings, trials.enrolment, trials.test)
    return equal_error_rate(scores, trials.labels), min_dcf(scores, trials.labels)


def print_table(report: dict) -> None:
    """A report, for people."""
    print(
        f"{report['utterances']:,} utterances of {report['speakers']:,} speakers, {report['trials']:,} trials of "
        f"{report['trial_utterances']:,} utterances; {report['machine']}, torch {report['torch']}"
    )
    rows = [
        (STEPS[step], f"{taken['seconds']:.3f}", f"{taken['peak_mb']:.1f}", f"{taken['kept_mb']:.1f}")
        for step, taken in report["steps"].items()
    ]
    print(format_table(("", "seconds", "peak MB", "kept MB"), rows))
