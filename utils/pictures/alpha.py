"""The architecture parameters over a search, as heat maps."""

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.special import softmax

from utils.pictures.figure import new_figure, styled

COLOURS = "viridis"  # perceptually uniform
ROW_HEIGHT = 0.125  # inches, of an operation's


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
    weights = softmax(history, axis=-1)
    norm = Normalize(0.0, float(weights.max()))
    figure = new_figure(8, 2.2 + 4 * len(operations) * ROW_HEIGHT)
    figure.suptitle(title)
    grid = figure.add_gridspec(4, 5)
    for (source, node), panel in zip(edges, weights.swapaxes(0, 1), strict=True):
        axes = figure.add_subplot(grid[node - 2, source])
        extent = (0.5, len(panel) + 0.5, len(operations) - 0.5, -0.5)
        axes.imshow(panel.T, extent=extent, cmap=COLOURS, norm=norm, aspect="auto", interpolation="nearest")
        axes.set_title(f"{source} \N{RIGHTWARDS ARROW} {node}", size="medium", pad=3)
        axes.tick_params(labelsize=7, length=2, labelbottom=node == 5, labelleft=source == 0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        axes.set_yticks(range(len(operations)), operations)
        if node == 5:
            axes.set_xlabel("epoch")
    # In the upper right corner there are no edges.
    place = figure.add_subplot(grid[0, 3:].subgridspec(4, 1)[1])
    figure.colorbar(ScalarMappable(norm, COLOURS), cax=place, orientation="horizontal", label="probability")
    return figure
