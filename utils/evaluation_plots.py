"""Pictures of an evaluation: DET curves, histograms, calibration, confusions, and estimates with their intervals.

Every function takes arrays and returns a figure, made without pyplot as in `utils.plots`. Trials are given by scores
(N,), larger for the same speaker, and labels (N,), 1 for the same speaker (targets) and 0 for different ones
(non-targets). Colours are those of Okabe and Ito, which colour-blind people tell apart; lines differ in their dashes
too, so that they survive a black-and-white printer. Names may be any text.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from scipy.special import expit, ndtr, ndtri

from utils.metrics import equal_error_rate, error_rates, min_dcf
from utils.plots import FONT, GREY, INK

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 1.5)))  # 5 and 6: 30 pairs
LABEL_SIZE, TICK_SIZE, TITLE_SIZE = 9.0, 8.0, 9.5  # points
GRID = "#e3e3e3"
WIDTH = 4.9  # inches, of most pictures: two stand beside each other in a report
RIM = 0.08  # inches around everything
LINE_LETTERS = 60  # how many go beside a handle of a legend


# ------------------------------------------------------------------------------------------------------------------
# What all have in common
# ------------------------------------------------------------------------------------------------------------------
def _legible(text: str, most: int = 60) -> str:
    """A name as matplotlib can draw it: one line, not too long, every character itself.

    What the font does not have (control characters, lone surrogates, Chinese) becomes a replacement character, and
    dollars would start a formula. Of long names the middle goes: names of one corpus often share their beginnings.
    """
    font = get_font(findfont(FONT))
    has = {character: character.isprintable() and font.get_char_index(ord(character)) > 0 for character in set(text)}
    shown = "".join(character if has[character] else "\N{REPLACEMENT CHARACTER}" for character in text)
    if len(shown) > most:
        tail = most // 2
        shown = f"{shown[: most - tail - 1]}…{shown[-tail:]}"
    return shown.replace("$", r"\$")


def _check_trials(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scores as float64 and which trials are targets; raises ValueError where they are no trials of both kinds."""
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"scores and labels must be (N,) both, not {scores.shape} and {labels.shape}")
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum()):,} of {len(scores):,} scores are not numbers")
    if set(np.unique(labels).tolist()) != {0, 1}:
        raise ValueError("labels must be 0 and 1, and both must occur")
    return scores, labels == 1


