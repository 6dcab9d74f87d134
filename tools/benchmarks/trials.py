"""What it takes to score and judge as many trials as VoxCeleb1-E has, from embeddings as large as the paper's.

On simulated embeddings: each is its speaker's mean and noise. Half of the trials are of one speaker, half of two; their
utterances are drawn at random. All steps are taken one after the other, once, in a fresh process. Memory: `peak` is the
most that the process had during a step, beyond what it had after its imports, embeddings included; `added` is beyond
what it had when the step began; `process` is all of it.
"""

import argparse
import json
from typing import TYPE_CHECKING

from tools.benchmarks.measure import Steps, describe_machine, format_table, run_case
from utils.system.errors import UserError

if TYPE_CHECKING:
    import numpy as np

SUMMARY = "what scoring, figures and intervals take for VoxCeleb1-E's trials, without its files"
COHORT, TOP_N = 1_211, 300  # speakers of dev, and those of them that adaptive s-norm takes
REPLICATES = 1_000
SIGNAL = (
    0.3  # deviation of the speakers' means beside that of the noise, 1: an EER of some per cent in 2,048 dimensions
)
ROWS = 4096  # of embeddings drawn at once
STEPS = {
    "embeddings": "draw the embeddings",
    "scores": "cosine scores",
    "figures": "EER, minDCF, min Cllr",
    "intervals": f"intervals by {REPLICATES:,} replicates",
    "cohort": f"cohort statistics of all utterances ({COHORT:,} speakers, the nearest {TOP_N})",
    "snorm": "adaptive s-norm",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `benchmark.py trials`."""
    parser.add_argument("--trials", type=int, default=581_480, help="default: 581,480, as VoxCeleb1-E has")
    parser.add_argument("--utterances", type=int, default=145_160, help="default: 145,160, as VoxCeleb1-E has")
    parser.add_argument("--dimensions", type=int, default=2048, help="numbers in an embedding (default: 2048)")
    parser.add_argument("--speakers", type=int, default=1_251, help="default: 1,251")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, no table")
    parser.add_argument("--worker", help=argparse.SUPPRESS)  # a case to measure in this process, as JSON


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    if args.worker:
        print(json.dumps(measure(json.loads(args.worker))))
        return
    if args.trials < 2 or args.dimensions < 1 or args.speakers < 2 or args.utterances < 2 * args.speakers:
        raise UserError(
            "--trials must be at least 2, --dimensions 1, --speakers 2 and --utterances 2 a speaker, not "
            f"{args.trials}, {args.dimensions}, {args.speakers} and {args.utterances}"
        )
    case = {name: getattr(args, name) for name in ("trials", "utterances", "dimensions", "speakers")}
    report = run_case("trials", case, "trials")
    if "error" in report:
        raise UserError(f"trials failed: {report['error']}")
    if args.json:
        print(json.dumps(report))
    else:
        print_table(report)


# ------------------------------------------------------------------------------------------------------------------
# One process
# ------------------------------------------------------------------------------------------------------------------
def measure(case: dict) -> dict:
    """Seconds and MB of every step in this process, and the figures."""
    # What the steps import themselves is imported first, since imports do not count.
    import numpy as np
    import sklearn.isotonic
    import sklearn.linear_model
    import sklearn.metrics  # noqa: F401
    import torch

    from utils.metrics.bootstrap import verification_intervals
    from utils.metrics.rates import equal_error_rate, min_cllr, min_dcf
    from utils.metrics.scoring import adaptive_s_norm, cohort_statistics, cosine_scores, fit_calibration

    take = Steps()
    generator = np.random.default_rng(0)
    sizes = (case["utterances"], case["speakers"], case["dimensions"])
    embeddings = take("embeddings", lambda: draw_embeddings(*sizes, generator))
    enrolment, test, labels, speakers = draw_trials(case["trials"], case["utterances"], case["speakers"], generator)
    cohort = generator.standard_normal((COHORT, case["dimensions"]), dtype=np.float32)
    scores = take("scores", lambda: cosine_scores(embeddings, enrolment, test))
    figures = take("figures", lambda: [figure(scores, labels) for figure in (equal_error_rate, min_dcf, min_cllr)])
    llrs = fit_calibration(scores, labels).llrs(scores)
    intervals = take(
        "intervals", lambda: verification_intervals(scores, labels, speakers, llrs=llrs, replicates=REPLICATES)
    )
    statistics = take("cohort", lambda: cohort_statistics(embeddings, cohort, TOP_N))
    normalised = take("snorm", lambda: adaptive_s_norm(scores, enrolment, test, *statistics))
    return case | {
        "figures": dict(zip(("eer", "min_dcf", "min_cllr"), figures, strict=True)),
        "intervals": intervals,
        "snorm_eer": equal_error_rate(normalised, labels),
        "embeddings_mb": embeddings.nbytes / 1e6,
        "imports_mb": take.imports_mb,
        "steps": take.taken,
        "machine": describe_machine(torch.device("cpu")),
    }


def draw_embeddings(utterances: int, speakers: int, dimensions: int, generator: "np.random.Generator") -> "np.ndarray":
    """Embeddings (M, D) float32; utterance m is of speaker m modulo the number of speakers."""
    import numpy as np

    means = SIGNAL * generator.standard_normal((speakers, dimensions), dtype=np.float32)
    embeddings = np.empty((utterances, dimensions), dtype=np.float32)
    for start in range(0, utterances, ROWS):  # the whole of them once is all that there may be room for
        rows = embeddings[start : start + ROWS]
        generator.standard_normal(out=rows, dtype=np.float32)
        rows += means[np.arange(start, start + len(rows)) % speakers]
    return embeddings


def draw_trials(
    trials: int, utterances: int, speakers: int, generator: "np.random.Generator"
) -> tuple["np.ndarray", "np.ndarray", "np.ndarray", "np.ndarray"]:
    """Enrolment, test, label (N,) and speakers (N, 2) of trials, by turns of one speaker and of two."""
    import numpy as np

    enrolment = generator.integers(utterances, size=trials)
    speaker = enrolment % speakers
    other = (speaker + generator.integers(1, speakers, size=trials)) % speakers
    pairs = np.stack([speaker, np.where(np.arange(trials) % 2 == 0, speaker, other)], axis=1)
    test = pairs[:, 1] + speakers * generator.integers(utterances // speakers, size=trials)
    return enrolment, test, (pairs[:, 0] == pairs[:, 1]).astype(np.int8), pairs


def print_table(report: dict) -> None:
    """A report, for people."""
    print(
        f"{report['trials']:,} trials of {report['utterances']:,} utterances of {report['speakers']:,} speakers, "
        f"{report['dimensions']:,} numbers each ({report['embeddings_mb']:,.0f} MB); {report['machine']}"
    )
    rows = [
        (
            STEPS[step],
            f"{taken['seconds']:.2f}",
            *(f"{taken[key]:,.0f}" for key in ("peak_mb", "added_mb", "process_mb")),
        )
        for step, taken in report["steps"].items()
    ]
    print(format_table(("", "seconds", "peak MB", "added MB", "process MB"), rows))
    eer, interval = report["figures"]["eer"], report["intervals"]["eer"]
    between = f", 95 % interval {100 * interval[0]:.2f} to {100 * interval[1]:.2f} %" if interval else ""
    print(f"EER {100 * eer:.2f} %{between}; with s-norm {100 * report['snorm_eer']:.2f} %")
