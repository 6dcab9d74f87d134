"""The part that all reports of evaluations share: who was trained on and tested on, and where the figures come from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from config import flatten
from utils.pictures.figure import save_figure
from utils.pictures.intervals import plot_intervals
from utils.records.provenance import Provenance
from utils.reports.html import Picture, Section, Table

REPORT = "report.html"
SETTINGS_SHOWN = ("DATASET.", "EVAL.", "MODEL.", "TRAIN.", "SEED", "AUGMENT.")  # beginnings of keys


class Pictures:
    """Writes the figures of a report as PNG and PDF beside it too, for papers.

    Attributes:
        files: what was written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[Path] = []

    def __call__(self, name: str, figure: Figure, caption: str) -> Picture:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.files += save_figure(figure, self.folder / name)
        return Picture(caption, figure)


def protocol_section(protocol: Mapping[str, Any]) -> Section:
    """Who takes which part, and what overlaps, from the summary of a protocol."""
    roles = Table(
        "What the network was trained and chosen on, and what it is tested on",
        ("role", "speakers", "utterances", "sha256 of the utterances' names"),
        [
            (name, role["speakers"], role["utterances"], f"{role['sha256'][:16]}…")
            for name, role in protocol["roles"].items()
        ],
        note="Validated on: other recordings of the speakers trained on. Held out: speakers whose trials chose the "
        "best epoch, and calibrated the scores; they were not trained on. Pretrained on: all utterances of the "
        "speakers that the network of MODEL.PRETRAINED had learnt from.",
    )
    overlap = Table(
        "What overlaps",
        ("what", "between", "how many", "such as"),
        [
            (entry["kind"], " and ".join(entry["between"]), entry["number"], ", ".join(entry["examples"]))
            for entry in protocol["overlap"]
        ],
        note="Nothing that matters for this evaluation, where the table is empty.",
    )
    known = protocol.get("training_utterances_known", True)
    text = "" if known else "The index is not that of the training, or the network is older than this check: what it "
    text += "" if known else "was trained on is looked up in the index of now, by the names of its speakers."
    return Section("Who was trained on, who is tested on", text, [roles, overlap])


def provenance_section(provenance: Provenance) -> Section:
    """Everything that it takes to get the figures again."""
    fields = asdict(provenance)
    files = [("command", fields["command"]), ("checkpoint", fields["checkpoint"]["file"])]
    files += [("its sha256", fields["checkpoint"]["sha256"]), ("its epoch", fields["checkpoint"]["epoch"])]
    files += [("index", fields["index"]["folder"]), ("its sha256", fields["index"]["sha256"])]
    files += [("its sha256 at the training", fields["index"]["sha256_at_training"])]
    for entry in fields["trials"].values():
        files += [("trials", entry["file"]), ("their sha256", entry["sha256"])]
    files += [("trials skipped", fields["skipped_trials"])]
    files += [(f"package {name}", number) for name, number in fields["packages"].items()]
    files += [(f"machine: {name}", value) for name, value in fields["machine"].items()]
    evaluation, training = flatten(fields["config"]), flatten(fields["training_config"])
    keys = [key for key in evaluation if key.startswith(SETTINGS_SHOWN)]
    settings = [(key, str(evaluation[key]), str(training.get(key, "–"))) for key in keys]
    return Section(
        "Where the figures come from",
        "The same stands, with the hashes of all source files, in the JSON file beside this report.",
        [
            Table("Files, packages, machine", ("what", "value"), files),
            Table("Settings", ("key", "evaluation", "training"), settings),
        ],
    )


def breakdown_section(
    breakdowns: Mapping[str, Sequence[Mapping[str, Any]]], figure: str, title: str, overall: float, picture: Pictures
) -> Section:
    """A table and a picture of every kind of groups.

    Args:
        figure: the key of what is shown, in per cent; its interval's key ends in _interval.
        title: what to call it.
    """
    tables, pictures = [], []
    for kind, rows in breakdowns.items():
        counts = [key for key in rows[0] if key not in ("group", figure, f"{figure}_interval")]
        cells = [
            (row["group"], *(row[key] for key in counts), format_estimate(row[figure], row[f"{figure}_interval"]))
            for row in rows
        ]
        tables.append(Table(f"{title} by {kind}", (kind, *counts, f"{title} % [95 % interval]"), cells))
        shown = [row for row in rows if row[figure] is not None]
        if len(shown) > 1:
            intervals = [row[f"{figure}_interval"] or (math.nan, math.nan) for row in shown]
            chart = plot_intervals(
                [row["group"] for row in shown],
                np.array([row[figure] for row in shown]) / 100,
                np.array(intervals) / 100,
                f"{title}, %",
                overall=overall / 100,
            )
            pictures.append(picture(f"{figure}-by-{kind}", chart, f"{title} by {kind}; the line is all together."))
    return Section("Breakdowns", "", tables, pictures)


def format_estimate(estimate: float | None, interval: Sequence[float] | None, digits: int = 2) -> str:
    """A figure with its interval; a dash where there is none."""
    if estimate is None:
        return "–"
    shown = f"{estimate:.{digits}f}"
    return shown if interval is None else f"{shown} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
