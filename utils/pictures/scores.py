"""Scores of either kind of trials: how they are distributed, and what calibrated ones promise against what is true."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from utils.pictures.figure import BLUE, DASHES, GREY, INK, VERMILION, WIDTH, check_trials, new_figure, styled

FEWEST_BINS, MOST_BINS = 12, 80  # of a histogram of scores


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
    _draw_kinds(axes, targets, edges, heights)
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


@styled
def plot_reliability(llrs: np.ndarray, labels: np.ndarray, bins: int = 15) -> Figure:
    """Whether log-likelihood ratios mean what they say: posteriors predicted from them against shares of targets.

    Both at even priors: each kind of trials weighs one half, however many there are. Dots are bins of equal width,
    the thin line is the isotonic regression (pool adjacent violators), and the panel below has the trials of a bin.

    Args:
        llrs: (N,), natural logarithms; they may be infinite.

    Raises:
        ValueError: no bins, or trials that are not numbers, of one kind only, or of other shapes.
    """
    llrs, targets = check_trials(llrs, labels)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    predicted, edges = expit(llrs), np.linspace(0, 1, bins + 1)
    figure = new_figure(WIDTH, 5.6)
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3.2, 1))
    upper.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share of targets at even priors")
    upper.grid()
    _draw_reliability(upper, predicted, targets, edges)
    # A logarithmic axis has no 0: empty bins reach down to the axis.
    counts = [np.histogram(predicted[kind], edges)[0] for kind in (~targets, targets)]
    _draw_kinds(lower, targets, edges, [np.maximum(count, 0.5) for count in counts], baseline=0.5)
    lower.set(xlabel="predicted posterior at even priors", ylabel="trials", yscale="log")
    lower.set_ylim(bottom=0.5)
    lower.grid(axis="y")
    lower.yaxis.set_minor_locator(NullLocator())
    lower.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _draw_reliability(axes: Axes, predicted: np.ndarray, targets: np.ndarray, edges: np.ndarray) -> None:
    weights = np.where(targets, 0.5 / targets.sum(), 0.5 / (~targets).sum())
    axes.plot((0, 1), (0, 1), "-", color=GREY, linewidth=0.8, label="perfectly calibrated", gid="diagonal")
    isotonic = IsotonicRegression(y_min=0, y_max=1).fit(predicted, targets, weights)
    corners = isotonic.X_thresholds_, isotonic.y_thresholds_
    axes.plot(*corners, "-", color=VERMILION, linewidth=0.8, label="isotonic regression", gid="isotonic")
    sums = [
        np.histogram(predicted, edges, weights=values)[0]
        for values in (weights, weights * predicted, weights * targets)
    ]
    mass, promised, true = np.stack(sums)[:, sums[0] > 0]
    label: dict[str, Any] = {"label": "bins of trials", "gid": "bins"}
    axes.plot(
        promised / mass, true / mass, "o-", color=BLUE, linewidth=1, markersize=5, clip_on=False, zorder=4, **label
    )


def _draw_kinds(
    axes: Axes, targets: np.ndarray, edges: np.ndarray, heights: Sequence[np.ndarray], baseline: float = 0
) -> None:
    """Histograms of non-targets and targets, of these heights; the legend counts the trials."""
    kinds = (("non-targets", ~targets, VERMILION), ("targets", targets, BLUE))
    for (name, kind, colour), values, dashes in zip(kinds, heights, DASHES, strict=False):
        stairs: dict[str, Any] = {"values": values, "edges": edges, "baseline": baseline, "color": colour}
        axes.stairs(**stairs, fill=True, alpha=0.22)
        axes.stairs(**stairs, linewidth=1.3, linestyle=dashes, label=f"{name} ({kind.sum():,})", gid=name)
