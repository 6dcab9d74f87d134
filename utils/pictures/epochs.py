"""Figures over the epochs of a run, as curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from utils.pictures.figure import DASHES, GREY, INK, WIDTH, legible, new_figure, styled

MARKED = 30  # points of a curve that has a mark at each


@dataclass(frozen=True)
class Curve:
    """A figure over the epochs.

    Attributes:
        epochs, values: (N,), one or more; values that are not finite are left out.
        band: (N, 2), lower and upper ends of what is shaded around it, or None.
    """

    label: str
    epochs: np.ndarray
    values: np.ndarray
    band: np.ndarray | None = None


@styled
def plot_curves(
    curves: Sequence[Curve],
    ylabel: str,
    *,
    levels: Mapping[str, float] | None = None,
    rest: Sequence[int] = (),
    limits: tuple[float | None, float | None] = (0, None),
) -> Figure:
    """Curves over the epochs, from left to right; an epoch is as wide as in `draw_alpha_history`.

    Args:
        levels: by their names, values to compare with, each a horizontal line.
        rest: epochs that are shaded, because alpha rests in them.
        limits: of the vertical axis; None: as the curves need.

    Raises:
        ValueError: no curves, or shapes that do not agree.
    """
    _check(curves)
    figure = new_figure(WIDTH, 3.5)
    axes = figure.add_subplot()
    axes.set(xlabel="epoch", ylabel=ylabel, xlim=(0.5, max(int(curve.epochs.max()) for curve in curves) + 0.5))
    axes.grid(axis="y")
    for curve in curves:
        _draw(axes, curve)
    for name, value in (levels or {}).items():
        axes.axhline(value, color=INK, linewidth=1, linestyle=DASHES[2], label=legible(name), gid="level", zorder=1)
    _shade(axes, rest)
    axes.set_ylim(*limits)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _check(curves: Sequence[Curve]) -> None:
    if not curves:
        raise ValueError("there are no curves to draw")
    for curve in curves:
        shape = np.shape(curve.epochs)
        band = shape if curve.band is None else np.shape(curve.band)[:1]
        if len(shape) != 1 or not shape[0] or np.shape(curve.values) != shape or band != shape:
            raise ValueError(f"epochs, values and band of {curve.label!r} must be of one length, 1 or more")


def _shade(axes: Axes, epochs: Sequence[int]) -> None:
    """A strip for every run of epochs: strips that touch would show their seams."""
    label = "alpha rests (warm-up)"
    for run in np.split(np.asarray(epochs), np.flatnonzero(np.diff(epochs) > 1) + 1) if len(epochs) else ():
        axes.axvspan(run[0] - 0.5, run[-1] + 0.5, color=GREY, alpha=0.2, linewidth=0, zorder=0, label=label, gid="rest")
        label = "_"  # the legend names it once


def _draw(axes: Axes, curve: Curve) -> None:
    finite = np.isfinite(np.asarray(curve.values, dtype=float))
    epochs, values = np.asarray(curve.epochs)[finite], np.asarray(curve.values, dtype=float)[finite]
    marker = "o" if len(epochs) <= MARKED else ""
    label = legible(curve.label)
    (line,) = axes.plot(epochs, values, linewidth=1.3, marker=marker, markersize=3, label=label, gid=label)
    if curve.band is not None:
        lower, upper = np.asarray(curve.band, dtype=float)[finite].T
        axes.fill_between(epochs, lower, upper, color=line.get_color(), alpha=0.15, linewidth=0)
