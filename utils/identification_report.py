"""The report of an evaluation by identification."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from utils.evaluation_plots import plot_confusion
from utils.identification import Identification
from utils.provenance_report import (
    REPORT,
    Pictures,
    breakdown_section,
    format_estimate,
    protocol_section,
    provenance_section,
)
from utils.report import Section, Table, write_report
from utils.results import Provenance

WORST = 20  # speakers in the table


def write_identification_report(
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
