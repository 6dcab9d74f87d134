"""The architecture parameters over a search, as heat maps."""

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec
from matplotlib.ticker import MaxNLocator

from utils.pictures.figure import styled

PANEL_WIDTH, ROW_HEIGHT = 1.25, 0.125  # inches; a row is an operation's
LEFT, RIGHT, TOP, BOTTOM = 0.95, 0.15, 0.52, 0.45  # margins, inches
BETWEEN_COLUMNS, BETWEEN_ROWS = 0.12, 0.30
TEXT_SIZE, TITLE_SIZE = 7.0, 10.5  # points
COLOURS = "viridis"  # perceptually uniform


@styled
def draw_alpha_history(history: np.ndarray, operations: Sequence[str], title: str) -> Figure:
    """How the probabilities of a cell's operations changed: a heat map an edge, epochs from left to right.

    history (epochs, 14, len(operations)) holds the architecture parameters after every epoch, before the softmax; the
    edges are ordered by node, then by source. A row of panels holds the edges into a node, a column those from one.
    """
    history = np.asarray(history, dtype=np.float64)
    edges = [(source, node) for node in range(2, 6) for source in range(node)]
    if history.ndim != 3 or history.shape[1:] != (len(edges), len(operations)) or not len(history):
        raise ValueError(f"history must be (epochs, {len(edges)}, {len(operations)}), not {history.shape}")
    weights = np.exp(history - history.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    norm = Normalize(0.0, float(weights.max()))
    figure, grid = _panel_grid(len(operations), rows=4, columns=5)
    figure.suptitle(title, x=0.5, y=1 - 0.08 / figure.get_figheight(), va="top", size=TITLE_SIZE)
    for (source, node), panel in zip(edges, weights.swapaxes(0, 1), strict=True):
        axes = figure.add_subplot(grid[node - 2, source])
        extent = (0.5, len(panel) + 0.5, len(operations) - 0.5, -0.5)
        axes.imshow(panel.T, extent=extent, cmap=COLOURS, norm=norm, aspect="auto", interpolation="nearest")
        axes.set_title(f"{source} \N{RIGHTWARDS ARROW} {node}", size=TEXT_SIZE + 1, pad=3)
        axes.tick_params(labelsize=TEXT_SIZE, length=2, labelbottom=node == 5, labelleft=source == 0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        axes.set_yticks(range(len(operations)), operations)
        if node == 5:
            axes.set_xlabel("epoch", size=TEXT_SIZE + 1, labelpad=2)
    _add_colour_bar(figure, ScalarMappable(norm, COLOURS), grid[0, 3:])
    return figure


def _panel_grid(operations: int, rows: int, columns: int) -> tuple[Figure, GridSpec]:
    """A figure whose panels have the same size for the same number of operations, whatever the epochs."""
    panel_height = operations * ROW_HEIGHT
    width = LEFT + columns * PANEL_WIDTH + (columns - 1) * BETWEEN_COLUMNS + RIGHT
    height = TOP + rows * panel_height + (rows - 1) * BETWEEN_ROWS + BOTTOM
    figure = Figure(figsize=(width, height))
    edges = {"left": LEFT / width, "right": 1 - RIGHT / width, "bottom": BOTTOM / height, "top": 1 - TOP / height}
    spaces = {"wspace": BETWEEN_COLUMNS / PANEL_WIDTH, "hspace": BETWEEN_ROWS / panel_height}
    return figure, figure.add_gridspec(rows, columns, **edges, **spaces)


def _add_colour_bar(figure: Figure, colours: ScalarMappable, place: SubplotSpec) -> None:
    """The one colour bar, in the upper right corner, where there are no edges."""
    area = place.get_position(figure)
    middle = area.y0 + 0.5 * area.height
    axes = figure.add_axes((area.x0, middle, area.width, 0.11 / figure.get_figheight()), label="probability")
    bar = figure.colorbar(colours, cax=axes, orientation="horizontal")
    bar.set_label("probability", size=TEXT_SIZE + 1, labelpad=2)
    bar.locator = MaxNLocator(nbins=6)
    bar.ax.tick_params(labelsize=TEXT_SIZE, length=2)
