"""What evaluate_identification.py does and leaves: accuracies of all speakers, a report with pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from yacs.config import CfgNode

from data_objects.corpus import Corpus
from data_objects.index import Index
from utils.evaluation.identification import Identification, check_class_list, identify_test_part, write_per_speaker
from utils.pictures.confusion import plot_confusion
from utils.recognition.network import TrainedNetwork, check_genotype, load_trained
from utils.records.checkpoint import Checkpoint
from utils.records.guard import (
    IDENTIFICATION,
    TEST,
    TRAIN,
    UNKNOWN_PRETRAINING,
    Protocol,
    check_index,
    count_common,
    is_pretraining_known,
    role_of_rows,
    roles_of_checkpoint,
)
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
from utils.system.logger import WarningCollector, get_logger

TITLES = {"top1": "Top-1", "top5": "Top-5"}
SUMMARY = ("top1", "top5", "utterances", "speakers")
WORST = 20  # speakers in the table


def report_identification(
    cfg: CfgNode, load_path: str, *, text_arch: str | None, allow_index_change: bool, out_dir: Path | None
) -> None:
    """What evaluate_identification.py does: evaluate a trained network on the test part, and write what comes of it.

    Args:
        load_path: a run folder or a checkpoint.
        text_arch: the genotype that the network must be of; None: any will do.
        allow_index_change: evaluate on another index than that of the training.
        out_dir: for the results; None: the checkpoint's.

    Raises:
        UserError: a network or an index that will not do: see `load_trained`, `check_class_list`, `check_index`; no
            test part.
    """
    warned = WarningCollector()
    trained = load_trained(cfg, load_path, prepare(cfg))
    check_genotype(trained, text_arch)
    corpus = Corpus(cfg)
    check_class_list(trained.checkpoint, corpus.index, trained.path)
    check_index(trained.checkpoint, corpus.index, trained.path, allow_index_change)
    folder = prepare_folder(out_dir or trained.path.parent)
    prepare_folder(folder / "identification")
    identification = identify_test_part(trained, corpus, cfg)
    if identification is not None:  # the main process goes on alone
        write(cfg, identification, trained, corpus, folder, warned.messages)


def write(
    cfg: CfgNode,
    identification: Identification,
    trained: TrainedNetwork,
    corpus: Corpus,
    folder: Path,
    warnings: Sequence[str],
) -> None:
    """Everything that an evaluation leaves."""
    checkpoint = trained.checkpoint
    protocol = check_overlap(checkpoint, corpus.index, identification.rows)
    per_speaker = identification.per_speaker()
    results = identification.figures(cfg.EVAL.BOOTSTRAP) | {
        "utterances": len(identification.rows),
        "speakers": len(per_speaker),
        "classes": len(checkpoint.speakers),
        "test_utterances_trained_on": count_common(protocol, "utterances", TRAIN, TEST),
        "checkpoint": str(trained.path),
        "epoch": checkpoint.epoch,
        "window_frames": corpus.window_frames,
        "warnings": warnings,
        "worst_speakers": per_speaker[:5],
        "breakdowns": identification.break_down(corpus.index, corpus.speaker_details(), cfg.EVAL.BOOTSTRAP),
    }
    source = checkpoint, trained.path, corpus.index, protocol, trained.device
    provenance = build_provenance(cfg, *source, script="evaluate_identification.py")
    page, *pictures = write_report_page(folder / "identification", identification, results, provenance)
    files = [page, *pictures, write_per_speaker(folder, per_speaker)]
    intervals = results.get("intervals", {})
    shown = (f"{title} {format_estimate(results[key], intervals.get(key))} %" for key, title in TITLES.items())
    get_logger().info(f"{', '.join(shown)}; pictures and all tables: {page}")
    path = folder / "results-identification.json"
    write_results(path, results | {"files": remove_earlier(path, files)}, provenance, keys=SUMMARY)


def check_overlap(checkpoint: Checkpoint, index: Index, rows: np.ndarray) -> Protocol:
    """The protocol of an evaluation on these rows; what keeps its figures from being what they seem is warned of."""
    roles = roles_of_checkpoint(checkpoint, index) | {TEST: role_of_rows(TEST, index, rows)}
    protocol = Protocol(IDENTIFICATION, roles)
    get_logger().info(str(protocol))
    if not is_pretraining_known(checkpoint):
        get_logger().warning(UNKNOWN_PRETRAINING)
    for overlap in protocol.forbidden + protocol.doubtful:
        get_logger().warning(str(overlap))
    return protocol


def write_report_page(
    folder: Path, identification: Identification, results: Mapping[str, Any], provenance: Provenance
) -> list[Path]:
    """report.html with every table and picture, and the pictures as files beside it; returns their paths, its first."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = Pictures(folder)
    protocol = asdict(provenance)["protocol"]
    breakdowns = breakdown_section(results["breakdowns"], "top1", "Top-1", results["top1"], picture)
    sections = [
        _summary_section(results),
        _speakers_section(identification, picture),
        breakdowns,
        protocol_section(protocol),
        provenance_section(provenance),
    ]
    title = f"Identification of {results['speakers']:,} speakers"
    write_report(folder / REPORT, title, warnings=results["warnings"], sections=sections)
    return [folder / REPORT, *picture.files]


def _summary_section(results: Mapping[str, Any]) -> Section:
    intervals = results.get("intervals", {})
    rows = [
        (title, format_estimate(results[key], intervals.get(key)))
        for key, title in (("top1", "Top-1 %"), ("top5", "Top-5 %"))
    ]
    rows += [("cross-entropy", results["loss"]), ("utterances", results["utterances"])]
    rows += [("speakers among them", results["speakers"]), ("classes", results["classes"])]
    note = "In brackets: 95 % intervals by bootstrap over speakers; none where there are fewer than five."
    return Section("Figures", "", [Table("On the test part", ("figure", "value"), rows, note)])


def _speakers_section(identification: Identification, picture: Pictures) -> Section:
    worst = [
        (row["speaker"], row["utterances"], f"{row['top1']:.1f}", row["most_often_taken_for"] or "–")
        for row in identification.per_speaker()[:WORST]
    ]
    table = Table(
        f"The {len(worst)} speakers recognised worst",
        ("speaker", "utterances", "Top-1 %", "most often taken for"),
        worst,
        note="accuracy_per_speaker.csv holds all of them.",
    )
    figure = plot_confusion(identification.confusion(), identification.speakers)
    return Section("Speakers", "", [table], [picture("confusion", figure, "The most confused speakers.")])
