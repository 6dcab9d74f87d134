"""A comparison as files and on the console: the same tables as text, in Markdown and in a report with pictures."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pandas import DataFrame

from utils.reports.html import Section, Table, write_report
from utils.system.files import write_atomically
from utils.system.logger import get_logger

RESULTS = "comparison"


def spread(name: str, values: Sequence[float | None]) -> dict[str, float | None]:
    """The mean and the standard deviation of a sample; None where there are too few values for either."""
    known = [value for value in values if value is not None]
    return {
        f"{name}_mean": statistics.fmean(known) if known else None,
        f"{name}_std": statistics.stdev(known) if len(known) > 1 else None,
    }


def format_spread(result: Mapping[str, Any], name: str, digits: int) -> str:
    """What `spread` gives, as text: the mean, and ± the deviation where there is one."""
    mean, deviation = result[f"{name}_mean"], result[f"{name}_std"]
    return f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")


def write_comparison(
    folder: Path, title: str, comparison: Mapping[str, Any], warnings: Sequence[str], sections: Sequence[Section]
) -> None:
    """Write comparison.json, .md and .html, and show the first section's tables, which Markdown holds too."""
    tables, path = sections[0].tables, folder / RESULTS
    get_logger().info("".join(f"\n{to_text(table)}\n" for table in tables))
    write_atomically(path.with_suffix(".json"), json.dumps(comparison, indent=2) + "\n")
    warned = "".join(f"- Warning: {warning}\n" for warning in warnings)
    write_atomically(path.with_suffix(".md"), f"{warned}\n" + "\n".join(map(to_markdown, tables)))
    write_report(path.with_suffix(".html"), title, warnings=warnings, sections=sections)
    get_logger().info(f"pictures and where everything comes from: {path.with_suffix('.html')}")


def to_text(table: Table) -> str:
    """A table for the console."""
    return f"{DataFrame(table.rows, columns=table.header).to_string(index=False)}\n{table.note}"


def to_markdown(table: Table) -> str:
    """A table in Markdown, its caption before it and its note behind."""
    rows = [table.header, ["---"] * len(table.header), *table.rows]
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([f"**{table.caption}**", "", *lines, "", table.note, ""])
