"""What the two evaluations share: how they end, the parts that both reports have, and how figures are written."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from yacs.config import CfgNode

from config import flatten
from data_objects.corpus import Corpus
from utils.evaluation.groups import Breakdowns
from utils.pictures.figure import save_figure
from utils.pictures.intervals import plot_intervals
from utils.recognition.network import TrainedNetwork
from utils.records.guard import Protocol
from utils.records.provenance import Provenance, build_provenance, prepare_folder, remove_earlier, write_results
from utils.reports.html import DASH, Picture, Section, Table, write_report
from utils.system.logger import get_logger

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


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated, on what, and where what comes of it goes.

    Attributes:
        kind: verification or identification.
        folder: for the results; report and pictures are in the folder of the kind's name within.
        warnings: what was warned of so far.
    """

    kind: str
    cfg: CfgNode
    trained: TrainedNetwork
    corpus: Corpus
    folder: Path
    warnings: Sequence[str]

    def prepare(self) -> None:
        """Make the folders before anything is computed that could not be written; see `prepare_folder` for errors."""
        prepare_folder(self.folder)
        prepare_folder(self.folder / self.kind)

    def provenance(self, protocol: Protocol, **trials: Any) -> Provenance:
        """Where the figures come from; see `build_provenance`."""
        of, script = self.trained, f"evaluate_{self.kind}.py"
        source = of.checkpoint, of.path, self.corpus.index, protocol, of.device
        return build_provenance(self.cfg, *source, script=script, **trials)

    def subject(self) -> dict[str, Any]:
        """For the results, what they are of."""
        return {
            "checkpoint": str(self.trained.path),
            "epoch": self.trained.checkpoint.epoch,
            "window_frames": self.corpus.window_frames,
            "warnings": self.warnings,
        }

    def write(
        self,
        results: dict[str, Any],
        provenance: Provenance,
        keys: Sequence[str],
        *,
        title: str,
        summary: str,
        sections: Sequence[Section],
        files: Sequence[Path],
    ) -> None:
        """The report, with what all reports end with, and results-KIND.json, which lists the files.

        Args:
            keys: of the results, what is printed on standard output.
            title, sections: of the report.
            summary: for the log.
            files: what was written already.
        """
        page, path = self.folder / self.kind / REPORT, self.folder / f"results-{self.kind}.json"
        sections = [*sections, protocol_section(provenance.protocol), provenance_section(provenance)]
        write_report(page, title, warnings=self.warnings, sections=sections)
        get_logger().info(f"{summary}pictures and all tables: {page}")
        write_results(path, results | {"files": remove_earlier(path, [page, *files])}, provenance, keys=keys)


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
    unknown = (
        "The index is not that of the training, or the network is older than this check: what it was trained on is "
        "looked up in the index of now, by the names of its speakers."
    )
    text = "" if protocol.get("training_utterances_known", True) else unknown
    return Section("Who was trained on, who is tested on", text, [roles, overlap])


def provenance_section(provenance: Provenance) -> Section:
    """Everything that it takes to get the figures again."""
    fields = asdict(provenance)
    checkpoint, index = fields["checkpoint"], fields["index"]
    trials = [(("trials", entry["file"]), ("their sha256", entry["sha256"])) for entry in fields["trials"].values()]
    files = [
        ("command", fields["command"]),
        *(("checkpoint", checkpoint["file"]), ("its sha256", checkpoint["sha256"]), ("its epoch", checkpoint["epoch"])),
        *(("index", index["folder"]), ("its sha256", index["sha256"])),
        ("its sha256 at the training", index["sha256_at_training"]),
        *chain.from_iterable(trials),
        ("trials skipped", fields["skipped_trials"]),
        *((f"package {name}", number) for name, number in fields["packages"].items()),
        *((f"machine: {name}", value) for name, value in fields["machine"].items()),
    ]
    evaluation, training = flatten(fields["config"]), flatten(fields["training_config"])
    keys = [key for key in evaluation if key.startswith(SETTINGS_SHOWN)]
    settings = [(key, str(evaluation[key]), str(training.get(key, DASH))) for key in keys]
    return Section(
        "Where the figures come from",
        "The same stands, with the hashes of all source files, in the JSON file beside this report.",
        [
            Table("Files, packages, machine", ("what", "value"), files),
            Table("Settings", ("key", "evaluation", "training"), settings),
        ],
    )


def breakdown_section(breakdowns: Breakdowns, figure: str, title: str, overall: float, picture: Pictures) -> Section:
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
            chart = plot_intervals(
                [row["group"] for row in shown],
                np.array([row[figure] for row in shown]),
                np.array([row[f"{figure}_interval"] or (math.nan, math.nan) for row in shown]),
                f"{title}, %",
                overall=overall,
                percent=False,
            )
            pictures.append(picture(f"{figure}-by-{kind}", chart, f"{title} by {kind}; the line is all together."))
    return Section("Breakdowns", "", tables, pictures)


def format_estimate(estimate: float | None, interval: Sequence[float] | None, digits: int = 2) -> str:
    """A figure with its interval; a dash where there is none."""
    if estimate is None:
        return DASH
    shown = f"{estimate:.{digits}f}"
    return shown if interval is None else f"{shown} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def format_figure(figures: Mapping[str, Any], name: str, digits: int = 2) -> str:
    """One of an evaluation's figures, with its interval."""
    return format_estimate(figures[name], figures.get("intervals", {}).get(name), digits)
