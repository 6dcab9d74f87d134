"""Reliability of calibrated scores: what they promise against what is true."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from utils.pictures.figure import BLUE, GREY, VERMILION, WIDTH, check_trials, draw_kinds, new_figure, styled


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
    draw_kinds(lower, targets, edges, [np.maximum(count, 0.5) for count in counts], baseline=0.5)
    lower.set(xlabel="predicted posterior at even priors", ylabel="trials", yscale="log")
    lower.set_ylim(bottom=0.5)
    lower.grid(axis="y")
    lower.yaxis.set_minor_locator(NullLocator())
    lower.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _draw_reliability(axes: Axes, predicted: np.ndarray, targets: np.ndarray, edges: np.ndarray) -> None:
    weights = np.where(targets, 0.5 / targets.sum(), 0.5 / (~targets).sum())
    axes.plot((0, 1), (0, 1), color=GREY, linewidth=0.8, label="perfectly calibrated", gid="diagonal")
    isotonic = IsotonicRegression(y_min=0, y_max=1).fit(predicted, targets, weights)
    corners = isotonic.X_thresholds_, isotonic.y_thresholds_
    axes.plot(*corners, color=VERMILION, linewidth=0.8, label="isotonic regression", gid="isotonic")
    sums = [
        np.histogram(predicted, edges, weights=values)[0]
        for values in (weights, weights * predicted, weights * targets)
    ]
    mass, promised, true = np.stack(sums)[:, sums[0] > 0]
    label: dict[str, Any] = {"label": "bins of trials", "gid": "bins"}
    axes.plot(
        promised / mass, true / mass, "o-", color=BLUE, linewidth=1, markersize=5, clip_on=False, zorder=4, **label
    )
