"""What tools/fuse.py prints and leaves."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.evaluation.fusion import fuse, open_sources, read_qualities
from utils.evaluation.lists import ListOfTrials
from utils.evaluation.verification import METRICS
from utils.records.provenance import prepare_folder
from utils.reports.verification import format_metric, format_scores
from utils.system.files import write_atomically
from utils.system.logger import get_logger
from utils.system.text import align

SUMMARY = ("eer", "min_dcf", "trials", "fusion")


def report_fusion(
    runs: Mapping[str, tuple[Path, str]], options: Sequence[str], files: Sequence[Path], folder: Path, quality: str
) -> None:
    """What tools/fuse.py does: fuse trained networks, and write and print what comes of it.

    Args:
        runs: run folders and ways of scoring, by names for them.
        options: KEY VALUE pairs over the settings of every run.
        files: lists of trials; none: the corpus's veri_test.txt.
        quality: measures to fuse with the scores, with commas between them; empty: none.

    Raises:
        UserError: networks or a list that will not do (see `open_sources` and `fuse`); a folder that cannot be made.
    """
    qualities = read_qualities(quality) if quality else []
    sources = open_sources(runs, options)
    prepare_folder(folder, "--out")
    results, scores = fuse(sources, files, qualities)
    write_fusion(folder, results, scores)
    get_logger().info(f"\n{tabulate_fusion(results)}\nwritten to {folder}")
    print(json.dumps({key: results[key] for key in SUMMARY}))


def tabulate_fusion(results: Mapping[str, Any]) -> str:
    """The figures of every list, of each system alone and of all, and the weights, for the console."""
    shown = {name: metric for name, metric in METRICS.items() if metric.title and metric.on_console}
    weights = {name: system["weight"] for name, system in results["fusion"]["systems"].items()}
    rows = [["list", "system", *(metric.title for metric in shown.values()), "weight"]]
    for name, systems in results["lists"].items():
        for system, figures in systems.items():
            cells = [format_metric(figures, key) for key in shown]
            rows.append([name, system, *cells, f"{weights[system]:.3g}" if system in weights else ""])
    quality = [[name, f"{weight:.3g}"] for name, weight in results["fusion"].get("quality", {}).items()]
    return align(rows) + (f"\n\n{align([['quality', 'weight'], *quality])}" if quality else "")


def write_fusion(
    folder: Path, results: Mapping[str, Any], scores: Sequence[tuple[ListOfTrials, np.ndarray]]
) -> list[Path]:
    """fusion.json, and of every list the log-likelihood ratios: ratio, label, enrolment, test; returns the files."""
    files = [folder / "fusion.json"]
    write_atomically(files[0], json.dumps(results, indent=2) + "\n")
    for entry, llrs in scores:
        name = f"scores-{entry.name}.txt" if len(scores) > 1 else "scores.txt"
        files.append(folder / name)
        write_atomically(files[-1], format_scores(llrs, entry.trials))
    return files
