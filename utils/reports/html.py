"""A report: one HTML file that holds everything it shows, and needs nothing else; report.html.jinja is the page."""

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from utils.pictures.figure import render
from utils.system.files import write_atomically

HEAVIEST_SVG = 400_000  # bytes; a picture of more is embedded as pixels
PIXELS = 96  # CSS pixels an inch
DASH = "–"
NOTHING = {"", DASH, "-", "—", "n/a", "nan", "not defined"}  # what may stand in a column of numbers
# Control characters, lone surrogates and noncharacters: HTML forbids them, and UTF-8 has no surrogates.
UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True)
class Table:
    """A table; its first column names the rows.

    Attributes:
        header: (C,), one text a column.
        rows: of C cells each. Whole numbers get separators of thousands, others four digits, None a dash; whoever wants
            another form passes a text. Columns of numbers, also as texts such as "7.42 %", are aligned to the right.
        note: stands below.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""

    @classmethod
    def of(cls, caption: str, frame: pd.DataFrame, note: str = "") -> "Table":
        """The table of a frame's columns."""
        return cls(caption, list(frame), frame.to_numpy(dtype=object).tolist(), note)

    def texts(self) -> list[list[str]]:
        """The rows as they are shown.

        Raises:
            ValueError: one has more or fewer cells than the header.
        """
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"a row of {len(row)} cells in a table of {len(self.header)} columns: {self.caption}")
        return [[_format(value) for value in row] for row in self.rows]

    def numeric(self) -> list[bool]:
        """Which columns hold numbers."""
        rows = self.texts()
        return [column > 0 and _is_numeric([row[column] for row in rows]) for column in range(len(self.header))]


@dataclass(frozen=True)
class Picture:
    """A figure with its caption; the description is for those who do not see it, and the caption where it is empty."""

    caption: str
    figure: Figure
    description: str = ""

    @property
    def size(self) -> list[int]:
        """Width and height, CSS pixels."""
        return [round(PIXELS * inches) for inches in self.figure.get_size_inches()]

    @property
    def address(self) -> str:
        """The figure itself as an address: drawn as lines, and as pixels where these would be lighter.

        An image of its own, and not part of the page: its ids and styles meet nobody else's.
        """
        kind, content = "svg+xml", render(self.figure, "svg")
        if len(content) > HEAVIEST_SVG:
            kind, content = "png", render(self.figure, "png")
        return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


@dataclass(frozen=True)
class Section:
    """A part of the report, in this order: text, whose paragraphs blank lines separate, tables, and pictures."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()

    @property
    def paragraphs(self) -> list[str]:
        return [part for part in re.split(r"\n\s*\n", self.text.strip()) if part]


def write_report(path: str | Path, title: str, *, warnings: Sequence[str], sections: Sequence[Section]) -> None:
    """Write a report, whole or not at all. The same input gives the same bytes.

    Any text is shown as it is: nothing in it is markup. Characters that HTML cannot hold, such as those of a file name
    that is not valid Unicode, become replacement characters.

    Args:
        warnings: what a reader must know before anything else; they stand on top.

    Raises:
        ValueError: a table's row has more or fewer cells than the header.
        OSError: the file cannot be written.
    """
    page = TEMPLATES.get_template("report.html.jinja").render(title=title, warnings=warnings, sections=sections)
    write_atomically(Path(path), UNFIT.sub("\N{REPLACEMENT CHARACTER}", page))


def _format(value: object) -> str:
    """A value as text; numpy's numbers are numbers too."""
    if value is None or (isinstance(value, Real) and math.isnan(value)):
        return DASH
    if isinstance(value, Integral) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, Real) and not isinstance(value, bool) else str(value)


def _is_numeric(cells: Sequence[str]) -> bool:
    """Whether a column holds numbers, with what may stand for a missing one."""
    filled = [cell for cell in cells if cell.strip().lower() not in NOTHING]
    return bool(filled) and all(map(_starts_as_number, filled))


def _starts_as_number(cell: str) -> bool:
    """A number, perhaps with a sign, an interval, and a short unit: 7.42 % [6.9, 8.0]; -1.2e-3; 12 kHz."""
    letters = sum(map(str.isalpha, re.sub(r"(?<=\d)[eE](?=[+-]?\d)", "", cell)))
    return bool(re.match(r"\s*[<>≤≥≈~(\[]?\s*[+\-−±]?\.?\d", cell)) and letters <= 3
