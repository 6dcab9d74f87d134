"""What the two evaluations share: how they end, the parts that both reports have, and how figures are written."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from yacs.config import CfgNode

from config import flatten
from data_objects.corpus import Corpus
from utils.evaluation.groups import Breakdowns
from utils.evaluation.identification import check_class_list
from utils.pictures.figure import save_figure
from utils.pictures.intervals import plot_intervals
from utils.recognition.network import TrainedNetwork, check_genotype, load_trained
from utils.records.code import code_fingerprints
from utils.records.guard import IDENTIFICATION, Protocol, check_index
from utils.records.provenance import Provenance, build_provenance, prepare_folder, remove_earlier, write_results
from utils.reports.html import DASH, Picture, Section, Table, write_report
from utils.system.device import prepare
from utils.system.logger import WarningCollector, get_logger

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
        warnings: what is warned of; it grows while the evaluation goes on.
    """

    kind: str
    cfg: CfgNode
    trained: TrainedNetwork
    corpus: Corpus
    folder: Path
    warnings: Sequence[str]

    @classmethod
    def open(
        cls, kind: str, cfg: CfgNode, load_path: str, text_arch: str | None, allow_change: bool, out_dir: Path | None
    ) -> "Evaluation":
        """Load a network and the corpus that it is to be evaluated on.

        Args:
            load_path: a run folder or a checkpoint.
            text_arch: the genotype that the network must be of; None: any will do.
            allow_change: evaluate on another index than that of the training.
            out_dir: for the results; None: the checkpoint's.

        Raises:
            UserError: they will not do: see `load_trained`, `check_class_list` (identification alone), `check_index`.
        """
        warned = WarningCollector()
        code_fingerprints(f"evaluate_{kind}.py")  # kept from now on: files may be edited while it goes on
        trained = load_trained(cfg, load_path, prepare(cfg))
        check_genotype(trained, text_arch)
        corpus = Corpus(cfg)
        if kind == IDENTIFICATION:
            check_class_list(trained.checkpoint, corpus.index, trained.path)
        check_index(trained.checkpoint, corpus.index, trained.path, allow_change)
        return cls(kind, cfg, trained, corpus, out_dir or trained.path.parent, warned.messages)

    def prepare(self) -> None:
        """Make the folders before anything is computed that could not be written; see `prepare_folder` for errors."""
        prepare_folder(self.folder)
        if self.cfg.EVAL.REPORT:
            prepare_folder(self.folder / self.kind)

    def write(
        self,
        results: dict[str, Any],
        protocol: Protocol,
        keys: Sequence[str],
        *,
        title: str,
        summary: str,
        sections: Sequence[Section],
        files: Sequence[Path],
        trials: dict[str, dict[str, Any]] | None = None,
        skipped_trials: int = 0,
    ) -> None:
        """The report, with what all reports end with, and results-KIND.json: of what, from where, in which files.

        Without EVAL.REPORT there is no report, and an earlier one goes.

        Args:
            keys: of the results, what is printed on standard output.
            title, sections: of the report.
            summary: for the log.
            files: what was written already.
            trials, skipped_trials: see `build_provenance`.
        """
        of, script = self.trained, f"evaluate_{self.kind}.py"
        source = of.checkpoint, of.path, self.corpus.index, protocol, of.device
        provenance = build_provenance(self.cfg, *source, script=script, trials=trials, skipped_trials=skipped_trials)
        page, path = self.folder / self.kind / REPORT, self.folder / f"results-{self.kind}.json"
        if self.cfg.EVAL.REPORT:
            sections = [*sections, protocol_section(provenance.protocol), provenance_section(provenance)]
            write_report(page, title, warnings=self.warnings, sections=sections)
            files = [page, *files]
        where = f"pictures and all tables: {page}" if self.cfg.EVAL.REPORT else f"all figures: {path}"
        get_logger().info(f"{summary}{where}")
        results |= {
            "checkpoint": str(of.path),
            "epoch": of.checkpoint.epoch,
            "window_frames": self.corpus.window_frames,
            "warnings": self.warnings,
            "files": remove_earlier(path, files),
        }
        write_results(path, results, provenance, keys=keys)


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
    named = (("trials", "file"), ("their sha256", "sha256"))
    trials = ((name, entry[key]) for entry in fields["trials"].values() for name, key in named)
    files = [
        ("command", fields["command"]),
        *(("checkpoint", checkpoint["file"]), ("its sha256", checkpoint["sha256"]), ("its epoch", checkpoint["epoch"])),
        *(("index", index["folder"]), ("its sha256", index["sha256"])),
        ("its sha256 at the training", index["sha256_at_training"]),
        *trials,
        ("trials skipped", fields["skipped_trials"]),
        *((f"package {name}", number) for name, number in fields["packages"].items()),
        *((f"machine: {name}", value) for name, value in fields["machine"].items()),
    ]
    evaluation, training = flatten(fields["config"]), flatten(fields["training_config"])
    keys = [key for key in evaluation if key.startswith(SETTINGS_SHOWN)]
    settings = [(key, str(evaluation[key]), str(training.get(key, DASH))) for key in keys]
    return Section(
        "Where the figures come from",
        "The same stands, with the hashes of the source files that computed them, in the JSON file beside this report.",
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
        groups = pd.DataFrame(rows, dtype=object).rename(columns={"group": kind})
        estimates, intervals = groups.pop(figure), groups.pop(f"{figure}_interval")
        groups[f"{title} % [95 % interval]"] = list(map(format_estimate, estimates, intervals))
        tables.append(Table.of(f"{title} by {kind}", groups))
        known = estimates.notna()
        if known.sum() > 1:
            ends = np.array([interval or (np.nan, np.nan) for interval in intervals[known]])
            names = list(groups[kind][known])
            chart = plot_intervals(names, np.array(estimates[known], float), ends, f"{title}, %", overall=overall)
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
