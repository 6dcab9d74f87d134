"""Histograms of scores."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.utils.pictures.drawn import SYSTEMS, Trials, check_layout, every_system, legend_of, named, points
from utils.pictures.histogram import plot_histograms


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


GOOD = np.array([0, 1])


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: plot_histograms(np.array([0, np.inf]), GOOD),
    ],
)
def test_what_is_refused(attempt: Callable[[], Figure]) -> None:
    with pytest.raises(ValueError):
        attempt()
