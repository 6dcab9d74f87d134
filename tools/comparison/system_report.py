"""A comparison of systems as tables and pictures."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from utils.pictures.det import plot_det
from utils.pictures.intervals import plot_intervals
from utils.records.provenance import prepare_folder
from utils.reports.html import Picture, Table
from utils.reports.provenance import Pictures, format_estimate

IDENTIFICATION, VERIFICATION = "identification", "verification"
PICTURES, SCORES = "pictures", "scores.txt"


class Figure(NamedTuple):
    """What is compared: `key` of what an evaluation of this kind of the network of SUB_DIR says."""

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
    results = comparison["results"].values()
    sizes = [(f"{result['parameters_merged']:,}", _pair(result, "minutes", ".1f", " + ")) for result in results]
    epochs = [(_pair(result, "epoch", "", ", "),) for result in results]
    caption = "Four systems under one recipe" if len(results) == 4 else "Systems under one recipe"
    note = "Cllr is that of the calibrated scores; a dash: no held-out speakers to calibrate on."
    return [
        _table(
            caption, comparison, PUBLISHED, ("parameters", "training minutes"), sizes, _describe_columns(comparison)
        ),
        _table("Besides", comparison, BESIDES, ("best epoch, merged and dev",), epochs, note),
    ]


def _pair(result: Mapping[str, Any], name: str, form: str, between: str) -> str:
    """What both networks of a system have."""
    return between.join(f"{result[f'{name}_{sub_dir}']:{form}}" for sub_dir in ("merged", "dev"))


def _table(
    caption: str,
    comparison: Mapping[str, Any],
    columns: Mapping[str, bool],
    more: Sequence[str],
    cells: Sequence[Sequence[str]],
    note: str,
) -> Table:
    """A row a system: columns of FIGURES, and more with their cells."""
    header = [FIGURES[name].title + " [95 %]" * with_interval for name, with_interval in columns.items()]
    several = len(comparison["seeds"]) > 1
    rows = [
        (result["method"], *(_format(result, *column, several) for column in columns.items()), *others)
        for result, others in zip(comparison["results"].values(), cells, strict=True)
    ]
    return Table(caption, ("Method", *header, *more), rows, note)


def _format(result: Mapping[str, Any], name: str, with_interval: bool, several: bool) -> str:
    """The first seed's figure, with its interval; and the mean ± deviation over the seeds, if there are several."""
    digits = FIGURES[name].digits
    text = format_estimate(result[name], result[f"{name}_interval"] if with_interval else None, digits)
    mean, deviation = result[f"{name}_mean"], result[f"{name}_std"]
    return f"{text}; {mean:.{digits}f} ± {deviation:.{digits}f}" if several and deviation is not None else text


def _describe_columns(comparison: Mapping[str, Any]) -> str:
    """What the numbers of the table are."""
    overlap, seeds = comparison["trial_speakers_trained_on"], comparison["seeds"]
    text = (
        f"Top-1: {comparison['utterances']:,} test utterances of {comparison['speakers']:,} speakers, all of them "
        f"trained on (SUB_DIR merged). EER and minDCF: {comparison['trials']:,} trials of "
        f"{comparison['trial_speakers']} speakers, of whom the merged network was trained on "
        f"{overlap['merged']} and the other one (SUB_DIR dev) on {overlap['dev']}. In brackets: 95 % intervals of one "
        "trained network by bootstrap over the test speakers. Parameters: of the merged network. Minutes: in training "
        "steps, merged + dev. "
    )
    if len(seeds) == 1:
        return text + f"One training each, seed {seeds[0]}: what another seed would give is not in the intervals."
    return text + (
        f"Before the semicolon: the network of seed {seeds[0]}; behind it: mean ± standard deviation over the seeds "
        f"{', '.join(map(str, seeds))}. Minutes: their mean."
    )


def draw(folder: Path, comparison: Mapping[str, Any], runs: Mapping[str, Path]) -> list[Picture]:
    """DET curves of the speaker-disjoint networks, and the figures with their intervals: of the first seed.

    Args:
        runs: by system, the run folder of that network.
    """
    picture, seed = Pictures(prepare_folder(folder / PICTURES)), comparison["seeds"][0]
    results = list(comparison["results"].values())
    scores = [np.loadtxt(run / SCORES, usecols=(0, 1), ndmin=2) for run in runs.values()]
    methods = [result["method"] for result in results]
    curves = {method: (own[:, 0], own[:, 1]) for method, own in zip(methods, scores, strict=True)}
    of_seed = f"SUB_DIR dev, seed {seed}" if comparison["speaker_disjoint"]["dev"] else f"NOT disjoint; seed {seed}"
    pictures = [picture("det", plot_det(curves), f"DET curves, {of_seed}.")]
    for name in DRAWN:
        title = FIGURES[name].title
        unit = 100 if "%" in title else 1
        estimates = np.array([result[name] for result in results]) / unit
        intervals = np.array([result[f"{name}_interval"] or (math.nan, math.nan) for result in results]) / unit
        chart = plot_intervals(methods, estimates, intervals, title, percent=unit == 100)
        pictures.append(picture(name, chart, f"{title}, with 95 % intervals; seed {seed}."))
    return pictures
