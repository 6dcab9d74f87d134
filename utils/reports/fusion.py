"""What tools/fuse.py prints and leaves."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.evaluation.lists import ListOfTrials
from utils.evaluation.verification import METRICS
from utils.reports.provenance import format_figure
from utils.system.files import write_atomically
from utils.system.text import align

DIGITS = {"eer": 2}  # of the others 3


def tabulate_fusion(results: Mapping[str, Any]) -> str:
    """The figures of every list, of each system alone and of all, for the console."""
    shown = {name: metric for name, metric in METRICS.items() if metric.title and metric.on_console}
    weights = {name: system["weight"] for name, system in results["fusion"]["systems"].items()}
    rows = [["list", "system", *(metric.title for metric in shown.values()), "weight"]]
    for name, systems in results["lists"].items():
        for system, figures in systems.items():
            cells = [format_figure(figures, metric, DIGITS.get(metric, 3)) for metric in shown]
            rows.append([name, system, *cells, f"{weights[system]:.3g}" if system in weights else ""])
    return align(rows)


def write_fusion(
    folder: Path, results: Mapping[str, Any], scores: Sequence[tuple[ListOfTrials, np.ndarray]]
) -> list[Path]:
    """fusion.json, and of every list the log-likelihood ratios: ratio, label, enrolment, test; returns the files."""
    files = [folder / "fusion.json"]
    write_atomically(files[0], json.dumps(results, indent=2) + "\n")
    for entry, llrs in scores:
        name = f"scores-{entry.name}.txt" if len(scores) > 1 else "scores.txt"
        pairs = zip(llrs.tolist(), entry.trials, strict=True)
        text = "".join(f"{llr:.8f} {' '.join(map(str, trial))}\n" for llr, trial in pairs)
        files.append(folder / name)
        write_atomically(files[-1], text)
    return files
