"""How validation and test go together over the epochs of trainings, by the kinds of trials that could choose."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure
from pandas import DataFrame

from config import load_config
from data_objects.lists import TRIALS, TrialList
from data_objects.trials import build_validation_trials, kinds_of
from models import STATISTICS
from tools.comparison.report import make_table, write_comparison
from utils.evaluation.fusion import Source, open_source
from utils.evaluation.lists import ListOfTrials, open_lists
from utils.evaluation.verification import protocols_of, warn_of_overlap
from utils.pictures.epochs import Curve, plot_curves
from utils.pictures.figure import COLOURS, INK, legible, new_figure, styled
from utils.recognition.network import error_rates, load_trained
from utils.records.checkpoint import KEPT_FILES
from utils.records.provenance import prepare_folder
from utils.reports.html import Picture, Section, Table
from utils.reports.provenance import Pictures
from utils.system.errors import UserError
from utils.system.files import write_atomically
from utils.system.logger import WarningCollector, get_logger
from utils.system.processes import processes
from utils.training.choice import KINDS
from utils.training.state import merit

RESULTS = "validation"
RANDOM, HARD, ACROSS, TEST = "random", "hard", "hard_across_sessions", "test"
TITLES = {RANDOM: "random trials", HARD: "hard trials", ACROSS: "hard trials across sessions"}
FEWEST = 3  # epochs that a correlation can be of
NOTE = (
    "Lower EER, then lower minDCF, then the earlier epoch: so a training chooses. Correlations are over the epochs "
    "kept. The best epoch is known by the test alone, which nobody may choose by."
)


def compare_validation(
    runs: Mapping[str, Path], options: Sequence[str], file: Path | None, folder: Path, first: int
) -> None:
    """What tools/compare_validation.py does.

    Args:
        runs: run folders, by names for them.
        options: KEY VALUE pairs over the settings of every run.
        file: the list of test trials; None: the corpus's veri_test.txt.
        first: the first epoch that counts.

    Raises:
        UserError: a run that kept too few epochs or held nobody out, or a list that will not do.
    """
    if processes() > 1:
        raise UserError("this is a job for one process: run tools/compare_validation.py without torchrun")
    kept = {name: find_kept(run) for name, run in runs.items()}
    prepare_folder(folder, "--out")
    warned, tables, about = WarningCollector(), {}, {}
    for name, run in runs.items():
        source = open_source(name, run, kept[name][0], [*options, "EVAL.KEEP_EMBEDDINGS", "False"])
        (test,) = open_lists([file or source.corpus.list_path(TRIALS)], source.corpus.index, allow_missing=False)
        trials = draw_kinds(source)
        tables[name] = evaluate_epochs(source, kept[name], trials, test, first)
        about[name] = {"run": str(run), "test": test.source(), "trials": {of: len(own) for of, own in trials.items()}}
    report(folder, tables, about, warned.messages)


def find_kept(run: Path) -> list[Path]:
    """The checkpoints of the epochs that a run kept, in order.

    Raises:
        UserError: there are too few.
    """
    files = sorted(run.glob(KEPT_FILES), key=lambda file: (len(file.name), file.name))
    config = run / "config.yaml"
    if not files and config.is_file() and load_config(config).MODEL.NAME == STATISTICS:
        raise UserError(f"{run} is of {STATISTICS}, which are fitted, not trained epoch by epoch: give a network's run")
    if len(files) < FEWEST:
        raise UserError(
            f"{run} has kept {len(files)} epochs ({KEPT_FILES}), and {FEWEST} are needed: train for more, with "
            "TRAIN.KEEP_EPOCHS"
        )
    return files


def draw_kinds(source: Source) -> dict[str, TrialList]:
    """The trials of every kind, among the speakers that a network's training held out.

    Raises:
        UserError: it held nobody out.
    """
    checkpoint, corpus = source.trained.checkpoint, source.corpus
    speakers = checkpoint.protocol.get("validation_speakers", [])
    if not speakers:
        raise UserError(
            f"{source.name}: its training held no speakers out: train with SUB_DIR dev, DATASET.VAL_SPEAKERS"
        )
    dataset = yaml.safe_load(checkpoint.config)["DATASET"]
    drawn = dataset["VAL_TRIALS"], dataset["VAL_SEED"]
    kinds = checkpoint.protocol.get(KINDS) or kinds_of(speakers, corpus.speaker_details())
    several = [speaker for speaker in speakers if corpus.dev_sessions[speaker] > 1]
    trials = {
        RANDOM: build_validation_trials(corpus.index, speakers, *drawn),
        HARD: build_validation_trials(corpus.index, speakers, *drawn, kinds),
    }
    if trials[HARD].text() == trials[RANDOM].text():
        get_logger().warning(
            f"{source.name}: hard trials are the random ones: gender and nationality of too few speakers held out are "
            "known"
        )
    if 1 < len(several) < len(speakers):
        trials[ACROSS] = build_validation_trials(corpus.index, several, *drawn, kinds)
    else:
        get_logger().warning(
            f"{source.name}: no {TITLES[ACROSS]}: {len(several)} of the {len(speakers)} speakers held out have several "
            "sessions, and they are for some of them"
        )
    return trials


def evaluate_epochs(
    source: Source, files: Sequence[Path], trials: Mapping[str, TrialList], test: ListOfTrials, first: int
) -> DataFrame:
    """KIND_eer, in per cent, and KIND_min_dcf of every kind of trials and of the test, by epoch.

    Raises:
        UserError: too few epochs from the first one on; a network of another training among them.
    """
    warn_of_overlap(
        source.trained.checkpoint, [test], protocols_of(source.trained.checkpoint, source.corpus.index, [test])
    )
    held_out, rows = source.trained.checkpoint.protocol["validation_speakers"], {}
    every = dict(trials) | {TEST: test.trials}
    for file in files:
        source = source._replace(trained=load_trained(source.cfg, str(file), source.trained.device))
        checkpoint = source.trained.checkpoint
        if checkpoint.protocol.get("validation_speakers") != held_out:
            raise UserError(f"{file} held other speakers out than {files[0]}: it is of another training")
        if checkpoint.epoch < first:
            continue
        scores = dict(zip(every, source.score(list(every.values()), [test]).scores, strict=True))
        figures = {kind: error_rates(scores[kind], own.labels) for kind, own in every.items()}
        rows[checkpoint.epoch] = {f"{kind}_{name}": value for kind in figures for name, value in figures[kind].items()}
        said = ", ".join(f"{kind} {figures[kind]['eer']:.2f}" for kind in every)
        get_logger().info(f"{source.name}, epoch {checkpoint.epoch}: EER {said} %")
    if len(rows) < FEWEST:
        raise UserError(
            f"--from_epoch {first}: {source.name} has kept {len(rows)} such epochs, and {FEWEST} are needed"
        )
    return DataFrame.from_dict(rows, orient="index").sort_index().rename_axis("epoch")


def kinds_in(table: DataFrame) -> list[str]:
    return [kind for kind in TITLES if f"{kind}_eer" in table]


def choose(table: DataFrame, kind: str) -> int:
    """The epoch that a training would have chosen by trials of this kind."""

    def merit_of(epoch: int) -> tuple[float, float]:
        return merit({name: float(table.loc[epoch, f"{kind}_{name}"]) for name in ("eer", "min_dcf")})

    return int(max(table.index, key=merit_of))


def agree(table: DataFrame) -> dict[str, Any]:
    """How well each kind of trials goes with the test, and the epoch it chooses; the best epoch, and the last."""
    test = table[f"{TEST}_eer"]
    best, last = int(test.idxmin()), int(table.index[-1])
    kinds = {}
    for kind in kinds_in(table):
        own, epoch = table[f"{kind}_eer"], choose(table, kind)
        correlations = {"pearson": _plain(own.corr(test)), "spearman": _plain(own.rank().corr(test.rank()))}
        kinds[kind] = correlations | {"epoch": epoch, "eer": float(own[epoch]), "test_eer": float(test[epoch])}
    ends = {name: {"epoch": epoch, "test_eer": float(test[epoch])} for name, epoch in (("last", last), ("best", best))}
    return {"epochs": len(table), "kinds": kinds} | ends


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None  # where either is the same at all epochs


def report(
    folder: Path, tables: Mapping[str, DataFrame], about: Mapping[str, dict[str, Any]], warnings: Sequence[str]
) -> None:
    """Write everything, and print the results as JSON."""
    results = {"runs": {name: about[name] | agree(table) for name, table in tables.items()}}
    whole = [table.reset_index().assign(run=name) for name, table in tables.items()]
    rows = [row for table in whole for row in table.to_dict("records")]
    columns = ["run", "epoch", *dict.fromkeys(column for table in tables.values() for column in table)]
    every = DataFrame(rows, columns=columns)
    write_atomically(folder / f"{RESULTS}.csv", every.to_csv(index=False, float_format="%.6g"))
    pictures: list[Picture] = []
    draw = Pictures(folder)
    for name, table in tables.items():
        file = f"{RESULTS}-{len(pictures) + 1}" if len(tables) > 1 else RESULTS
        pictures.append(draw(file, plot_run(table), f"{name}: EER of every kind of trials, over the epochs."))
    caption = "EER of validation trials against the test's, a dot an epoch; a ring around the epoch that they choose."
    pictures.append(draw(f"{RESULTS}-scatter", plot_scatter(tables), caption))
    shown = Table.of("Every epoch kept", every[[column for column in every if not column.endswith("_min_dcf")]])
    sections = [Section("How well they choose", "", [tabulate(results["runs"])], pictures), Section("", "", [shown])]
    write_comparison(folder, "Validation against test", results, warnings, sections, RESULTS)
    print(json.dumps(results))


def tabulate(runs: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = []
    for name, own in runs.items():
        choices = {TITLES[kind]: chosen for kind, chosen in own["kinds"].items()}
        choices |= {"the last epoch": own["last"], "the test itself: the best": own["best"]}
        rows += [{"run": name, "by": by, "best": own["best"]["test_eer"], **chosen} for by, chosen in choices.items()]
    columns = {
        "run": lambda row: row["run"],
        "chosen by": lambda row: row["by"],
        "epoch": lambda row: row["epoch"],
        "its EER, %": lambda row: _text(row.get("eer")),
        "test EER, %": lambda row: _text(row["test_eer"]),
        "above the best": lambda row: _text(row["test_eer"] - row["best"]),
        "Pearson": lambda row: _text(row.get("pearson")),
        "Spearman": lambda row: _text(row.get("spearman")),
    }
    return make_table("Which epoch the trials choose", rows, columns, NOTE)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def plot_run(table: DataFrame) -> Figure:
    """The EERs of a run over its epochs."""
    titles = TITLES | {TEST: "test"}
    epochs = table.index.to_numpy()
    curves = [Curve(titles[kind], epochs, table[f"{kind}_eer"].to_numpy()) for kind in (*kinds_in(table), TEST)]
    return plot_curves(curves, "EER, %")


@styled
def plot_scatter(tables: Mapping[str, DataFrame]) -> Figure:
    """A panel a kind of trials: their EER to the right, the test's upwards, a dot an epoch, a colour a run."""
    kinds = [kind for kind in TITLES if any(kind in kinds_in(table) for table in tables.values())]
    figure = new_figure(2.9 * len(kinds) + 0.4, 3.4)
    panels = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        for place, (name, table) in enumerate(tables.items()):
            if kind in kinds_in(table):
                x, y, chosen = table[f"{kind}_eer"], table[f"{TEST}_eer"], choose(table, kind)
                style: dict[str, Any] = {"color": COLOURS[place % len(COLOURS)], "markersize": 4}
                axes.plot(x, y, "o", label=legible(name), gid=f"{kind} {place}", **style)
                axes.plot(x[chosen], y[chosen], "o", mfc="none", mec=INK, markersize=9, gid=f"{kind} {place} chosen")
        axes.set(xlabel=f"EER of {TITLES[kind]}, %")
        axes.grid()
    panels[0].set_ylabel("EER of the test, %")
    if len(tables) > 1:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
