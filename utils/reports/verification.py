"""What evaluate_verification.py does and leaves: scores, skipped trials, calibration, a table, a report."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from yacs.config import CfgNode

from data_objects.lists import TRIALS, TrialList
from utils.evaluation.lists import open_lists
from utils.evaluation.systems import EVEN
from utils.evaluation.verification import (
    ALL,
    CALIBRATION,
    DISCRIMINATION,
    METRICS,
    PRIORS,
    Verification,
    evaluate_lists,
)
from utils.pictures.confusion import plot_confused_pairs
from utils.pictures.det import plot_det
from utils.pictures.scores import plot_histograms, plot_reliability
from utils.records.guard import VERIFICATION
from utils.reports.html import Section, Table
from utils.reports.provenance import Evaluation, Pictures, breakdown_section, format_figure
from utils.system.files import expand_user, hash_file, write_atomically
from utils.system.text import align

SUMMARY = ("eer", "min_dcf", "trials", "skipped_trials", "utterances", "speaker_overlap", "speaker_disjoint")
SYSTEMS = {
    "cosine": "cosine",
    "centred": "cosine, centred",
    "snorm": "cosine, adaptive s-norm",
    "lda": "cosine after LDA",
    "plda": "PLDA",
}
APART = "speakers apart from training's"
NOTES = {  # of the tables of figures
    DISCRIMINATION: "In brackets: 95 % intervals by bootstrap over speakers; none where a list has fewer than five. "
    "The EER is interpolated linearly on the ROC.",
    CALIBRATION: "A dash: the scores are not calibrated: there are no likelihood ratios to trust.",
}


def report_verification(
    cfg: CfgNode,
    load_path: str,
    files: Sequence[str],
    *,
    text_arch: str | None,
    allow_missing: bool,
    allow_index_change: bool,
    out_dir: Path | None,
) -> None:
    """What evaluate_verification.py does: evaluate a trained network on lists of trials, and write what comes of it.

    For other arguments see `Evaluation.open`.

    Args:
        files: the lists; none: the corpus's veri_test.txt.
        allow_missing: skip trials without utterances, instead of refusing the list.

    Raises:
        UserError: a network, an index or a list that will not do: see `Evaluation.open`, `open_lists`.
    """
    evaluation = Evaluation.open(VERIFICATION, cfg, load_path, text_arch, allow_index_change, out_dir)
    corpus = evaluation.corpus
    given = [expand_user(file, "--trials") for file in files]
    lists = open_lists(given or [corpus.list_path(TRIALS)], corpus.index, allow_missing)
    evaluation.prepare()
    evaluated = evaluate_lists(cfg, evaluation.trained, corpus, lists)
    if evaluated is not None:  # the main process goes on alone
        write(evaluation, *evaluated)


def write(evaluation: Evaluation, verification: Verification, results: dict[str, Any]) -> None:
    """Everything that an evaluation leaves, and a table of it on standard error."""
    lists = verification.lists
    sections: list[Section] = []
    files: list[Path] = []
    if evaluation.cfg.EVAL.REPORT:
        sections, files = make_sections(evaluation.folder / VERIFICATION, verification, results)
    for name, text in make_files(evaluation, verification):
        files.append(evaluation.folder / name)
        write_atomically(files[-1], text)
    evaluation.write(
        results,
        verification.protocols[ALL],
        SUMMARY,
        title=f"Verification on {', '.join(entry.title for entry in lists)}",
        summary=f"\n{format_table(results)}\n",
        sections=sections,
        files=files,
        trials={entry.name: entry.source() for entry in lists},
        skipped_trials=sum(len(entry.skipped) for entry in lists),
    )


def make_files(evaluation: Evaluation, verification: Verification) -> Iterator[tuple[str, str]]:
    """The names and texts of the files beside results and report, one after another: they may be large.

    For every list and system, scores: score, label, enrolment, test. The trials skipped, where there are any.
    calibration.json: what turns scores into log likelihood ratios and decisions, for others to use.
    """
    for place, entry in enumerate(verification.lists):
        of_list = f"-{entry.name}" if len(verification.lists) > 1 else ""
        for system in verification.systems:
            of_system = "" if system == verification.systems[0] else f"--{system}"
            yield f"scores{of_list}{of_system}.txt", format_scores(verification.scores[system][place], entry.trials)
    if skipped := "".join(entry.skipped.text() for entry in verification.lists):
        yield "skipped_trials.txt", skipped
    systems = {
        system: own.as_dict() | {"thresholds": {str(prior): own.threshold(prior) for prior in (EVEN, *PRIORS)}}
        for system, own in verification.calibrations.items()
        if own is not None
    }
    if systems:
        of = {
            "checkpoint": hash_file(evaluation.trained.path),
            "window_frames": evaluation.corpus.window_frames,
            "index": evaluation.corpus.index.fingerprint,
        }
        yield "calibration.json", json.dumps({"systems": systems} | of, indent=2) + "\n"


def format_scores(scores: np.ndarray, trials: TrialList) -> str:
    """A line a trial: its score (of N,), its label, both utterances."""
    pairs = zip(scores.tolist(), trials, strict=True)
    return "".join(f"{score:.8f} {' '.join(map(str, trial))}\n" for score, trial in pairs)


def format_metric(figures: Mapping[str, Any], key: str) -> str:
    """One of METRICS with its interval: a rate in per cent with two digits, any other with three."""
    return format_figure(figures, key, 2 if METRICS[key].scale == 100 else 3)


def tabulate(results: Mapping[str, Any]) -> pd.DataFrame:
    """The figures of every list and system, a row each, as texts; an interval behind what it is of."""
    rows = []
    for entry in results["lists"].values():
        disjoint, unlike = entry["speaker_disjoint"], f"{entry['speaker_overlap']} of {entry['speakers']} are not"
        of_list = {
            "list": entry["title"],
            "speaker-disjoint": "yes" if disjoint else "NO",
            APART: "yes" if disjoint else f"NO: {unlike}",
            "trials": f"{entry['trials']:,}",
            "speakers": f"{entry['speakers']:,}",
        }
        for system, figures in entry["systems"].items():
            shown = {metric.title: format_metric(figures, key) for key, metric in METRICS.items()}
            rows.append(of_list | {"key": system, "system": SYSTEMS[system]} | shown)
    return pd.DataFrame(rows, dtype=object)


def format_table(results: Mapping[str, Any]) -> str:
    """The figures of every list and system, for the console."""
    titles = [metric.title for metric in METRICS.values() if metric.title and metric.on_console]
    table = tabulate(results).drop(columns="system").rename(columns={"key": "system"})
    table = table[["list", "system", "trials", *titles, APART]]
    return align([list(table), *table.to_numpy().tolist()])


def make_sections(
    folder: Path, verification: Verification, results: Mapping[str, Any]
) -> tuple[list[Section], list[Path]]:
    """The report's parts, and the files of their pictures, which are written."""
    sections, files = [_summary_section(results)], []
    for place, entry in enumerate(verification.lists):
        picture = Pictures(folder if len(verification.lists) == 1 else folder / entry.name)
        sections += _sections_of_list(picture, verification, place, results["lists"][entry.name])
        files += picture.files
    return [*sections, _calibration_section(verification)], files


