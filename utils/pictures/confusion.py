"""Who is taken for whom: the most confused speakers, as a matrix."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from utils.pictures.figure import (
    FONT,
    INK,
    RIM,
    TICK_SIZE,
    TITLE_SIZE,
    WIDTH,
    check_trials,
    dress,
    font,
    legible,
    new_figure,
    say,
    settle,
)

OTHERS = "all others"
SHADES = "Blues"  # from light to dark, in grey too
DIAGONAL = "#e9e9e9"
LONGEST_NAME = 18  # characters
FEW_TRIALS = 20
MARGIN = 1.5  # inches, for names and title


@dataclass(frozen=True)
class ConfusedPairs:
    """False acceptances between speakers at a threshold, among those with the most of them.

    Attributes:
        names: (K,), the most confused first.
        others: whether the last stands for all others together.
        accepted, trials: (K, K), symmetric: non-target trials between two speakers accepted, and tried.
        total: false acceptances between any two speakers.
        speakers: how many have non-target trials.
    """

    names: tuple[str, ...]
    others: bool
    accepted: np.ndarray
    trials: np.ndarray
    total: int
    speakers: int

    @property
    def rates(self) -> np.ndarray:
        """(K, K): false-acceptance rates, NaN where there are no trials."""
        return np.divide(self.accepted, self.trials, out=np.full(self.trials.shape, np.nan), where=self.trials > 0)


def confused_pairs(
    scores: np.ndarray,
    labels: np.ndarray,
    speakers: np.ndarray,
    names: Sequence[str],
    threshold: float,
    *,
    most: int = 20,
) -> ConfusedPairs:
    """Who is taken for whom: false acceptances by pairs of speakers, of which a trial has no order.

    Args:
        scores, labels: (N,); what scores the threshold or more is accepted.
        speakers: (N, 2), the positions in `names` of the enrolled and the tested speaker.
        most: speakers to tell apart; the others, if they are confused with these, come last, as one.

    Raises:
        ValueError: trials of one kind only or of other shapes, speakers that have no name, non-target trials of one
            speaker, or a `most` below 1.
    """
    scores, targets = check_trials(scores, labels)
    speakers = np.asarray(speakers)
    if speakers.shape != (len(scores), 2) or speakers.min() < 0 or speakers.max() >= len(names):
        raise ValueError(f"speakers must be ({len(scores)}, 2), from 0 to {len(names) - 1}, not {speakers.shape}")
    pairs, accepted = speakers[~targets], scores[~targets] >= threshold
    if (pairs[:, 0] == pairs[:, 1]).any():
        raise ValueError("some trials are labelled non-targets but have the same speaker twice")
    chosen = _most_confused(np.bincount(pairs[accepted].ravel(), minlength=len(names)), most)
    group = np.full(len(names), len(chosen))
    group[chosen] = np.arange(len(chosen))
    size = len(chosen) + 1
    tried, wrong = (_count_pairs(group[pairs[which]], size) for which in (slice(None), accepted))
    others = bool(wrong[-1, :-1].any())
    kept = size if others else size - 1
    shown = (*(names[speaker] for speaker in chosen), OTHERS)[:kept]
    part = np.s_[:kept, :kept]
    return ConfusedPairs(shown, others, wrong[part], tried[part], int(accepted.sum()), len(np.unique(pairs)))


def _most_confused(mass: np.ndarray, most: int) -> np.ndarray:
    """The positions of the classes with the most errors, those without any left out; ties in their order."""
    if most < 1:
        raise ValueError(f"most must be at least 1, not {most}")
    order = np.argsort(-mass, kind="stable")[:most]
    return order[mass[order] > 0]


def _count_pairs(pairs: np.ndarray, size: int) -> np.ndarray:
    """How often every unordered pair (N, 2) of groups occurs, (size, size) and symmetric; none of one group alone."""
    counts = np.bincount(pairs[:, 0] * size + pairs[:, 1], minlength=size * size).reshape(size, size)
    counts = counts + counts.T
    np.fill_diagonal(counts, 0)
    return counts


def plot_confused_pairs(pairs: ConfusedPairs) -> Figure:
    """The false-acceptance rates between the most confused speakers, in per cent.

    Of fewer than 20 trials there is no rate to speak of: such cells say how many of how many were accepted.
    """
    if not pairs.total:
        return say(f"No false acceptances among {pairs.speakers:,} speakers.")
    shown = int(pairs.accepted.sum()) // 2
    told = len(pairs.names) - pairs.others
    title = (
        f"{told:,} of {pairs.speakers:,} speakers: {_share(shown, pairs.total, 'false acceptances')}\n"
        f"cells: %, or accepted/tried (< {FEW_TRIALS} trials); dot: no trials"
    )
    texts = np.vectorize(_pair_text, otypes=[object])(pairs.accepted, pairs.trials)
    np.fill_diagonal(texts, "")
    return _draw_matrix(pairs.rates, texts, pairs.names, title, "speaker", "speaker")


def _pair_text(accepted: int, trials: int) -> str:
    if not trials:
        return "·"
    return f"{accepted}/{trials}" if accepted and trials < FEW_TRIALS else _short_number(100 * accepted / trials)


def plot_confusion(
    counts: np.ndarray,
    names: Sequence[str],
    *,
    most: int = 20,
    xlabel: str = "decided",
    ylabel: str = "true",
) -> Figure:
    """The decisions between the most confused classes: those with the most errors in their row and column.

    The title says what share of all errors is shown. The shade of a cell is its share of the largest error; correct
    decisions, the diagonal, are grey.

    Args:
        counts: (K, K), rows are true classes, columns decisions. Of whole numbers, the classes not chosen are added up
            to one; anything else is taken for rates, shown in per cent, whose others are left out.
        names: (K,).
        most: classes to tell apart.

    Raises:
        ValueError: counts that are not square, negative or not finite; another number of names; a `most` below 1.
    """
    counts = np.asarray(counts)
    _check_counts(counts, len(names))
    whole = bool((counts == np.rint(counts)).all())
    errors = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    if not errors.any():
        decisions = f" among {int(counts.sum()):,} decisions" if whole else ""
        return say(f"No errors{decisions}: each of the {len(names):,} classes is always recognised.")
    chosen = _most_confused(errors.sum(axis=0) + errors.sum(axis=1), most)
    cells = _collapse(errors, chosen)
    if not (whole and cells[-1].any() | cells[:, -1].any()):
        cells = cells[:-1, :-1]
    inside, total = cells.sum(), errors.sum()
    share = _share(int(inside), int(total), "errors") if whole else f"{100 * inside / total:.3g} % of the errors"
    cells[range(len(chosen)), range(len(chosen))] = counts[chosen, chosen]
    shown = [*(names[position] for position in chosen), OTHERS][: len(cells)]
    title = f"{len(chosen):,} of {len(names):,} classes: {share}"
    texts = np.vectorize(_short_number, otypes=[object])(cells if whole else 100 * cells)
    return _draw_matrix(cells, texts, shown, title, xlabel, ylabel if whole else f"{ylabel} (cells: %)")


def _check_counts(counts: np.ndarray, classes: int) -> None:
    if counts.shape != (classes, classes):
        raise ValueError(f"counts must be ({classes}, {classes}), one row and column a name, not {counts.shape}")
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise ValueError("counts must be finite and not negative")


def _collapse(errors: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The errors between the chosen classes, and between them and all others, the last row and column."""
    others = np.ones(len(errors), dtype=bool)
    others[chosen] = False
    to, away = errors[np.ix_(chosen, others)].sum(axis=1), errors[np.ix_(others, chosen)].sum(axis=0)
    return np.block([[errors[np.ix_(chosen, chosen)], to[:, None]], [away, np.zeros((1, 1))]])


