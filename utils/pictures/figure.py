"""What all pictures share: files, colours, fonts, layout.

Figures are made without pyplot: no display is needed, and nothing global is kept. Trials are given by scores (N,),
larger for the same speaker, and labels (N,), 1 for the same speaker (targets) and 0 for different ones (non-targets).
Colours are those of Okabe and Ito, which colour-blind people tell apart; lines differ in their dashes too, so that they
survive a black-and-white printer. Names may be any text.
"""

import functools
import io
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.rcsetup import cycler
from matplotlib.style import context

from utils.system.errors import UserError
from utils.system.files import write_atomically

PNG_DPI = 200
# By format; undated and unsigned, so that the same figure gives the same bytes.
METADATA = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
}

INK, GREY = "#222222", "#9a9a9a"
FONT = "DejaVu Sans"  # comes with matplotlib
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
COLOURS = [BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY]
DASHES = ["-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 1.5))]
LABEL_SIZE, TICK_SIZE, TITLE_SIZE = 9.0, 8.0, 9.5  # points
WIDTH = 4.9  # inches, of most pictures: two stand beside each other in a report
RIM = 0.08  # inches around everything
LINE_LETTERS = 60  # how many go beside a handle of a legend
STYLE: dict[str, Any] = {
    "font.family": FONT,
    "font.size": TICK_SIZE,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.labelcolor": INK,
    "axes.labelsize": LABEL_SIZE,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLOURS * 5, linestyle=DASHES * 6),  # 30 pairs
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.titlesize": TITLE_SIZE,
}
for _axis in ("xtick", "ytick"):
    STYLE |= {f"{_axis}.color": INK, f"{_axis}.major.size": 3, f"{_axis}.major.width": 0.6}
Arguments = ParamSpec("Arguments")


def styled(make: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Dress what makes a figure: in our style, whatever is in a matplotlibrc, and laid out once for all.

    Laid out anew at every drawing, the same figure would give other bytes each time.
    """

    @functools.wraps(make)
    def make_styled(*arguments: Arguments.args, **keywords: Arguments.kwargs) -> Figure:
        with context(["default", STYLE]):
            figure = make(*arguments, **keywords)
            figure.draw_without_rendering()
        figure.set_layout_engine("none")
        return figure

    return make_styled


def save_figure(figure: Figure, path_without_suffix: str | Path, formats: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Write a figure in each of the formats, every file whole or not at all; returns their paths.

    The same figure gives the same bytes. Fonts are embedded as TrueType (Type 42), which publishers ask for.

    Raises:
        UserError: a format other than png, pdf and svg; nothing is written then.
        OSError: a file cannot be written.
    """
    for name in formats:
        if name not in METADATA:
            raise UserError(f"no pictures of the format {name!r}; valid are {', '.join(METADATA)}")
    paths = [Path(f"{path_without_suffix}.{name}") for name in formats]
    for name, path in zip(formats, paths, strict=True):
        write_atomically(path, render(figure, name))
    return paths


def render(figure: Figure, name: str) -> bytes:
    """A figure in the format of this name; the same figure gives the same bytes."""
    content = io.BytesIO()
    # The text of an SVG as curves: the reader's machine need not have the font.
    fonts: dict[Any, Any] = {"pdf.fonttype": 42, "svg.fonttype": "path"}
    with matplotlib.rc_context(fonts | {"svg.hashsalt": "autospeech", "savefig.bbox": None}):
        figure.savefig(content, format=name, dpi=PNG_DPI, metadata=METADATA[name])
    return content.getvalue()


def legible(text: str, most: int = 60) -> str:
    """A name as matplotlib can draw it: one line, not too long, every character itself.

    What the font does not have (control characters, lone surrogates, Chinese) becomes a replacement character, and
    dollars would start a formula. Of long names the middle goes: names of one corpus often share their beginnings.
    """
    face = get_font(findfont(FONT))
    has = {character: character.isprintable() and face.get_char_index(ord(character)) > 0 for character in set(text)}
    shown = "".join(character if has[character] else "\N{REPLACEMENT CHARACTER}" for character in text)
    if len(shown) > most:
        tail = most // 2
        shown = f"{shown[: most - tail - 1]}…{shown[-tail:]}"
    return shown.replace("$", r"\$")


def check_trials(scores: np.ndarray, labels: np.ndarray, *, finite: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The scores as float64 and which trials are targets; raises ValueError where they are no trials of both kinds."""
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"scores and labels must be (N,) both, not {scores.shape} and {labels.shape}")
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum()):,} of {len(scores):,} scores are not numbers")
    if set(np.unique(labels).tolist()) != {0, 1}:
        raise ValueError("labels must be 0 and 1, and both must occur")
    if finite and not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    return scores, labels == 1


def new_figure(width: float, height: float) -> Figure:
    """A white figure, sizes in inches, that makes room for labels and legends by itself."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=RIM, h_pad=RIM))


@styled
def say(text: str) -> Figure:
    """A small figure that holds nothing but a sentence."""
    figure = new_figure(WIDTH, 1.0)
    figure.text(0.5, 0.5, textwrap.fill(text, 60), ha="center", va="center", size=LABEL_SIZE)
    return figure
