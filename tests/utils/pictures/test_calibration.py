"""Reliability: what scores promise against what is true."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.utils.pictures.drawn import Trials, check_layout, every_system, named, points
from utils.pictures.calibration import plot_reliability


def test_reliability_of_calibrated_ratios() -> None:
    """With any share of targets: both classes weigh the same, so dots and isotonic curve are near the diagonal."""
    draw = np.random.default_rng(5)
    labels = (np.arange(100_000) < 10_000).astype(int)
    llrs = draw.normal(np.where(labels, 2.0, -2.0), 2.0)  # variance 2 m: these are log-likelihood ratios of themselves
    figure = plot_reliability(llrs, labels, bins=10)
    for gid, tolerance in (("bins", 0.05), ("isotonic", 0.1)):
        line = points(figure, gid)
        inner = line[(line[:, 0] > 0.02) & (line[:, 0] < 0.98)]
        np.testing.assert_allclose(inner[:, 1], inner[:, 0], atol=tolerance)
    check_layout(figure)


def test_reliability_bins() -> None:
    """Means, shares and numbers are those of the bins; an empty bin has no dot."""
    llrs = np.log(np.array([0.1, 0.2, 0.2, 0.9, 0.9]) / (1 - np.array([0.1, 0.2, 0.2, 0.9, 0.9])))
    labels = np.array([0, 0, 1, 1, 1])
    figure = plot_reliability(llrs, labels, bins=4)
    # Non-targets weigh 1/4 each, targets 1/6.
    first = ((0.1 / 4 + 0.2 / 4 + 0.2 / 6) / (2 / 4 + 1 / 6), (1 / 6) / (2 / 4 + 1 / 6))
    np.testing.assert_allclose(points(figure, "bins"), [first, (0.9, 1)])
    np.testing.assert_allclose(points(figure, "isotonic"), [(0.1, 0), (0.2, 0.4), (0.9, 1)], atol=1e-12)
    for name, counts in (("targets", [1, 0, 0, 2]), ("non-targets", [2, 0, 0, 0])):
        assert named(figure, name).get_data().values.tolist() == [count or 0.5 for count in counts]


@every_system
def test_reliability_of_anything(trials: Trials) -> None:
    """Infinite ratios too."""
    llrs = 20 * (trials[0] - 0.35)
    llrs[0] = -np.inf
    figure = plot_reliability(llrs, trials[1])
    isotonic = points(figure, "isotonic")
    assert (np.diff(isotonic, axis=0) >= 0).all()
    assert ((isotonic >= 0) & (isotonic <= 1)).all()
    check_layout(figure)


GOOD = np.array([0, 1])


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: plot_reliability(GOOD, GOOD, bins=0),
    ],
)
def test_what_is_refused(attempt: Callable[[], Figure]) -> None:
    with pytest.raises(ValueError):
        attempt()