def _share(part: int, total: int, what: str) -> str:
    return f"{part:,} of {total:,} {what} ({100 * part / total:.3g} %)"


def _short_number(value: float) -> str:
    """Two digits, or all of a whole part; nothing for 0, so that the errors stand out."""
    if not value:
        return ""
    return f"{value:.2g}" if value < 10 and value != round(value) else f"{value:,.0f}"


def _draw_matrix(
    values: np.ndarray, texts: np.ndarray, names: Sequence[str], title: str, xlabel: str, ylabel: str
) -> Figure:
    """Cells shaded by their share of the largest value off the diagonal, with these texts in them."""
    size = len(values)
    cell = float(np.clip(3.2 / size, 0.29, 0.62))
    figure = new_figure(max(size * cell + MARGIN, WIDTH), max(size * cell + MARGIN, 2.4))
    axes = figure.add_subplot()
    off = np.where(np.eye(size, dtype=bool), np.nan, values)
    largest = np.nanmax(off, initial=0)
    shares = np.nan_to_num(off) / (largest if largest else 1)
    colours = matplotlib.colormaps[SHADES](0.85 * shares)
    colours[np.eye(size, dtype=bool)] = matplotlib.colors.to_rgba(DIAGONAL)
    axes.imshow(colours, interpolation="nearest")
    longest = max(map(len, texts.flat))
    style = {"ha": "center", "va": "center_baseline", **font(min(TICK_SIZE, 105 * cell / max(longest, 3)))}
    for (row, column), text in np.ndenumerate(texts):
        if text:
            dark = shares[row, column] > 0.6
            axes.text(column, row, text, color="white" if dark else INK, gid=f"cell-{row}-{column}", **style)
    dress(axes, xlabel, ylabel, grid=None)
    shown = [legible(name, LONGEST_NAME) for name in names]
    axes.set_xticks(range(size), shown, rotation=90)
    axes.set_yticks(range(size), shown)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(True, which="minor", color="white", linewidth=0.8)
    axes.tick_params(which="minor", length=0)
    letters = int((figure.get_figwidth() - 2 * RIM) * 72 / TITLE_SIZE / 0.55)  # a letter is about so wide for its size
    lines = [textwrap.fill(line, letters) for line in title.splitlines()]
    figure.suptitle("\n".join(lines), size=TITLE_SIZE, family=FONT, color=INK)
    return settle(figure)
