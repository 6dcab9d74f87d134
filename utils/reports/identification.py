"""What evaluate_identification.py does and leaves: accuracies of all speakers, a report with pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from yacs.config import CfgNode

from data_objects.index import Index
from data_objects.silence import read_silent
from utils.evaluation.identification import Identification, identify_test_part, write_per_speaker
from utils.pictures.confusion import plot_confusion
from utils.records.checkpoint import Checkpoint
from utils.records.guard import (
    IDENTIFICATION,
    TEST,
    TRAIN,
    Protocol,
    count_common,
    doubts_of,
    role_of_rows,
    roles_of_checkpoint,
)
from utils.reports.html import DASH, Section, Table
from utils.reports.provenance import Evaluation, Pictures, breakdown_section, format_figure
from utils.system.logger import get_logger

TITLES = {"top1": "Top-1", "top5": "Top-5"}
SUMMARY = ("top1", "top5", "utterances", "speakers")
WORST = 20  # speakers in the table


def report_identification(
    cfg: CfgNode, load_path: str, *, text_arch: str | None, allow_index_change: bool, out_dir: Path | None
) -> None:
    """What evaluate_identification.py does: evaluate a trained network on the test part, and write what comes of it.

    For arguments and errors see `Evaluation.open`; without a test part there is an error, too.
    """
    evaluation = Evaluation.open(IDENTIFICATION, cfg, load_path, text_arch, allow_index_change, out_dir)
    evaluation.prepare()
    identification = identify_test_part(evaluation.trained, evaluation.corpus, cfg)
    if identification is not None:  # the main process goes on alone
        write(evaluation, identification)


def write(evaluation: Evaluation, identification: Identification) -> None:
    """Everything that an evaluation leaves."""
    checkpoint, corpus = evaluation.trained.checkpoint, evaluation.corpus
    replicates = evaluation.cfg.EVAL.BOOTSTRAP
    protocol = check_overlap(checkpoint, corpus.index, identification.rows)
    per_speaker = identification.per_speaker()
    results = {
        **identification.figures(replicates),
        "utterances": len(identification.rows),
        "speakers": len(per_speaker),
        "classes": len(checkpoint.speakers),
        "test_utterances_trained_on": count_common(protocol, "utterances", TRAIN, TEST),
        "silent_utterances": warn_of_silence(corpus.index, identification.rows),
        "test_speakers_never_trained_on": len(protocol.roles[TEST].speakers - protocol.roles[TRAIN].speakers),
        "worst_speakers": per_speaker.head(5).to_dict("records"),
        "breakdowns": identification.break_down(corpus.index, corpus.speaker_details(), replicates),
    }
    picture, sections = Pictures(evaluation.folder / IDENTIFICATION), []
    if evaluation.cfg.EVAL.REPORT:
        breakdowns = breakdown_section(results["breakdowns"], "top1", "Top-1", results["top1"], picture)
        sections = [_summary_section(results), _speakers_section(identification, per_speaker, picture), breakdowns]
    shown = ", ".join(f"{title} {format_figure(results, key)} %" for key, title in TITLES.items())
    evaluation.write(
        results,
        protocol,
        SUMMARY,
        title=f"Identification of {len(per_speaker):,} speakers",
        summary=f"{shown}; ",
        sections=sections,
        files=[*picture.files, write_per_speaker(evaluation.folder, per_speaker)],
    )


def check_overlap(checkpoint: Checkpoint, index: Index, rows: np.ndarray) -> Protocol:
    """The protocol of an evaluation on these rows; what keeps its figures from being what they seem is warned of."""
    roles = roles_of_checkpoint(checkpoint, index) | {TEST: role_of_rows(TEST, index, rows)}
    protocol = Protocol(IDENTIFICATION, roles)
    get_logger().info(str(protocol))
    for doubt in [*doubts_of(checkpoint), *protocol.doubts]:
        get_logger().warning(doubt)
    return protocol


def warn_of_silence(index: Index, rows: np.ndarray) -> int:
    """How many of these utterances are silent; they count like the others, and are warned of."""
    silence = read_silent(index.feature_dir)
    if silent := [name for name in (index.utterances[row] for row in rows) if name in silence]:
        get_logger().warning(
            f"{len(silent):,} of the {len(rows):,} utterances tested on are silent, all zeros, as {silent[0]} is"
        )
    return len(silent)


def _summary_section(results: Mapping[str, Any]) -> Section:
    rows = [
        *((f"{title} %", format_figure(results, key)) for key, title in TITLES.items()),
        ("cross-entropy", results["loss"]),
        ("utterances", results["utterances"]),
        ("speakers among them", results["speakers"]),
        ("of them never trained on", results["test_speakers_never_trained_on"]),
        ("classes", results["classes"]),
    ]
    note = "In brackets: 95 % intervals by bootstrap over speakers; none where there are fewer than five."
    return Section("Figures", "", [Table("On the test part", ("figure", "value"), rows, note)])


def _speakers_section(identification: Identification, per_speaker: pd.DataFrame, picture: Pictures) -> Section:
    worst = [
        (row.speaker, row.utterances, f"{row.top1:.1f}", row.most_often_taken_for or DASH)
        for row in per_speaker.head(WORST).itertuples()
    ]
    table = Table(
        f"The {len(worst)} speakers recognised worst",
        ("speaker", "utterances", "Top-1 %", "most often taken for"),
        worst,
        note="accuracy_per_speaker.csv holds all of them.",
    )
    figure = plot_confusion(identification.labels, identification.decisions, identification.speakers)
    return Section("Speakers", "", [table], [picture("confusion", figure, "The most confused speakers.")])
