"""Estimates with their intervals: a dot and a whisker a group."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from utils.pictures.figure import BLUE, INK, WIDTH, legible, new_figure, styled

ROW = 0.24  # inches


@styled
def plot_intervals(
    names: Sequence[str],
    estimates: np.ndarray,
    intervals: np.ndarray,
    xlabel: str,
    *,
    overall: float | None = None,
) -> Figure:
    """Estimates (G,) with their intervals (G, 2), a dot and a whisker a group, the first on top.

    Args:
        intervals: lower and upper ends; NaN where there is none.
        overall: the figure of all groups together, a thin line.

    Raises:
        ValueError: no groups, or shapes that do not agree.
    """
    estimates, intervals = np.asarray(estimates, float), np.asarray(intervals, float)
    if not len(names) or estimates.shape != (len(names),) or intervals.shape != (len(names), 2):
        shapes = f"{estimates.shape} and {intervals.shape}"
        raise ValueError(f"for {len(names)} groups estimates (G,) and intervals (G, 2) are needed, not {shapes}")
    figure = new_figure(WIDTH, 0.75 + ROW * len(names))
    axes = figure.add_subplot()
    draw_intervals(axes, names, estimates, intervals, xlabel)
    if overall is not None:
        axes.axvline(overall, color=INK, linewidth=0.8, linestyle=(0, (5, 2)), gid="overall", zorder=1)
        above = axes.get_xaxis_transform()
        axes.text(overall, 1.02, f"all: {overall:.3g}", ha="center", va="bottom", transform=above)
    return figure


def draw_intervals(axes: Axes, names: Sequence[str], estimates: np.ndarray, intervals: np.ndarray, xlabel: str) -> None:
    """Draw into axes what `plot_intervals` draws into a figure of its own."""
    axes.set_xlabel(xlabel)
    axes.grid(axis="x")
    rows = np.arange(len(names))
    axes.hlines(rows, *intervals.T, color=BLUE, linewidth=1.6, gid="intervals")
    axes.plot(estimates, rows, "o", color=BLUE, markersize=5, gid="estimates")
    for row in np.flatnonzero(np.isnan(estimates)):
        beside = axes.get_yaxis_transform()
        axes.text(0.02, float(row), "not defined", style="italic", va="center", transform=beside)
    axes.set_yticks(rows, [legible(name, 36) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6))
