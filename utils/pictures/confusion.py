"""Who is taken for whom: the most confused speakers, as a matrix."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from utils.pictures.figure import INK, TICK_SIZE, WIDTH, check_trials, legible, new_figure, say, styled

OTHERS = "all others"
SHADES = matplotlib.colormaps["Blues"].with_extremes(bad="#e9e9e9")  # from light to dark, in grey too; the diagonal
LONGEST_NAME = 18  # characters
FEW_TRIALS = 20
MARGIN = 1.5  # inches, for names and title


def plot_confused_pairs(
    scores: np.ndarray,
    labels: np.ndarray,
    speakers: np.ndarray,
    names: Sequence[str],
    threshold: float,
    *,
    most: int = 20,
) -> Figure:
    """The false-acceptance rates between the most confused speakers, in per cent; a trial has no order.

    Of fewer than 20 trials there is no rate to speak of: such cells say how many of how many were accepted.

    Args:
        scores, labels: (N,); what scores the threshold or more is accepted.
        speakers: (N, 2), the positions in `names` of the enrolled and the tested speaker.
        most: speakers to tell apart; the others, if they are confused with these, come last, as one.

    Raises:
        ValueError: trials of one kind only or of other shapes, speakers that have no name, non-target trials of one
            speaker, or a `most` below 1.
    """
    scores, targets = check_trials(scores, labels)
    pairs, accepted = _check_pairs(speakers, len(scores), len(names))[~targets], scores[~targets] >= threshold
    if (pairs[:, 0] == pairs[:, 1]).any():
        raise ValueError("some trials are labelled non-targets but have the same speaker twice")
    number = len(np.unique(pairs))
    if not accepted.any():
        return say(f"No false acceptances among {number:,} speakers.")
    chosen = _most_confused(pairs[accepted], len(names), most)
    wrong, tried = (_collapse(which, chosen, len(names)) for which in (pairs[accepted], pairs))
    title = _title(chosen, number, "speakers", int(wrong.sum()), int(accepted.sum()), "false acceptances")
    title += f"\ncells: %, or accepted/tried (< {FEW_TRIALS} trials); dot: no trials"
    wrong, tried = wrong + wrong.T, tried + tried.T
    texts = np.vectorize(_pair_text, otypes=[object])(wrong, tried)
    np.fill_diagonal(texts, "")
    rates = wrong / np.maximum(tried, 1)
    return _draw_matrix(rates, texts, [names[speaker] for speaker in chosen], title, "speaker", "speaker")


def plot_confusion(labels: np.ndarray, decisions: np.ndarray, names: Sequence[str], *, most: int = 20) -> Figure:
    """The decisions between the most confused classes: those with the most errors in their row and column.

    The title says what share of all errors is shown. The shade of a cell is its share of the largest error; correct
    decisions, the diagonal, are grey.

    Args:
        labels, decisions: (N,), true classes and those decided for, positions in `names`.
        most: classes to tell apart; the others, if they are confused with these, come last, as one.

    Raises:
        ValueError: arrays of other shapes, classes that have no name, or a `most` below 1.
    """
    pairs = _check_pairs(np.stack([labels, decisions], axis=1), len(labels), len(names))
    wrong = pairs[:, 0] != pairs[:, 1]
    if not wrong.any():
        return say(
            f"No errors among {len(pairs):,} decisions: each of the {len(names):,} classes is always recognised."
        )
    chosen = _most_confused(pairs[wrong], len(names), most)
    cells = _collapse(pairs, chosen, len(names))
    title = _title(chosen, len(names), "classes", int(cells.sum() - cells.trace()), int(wrong.sum()), "errors")
    texts = np.vectorize(_short_number, otypes=[object])(cells)
    return _draw_matrix(cells, texts, [names[position] for position in chosen], title, "decided", "true")


def _check_pairs(pairs: np.ndarray, number: int, classes: int) -> np.ndarray:
    pairs = np.asarray(pairs)
    if pairs.shape != (number, 2) or pairs.min() < 0 or pairs.max() >= classes:
        raise ValueError(f"classes must be ({number}, 2), from 0 to {classes - 1}, not {pairs.shape}")
    return pairs


def _most_confused(errors: np.ndarray, classes: int, most: int) -> np.ndarray:
    """The classes that most of the errors (N, 2) are of, those without any left out; ties in their order."""
    if most < 1:
        raise ValueError(f"most must be at least 1, not {most}")
    mass = np.bincount(errors.ravel(), minlength=classes)
    order = np.argsort(-mass, kind="stable")[:most]
    return order[mass[order] > 0]


def _collapse(pairs: np.ndarray, chosen: np.ndarray, classes: int) -> np.ndarray:
    """How often pairs (N, 2) of classes occur; all but the chosen are one, the last, of which alone nothing counts."""
    group = np.full(classes, len(chosen))
    group[chosen] = np.arange(len(chosen))
    counts = confusion_matrix(*group[pairs].T, labels=np.arange(len(chosen) + 1))
    counts[-1, -1] = 0
    return counts


def _title(chosen: np.ndarray, number: int, classes: str, shown: int, total: int, errors: str) -> str:
    share = f"{shown:,} of {total:,} {errors} ({100 * shown / total:.3g} %)"
    return f"{len(chosen):,} of {number:,} {classes}: {share}"


def _pair_text(accepted: int, trials: int) -> str:
    if not trials:
        return "·"
    return f"{accepted}/{trials}" if accepted and trials < FEW_TRIALS else _short_number(100 * accepted / trials)


def _short_number(value: float) -> str:
    """Two digits, or all of a whole part; nothing for 0, so that the errors stand out."""
    if not value:
        return ""
    return f"{value:.2g}" if value < 10 and value != round(value) else f"{value:,.0f}"


@styled
def _draw_matrix(
    values: np.ndarray, texts: np.ndarray, names: Sequence[str], title: str, xlabel: str, ylabel: str
) -> Figure:
    """Cells shaded by their share of the largest value off the diagonal; the last are all others', if there is any."""
    if values[-1].any() or values[:, -1].any():
        names = [*names, OTHERS]
    size = len(names)
    off = np.where(np.eye(size, dtype=bool), np.nan, values[:size, :size])
    dark = 0.6 * np.nanmax(off, initial=0)
    cell = float(np.clip(3.2 / size, 0.29, 0.62))
    figure = new_figure(max(size * cell + MARGIN, WIDTH), max(size * cell + MARGIN, 2.4))
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    axes.imshow(off, cmap=SHADES, vmin=0, vmax=dark / 0.51 or 1, interpolation="nearest")
    letters = max(3, *(len(text) for text in texts.flat))
    style: dict[str, Any] = {"ha": "center", "va": "center_baseline", "size": min(TICK_SIZE, 105 * cell / letters)}
    for (row, column), value in np.ndenumerate(off):
        if text := texts[row, column]:
            colour = "white" if value > dark else INK
            axes.text(column, row, text, color=colour, gid=f"cell-{row}-{column}", **style)
    shown = [legible(name, LONGEST_NAME) for name in names]
    axes.set_xticks(range(size), shown, rotation=90)
    axes.set_yticks(range(size), shown)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=0.8)
    axes.tick_params(which="minor", length=0)
    figure.suptitle(title, wrap=True)
    return figure
