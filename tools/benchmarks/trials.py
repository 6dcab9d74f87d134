"""benchmark.py trials: what it takes to score and judge as many trials as VoxCeleb1-E has."""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from tools.benchmarks.measure import CPU, Steps, describe_machine
from tools.benchmarks.processes import Case, Outcome, run_alone
from tools.benchmarks.tables import Columns, format_table
from tools.corpora.sizes import check_utterances
from utils.metrics.bootstrap import verification_intervals
from utils.metrics.rates import equal_error_rate, min_cllr, min_dcf
from utils.metrics.scoring import adaptive_s_norm, cohort_statistics, cosine_scores, fit_calibration

COHORT, TOP_N = 1_211, 300  # speakers of dev, and those of them that adaptive s-norm takes
REPLICATES = 1_000
# Deviation of the speakers' means beside that of the noise, 1: an EER of some per cent in 2,048 dimensions.
SIGNAL = 0.3
ROWS = 4096  # of embeddings drawn at once
STEPS = {
    "embeddings": "draw the embeddings",
    "scores": "cosine scores",
    "figures": "EER, minDCF, min Cllr",
    "intervals": f"intervals by {REPLICATES:,} replicates",
    "cohort": f"cohort statistics of all utterances ({COHORT:,} speakers, the nearest {TOP_N})",
    "snorm": "adaptive s-norm",
}
COLUMNS: Columns = {
    "seconds": ("seconds", "{:.2f}".format),
    "peak_mb": ("peak MB", "{:,.0f}".format),
    "added_mb": ("added MB", "{:,.0f}".format),
    "process_mb": ("process MB", "{:,.0f}".format),
}


def run(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure."""
    check_utterances(args.utterances, args.speakers, 2)
    case = {name: getattr(args, name) for name in ("trials", "utterances", "dimensions", "speakers")}
    yield from run_alone(measure, case, "trials")


def measure(case: Case) -> Outcome:
    """Seconds and MB of every step in this process, and the figures."""
    take = Steps()
    generator = np.random.default_rng(0)
    sizes = (case["utterances"], case["speakers"], case["dimensions"])
    embeddings = take("embeddings", lambda: draw_embeddings(*sizes, generator))
    enrolment, test, labels, speakers = draw_trials(case["trials"], case["utterances"], case["speakers"], generator)
    cohort = generator.standard_normal((COHORT, case["dimensions"]), dtype=np.float32)
    scores = take("scores", lambda: cosine_scores(embeddings, enrolment, test))
    rates = {"eer": equal_error_rate, "min_dcf": min_dcf, "min_cllr": min_cllr}
    figures = take("figures", lambda: {name: rate(scores, labels) for name, rate in rates.items()})
    llrs = fit_calibration(scores, labels).llrs(scores)
    intervals = take(
        "intervals", lambda: verification_intervals(scores, labels, speakers, llrs=llrs, replicates=REPLICATES)
    )
    statistics = take("cohort", lambda: cohort_statistics(embeddings, cohort, TOP_N))
    normalised = take("snorm", lambda: adaptive_s_norm(scores, enrolment, test, *statistics))
    report = {"figures": figures, "intervals": intervals, "snorm_eer": equal_error_rate(normalised, labels)}
    report |= {"embeddings_mb": embeddings.nbytes / 1e6, "machine": describe_machine(CPU)["machine"]}
    return case | report | take.report()


def draw_embeddings(utterances: int, speakers: int, dimensions: int, generator: np.random.Generator) -> np.ndarray:
    """Embeddings (M, D) float32; utterance m is of speaker m modulo the number of speakers."""
    means = SIGNAL * generator.standard_normal((speakers, dimensions), dtype=np.float32)
    embeddings = np.empty((utterances, dimensions), dtype=np.float32)
    for start in range(0, utterances, ROWS):  # the whole of them once is all that there may be room for
        rows = embeddings[start : start + ROWS]
        generator.standard_normal(out=rows, dtype=np.float32)
        rows += means[np.arange(start, start + len(rows)) % speakers]
    return embeddings


def draw_trials(
    trials: int, utterances: int, speakers: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Enrolment, test, label (N,) and speakers (N, 2) of trials, by turns of one speaker and of two."""
    enrolment = generator.integers(utterances, size=trials)
    speaker = enrolment % speakers
    other = (speaker + generator.integers(1, speakers, size=trials)) % speakers
    pairs = np.stack([speaker, np.where(np.arange(trials) % 2 == 0, speaker, other)], axis=1)
    test = pairs[:, 1] + speakers * generator.integers(utterances // speakers, size=trials)
    return enrolment, test, (pairs[:, 0] == pairs[:, 1]).astype(np.int8), pairs


def print_report(report: dict[str, Any]) -> None:
    """A report, for people."""
    print(
        f"{report['trials']:,} trials of {report['utterances']:,} utterances of {report['speakers']:,} speakers, "
        f"{report['dimensions']:,} numbers each ({report['embeddings_mb']:,.0f} MB); {report['machine']}"
    )
    print(format_table({STEPS[step]: taken for step, taken in report["steps"].items()}, COLUMNS))
    eer, interval = report["figures"]["eer"], report["intervals"]["eer"]
    between = f", 95 % interval {100 * interval[0]:.2f} to {100 * interval[1]:.2f} %" if interval else ""
    print(f"EER {100 * eer:.2f} %{between}; with s-norm {100 * report['snorm_eer']:.2f} %")
