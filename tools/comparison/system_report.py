"""A comparison of systems as tables and pictures."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tools.comparison.report import format_spread
from utils.pictures.det import plot_det
from utils.pictures.intervals import plot_intervals
from utils.records.provenance import prepare_folder
from utils.reports.html import Picture, Table
from utils.reports.provenance import Pictures, format_estimate

IDENTIFICATION, VERIFICATION = "identification", "verification"
PICTURES, SCORES = "pictures", "scores.txt"


class Figure(NamedTuple):
    """What is compared: `key` of what an evaluation of this kind says of the network trained on SUB_DIR."""

    kind: str
    sub_dir: str
    key: str
    title: str
    digits: int


FIGURES = {
    "top1": Figure(IDENTIFICATION, "merged", "top1", "Top-1 %", 2),
    "top5": Figure(IDENTIFICATION, "merged", "top5", "Top-5 %", 2),
    "eer_seen": Figure(VERIFICATION, "merged", "eer", "EER %, test speakers trained on", 2),
    "eer": Figure(VERIFICATION, "dev", "eer", "EER %, speaker-disjoint", 2),
    "min_dcf": Figure(VERIFICATION, "dev", "min_dcf_0.01", "minDCF 0.01", 3),
    "cllr": Figure(VERIFICATION, "dev", "cllr", "Cllr", 3),
    "min_cllr": Figure(VERIFICATION, "dev", "min_cllr", "min Cllr", 3),
}
PUBLISHED = {"top1": True, "eer_seen": False, "eer": True, "min_dcf": False}  # columns: whether with intervals
BESIDES = dict.fromkeys(("top5", "min_dcf", "cllr", "min_cllr"), True)
DRAWN = ("top1", "eer", "min_dcf")


def make_tables(comparison: Mapping[str, Any]) -> list[Table]:
    """The columns of the published table, and what there is besides."""
    rows, more = [], []
    for result in comparison["results"].values():
        cells, others = (_cells(result, columns, comparison["seeds"]) for columns in (PUBLISHED, BESIDES))
        minutes = f"{result['minutes_merged']:.1f} + {result['minutes_dev']:.1f}"
        rows.append((result["method"], *cells, f"{result['parameters_merged']:,}", minutes))
        more.append((result["method"], *others, f"{result['epoch_merged']}, {result['epoch_dev']}"))
    caption = "Four systems under one recipe" if len(rows) == 4 else "Systems under one recipe"
    note = "Cllr is that of the calibrated scores; a dash: no held-out speakers to calibrate on."
    return [
        Table(caption, _header(PUBLISHED, "parameters", "training minutes"), rows, _describe_columns(comparison)),
        Table("Besides", _header(BESIDES, "best epoch, merged and dev"), more, note),
    ]


def _header(columns: Mapping[str, bool], *more: str) -> list[str]:
    return ["Method", *(FIGURES[name].title + " [95 %]" * shown for name, shown in columns.items()), *more]


def _cells(result: Mapping[str, Any], columns: Mapping[str, bool], seeds: Sequence[int]) -> list[str]:
    """The first seed's figures, with their intervals; and mean ± deviation over the seeds, if there are several."""
    cells = []
    for name, shown in columns.items():
        digits = FIGURES[name].digits
        cell = format_estimate(result[name], result[f"{name}_interval"] if shown else None, digits)
        several = len(seeds) > 1 and result[f"{name}_std"] is not None
        cells.append(f"{cell}; {format_spread(result, name, digits)}" if several else cell)
    return cells


def _describe_columns(comparison: Mapping[str, Any]) -> str:
    """What the numbers of the table are."""
    overlap, (first, *others) = comparison["trial_speakers_trained_on"], comparison["seeds"]
    text = (
        f"Top-1: {comparison['utterances']:,} test utterances of {comparison['speakers']:,} speakers, all of them "
        f"trained on (SUB_DIR merged). EER and minDCF: {comparison['trials']:,} trials of "
        f"{comparison['trial_speakers']} speakers, of whom the merged network was trained on "
        f"{overlap['merged']} and the other one (SUB_DIR dev) on {overlap['dev']}. In brackets: 95 % intervals of one "
        "trained network by bootstrap over the test speakers. Parameters: of the merged network. Minutes: in training "
        "steps, merged + dev. "
    )
    if not others:
        return text + f"One training each, seed {first}: what another seed would give is not in the intervals."
    return text + (
        f"Before the semicolon: the network of seed {first}; behind it: mean ± standard deviation over the seeds "
        f"{', '.join(map(str, (first, *others)))}. Minutes: their mean."
    )


def draw(folder: Path, comparison: Mapping[str, Any], runs: Mapping[str, Path]) -> list[Picture]:
    """DET curves of the speaker-disjoint networks, and the figures with their intervals: of the first seed.

    Args:
        runs: by system, the run folder of that network.
    """
    picture, seed = Pictures(prepare_folder(folder / PICTURES)), comparison["seeds"][0]
    results = {result["method"]: result for result in comparison["results"].values()}
    scores = [np.loadtxt(run / SCORES, usecols=(0, 1), ndmin=2) for run in runs.values()]
    curves = {method: (own[:, 0], own[:, 1]) for method, own in zip(results, scores, strict=True)}
    of_seed = f"SUB_DIR dev, seed {seed}" if comparison["speaker_disjoint"]["dev"] else f"NOT disjoint; seed {seed}"
    pictures = [picture("det", plot_det(curves), f"DET curves, {of_seed}.")]
    for name in DRAWN:
        title = FIGURES[name].title
        estimates = np.array([result[name] for result in results.values()])
        intervals = [result[f"{name}_interval"] or (math.nan, math.nan) for result in results.values()]
        chart = plot_intervals(list(results), estimates, np.array(intervals), title)
        pictures.append(picture(name, chart, f"{title}, with 95 % intervals; seed {seed}."))
    return pictures
