"""DET curves: false rejections against false acceptances on probit axes."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import ndtr, ndtri

from utils.metrics.rates import detection_cost, equal_rate, error_rates
from utils.pictures.figure import GREY, INK, LINE_LETTERS, TICK_SIZE, WIDTH, check_trials, legible, new_figure, styled

TICKS = {  # by what both axes may hold, the narrowest first
    (1e-3, 0.5): (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4),
    (1e-4, 0.5): (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4),
    (1e-3, 0.95): (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9),
    (1e-4, 0.9995): (0.0001, 0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99, 0.999),
}
# The points' markers. The EER's is hollow and larger: it is seen where a cost's lies on it.
EQUAL: dict[str, Any] = {"marker": "o", "markersize": 7.5, "markerfacecolor": "none", "markeredgewidth": 1.4}
COST: dict[str, Any] = {"markersize": 5.5, "markeredgecolor": "white", "markeredgewidth": 0.5}
MARKERS = (EQUAL, *(COST | {"marker": marker} for marker in "^vsDPX"))


@dataclass(frozen=True)
class _Det:
    """A system's curve (2, T) of false acceptances and rejections, its points (1 + priors, 2), and what they are."""

    curve: np.ndarray
    marked: np.ndarray  # where the EER is, then the costs
    text: str


@styled
def plot_det(
    systems: Mapping[str, tuple[np.ndarray, np.ndarray]], target_priors: Sequence[float] = (0.01, 0.05)
) -> Figure:
    """DET curves on probit axes, with the points of the EER and of the least costs (Martin et al., 1997).

    Points at a rate of 0 or 1, which these axes do not have, stand on their rim.

    Args:
        systems: by name, scores (N,) and labels (N,).
        target_priors: of the costs (`min_dcf`), six at most.

    Raises:
        ValueError: no systems, too many priors, or trials that are not finite, of one kind only, or of other shapes.
    """
    if not systems or len(target_priors) >= len(MARKERS):
        raise ValueError(f"a DET plot needs systems, and takes {len(MARKERS) - 1} target priors at most")
    dets = [_det(name, *trials, target_priors) for name, trials in systems.items()]
    meanings = ["equal error rate (EER)", *(f"least detection cost, target prior {prior:g}" for prior in target_priors)]
    texts = [det.text for det in dets] + meanings
    # Below the square axes, a legend of one column: its lines, and half a letter's height between entries.
    lines = sum(1.2 * (1 + text.count("\n")) + 0.5 for text in texts)
    figure = new_figure(WIDTH, WIDTH - 0.05 + TICK_SIZE / 72 * lines)
    axes = figure.add_subplot(xlabel="false acceptances (%)", ylabel="false rejections (%)", box_aspect=1)
    limits = _set_axes(axes, np.concatenate([det.marked for det in dets]))
    axes.plot(limits, limits, color=GREY, linewidth=0.6, linestyle="-", gid="diagonal")
    handles = [_draw_det(axes, det, number, *limits) for number, det in enumerate(dets)]
    if not any(det.marked[0, 0] for det in dets):
        text = "no errors at the best threshold:\nthe curve lies outside these axes"
        axes.text(0.5, 0.5, text, backgroundcolor="white", ha="center", va="center", transform=axes.transAxes)
    handles += [Line2D([], [], linestyle="", color=INK, **MARKERS[place]) for place in range(len(meanings))]
    figure.legend(handles, texts, loc="outside lower center", handlelength=3.2)
    return figure


def _det(name: str, scores: np.ndarray, labels: np.ndarray, target_priors: Sequence[float]) -> _Det:
    """The curve through the rates at all thresholds, and through the EER point, which may lie between two of them."""
    scores, targets = check_trials(scores, labels, finite=True)
    false_acceptance, false_rejection, _ = error_rates(scores, targets)
    rates = np.stack([false_acceptance, false_rejection])
    equal = equal_rate(false_acceptance, false_rejection)
    costs = [detection_cost(false_acceptance, false_rejection, prior) for prior in target_priors]
    marked = np.array([(equal, equal), *(rates[:, cost.argmin()] for cost in costs)])
    curve = np.insert(rates, int(np.argmax(false_rejection <= false_acceptance)), equal, axis=1)
    name, trials = legible(name, LINE_LETTERS), f"{targets.sum():,} targets, {(~targets).sum():,} non-targets"
    heading = f"{name}: {trials}" if len(name) + len(trials) < LINE_LETTERS else f"{name}\n{trials}"
    figures = f"EER {100 * equal:.2f} %" if equal else "EER 0: no errors"
    if costs:
        least = (f"{cost.min():.3f} ({prior:g})" for cost, prior in zip(costs, target_priors, strict=True))
        figures += f", minDCF {', '.join(least)}"
    return _Det(curve, marked, f"{heading}\n{textwrap.fill(figures, LINE_LETTERS)}")


def _set_axes(axes: Axes, marked: np.ndarray) -> tuple[float, float]:
    """Space both axes as the normal distribution's quantiles, and show the narrowest part that holds the points."""
    inner = marked[(marked > 0) & (marked < 1)]
    limits = next((part for part in TICKS if ((inner > part[0]) & (inner < part[1])).all()), list(TICKS)[-1])
    axes.set(xlim=limits, ylim=limits)  # before the scale, which has no place for 0
    axes.set_xscale("function", functions=(ndtri, ndtr))
    axes.set_yscale("function", functions=(ndtri, ndtr))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(TICKS[limits], [f"{100 * tick:g}" for tick in TICKS[limits]])
    axes.grid()
    return limits


def _draw_det(axes: Axes, det: _Det, number: int, low: float, high: float) -> Line2D:
    """Draw one system; returns its line."""
    # What lies beyond the axes is drawn beyond them, so that no line runs along their rim.
    points = np.clip(det.curve, ndtr(ndtri(low) - 0.5), ndtr(ndtri(high) + 0.5))
    (line,) = axes.plot(*points, linewidth=1.3, zorder=3 + number, gid=f"curve-{number}")
    for place, (x, y) in enumerate(np.clip(det.marked, low, high)):
        gid = f"cost-{number}-{place - 1}" if place else f"equal-{number}"
        # On the rim it shows whole.
        style = MARKERS[place] | {"color": line.get_color(), "linestyle": "", "clip_on": False}
        axes.plot(x, y, zorder=3 + number, gid=gid, **style)
    return line
