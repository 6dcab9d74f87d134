"""A report: one HTML file that holds everything it shows, and needs nothing else.

No scripts, no fonts, nothing from elsewhere; a content security policy in the file makes sure of it. It reads on a
phone, in print and in dark mode, where pictures stay on a white card.
"""

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from numbers import Integral, Real
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from utils.pictures.figure import PNG_DPI
from utils.system.files import write_atomically

HEAVIEST_SVG = 400_000  # bytes; a picture of more is embedded as pixels
PLAIN_SVG = {"Date": None, "Creator": None, "Format": None, "Type": None}  # the same figure gives the same bytes
WIDE = 560  # CSS pixels: a wider picture is not shrunk to the width of a phone, but moved sideways
PIXELS = 96  # CSS pixels an inch


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


@dataclass(frozen=True)
class Picture:
    """A figure with its caption; the description is for those who do not see it, and the caption where it is empty."""

    caption: str
    figure: Figure
    description: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the report, in this order: text, whose paragraphs blank lines separate, tables, and pictures."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


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
    counter = _Counter()
    body = [f"<h1>{_text(title)}</h1>", *_warnings(warnings), *_contents(sections), "<main>"]
    for number, section in enumerate(sections, start=1):
        body += _section(section, number, counter)
    body.append("</main>")
    lines = [*_head(title), "<body>", *body, "</body>", "</html>"]
    write_atomically(Path(path), "\n".join(lines) + "\n")


class _Counter:
    """Numbers tables and figures through the whole report."""

    def __init__(self) -> None:
        self.numbers = {"Table": 0, "Figure": 0}

    def next(self, kind: str) -> str:
        self.numbers[kind] += 1
        return f"{kind} {self.numbers[kind]}"


# ------------------------------------------------------------------------------------------------------------------
# Text
# ------------------------------------------------------------------------------------------------------------------
# Control characters, lone surrogates and noncharacters: HTML forbids them, and UTF-8 has no surrogates.
UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def _text(text: object) -> str:
    """A text as HTML that shows it, in an element or in an attribute."""
    return escape(UNFIT.sub("\N{REPLACEMENT CHARACTER}", str(text)))


def _paragraphs(text: str) -> list[str]:
    parts = re.split(r"\n\s*\n", text.strip())
    return [f"<p>{_text(part)}</p>" for part in parts if part]


def _warnings(warnings: Sequence[str]) -> list[str]:
    if not warnings:
        return []
    heading = "Warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    items = (f"<li>{_text(warning)}</li>" for warning in warnings)
    return [f'<aside class="warnings" role="note"><h2>{heading}</h2>', "<ul>", *items, "</ul></aside>"]


def _contents(sections: Sequence[Section]) -> list[str]:
    if not sections:
        return []
    links = (f'<li><a href="#section-{n}">{_text(part.title)}</a></li>' for n, part in enumerate(sections, start=1))
    return ['<nav aria-label="Contents"><h2>Contents</h2>', "<ol>", *links, "</ol></nav>"]


def _section(section: Section, number: int, counter: _Counter) -> list[str]:
    lines = [f'<section id="section-{number}">', f"<h2>{_text(section.title)}</h2>", *_paragraphs(section.text)]
    for table in section.tables:
        lines += _table(table, counter.next("Table"))
    if section.pictures:
        lines.append('<div class="pictures">')
        for picture in section.pictures:
            lines += _picture(picture, counter.next("Figure"))
        lines.append("</div>")
    return [*lines, "</section>"]


# ------------------------------------------------------------------------------------------------------------------
# Tables
# ------------------------------------------------------------------------------------------------------------------
DASH = "–"
NOTHING = {"", DASH, "-", "—", "n/a", "nan", "not defined"}  # what may stand in a column of numbers


def _table(table: Table, label: str) -> list[str]:
    rows = [[_cell(value) for value in row] for row in table.rows]
    columns = len(table.header)
    if wrong := next((row for row in rows if len(row) != columns), None):
        raise ValueError(f"a row of {len(wrong)} cells in a table of {columns} columns: {table.caption}")
    numeric = [column > 0 and _is_numeric([row[column] for row in rows]) for column in range(columns)]
    names = [
        f'<th scope="col"{_aligned(right)}>{_text(name)}</th>'
        for name, right in zip(table.header, numeric, strict=True)
    ]
    lines = [
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_text(f"{label}: {table.caption}")}"><table>',
        f"<caption><b>{label}.</b> {_text(table.caption)}</caption>",
        f"<thead><tr>{''.join(names)}</tr></thead>",
        "<tbody>",
    ]
    lines += [_row(row, numeric) for row in rows]
    if not rows:
        lines.append(f'<tr><td colspan="{max(columns, 1)}">nothing</td></tr>')
    lines.append("</tbody></table></div>")
    return [*lines, f'<p class="note">{_text(table.note)}</p>'] if table.note else lines


def _row(cells: Sequence[str], numeric: Sequence[bool]) -> str:
    first, *others = cells
    tail = (f"<td{_aligned(right)}>{_text(cell)}</td>" for cell, right in zip(others, numeric[1:], strict=True))
    return f'<tr><th scope="row">{_text(first)}</th>{"".join(tail)}</tr>'


