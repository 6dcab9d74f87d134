"""Reliability of calibrated scores: what they promise against what is true."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from utils.pictures.figure import BLUE, DASHES, GREY, VERMILION, WIDTH, check_trials, dress, font, new_figure, settle


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
    predicted = expit(llrs)
    weights = np.where(targets, 0.5 / targets.sum(), 0.5 / (~targets).sum())
    figure = new_figure(WIDTH, 5.6)
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3.2, 1))
    _draw_reliability(upper, predicted, targets, weights, bins)
    _draw_counts(lower, predicted, targets, bins)
    handles = [handle for axes in (upper, lower) for handle in axes.get_legend_handles_labels()[0]]
    texts = [handle.get_label() for handle in handles]
    figure.legend(handles, texts, loc="outside lower center", ncols=2, prop=font(), frameon=False)
    return settle(figure)


def _draw_reliability(axes: Axes, predicted: np.ndarray, targets: np.ndarray, weights: np.ndarray, bins: int) -> None:
    dress(axes, "", "share of targets at even priors")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.plot((0, 1), (0, 1), color=GREY, linewidth=0.8, label="perfectly calibrated", gid="diagonal")
    isotonic = IsotonicRegression(y_min=0, y_max=1).fit(predicted, targets, weights)
    corners = isotonic.X_thresholds_, isotonic.y_thresholds_
    axes.plot(*corners, color=VERMILION, linewidth=0.8, label="isotonic regression", gid="isotonic")
    which = _bin_of(predicted, bins)
    mass = np.bincount(which, weights, bins)
    used = mass > 0
    means = np.bincount(which, weights * predicted, bins)[used] / mass[used]
    shares = np.bincount(which, weights * targets, bins)[used] / mass[used]
    style: dict[str, Any] = {"color": BLUE, "linewidth": 1.0, "markersize": 5, "clip_on": False, "zorder": 4}
    axes.plot(means, shares, marker="o", label="bins of trials", gid="bins", **style)


def _bin_of(predicted: np.ndarray, bins: int) -> np.ndarray:
    """The bin (N,) of every posterior; 1 is in the last."""
    return np.minimum((predicted * bins).astype(int), bins - 1)


def _draw_counts(axes: Axes, predicted: np.ndarray, targets: np.ndarray, bins: int) -> None:
    """The trials of either kind in every bin."""
    dress(axes, "predicted posterior at even priors", "trials", grid="y")
    edges = np.linspace(0, 1, bins + 1)
    axes.set_yscale("log")
    most = 1
    kinds = (("non-targets", ~targets, VERMILION), ("targets", targets, BLUE))
    for (name, kind, colour), dashes in zip(kinds, DASHES, strict=False):
        counts = np.bincount(_bin_of(predicted[kind], bins), minlength=bins)
        most = max(most, counts.max())
        # A logarithmic axis has no 0: empty bins reach down to the axis.
        stairs: dict[str, Any] = {"values": np.maximum(counts, 0.5), "edges": edges, "baseline": 0.5, "color": colour}
        axes.stairs(**stairs, fill=True, alpha=0.22)
        axes.stairs(**stairs, linewidth=1.2, linestyle=dashes, label=f"{name} ({kind.sum():,})", gid=name)
    axes.set_ylim(0.5, 2 * most)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