def _check_finite(scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")


def _new_figure(width: float, height: float) -> Figure:
    """A white figure, sizes in inches, that makes room for labels and legends by itself."""
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    figure.get_layout_engine().set(w_pad=RIM, h_pad=RIM)
    return figure


def _settle(figure: Figure) -> Figure:
    """Lay a finished figure out, once for all: laid out anew at every drawing, it would give other bytes each time."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def _dress(axes: Axes, xlabel: str = "", ylabel: str = "", grid: str = "both") -> None:
    """Labels, ticks and grid as in every picture; explicitly, so that nobody's matplotlibrc changes them."""
    axes.set_facecolor("white")
    axes.set_xlabel(xlabel, size=LABEL_SIZE, family=FONT, color=INK)
    axes.set_ylabel(ylabel, size=LABEL_SIZE, family=FONT, color=INK)
    axes.tick_params(labelsize=TICK_SIZE, labelfontfamily=FONT, colors=INK, length=3, width=0.6)
    axes.grid(False)
    if grid:
        axes.grid(True, axis=grid, color=GRID, linewidth=0.6, linestyle="-")
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set(color=GREY, linewidth=0.7)


def _font(size: float = TICK_SIZE) -> dict[str, object]:
    return {"family": FONT, "size": size}


def _say(text: str) -> Figure:
    """A small figure that holds nothing but a sentence."""
    figure = _new_figure(WIDTH, 1.0)
    text = textwrap.fill(text, 60)
    figure.text(0.5, 0.5, text, ha="center", va="center", size=LABEL_SIZE, family=FONT, color=INK)
    return _settle(figure)


# ------------------------------------------------------------------------------------------------------------------
# DET curves
# ------------------------------------------------------------------------------------------------------------------
LOWEST = (1e-3, 1e-4)  # where the axes may begin: at the first that is below what is marked
HIGHEST = (0.5, 0.95, 0.9995)  # and end
# Ticks, the most important first; of two that would touch, the first stays.
TICKS = (0.01, 0.1, 0.001, 0.4, 0.05, 0.2, 0.02, 0.005, 0.0001, 0.8, 0.95, 0.99, 0.999, 0.6, 0.002, 0.0005, 0.9)
APART = 0.055  # of an axis, between ticks
CELLS = 1000  # of an axis; points of a curve in the same one are not told apart
COST_MARKERS = ("^", "v", "s", "D", "P", "X")


@dataclass(frozen=True)
class _Det:
    """A system's curve and the points marked on it; rates are fractions."""

    false_acceptance: np.ndarray
    false_rejection: np.ndarray
    equal: float
    costs: tuple[tuple[float, float, float], ...]  # minDCF, false acceptance, false rejection; one a prior
    targets: int
    nontargets: int

    @property
    def marked(self) -> np.ndarray:
        """(1 + priors, 2): the EER point, then those of the costs."""
        return np.array([(self.equal, self.equal), *(cost[1:] for cost in self.costs)])


def plot_det(
    systems: Mapping[str, tuple[np.ndarray, np.ndarray]], target_priors: Sequence[float] = (0.01, 0.05)
) -> Figure:
    """DET curves on probit axes, with the points of the EER and of the least costs (Martin et al., 1997).

    Points at a rate of 0 or 1, which these axes do not have, stand on their rim. Curves of many trials are thinned out
    to what can be seen; the points marked are where the metrics are.

    Args:
        systems: by name, scores (N,) and labels (N,).
        target_priors: of the costs (`utils.metrics.min_dcf`), six at most.

    Raises:
        ValueError: no systems, too many priors, or trials that are not finite, of one kind only, or of other shapes.
    """
    if not systems or len(target_priors) > len(COST_MARKERS):
        raise ValueError(f"a DET plot needs systems, and takes {len(COST_MARKERS)} target priors at most")
    curves = {name: _det(*trials, target_priors) for name, trials in systems.items()}
    low, high = _limits(np.concatenate([curve.marked for curve in curves.values()]))
    texts = [_describe(name, curve, target_priors) for name, curve in curves.items()]
    markers = _marker_entries(target_priors)
    texts += markers
    figure = _new_figure(WIDTH, WIDTH - 0.05 + _legend_height(texts))
    axes = figure.add_subplot()
    _probit_axes(axes, low, high)
    axes.plot((low, high), (low, high), color=GREY, linewidth=0.6, gid="diagonal")
    handles = [_draw_det(axes, curve, number, low, high) for number, curve in enumerate(curves.values())]
    if all(curve.equal == 0 for curve in curves.values()):
        text = "no errors at the best threshold:\nthe curve lies outside these axes"
        place = {"transform": axes.transAxes, "ha": "center", "va": "center", "backgroundcolor": "white"}
        axes.text(0.5, 0.5, text, color=INK, **place, **_font(LABEL_SIZE))
    handles += markers.values()
    figure.legend(handles, texts, loc="outside lower center", prop=_font(), frameon=False, handlelength=3.2)
    return _settle(figure)


def _det(scores: np.ndarray, labels: np.ndarray, target_priors: Sequence[float]) -> _Det:
    """The curve through the rates at all thresholds, and through the EER point, which may lie between two of them."""
    scores, targets = _check_trials(scores, labels)
    _check_finite(scores)
    false_acceptance, false_rejection, _ = error_rates(scores, targets)
    costs = []
    for prior in target_priors:
        best = np.argmin(prior * false_rejection + (1 - prior) * false_acceptance)
        costs.append((min_dcf(scores, targets, prior), float(false_acceptance[best]), float(false_rejection[best])))
    equal = equal_error_rate(scores, targets)
    after = int(np.argmax(false_rejection <= false_acceptance))
    return _Det(
        np.insert(false_acceptance, after, equal),
        np.insert(false_rejection, after, equal),
        equal,
        tuple(costs),
        int(targets.sum()),
        int((~targets).sum()),
    )


def _limits(marked: np.ndarray) -> tuple[float, float]:
    """The same for both axes, the narrowest that hold the points marked as far as they can be held."""
    inner = marked[(marked > 0) & (marked < 1)]
    if not len(inner):
        return LOWEST[0], HIGHEST[0]
    low = next((low for low in LOWEST if low < inner.min()), LOWEST[-1])
    return low, next((high for high in HIGHEST if high > inner.max()), HIGHEST[-1])


def _probit_axes(axes: Axes, low: float, high: float) -> None:
    """Both axes from low to high, in per cent, spaced as the normal distribution's quantiles."""
    axes.set(xlim=(low, high), ylim=(low, high), box_aspect=1)  # before the scale, which has no place for 0
    kept: list[float] = []
    span = ndtri(high) - ndtri(low)
    for tick in TICKS:
        if low <= tick <= high and all(abs(ndtri(tick) - ndtri(other)) >= APART * span for other in kept):
            kept.append(tick)
    _dress(axes, "false acceptances (%)", "false rejections (%)")
    axes.set_xscale("function", functions=(ndtri, ndtr))
    axes.set_yscale("function", functions=(ndtri, ndtr))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(sorted(kept)))
        axis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:.4g}"))
        axis.set_minor_locator(NullLocator())


