"""Estimates with their intervals: a dot and a whisker a group."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from utils.pictures.figure import BLUE, INK, WIDTH, dress, font, legible, new_figure, settle

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
    figure = new_figure(WIDTH, 0.75 + ROW * len(names))
    draw_intervals(figure.add_subplot(), names, estimates, intervals, xlabel)
    if overall is not None:
        _draw_overall(figure.axes[0], scale * overall)
    return settle(figure)


def draw_intervals(axes: Axes, names: Sequence[str], estimates: np.ndarray, intervals: np.ndarray, xlabel: str) -> None:
    """Draw into axes what `plot_intervals` draws into a figure of its own, as the numbers are."""
    dress(axes, xlabel, grid="x")
    rows = np.arange(len(names))
    axes.hlines(rows, intervals[:, 0], intervals[:, 1], color=BLUE, linewidth=1.6, gid="intervals")
    axes.plot(estimates, rows, "o", color=BLUE, markersize=5, gid="estimates")
    for row in np.flatnonzero(np.isnan(estimates)):
        style = {"color": INK, "style": "italic", "transform": axes.get_yaxis_transform(), "va": "center", **font()}
        axes.text(0.02, float(row), "not defined", **style)
    axes.set_yticks(rows, [legible(name, 36) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6))


def _draw_overall(axes: Axes, x: float) -> None:
    axes.axvline(x, color=INK, linewidth=0.8, linestyle=(0, (5, 2)), gid="overall", zorder=1)
    place = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "bottom", **font()}
    axes.text(x, 1.02, f"all: {x:.3g}", **place)
