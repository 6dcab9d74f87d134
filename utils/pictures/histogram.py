"""How the scores of either kind of trials are distributed."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from utils.pictures.figure import DASHES, INK, WIDTH, check_trials, draw_kinds, new_figure, styled

FEWEST_BINS, MOST_BINS = 12, 80


@styled
def plot_histograms(
    scores: np.ndarray, labels: np.ndarray, threshold: float | None = None, xlabel: str = "score"
) -> Figure:
    """How the scores (N,) of targets and of non-targets are distributed: two histograms, each of area 1.

    Args:
        threshold: drawn as a line, with the error rates of accepting what scores it or more.

    Raises:
        ValueError: trials that are not finite, of one kind only, or of other shapes.
    """
    scores, targets = check_trials(scores, labels, finite=True)
    edges = _bin_edges(scores)
    figure = new_figure(WIDTH, 3.8)
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel="density")
    axes.grid(axis="y")
    heights = [np.histogram(scores[kind], edges, density=True)[0] for kind in (~targets, targets)]
    draw_kinds(axes, targets, edges, heights)
    if threshold is not None:
        accepted = scores >= threshold
        rates = (100 * np.mean(accepted[~targets]), 100 * np.mean(~accepted[targets]))
        label = f"threshold {threshold:.4g}: {rates[0]:.2f} % false acceptances, {rates[1]:.2f} % false rejections"
        axes.axvline(threshold, color=INK, linewidth=1.1, linestyle=DASHES[2], label=label, gid="threshold")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    figure.legend(loc="outside lower center", ncols=2 if threshold is None else 1)
    return figure


def _bin_edges(scores: np.ndarray) -> np.ndarray:
    """Bins of one width for both kinds, as many as twice the cube root of the trials (Rice's rule)."""
    low, high = float(scores.min()), float(scores.max())
    # Narrower bins than numbers are apart, or so narrow that a density would be infinite, are none.
    if high - low <= max(4 * MOST_BINS * np.spacing(max(abs(low), abs(high))), 1e-100):
        margin = 0.5 * max(abs(low), 1.0)
        low, high = low - margin, high + margin
    return np.linspace(low, high, int(np.clip(2 * np.cbrt(len(scores)), FEWEST_BINS, MOST_BINS)) + 1)