def _draw_det(axes: Axes, curve: _Det, number: int, low: float, high: float) -> Line2D:
    """Draw one system; returns its line."""
    # What lies beyond the axes is drawn beyond them, so that no line runs along their rim.
    below, above = ndtr(ndtri(low) - 0.5), ndtr(ndtri(high) + 0.5)
    points = np.clip(np.stack([curve.false_acceptance, curve.false_rejection]), below, above)
    points = points[:, _worth_drawing(ndtri(points), curve.marked, points)]
    style = {"color": COLOURS[number % len(COLOURS)], "zorder": 3 + number}
    dashes = DASHES[number % len(DASHES)]
    (line,) = axes.plot(*points, linewidth=1.3, linestyle=dashes, gid=f"curve-{number}", **style)
    markers = ("o", *COST_MARKERS)
    for position, (x, y) in enumerate(np.clip(curve.marked, low, high)):
        gid = f"equal-{number}" if position == 0 else f"cost-{number}-{position - 1}"
        # On the rim it shows whole.
        axes.plot(x, y, markers[position], gid=gid, clip_on=False, **style, **_marker_style(position))
    return line


def _worth_drawing(places: np.ndarray, marked: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Which points (2, N) of a curve to keep: the first and the last in every cell of a grid, and those marked."""
    cells = np.floor((places - places.min()) / max(float(np.ptp(places)), 1e-12) * CELLS)
    new = np.ones(cells.shape[1], dtype=bool)
    new[1:] = (cells[:, 1:] != cells[:, :-1]).any(axis=0)
    keep = new | np.append(new[1:], True)
    for point in marked:
        keep |= (points == point[:, None]).all(axis=0)
    return keep


def _marker_style(position: int) -> dict[str, object]:
    """The EER's is hollow and larger: it is seen where a cost's lies on it."""
    if position == 0:
        return {"markersize": 7.5, "markerfacecolor": "none", "markeredgewidth": 1.4}
    return {"markersize": 5.5, "markeredgecolor": "white", "markeredgewidth": 0.5}


def _marker_entries(target_priors: Sequence[float]) -> dict[str, Line2D]:
    """The legend's entries for the points."""
    texts = ["equal error rate (EER)", *(f"least detection cost, target prior {prior:g}" for prior in target_priors)]
    markers = ("o", *COST_MARKERS)
    return {
        text: Line2D([], [], linestyle="", marker=markers[position], color=INK, **_marker_style(position))
        for position, text in enumerate(texts)
    }


def _describe(name: str, curve: _Det, target_priors: Sequence[float]) -> str:
    """The legend's lines on a curve: whose it is and of how many trials, and its figures."""
    name, trials = _legible(name, LINE_LETTERS), f"{curve.targets:,} targets, {curve.nontargets:,} non-targets"
    equal = f"EER {100 * curve.equal:.2f} %" if curve.equal else "EER 0: no errors"
    costs = [f"{cost[0]:.3f} ({prior:g})" for cost, prior in zip(curve.costs, target_priors, strict=True)]
    least = f", minDCF {', '.join(costs)}" if costs else ""
    heading = f"{name}: {trials}" if len(name) + len(trials) < LINE_LETTERS else f"{name}\n{trials}"
    return f"{heading}\n{textwrap.fill(equal + least, LINE_LETTERS)}"


def _legend_height(texts: Sequence[str]) -> float:
    """Inches that a legend of one column takes: its lines, and half a letter's height between entries."""
    lines = sum(1 + text.count("\n") for text in texts)
    return TICK_SIZE / 72 * (1.2 * lines + 0.5 * len(texts))


# ------------------------------------------------------------------------------------------------------------------
# Histograms
# ------------------------------------------------------------------------------------------------------------------
FEWEST_BINS, MOST_BINS = 12, 80


def plot_histograms(
    scores: np.ndarray, labels: np.ndarray, threshold: float | None = None, xlabel: str = "score"
) -> Figure:
    """How the scores (N,) of targets and of non-targets are distributed: two histograms, each of area 1.

    Args:
        threshold: drawn as a line, with the error rates of accepting what scores it or more.

    Raises:
        ValueError: trials that are not finite, of one kind only, or of other shapes.
    """
    scores, targets = _check_trials(scores, labels)
    _check_finite(scores)
    edges = _bin_edges(scores, targets)
    figure = _new_figure(WIDTH, 3.8)
    axes = figure.add_subplot()
    _dress(axes, xlabel, "density", grid="y")
    kinds = (("non-targets", ~targets, VERMILION, "-"), ("targets", targets, BLUE, (0, (5, 1.5))))
    for name, kind, colour, dashes in kinds:
        heights, _ = np.histogram(scores[kind], edges, density=True)
        axes.stairs(heights, edges, fill=True, color=colour, alpha=0.22)
        label = f"{name} ({kind.sum():,})"
        axes.stairs(heights, edges, color=colour, linewidth=1.3, linestyle=dashes, label=label, gid=name)
    if threshold is not None:
        accepted = scores >= threshold
        rates = (100 * np.mean(accepted[~targets]), 100 * np.mean(~accepted[targets]))
        label = f"threshold {threshold:.4g}: {rates[0]:.2f} % false acceptances, {rates[1]:.2f} % false rejections"
        axes.axvline(threshold, color=INK, linewidth=1.1, linestyle=(0, (1.2, 1.2)), label=label, gid="threshold")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    figure.legend(loc="outside lower center", ncols=2 if threshold is None else 1, prop=_font(), frameon=False)
    return _settle(figure)


def _bin_edges(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Bins of one width for both kinds, of the narrower one's liking (Freedman and Diaconis, 1981)."""
    low, high = float(scores.min()), float(scores.max())
    # Narrower bins than numbers are apart, or so narrow that a density would be infinite, are none.
    if high - low <= max(4 * MOST_BINS * np.spacing(max(abs(low), abs(high))), 1e-100):
        margin = 0.5 * max(abs(low), 1.0)
        return np.linspace(low - margin, high + margin, FEWEST_BINS + 1)
    widths = []
    for kind in (scores[targets], scores[~targets]):
        quartiles = np.quantile(kind, (0.25, 0.75))
        widths.append(2 * float(np.diff(quartiles)[0]) / len(kind) ** (1 / 3))
    usable = [width for width in widths if width > 0]
    bins = np.ceil((high - low) / min(usable)) if usable else FEWEST_BINS
    return np.linspace(low, high, int(np.clip(bins, FEWEST_BINS, MOST_BINS)) + 1)


# ------------------------------------------------------------------------------------------------------------------
# Calibration
# ------------------------------------------------------------------------------------------------------------------
def plot_reliability(llrs: np.ndarray, labels: np.ndarray, bins: int = 15) -> Figure:
    """Whether log-likelihood ratios mean what they say: posteriors predicted from them against shares of targets.

    Both at even priors: each kind of trials weighs one half, however many there are. Dots are bins of equal width,
    the thin line is the isotonic regression (pool adjacent violators), and the panel below has the trials of a bin.

    Args:
        llrs: (N,), natural logarithms; they may be infinite.

    Raises:
        ValueError: no bins, or trials that are not numbers, of one kind only, or of other shapes.
    """
    llrs, targets = _check_trials(llrs, labels)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    predicted = expit(llrs)
    weights = np.where(targets, 0.5 / targets.sum(), 0.5 / (~targets).sum())
    figure = _new_figure(WIDTH, 5.6)
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3.2, 1))
    _draw_reliability(upper, predicted, targets, weights, bins)
    _draw_counts(lower, predicted, targets, bins)
    handles = [handle for axes in (upper, lower) for handle in axes.get_legend_handles_labels()[0]]
    texts = [handle.get_label() for handle in handles]
    figure.legend(handles, texts, loc="outside lower center", ncols=2, prop=_font(), frameon=False)
    return _settle(figure)