def _aligned(right: bool) -> str:
    return ' class="number"' if right else ""


def _cell(value: object) -> str:
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


# ------------------------------------------------------------------------------------------------------------------
# Pictures
# ------------------------------------------------------------------------------------------------------------------
def _picture(picture: Picture, label: str) -> list[str]:
    width, height = (round(inches * PIXELS) for inches in picture.figure.get_size_inches())
    style = ' class="wide"' if width > WIDE else ""
    alt = _text(picture.description or picture.caption)
    return [
        f'<figure><div class="card"><img{style} width="{width}" height="{height}" alt="{alt}"',
        f'src="{_data_uri(picture.figure)}"></div>',
        f"<figcaption><b>{label}.</b> {_text(picture.caption)}</figcaption></figure>",
    ]


def _data_uri(figure: Figure) -> str:
    """The figure itself as an address: drawn as lines, and as pixels where these would be lighter.

    An image of its own, and not part of the page: its ids and styles meet nobody else's.
    """
    kind, content = "svg+xml", _render(figure, "svg", PLAIN_SVG)
    if len(content) > HEAVIEST_SVG:
        kind, content = "png", _render(figure, "png", {"Software": None})
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _render(figure: Figure, kind: str, metadata: dict[str, None]) -> bytes:
    content = io.BytesIO()
    # Text as curves: the reader's machine need not have the font.
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "autospeech", "savefig.bbox": None}):
        figure.savefig(content, format=kind, dpi=PNG_DPI, metadata=metadata)
    return content.getvalue()


# ------------------------------------------------------------------------------------------------------------------
# The page
# ------------------------------------------------------------------------------------------------------------------
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def _head(title: str) -> list[str]:
    return [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
    ]


STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1c1e; --quiet: #5c5c63; --line: #d9d9de; --band: #f5f5f7;
  --link: #0a58a8; --alert: #8a3b00; --alert-paper: #fff4e5; --alert-line: #e08a00; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1, h2, p, li, caption, figcaption { overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 0 0 .6rem; }
p { max-width: 48rem; margin: 0 0 .9rem; white-space: pre-line; }
a { color: var(--link); }
section { margin-top: 2.5rem; padding-top: 1.25rem; border-top: 1px solid var(--line); }
.warnings { max-width: 60rem; margin: 0 0 1.5rem; padding: .9rem 1.1rem; border: 2px solid var(--alert-line);
  border-left-width: .6rem; border-radius: .4rem; background: var(--alert-paper); color: var(--alert); }
.warnings h2 { font-size: 1.1rem; margin: 0 0 .3rem; }
.warnings ul { margin: 0; padding-left: 1.2rem; }
nav { max-width: 60rem; padding: .8rem 1.1rem; background: var(--band); border-radius: .4rem; }
nav h2 { font-size: 1rem; margin: 0 0 .3rem; }
nav ol { margin: 0; padding-left: 1.4rem; }
.scroll { overflow-x: auto; margin: 1.2rem 0 .4rem; }
table { width: max-content; border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { max-width: min(48rem, 92vw); text-align: left; padding: 0 0 .4rem; color: var(--quiet); }
th, td { padding: .3rem .9rem .3rem .5rem; text-align: left; vertical-align: top; max-width: 26rem;
  overflow-wrap: break-word; border-bottom: 1px solid var(--line); }
thead th { border-bottom: 2px solid var(--quiet); vertical-align: bottom; }
tbody th { font-weight: 500; }
tbody tr:nth-child(even) { background: var(--band); }
.number { text-align: right; white-space: nowrap; }
thead .number { white-space: normal; }
.note { font-size: .88rem; color: var(--quiet); }
.pictures { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; margin-top: 1.2rem; }
figure { margin: 0; width: fit-content; max-width: 100%; display: table; }
.card { overflow-x: auto; padding: .75rem; background: #fff; border: 1px solid var(--line); border-radius: .4rem; }
img { display: block; max-width: 100%; height: auto; color: #1c1c1e; }
img.wide { min-width: min(40rem, 160vw); }
figcaption { display: table-caption; caption-side: bottom; padding: .4rem .2rem 0; font-size: .9rem;
  color: var(--quiet); }
@media (max-width: 40rem) {
  body { padding: 1rem .8rem 3rem; }
  h1 { font-size: 1.4rem; }
  figure { display: block; }
  figcaption { display: block; }
  .card { padding: .35rem; }
  th, td { max-width: 14rem; }
}
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #17181b; --ink: #e8e8ea; --quiet: #a8a8b0; --line: #3a3b41; --band: #202126; --link: #7ab8ff;
    --alert: #ffd9a3; --alert-paper: #3a2a10; --alert-line: #e08a00; }
}
@media print {
  @page { margin: 15mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, .warnings, .scroll, tr, figure { break-inside: avoid; }
  h2, caption { break-after: avoid; }
  .warnings, .card, tbody tr { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .scroll, .card { overflow: visible; }
  table { width: auto; }
  .pictures { display: block; }
  figure { margin-bottom: 4mm; }
  img { width: auto; max-height: 108mm; }
  img.wide { min-width: 0; max-height: 210mm; }
}
"""
