"""Reports for people."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tools.benchmarks.processes import OUT_OF_MEMORY

Columns = dict[str, tuple[str, Callable[[Any], str]]]  # by a row's key: the heading, and how a value is written


def format_table(rows: Mapping[str, Mapping[str, Any]], columns: Columns, corner: str = "") -> str:
    """A line for each row's name and values, without the columns that have none.

    A row that has no values is one for which memory was short.
    """
    used = [key for key in columns if any(row.get(key) is not None for row in rows.values())]
    lines = [[corner, *(columns[key][0] for key in used)]]
    for name, row in rows.items():
        cells = ["" if row.get(key) is None else columns[key][1](row[key]) for key in used]
        lines.append([name if any(cells) else f"{name}: {OUT_OF_MEMORY}", *cells])
    first, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
    return "\n".join(
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, others, strict=True))])
        for name, *cells in lines
    )


def format_heading(report: Mapping[str, Any], keys: Iterable[str], *facts: str) -> str:
    """The settings with these keys, other facts, and what it was measured on, as `describe_machine` has it."""
    settings = ", ".join(f"{key} {report[key]}" for key in keys)
    return "; ".join(filter(None, [settings, *facts, f"{report['machine']}, torch {report['torch']}"]))