def _draw_reliability(axes: Axes, predicted: np.ndarray, targets: np.ndarray, weights: np.ndarray, bins: int) -> None:
    _dress(axes, "", "share of targets at even priors")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.plot((0, 1), (0, 1), color=GREY, linewidth=0.8, label="perfectly calibrated", gid="diagonal")
    xs, ys = _isotonic(predicted, targets, weights)
    axes.plot(xs, ys, color=VERMILION, linewidth=0.8, label="isotonic regression", gid="isotonic")
    which = _bin_of(predicted, bins)
    mass = np.bincount(which, weights, bins)
    used = mass > 0
    means = np.bincount(which, weights * predicted, bins)[used] / mass[used]
    shares = np.bincount(which, weights * targets, bins)[used] / mass[used]
    style = {"color": BLUE, "linewidth": 1.0, "markersize": 5, "marker": "o"}
    axes.plot(means, shares, label="bins of trials", gid="bins", clip_on=False, zorder=4, **style)


def _bin_of(predicted: np.ndarray, bins: int) -> np.ndarray:
    """The bin (N,) of every posterior; 1 is in the last."""
    return np.minimum((predicted * bins).astype(int), bins - 1)


def _isotonic(predicted: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners of the non-decreasing curve that fits best."""
    from sklearn.isotonic import IsotonicRegression

    places, place = np.unique(predicted, return_inverse=True)
    mass = np.bincount(place, weights)
    shares = np.bincount(place, weights * targets) / mass
    fitted = IsotonicRegression(y_min=0, y_max=1).fit(places, shares, mass).predict(places)
    corner = np.ones(len(places), dtype=bool)
    corner[1:-1] = (fitted[1:-1] != fitted[:-2]) | (fitted[1:-1] != fitted[2:])
    return places[corner], fitted[corner]


def _draw_counts(axes: Axes, predicted: np.ndarray, targets: np.ndarray, bins: int) -> None:
    """The trials of either kind in every bin."""
    _dress(axes, "predicted posterior at even priors", "trials", grid="y")
    edges = np.linspace(0, 1, bins + 1)
    axes.set_yscale("log")
    most = 1
    for name, kind, colour, dashes in (
        ("non-targets", ~targets, VERMILION, "-"),
        ("targets", targets, BLUE, (0, (5, 1.5))),
    ):
        counts = np.bincount(_bin_of(predicted[kind], bins), minlength=bins)
        most = max(most, counts.max())
        # A logarithmic axis has no 0: empty bins reach down to the axis.
        style = {"baseline": 0.5, "color": colour}
        axes.stairs(np.maximum(counts, 0.5), edges, fill=True, alpha=0.22, **style)
        label = f"{name} ({kind.sum():,})"
        axes.stairs(np.maximum(counts, 0.5), edges, linewidth=1.2, linestyle=dashes, label=label, gid=name, **style)
    axes.set_ylim(0.5, 2 * most)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))


# ------------------------------------------------------------------------------------------------------------------
# Confusions
# ------------------------------------------------------------------------------------------------------------------
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
    scores, targets = _check_trials(scores, labels)
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
        return _say(f"No false acceptances among {pairs.speakers:,} speakers.")
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
    if counts.ndim != 2 or counts.shape != (len(names), len(names)):
        raise ValueError(f"counts must be ({len(names)}, {len(names)}), one row and column a name, not {counts.shape}")
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise ValueError("counts must be finite and not negative")
    whole = bool((counts == np.rint(counts)).all())
    errors = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    total = errors.sum()
    if not total:
        decisions = f" among {int(counts.sum()):,} decisions" if whole else ""
        return _say(f"No errors{decisions}: each of the {len(names):,} classes is always recognised.")
    chosen = _most_confused(errors.sum(axis=0) + errors.sum(axis=1), most)
    cells = counts[np.ix_(chosen, chosen)]
    shown = [names[position] for position in chosen]
    rest = _collapse(errors, chosen) if whole else None
    if rest is not None:
        cells = np.block([[cells, rest[0][:, None]], [rest[1][None], np.zeros((1, 1))]])
        shown.append(OTHERS)
    inside = cells.sum() - np.trace(cells)
    share = _share(int(inside), int(total), "errors") if whole else f"{100 * inside / total:.3g} % of the errors"
    title = f"{len(chosen):,} of {len(names):,} classes: {share}"
    texts = np.vectorize(_short_number, otypes=[object])(cells if whole else 100 * cells)
    return _draw_matrix(cells, texts, shown, title, xlabel, ylabel if whole else f"{ylabel} (cells: %)")


def _collapse(errors: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The errors between the chosen classes and all others: to them, and from them; None where there are none."""
    others = np.ones(len(errors), dtype=bool)
    others[chosen] = False
    to, away = errors[np.ix_(chosen, others)].sum(axis=1), errors[np.ix_(others, chosen)].sum(axis=0)
    return (to, away) if to.any() or away.any() else None


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
    figure = _new_figure(max(size * cell + MARGIN, WIDTH), max(size * cell + MARGIN, 2.4))
    axes = figure.add_subplot()
    off = np.where(np.eye(size, dtype=bool), np.nan, values)
    largest = np.nanmax(off, initial=0)
    shares = np.nan_to_num(off) / (largest if largest else 1)
    colours = matplotlib.colormaps[SHADES](0.85 * shares)
    colours[np.eye(size, dtype=bool)] = matplotlib.colors.to_rgba(DIAGONAL)
    axes.imshow(colours, interpolation="nearest")
    longest = max(map(len, texts.flat))
    style = {"ha": "center", "va": "center_baseline", **_font(min(TICK_SIZE, 105 * cell / max(longest, 3)))}
    for (row, column), text in np.ndenumerate(texts):
        if text:
            dark = shares[row, column] > 0.6
            axes.text(column, row, text, color="white" if dark else INK, gid=f"cell-{row}-{column}", **style)
    _dress(axes, xlabel, ylabel, grid="")
    shown = [_legible(name, LONGEST_NAME) for name in names]
    axes.set_xticks(range(size), shown, rotation=90)
    axes.set_yticks(range(size), shown)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(True, which="minor", color="white", linewidth=0.8)
    axes.tick_params(which="minor", length=0)
    letters = int((figure.get_figwidth() - 2 * RIM) * 72 / TITLE_SIZE / 0.55)  # a letter is about so wide for its size
    lines = [textwrap.fill(line, letters) for line in title.splitlines()]
    figure.suptitle("\n".join(lines), size=TITLE_SIZE, family=FONT, color=INK)
    return _settle(figure)


# ------------------------------------------------------------------------------------------------------------------
# Intervals
# ------------------------------------------------------------------------------------------------------------------
ROW = 0.24  # inches


def plot_intervals(
    names: Sequence[str],
    estimates: np.ndarray,
    intervals: np.ndarray,
    xlabel: str,
    *,
    overall: float | None = None,
    percent: bool = True,
) -> Figure:
    """Estimates (G,) with their intervals (G, 2), a dot and a whisker a group, the first on top.

    Args:
        intervals: lower and upper ends; NaN where there is none.
        overall: the figure of all groups together, a thin line.
        percent: they are fractions, to be shown in per cent.

    Raises:
        ValueError: no groups, or shapes that do not agree.
    """
    scale = 100 if percent else 1
    estimates, intervals = scale * np.asarray(estimates, float), scale * np.asarray(intervals, float)
    if not len(names) or estimates.shape != (len(names),) or intervals.shape != (len(names), 2):
        shapes = f"{estimates.shape} and {intervals.shape}"
        raise ValueError(f"for {len(names)} groups estimates (G,) and intervals (G, 2) are needed, not {shapes}")
    figure = _new_figure(WIDTH, 0.75 + ROW * len(names))
    axes = figure.add_subplot()
    _dress(axes, xlabel, grid="x")
    rows = np.arange(len(names))
    axes.hlines(rows, intervals[:, 0], intervals[:, 1], color=BLUE, linewidth=1.6, gid="intervals")
    axes.plot(estimates, rows, "o", color=BLUE, markersize=5, gid="estimates")
    for row in np.flatnonzero(np.isnan(estimates)):
        text = "not defined"
        place = {"transform": axes.get_yaxis_transform(), "ha": "left", "va": "center"}
        axes.text(0.02, row, text, color=INK, style="italic", **place, **_font())
    if overall is not None:
        axes.axvline(scale * overall, color=INK, linewidth=0.8, linestyle=(0, (5, 2)), gid="overall", zorder=1)
        text = f"all: {scale * overall:.3g}"
        axes.text(
            scale * overall, 1.02, text, transform=axes.get_xaxis_transform(), ha="center", va="bottom", **_font()
        )
    axes.set_yticks(rows, [_legible(name, 36) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return _settle(figure)
