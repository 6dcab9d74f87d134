"""What evaluate_verification.py does and leaves: scores, skipped trials, calibration, a table, a report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from data_objects.corpus import Corpus
from data_objects.lists import TRIALS
from utils.evaluation.lists import ListOfTrials, open_lists
from utils.evaluation.systems import EVEN
from utils.evaluation.verification import ALL, PRIORS, Verification, evaluate_lists, results_of
from utils.pictures.calibration import plot_reliability
from utils.pictures.confusion import confused_pairs, plot_confused_pairs
from utils.pictures.det import plot_det
from utils.pictures.histogram import plot_histograms
from utils.recognition.network import TrainedNetwork, check_genotype, load_trained
from utils.records.guard import check_index
from utils.records.provenance import Provenance, build_provenance, prepare_folder, remove_earlier, write_results
from utils.reports.html import Section, Table, write_report
from utils.reports.provenance import (
    REPORT,
    Pictures,
    breakdown_section,
    format_estimate,
    protocol_section,
    provenance_section,
)
from utils.system.device import prepare
from utils.system.files import write_atomically
from utils.system.logger import WarningCollector, get_logger

SUMMARY = ("eer", "min_dcf", "trials", "skipped_trials", "utterances", "speaker_overlap", "speaker_disjoint")
SKIPPED, CALIBRATION = "skipped_trials.txt", "calibration.json"
SYSTEMS = {"cosine": "cosine", "centred": "cosine, centred", "snorm": "cosine, adaptive s-norm"}
TABLE = ("eer", "min_dcf_0.01", "min_dcf_0.05", "act_dcf_0.01", "cllr", "min_cllr")  # figures of the console's table


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
    folder = prepare_folder(out_dir or trained.path.parent)
    prepare_folder(folder / "verification")
    evaluation = evaluate_lists(cfg, trained, corpus, lists)
    if evaluation is not None:  # the main process goes on alone
        write(cfg, evaluation, trained, corpus, folder, warned.messages)


def write(
    cfg: CfgNode,
    evaluation: Verification,
    trained: TrainedNetwork,
    corpus: Corpus,
    folder: Path,
    warnings: Sequence[str],
) -> None:
    """Everything that an evaluation leaves, and a table of it on standard error."""
    provenance = build_provenance(
        cfg,
        trained.checkpoint,
        trained.path,
        corpus.index,
        evaluation.protocols[ALL],
        trained.device,
        script="evaluate_verification.py",
        trials={entry.name: entry.source() for entry in evaluation.lists},
        skipped_trials=sum(len(entry.skipped) for entry in evaluation.lists),
    )
    results = results_of(evaluation) | {
        "checkpoint": str(trained.path),
        "epoch": trained.checkpoint.epoch,
        "window_frames": corpus.window_frames,
        "warnings": warnings,
    }
    page, *pictures = write_report_page(folder / "verification", evaluation, results, provenance)
    files = [page, *pictures, *write_scores(folder, evaluation), *write_skipped(folder, evaluation)]
    files += write_calibrations(folder, evaluation, provenance)
    get_logger().info(f"\n{format_table(evaluation)}\npictures and all tables: {page}")
    path = folder / "results-verification.json"
    write_results(path, results | {"files": remove_earlier(path, files)}, provenance, keys=SUMMARY)


def score_file(evaluation: Verification, entry: ListOfTrials, system: str) -> str:
    """The name of a file of scores: scores.txt, and where there are several lists or systems, theirs in it."""
    of_list = f"-{entry.name}" if len(evaluation.lists) > 1 else ""
    return f"scores{of_list}{'' if system == evaluation.systems[0] else f'--{system}'}.txt"


def write_scores(folder: Path, evaluation: Verification) -> list[Path]:
    """A file for every list and system: score, label, enrolment, test; returns their paths."""
    files = []
    for place, entry in enumerate(evaluation.lists):
        for system in evaluation.systems:
            scores = evaluation.scores[system][place].tolist()
            lines = (
                f"{score:.8f} {' '.join(map(str, trial))}\n" for score, trial in zip(scores, entry.trials, strict=True)
            )
            files.append(folder / score_file(evaluation, entry, system))
            write_atomically(files[-1], "".join(lines))
    return files


def write_skipped(folder: Path, evaluation: Verification) -> list[Path]:
    """skipped_trials.txt, where there are any; returns its path, if so."""
    text = "".join(entry.skipped.text() for entry in evaluation.lists)
    if not text:
        return []
    write_atomically(folder / SKIPPED, text)
    return [folder / SKIPPED]


def write_calibrations(folder: Path, evaluation: Verification, provenance: Provenance) -> list[Path]:
    """calibration.json: what turns scores into log likelihood ratios and decisions, for others to use.

    Returns:
        Its path; nothing where there is no calibration.
    """
    systems = {
        system: calibration.as_dict()
        | {"thresholds": {str(prior): calibration.threshold(prior) for prior in (EVEN, *PRIORS)}}
        for system, calibration in evaluation.calibrations.items()
        if calibration is not None
    }
    content = {"systems": systems, "checkpoint": provenance.checkpoint["sha256"], "index": provenance.index["sha256"]}
    if not systems:
        return []
    write_atomically(folder / CALIBRATION, json.dumps(content, indent=2) + "\n")
    return [folder / CALIBRATION]


def format_table(evaluation: Verification) -> str:
    """The figures of every list and system, for the console; an interval behind what it is of."""
    header = ("list", "system", "trials", "EER %", "minDCF 0.01", "minDCF 0.05", "actDCF 0.01", "Cllr", "min Cllr")
    rows = [[*header, "speakers apart from training's"]]
    for entry in evaluation.lists:
        overlap, speakers = len(evaluation.protocols[entry.name].seen_speakers), len(entry.trials.speakers)
        apart = (
            "yes" if evaluation.protocols[entry.name].is_speaker_disjoint else f"NO: {overlap} of {speakers} are not"
        )
        for system, figures in evaluation.figures[entry.name].items():
            cells = [format_figure(figures, name) for name in TABLE]
            rows.append([entry.title, system, f"{len(entry.trials):,}", *cells, apart])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def format_figure(figures: Mapping[str, Any], name: str) -> str:
    """A figure with its interval; a dash where there is none."""
    return format_estimate(figures[name], figures.get("intervals", {}).get(name), 2 if name == "eer" else 3)


# ------------------------------------------------------------------------------------------------------------------
# The report
# ------------------------------------------------------------------------------------------------------------------
def write_report_page(
    folder: Path, evaluation: Verification, results: Mapping[str, Any], provenance: Provenance
) -> list[Path]:
    """report.html with every table and picture, and the pictures as files beside it; returns their paths, its first."""
    folder.mkdir(parents=True, exist_ok=True)
    sections, files = [_summary_section(evaluation)], [folder / REPORT]
    for place, entry in enumerate(evaluation.lists):
        picture = Pictures(folder if len(evaluation.lists) == 1 else folder / entry.name)
        sections += _sections_of_list(picture, evaluation, place, results["lists"][entry.name])
        files += picture.files
    protocol = asdict(provenance)["protocol"]
    sections += [_calibration_section(evaluation), protocol_section(protocol), provenance_section(provenance)]
    names = ", ".join(entry.title for entry in evaluation.lists)
    title = f"Verification on {names}"
    write_report(folder / REPORT, title, warnings=results["warnings"], sections=sections)
    return files


def _summary_section(evaluation: Verification) -> Section:
    header = ("list", "system", "speaker-disjoint", "trials", "speakers", "EER %", "minDCF 0.01", "minDCF 0.05")
    more = ("list", "system", "actDCF 0.01", "actDCF 0.05", "Cllr", "min Cllr")
    rows, calibrated = [], []
    for entry in evaluation.lists:
        disjoint = "yes" if evaluation.protocols[entry.name].is_speaker_disjoint else "NO"
        for system, figures in evaluation.figures[entry.name].items():
            cells = [format_figure(figures, name) for name in ("eer", "min_dcf_0.01", "min_dcf_0.05")]
            counts = len(entry.trials), len(entry.trials.speakers)
            rows.append((entry.title, SYSTEMS[system], disjoint, *counts, *cells))
            names = ("act_dcf_0.01", "act_dcf_0.05", "cllr", "min_cllr")
            calibrated.append((entry.title, SYSTEMS[system], *(format_figure(figures, name) for name in names)))
    note = (
        "In brackets: 95 % intervals by bootstrap over speakers; none where a list has fewer than five. The EER is "
        "interpolated linearly on the ROC."
    )
    without = "A dash: the scores are not calibrated, and a cosine is no likelihood ratio."
    tables = [
        Table("How well the scores tell speakers apart", header, rows, note),
        Table("How well they are calibrated", more, calibrated, without),
    ]
    return Section(
        "Figures", "Detection costs are normalised, with costs of 1 for either error; Cllr is in bits.", tables
    )


def _sections_of_list(
    picture: Pictures, evaluation: Verification, place: int, results: Mapping[str, Any]
) -> list[Section]:
    """Pictures and breakdowns of one list."""
    entry = evaluation.lists[place]
    trials, labels = entry.trials, entry.trials.labels
    systems = {SYSTEMS[system]: (evaluation.scores[system][place], labels) for system in evaluation.systems}
    pictures = [picture("det", plot_det(systems, PRIORS), f"DET curves on {entry.title}.")]
    head = evaluation.systems[0]
    scores, calibration = evaluation.scores[head][place], evaluation.calibrations[head]
    threshold = results["systems"][head]["eer_threshold"] if calibration is None else calibration.threshold(EVEN)
    meaning = "the threshold of the EER" if calibration is None else "where same and different are as likely"
    histogram = plot_histograms(scores, labels, threshold, f"score ({SYSTEMS[head]})")
    pictures.append(picture("scores", histogram, f"Scores by {SYSTEMS[head]}; the line is {meaning}."))
    if calibration is not None:
        reliability = plot_reliability(calibration.llrs(scores), labels)
        caption = f"Calibration of {SYSTEMS[head]}: what the scores promise against what is true, at even priors."
        pictures.append(picture("reliability", reliability, caption))
    pairs = confused_pairs(scores, labels, trials.speaker_pairs, trials.speakers, threshold)
    caption = f"Who is taken for whom, at the same threshold ({threshold:.3f})."
    pictures.append(picture("confusion", plot_confused_pairs(pairs), caption))
    overall = results["systems"][head]["eer"]
    breakdowns = breakdown_section(results["breakdowns"], "eer", "EER", overall, picture)
    text = (
        f"Of the trials by {SYSTEMS[head]}. By gender and nationality: trials both of whose speakers are of the group; "
        "'of two': of two groups, which are never of one speaker. By length: of the shorter utterance."
    )
    named = replace(breakdowns, title=f"{entry.title}: breakdowns", text=text)
    return [Section(f"{entry.title}: pictures", "", [], pictures), named]


def _calibration_section(evaluation: Verification) -> Section:
    rows = [
        (
            SYSTEMS[system],
            f"{own.scale:.4f}",
            f"{own.offset:.4f}",
            *(f"{own.threshold(p):.4f}" for p in (EVEN, *PRIORS)),
        )
        for system, own in evaluation.calibrations.items()
        if own is not None
    ]
    header = ("system", "scale", "offset", *(f"threshold at prior {prior}" for prior in (EVEN, *PRIORS)))
    text = (
        "Logistic regression on the validation trials of the speakers held out: log likelihood ratio = scale · score + "
        "offset (natural logarithm). Decide 'same' where the score is at or above the threshold of the prior "
        "probability that it is. calibration.json holds the same."
        if rows
        else "There is none: the network has no held-out speakers to fit one on, or EVAL.CALIBRATION is off."
    )
    return Section("Calibration", text, [Table("Score to log likelihood ratio", header, rows)] if rows else [])
