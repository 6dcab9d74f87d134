"""Histograms of scores, and reliability: what scores promise against what is true."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.utils.pictures.drawn import SYSTEMS, Trials, check_layout, every_system, legend_of, named, points
from utils.pictures.scores import plot_histograms, plot_reliability


@every_system
def test_histograms(trials: Trials) -> None:
    """Each has an area of 1 and lies where its trials are."""
    figure = plot_histograms(*trials, xlabel="cosine similarity")
    for name, label in (("targets", 1), ("non-targets", 0)):
        values, edges, _ = named(figure, name).get_data()
        assert np.sum(values * np.diff(edges)) == pytest.approx(1)
        assert np.sum(values * (edges[1:] + edges[:-1]) / 2 * np.diff(edges)) == pytest.approx(
            trials[0][trials[1] == label].mean(), abs=np.diff(edges)[0]
        )
    assert figure.axes[0].get_xlabel() == "cosine similarity"
    check_layout(figure)


def test_histograms_of_close_scores() -> None:
    """Bins cannot be narrower than numbers are apart."""
    for low in (0.0, 1.0, 1e9):
        check_layout(plot_histograms(np.array([low, np.nextafter(low, np.inf)]), np.array([0, 1])))


def test_threshold() -> None:
    """A line, with the rates of accepting what scores it or more."""
    figure = plot_histograms(np.array([0.1, 0.3, 0.3, 0.9]), np.array([0, 0, 1, 1]), threshold=0.3)
    assert set(points(figure, "threshold")[:, 0]) == {0.3}
    assert legend_of(figure)[-1] == "threshold 0.3: 50.00 % false acceptances, 0.00 % false rejections"
    figure = plot_histograms(*SYSTEMS["37720"], threshold=9.0)
    assert figure.axes[0].get_xlim()[1] > 9
    check_layout(figure)


def test_reliability_of_calibrated_ratios() -> None:
    """With any share of targets: both classes weigh the same, so dots and isotonic curve are near the diagonal."""
    draw = np.random.default_rng(5)
    labels = (np.arange(100_000) < 10_000).astype(int)
    llrs = draw.normal(np.where(labels, 2.0, -2.0), 2.0)  # variance 2 m: these are log-likelihood ratios of themselves
    figure = plot_reliability(llrs, labels, bins=10)
    assert {named(figure, gid).get_linestyle() for gid in ("diagonal", "isotonic", "bins")} == {"-"}
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
        lambda: plot_histograms(np.array([0, np.inf]), GOOD),
        lambda: plot_reliability(GOOD, GOOD, bins=0),
    ],
)
def test_what_is_refused(attempt: Callable[[], Figure]) -> None:
    with pytest.raises(ValueError):
        attempt()
