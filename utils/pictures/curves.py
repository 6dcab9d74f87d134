"""Learning curves of many trainings, of which one stands out."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from utils.pictures.figure import BLUE, GREY, legible, new_figure, styled

SIZE = (6.4, 3.9)  # inches


@styled
def draw_curves(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], chosen: str | None, rungs: Sequence[int], ylabel: str
) -> Figure:
    """A line a training over its epochs, with a dot where it ended; ids are the names.

    Epochs are drawn by their logarithm: most of many trainings end early.

    Args:
        curves: by name, epochs (E,) from 1 on and figures (E,).
        chosen: the name of the one that stands out.
        rungs: epochs that the axis names, after which trainings were compared.

    Raises:
        ValueError: no curves, or one without points.
    """
    if not curves or not all(len(epochs) == len(figures) > 0 for epochs, figures in curves.values()):
        raise ValueError("curves are needed, with as many epochs as figures each, and at least one")
    figure = new_figure(*SIZE)
    axes = figure.add_subplot()
    for name, (epochs, figures) in curves.items():
        is_chosen, end = name == chosen, [len(epochs) - 1]
        (line,) = axes.plot(epochs, figures, "-o", markevery=end, gid=name, label=legible(name) if is_chosen else "_")
        if is_chosen:
            line.set(color=BLUE, linewidth=2.0, markersize=5, zorder=3)
        else:
            line.set(color=GREY, linewidth=0.8, markersize=3, zorder=2, alpha=0.7)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(rungs)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(list(rungs), _names(rungs))
    axes.set(xlabel="epoch", ylabel=ylabel, xlim=(0.9, 1.1 * rungs[-1]))
    axes.grid()
    if chosen is not None:
        axes.legend(loc="best")
    return figure


def _names(rungs: Sequence[int]) -> list[str]:
    """What the axis calls them: nothing where the next one is too near."""
    nearest = rungs[-1] ** 0.06
    near = [after / rung < nearest for rung, after in pairwise(rungs)]
    return ["" if is_near else str(rung) for rung, is_near in zip(rungs, [*near, False], strict=True)]
