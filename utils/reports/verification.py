"""What evaluate_verification.py does and leaves: scores, skipped trials, calibration, a table, a report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from yacs.config import CfgNode

from data_objects.corpus import Corpus
from data_objects.lists import TRIALS
from utils.evaluation.lists import ListOfTrials, open_lists
from utils.evaluation.systems import EVEN
from utils.evaluation.verification import ALL, PRIORS, Verification, evaluate_lists, results_of
from utils.pictures.calibration import plot_reliability
from utils.pictures.confusion import plot_confused_pairs
from utils.pictures.det import plot_det
from utils.pictures.histogram import plot_histograms
from utils.recognition.network import check_genotype, load_trained
from utils.records.guard import check_index
from utils.records.provenance import Provenance
from utils.reports.html import Section, Table
from utils.reports.provenance import Evaluation, Pictures, breakdown_section, format_figure
from utils.system.device import prepare
from utils.system.files import write_atomically
from utils.system.logger import WarningCollector

SUMMARY = ("eer", "min_dcf", "trials", "skipped_trials", "utterances", "speaker_overlap", "speaker_disjoint")
SKIPPED, CALIBRATION = "skipped_trials.txt", "calibration.json"
SYSTEMS = {"cosine": "cosine", "centred": "cosine, centred", "snorm": "cosine, adaptive s-norm"}
FIGURES = {
    "eer": "EER %",
    "min_dcf_0.01": "minDCF 0.01",
    "min_dcf_0.05": "minDCF 0.05",
    "act_dcf_0.01": "actDCF 0.01",
    "act_dcf_0.05": "actDCF 0.05",
    "cllr": "Cllr",
    "min_cllr": "min Cllr",
}
APART = "speakers apart from training's"
# Columns of the tables, on the console and in the report.
DISCRIMINATION = ["list", "system", "speaker-disjoint", "trials", "speakers", "EER %", "minDCF 0.01", "minDCF 0.05"]
CALIBRATED = ["list", "system", "actDCF 0.01", "actDCF 0.05", "Cllr", "min Cllr"]
RATES = ["EER %", "minDCF 0.01", "minDCF 0.05", "actDCF 0.01", "Cllr", "min Cllr"]
CONSOLE = ["list", "system", "trials", *RATES, APART]


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

    Args:
        load_path: a run folder or a checkpoint.
        files: the lists; none: veri_test.txt of DATA_DIR.
        text_arch: the genotype that the network must be of; None: any will do.
        allow_missing: skip trials without utterances, instead of refusing the list.
        allow_index_change: evaluate on another index than that of the training.
        out_dir: for the results; None: the checkpoint's.

    Raises:
        UserError: a network, an index or a list that will not do: see `load_trained`, `check_index`, `open_lists`.
    """
    warned = WarningCollector()
    trained = load_trained(cfg, load_path, prepare(cfg))
    check_genotype(trained, text_arch)
    corpus = Corpus(cfg)
    check_index(trained.checkpoint, corpus.index, trained.path, allow_index_change)
    lists = open_lists([Path(file) for file in files] or [corpus.data_dir / TRIALS], corpus.index, allow_missing)
    evaluation = Evaluation("verification", cfg, trained, corpus, out_dir or trained.path.parent, warned.messages)
    evaluation.prepare()
    verification = evaluate_lists(cfg, trained, corpus, lists)
    if verification is not None:  # the main process goes on alone
        write(evaluation, verification)


def write(evaluation: Evaluation, verification: Verification) -> None:
    """Everything that an evaluation leaves, and a table of it on standard error."""
    provenance = evaluation.provenance(
        verification.protocols[ALL],
        trials={entry.name: entry.source() for entry in verification.lists},
        skipped_trials=sum(len(entry.skipped) for entry in verification.lists),
    )
    results = results_of(verification) | evaluation.subject()
    sections, files = make_sections(evaluation.folder / "verification", verification, results)
    files += write_scores(evaluation.folder, verification) + write_skipped(evaluation.folder, verification)
    files += write_calibrations(evaluation.folder, verification, provenance)
    evaluation.write(
        results,
        provenance,
        SUMMARY,
        title=f"Verification on {', '.join(entry.title for entry in verification.lists)}",
        summary=f"\n{format_table(verification)}\n",
        sections=sections,
        files=files,
    )


def score_file(verification: Verification, entry: ListOfTrials, system: str) -> str:
    """The name of a file of scores: scores.txt, and where there are several lists or systems, theirs in it."""
    of_list = f"-{entry.name}" if len(verification.lists) > 1 else ""
    return f"scores{of_list}{'' if system == verification.systems[0] else f'--{system}'}.txt"


def write_scores(folder: Path, verification: Verification) -> list[Path]:
    """A file for every list and system: score, label, enrolment, test; returns their paths."""
    files = []
    for place, entry in enumerate(verification.lists):
        for system in verification.systems:
            pairs = zip(verification.scores[system][place].tolist(), entry.trials, strict=True)
            files.append(folder / score_file(verification, entry, system))
            write_atomically(files[-1], "".join(f"{score:.8f} {' '.join(map(str, trial))}\n" for score, trial in pairs))
    return files


