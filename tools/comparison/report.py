"""A comparison as files and on the console: the same tables as text, in Markdown and in a report with pictures."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from pandas import DataFrame

from utils.pictures.figure import GREY, VERMILION, new_figure, styled
from utils.pictures.intervals import draw_intervals
from utils.reports.html import Section, Table, write_report
from utils.reports.provenance import format_estimate
from utils.system.files import write_atomically
from utils.system.logger import get_logger

RESULTS = "comparison"
Result = Mapping[str, Any]


def summarise(records: DataFrame, figures: Sequence[str]) -> DataFrame:
    """By name, the first seed's record, and FIGURE_mean and FIGURE_std of the known ones over the seeds."""
    known = records.astype(dict.fromkeys(figures, float)).groupby("name", sort=False)[list(figures)]
    spread = known.agg(["mean", "std"]).set_axis([f"{name}_{of}" for name in figures for of in ("mean", "std")], axis=1)
    return records.drop_duplicates("name").set_index("name").join(spread)


def plain(table: DataFrame) -> dict[Any, dict[str, Any]]:
    """The rows for JSON: None where there is no value."""
    return table.astype(object).where(table.notna(), None).to_dict("index")


def figure(name: str, digits: int, with_interval: bool = True) -> Callable[[Result], str]:
    """What a column shows of a result: the first seed's figure with its interval, and mean ± deviation, if known."""

    def show(result: Result) -> str:
        mean, deviation = result[f"{name}_mean"], result[f"{name}_std"]
        spread = format_estimate(mean, None, digits)
        spread += "" if deviation is None else f" ± {deviation:.{digits}f}"
        if name not in result:
            return spread
        single = format_estimate(result[name], result[f"{name}_interval"] if with_interval else None, digits)
        return single if deviation is None else f"{single}; {spread}"

    return show


def make_table(
    caption: str, results: Sequence[Result], columns: Mapping[str, Callable[[Result], object]], note: str
) -> Table:
    """A row a result."""
    return Table(caption, list(columns), [[show(result) for show in columns.values()] for result in results], note)


@styled
def plot_spread(
    records: DataFrame,
    summary: DataFrame,
    labels: Mapping[str, str],
    bands: Mapping[str, tuple[float, float]],
    key: str,
) -> Figure:
    """A panel a figure, a row a name: every seed a ring, their mean a dot, and a whisker of their deviation.

    Args:
        records: name and figures, a row a seed; summary: see `summarise`.
        labels: figure -> what to call it.
        bands: figure -> mean and deviation of what the others are held against, in grey; none without.
        key: what the marks are, below.
    """
    picture = new_figure(8, 1.2 + 0.38 * len(summary))
    for axes, (name, label) in zip(picture.subplots(1, len(labels), sharey=True), labels.items(), strict=True):
        mean, deviation = summary[f"{name}_mean"].to_numpy(), summary[f"{name}_std"].fillna(0).to_numpy()
        ends = np.stack([mean - deviation, mean + deviation], axis=1)
        draw_intervals(axes, list(summary.index), mean, ends, label)
        rows = summary.index.get_indexer(records["name"])
        axes.plot(records[name], rows, "o", markersize=7, markerfacecolor="none", color=VERMILION)
        if name in bands:
            middle, half = bands[name]
            axes.axvspan(middle - half, middle + half, color=GREY, alpha=0.2, linewidth=0, zorder=0)
            axes.axvline(middle, color=GREY, linestyle="--", linewidth=1, zorder=1)
    picture.supxlabel(key, size="medium")
    return picture


def write_comparison(
    folder: Path,
    title: str,
    comparison: Mapping[str, Any],
    warnings: Sequence[str],
    sections: Sequence[Section],
    name: str = RESULTS,
) -> None:
    """Write NAME.json, .md and .html, and show the first section's tables, which Markdown holds too."""
    tables, path = sections[0].tables, folder / name
    get_logger().info("".join(f"\n{to_text(table)}\n" for table in tables))
    write_atomically(path.with_suffix(".json"), json.dumps(comparison, indent=2) + "\n")
    warned = "".join(f"- Warning: {warning}\n" for warning in warnings)
    write_atomically(path.with_suffix(".md"), f"{warned}\n" + "\n".join(map(to_markdown, tables)))
    write_report(path.with_suffix(".html"), title, warnings=warnings, sections=sections)
    get_logger().info(f"pictures and where everything comes from: {path.with_suffix('.html')}")


def to_text(table: Table) -> str:
    """A table for the console."""
    return f"{DataFrame(table.texts(), columns=table.header).to_string(index=False)}\n{table.note}"


def to_markdown(table: Table) -> str:
    """A table in Markdown, its caption before it and its note behind."""
    rows = [table.header, ["---"] * len(table.header), *table.texts()]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"**{table.caption}**", "", *lines, "", table.note, ""])
