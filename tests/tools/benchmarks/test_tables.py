"""Reports for people."""

from tools.benchmarks.tables import format_table


def test_table_is_aligned() -> None:
    """The first column to the left, the others to the right, each as wide as its widest cell."""
    rows = {"long": {"seconds": 1.5, "peak": None}, "b": {"seconds": 10.25}}
    columns = {"seconds": ("s", str), "peak": ("MB", str)}
    assert format_table(rows, columns) == "          s\nlong    1.5\nb     10.25"
    assert format_table(rows, columns, "rows").splitlines()[0] == "rows      s"


def test_row_without_values() -> None:
    """One of a case for which memory was short; a value that is missing in one row alone is left blank."""
    rows = {"a": {"seconds": 1, "share": 2}, "b": {"seconds": 3, "share": None}, "c": {"seconds": None, "share": None}}
    table = format_table(rows, {"seconds": ("s", "{:.1f}".format), "share": ("share", str)})
    assert [line.split() for line in table.splitlines()] == [
        ["s", "share"],
        ["a", "1.0", "2"],
        ["b", "3.0"],
        ["c:", "out", "of", "memory"],
    ]