def write_skipped(folder: Path, verification: Verification) -> list[Path]:
    """skipped_trials.txt, where there are any; returns its path, if so."""
    text = "".join(entry.skipped.text() for entry in verification.lists)
    if not text:
        return []
    write_atomically(folder / SKIPPED, text)
    return [folder / SKIPPED]


def write_calibrations(folder: Path, verification: Verification, provenance: Provenance) -> list[Path]:
    """calibration.json: what turns scores into log likelihood ratios and decisions, for others to use.

    Returns:
        Its path; nothing where there is no calibration.
    """
    systems = {
        system: own.as_dict() | {"thresholds": {str(prior): own.threshold(prior) for prior in (EVEN, *PRIORS)}}
        for system, own in verification.calibrations.items()
        if own is not None
    }
    if not systems:
        return []
    content = {"systems": systems, "checkpoint": provenance.checkpoint["sha256"], "index": provenance.index["sha256"]}
    write_atomically(folder / CALIBRATION, json.dumps(content, indent=2) + "\n")
    return [folder / CALIBRATION]


def tabulate(verification: Verification) -> pd.DataFrame:
    """The figures of every list and system, a row each, as texts; an interval behind what it is of."""
    rows = []
    for entry in verification.lists:
        protocol, speakers = verification.protocols[entry.name], len(entry.trials.speakers)
        disjoint, overlap = protocol.is_speaker_disjoint, len(protocol.seen_speakers)
        of_list = {
            "list": entry.title,
            "speaker-disjoint": "yes" if disjoint else "NO",
            APART: "yes" if disjoint else f"NO: {overlap} of {speakers} are not",
            "trials": f"{len(entry.trials):,}",
            "speakers": f"{speakers:,}",
        }
        for system, figures in verification.figures[entry.name].items():
            shown = {title: format_figure(figures, key, 2 if key == "eer" else 3) for key, title in FIGURES.items()}
            rows.append(of_list | {"key": system, "system": SYSTEMS[system]} | shown)
    return pd.DataFrame(rows)


def format_table(verification: Verification) -> str:
    """The figures of every list and system, for the console."""
    table = tabulate(verification).drop(columns="system").rename(columns={"key": "system"})
    rows = [CONSOLE, *table[CONSOLE].values.tolist()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def make_sections(
    folder: Path, verification: Verification, results: Mapping[str, Any]
) -> tuple[list[Section], list[Path]]:
    """The report's parts, and the files of their pictures, which are written."""
    sections, files = [_summary_section(verification)], []
    for place, entry in enumerate(verification.lists):
        picture = Pictures(folder if len(verification.lists) == 1 else folder / entry.name)
        sections += _sections_of_list(picture, verification, place, results["lists"][entry.name])
        files += picture.files
    return [*sections, _calibration_section(verification)], files


def _summary_section(verification: Verification) -> Section:
    figures = tabulate(verification)
    bracketed = (
        "In brackets: 95 % intervals by bootstrap over speakers; none where a list has fewer than five. The EER is "
        "interpolated linearly on the ROC."
    )
    uncalibrated = "A dash: the scores are not calibrated, and a cosine is no likelihood ratio."
    tables = [
        Table(caption, columns, figures[columns].values.tolist(), note)
        for caption, columns, note in (
            ("How well the scores tell speakers apart", DISCRIMINATION, bracketed),
            ("How well they are calibrated", CALIBRATED, uncalibrated),
        )
    ]
    text = "Detection costs are normalised, with costs of 1 for either error; Cllr is in bits."
    return Section("Figures", text, tables)


def _sections_of_list(
    picture: Pictures, verification: Verification, place: int, results: Mapping[str, Any]
) -> list[Section]:
    """Pictures and breakdowns of one list."""
    entry = verification.lists[place]
    trials, labels = entry.trials, entry.trials.labels
    systems = {SYSTEMS[system]: (verification.scores[system][place], labels) for system in verification.systems}
    pictures = [picture("det", plot_det(systems, PRIORS), f"DET curves on {entry.title}.")]
    head = verification.systems[0]
    scores, calibration = verification.scores[head][place], verification.calibrations[head]
    threshold = results["systems"][head]["eer_threshold"] if calibration is None else calibration.threshold(EVEN)
    meaning = "the threshold of the EER" if calibration is None else "where same and different are as likely"
    histogram = plot_histograms(scores, labels, threshold, f"score ({SYSTEMS[head]})")
    pictures.append(picture("scores", histogram, f"Scores by {SYSTEMS[head]}; the line is {meaning}."))
    if calibration is not None:
        reliability = plot_reliability(calibration.llrs(scores), labels)
        caption = f"Calibration of {SYSTEMS[head]}: what the scores promise against what is true, at even priors."
        pictures.append(picture("reliability", reliability, caption))
    pairs = plot_confused_pairs(scores, labels, trials.speaker_pairs, trials.speakers, threshold)
    caption = f"Who is taken for whom, at the same threshold ({threshold:.3f})."
    pictures.append(picture("confusion", pairs, caption))
    overall = results["systems"][head]["eer"]
    breakdowns = breakdown_section(results["breakdowns"], "eer", "EER", overall, picture)
    text = (
        f"Of the trials by {SYSTEMS[head]}. By gender and nationality: trials both of whose speakers are of the group; "
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
