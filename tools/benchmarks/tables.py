"""Reports for people."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from tools.benchmarks.processes import OUT_OF_MEMORY

Columns = dict[str, tuple[str, Callable[[Any], str]]]  # by a row's key: the heading, and how a value is written


def format_table(rows: Mapping[str, Mapping[str, Any]], columns: Columns, corner: str = "") -> str:
    """A line for each row's name and values, without the columns that have none.

    A row that has no values is one for which memory was short.
    """
    names = [
        name if any(row.get(key) is not None for key in columns) else f"{name}: {OUT_OF_MEMORY}"
        for name, row in rows.items()
    ]
    table = pd.DataFrame(list(rows.values()), names, list(columns), dtype=object).dropna(axis="columns", how="all")
    cells = {columns[key][0]: table[key].map(columns[key][1], na_action="ignore").fillna("") for key in table}
    return pd.DataFrame(cells, names).rename_axis(columns=corner).to_string()


def format_heading(report: Mapping[str, Any], keys: Iterable[str], *facts: str) -> str:
    """The settings with these keys, other facts, and what it was measured on, as `describe_machine` has it."""
    settings = ", ".join(f"{key} {report[key]}" for key in keys)
    return "; ".join(filter(None, [settings, *facts, f"{report['machine']}, torch {report['torch']}"]))
