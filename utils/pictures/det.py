"""DET curves: false rejections against false acceptances on probit axes."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.special import ndtr, ndtri

from utils.metrics.rates import equal_error_rate, error_rates, min_dcf
from utils.pictures.figure import (
    COLOURS,
    DASHES,
    GREY,
    INK,
    LABEL_SIZE,
    LINE_LETTERS,
    TICK_SIZE,
    WIDTH,
    check_trials,
    dress,
    font,
    legible,
    new_figure,
    settle,
)

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
        target_priors: of the costs (`min_dcf`), six at most.

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
    figure = new_figure(WIDTH, WIDTH - 0.05 + _legend_height(texts))
    axes = figure.add_subplot()
    _probit_axes(axes, low, high)
    axes.plot((low, high), (low, high), color=GREY, linewidth=0.6, gid="diagonal")
    handles = [_draw_det(axes, curve, number, low, high) for number, curve in enumerate(curves.values())]
    if all(curve.equal == 0 for curve in curves.values()):
        text = "no errors at the best threshold:\nthe curve lies outside these axes"
        style = {"color": INK, "backgroundcolor": "white", "ha": "center", "va": "center", **font(LABEL_SIZE)}
        axes.text(0.5, 0.5, text, transform=axes.transAxes, **style)
    handles += markers.values()
    figure.legend(handles, texts, loc="outside lower center", prop=font(), frameon=False, handlelength=3.2)
    return settle(figure)


def _det(scores: np.ndarray, labels: np.ndarray, target_priors: Sequence[float]) -> _Det:
    """The curve through the rates at all thresholds, and through the EER point, which may lie between two of them."""
    scores, targets = check_trials(scores, labels, finite=True)
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
    dress(axes, "false acceptances (%)", "false rejections (%)")
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
    style: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "zorder": 3 + number}
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


def _marker_style(position: int) -> dict[str, Any]:
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
    name, trials = legible(name, LINE_LETTERS), f"{curve.targets:,} targets, {curve.nontargets:,} non-targets"
    equal = f"EER {100 * curve.equal:.2f} %" if curve.equal else "EER 0: no errors"
    costs = [f"{cost[0]:.3f} ({prior:g})" for cost, prior in zip(curve.costs, target_priors, strict=True)]
    least = f", minDCF {', '.join(costs)}" if costs else ""
    heading = f"{name}: {trials}" if len(name) + len(trials) < LINE_LETTERS else f"{name}\n{trials}"
    return f"{heading}\n{textwrap.fill(equal + least, LINE_LETTERS)}"


def _legend_height(texts: Sequence[str]) -> float:
    """Inches that a legend of one column takes: its lines, and half a letter's height between entries."""
    lines = sum(1 + text.count("\n") for text in texts)
    return TICK_SIZE / 72 * (1.2 * lines + 0.5 * len(texts))