def _summary_section(results: Mapping[str, Any]) -> Section:
    figures = tabulate(results)
    of_lists = {DISCRIMINATION: ["list", "system", "speaker-disjoint", "trials", "speakers"]}
    tables = []
    for caption, note in NOTES.items():
        titles = [metric.title for metric in METRICS.values() if metric.title and metric.table == caption]
        tables.append(Table.of(caption, figures[of_lists.get(caption, ["list", "system"]) + titles], note))
    text = "Detection costs are normalised, with costs of 1 for either error; Cllr is in bits."
    return Section("Figures", text, tables)


def _sections_of_list(
    picture: Pictures, verification: Verification, place: int, results: Mapping[str, Any]
) -> list[Section]:
    """Pictures and breakdowns of one list."""
    entry, head = verification.lists[place], verification.systems[0]
    trials, labels, name = entry.trials, entry.trials.labels, SYSTEMS[head]
    systems = {SYSTEMS[system]: (verification.scores[system][place], labels) for system in verification.systems}
    scores, calibration = verification.scores[head][place], verification.calibrations[head]
    if calibration is None:
        threshold, meaning = results["systems"][head]["eer_threshold"], "the threshold of the EER"
    else:
        threshold, meaning = calibration.threshold(EVEN), "where same and different are as likely"
    pictures = [
        picture("det", plot_det(systems, PRIORS), f"DET curves on {entry.title}."),
        picture(
            "scores",
            plot_histograms(scores, labels, threshold, f"score ({name})"),
            f"Scores by {name}; the line is {meaning}.",
        ),
    ]
    if calibration is not None:
        caption = f"Calibration of {name}: what the scores promise against what is true, at even priors."
        pictures.append(picture("reliability", plot_reliability(calibration.llrs(scores), labels), caption))
    pairs = plot_confused_pairs(scores, labels, trials.speaker_pairs, trials.speakers, threshold)
    pictures.append(picture("confusion", pairs, f"Who is taken for whom, at the same threshold ({threshold:.3f})."))
    breakdowns = breakdown_section(results["breakdowns"], "eer", "EER", results["systems"][head]["eer"], picture)
    text = (
        f"Of the trials by {name}. By gender and nationality: trials both of whose speakers are of the group; "
        "'of two': of two groups, which are never of one speaker. By length: of the shorter utterance."
    )
    named = replace(breakdowns, title=f"{entry.title}: breakdowns", text=text)
    return [Section(f"{entry.title}: pictures", "", [], pictures), named]


def _calibration_section(verification: Verification) -> Section:
    priors = (EVEN, *PRIORS)
    rows = [
        (SYSTEMS[system], *(f"{value:.4f}" for value in (own.scale, own.offset, *map(own.threshold, priors))))
        for system, own in verification.calibrations.items()
        if own is not None
    ]
    header = ("system", "scale", "offset", *(f"threshold at prior {prior}" for prior in priors))
    text = (
        "Logistic regression on the validation trials of the speakers held out: log likelihood ratio = scale · score + "
        "offset (natural logarithm). Decide 'same' where the score is at or above the threshold of the prior "
        "probability that it is. calibration.json holds the same."
        if rows
        else "There is none: the network has no held-out speakers to fit one on, or EVAL.CALIBRATION is off."
    )
    return Section("Calibration", text, [Table("Score to log likelihood ratio", header, rows)] if rows else [])
