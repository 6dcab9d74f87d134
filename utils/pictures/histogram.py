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
    edges = _bin_edges(scores, targets)
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
