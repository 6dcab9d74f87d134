"""Estimates with their intervals."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.utils.pictures.drawn import STRANGE, check_layout, named, points
from utils.pictures.intervals import plot_intervals


def test_intervals() -> None:
    estimates = np.array([5, np.nan, 10])
    intervals = np.array([[4, 7], [np.nan, np.nan], [np.nan, np.nan]])
    figure = plot_intervals(["a", STRANGE, "c"], estimates, intervals, "EER (%)", overall=6)
    np.testing.assert_allclose(points(figure, "estimates")[[0, 2]], [(5, 0), (10, 2)])
    np.testing.assert_allclose(named(figure, "intervals").get_segments()[0], [(4, 0), (7, 0)])
    assert "not defined" in [text.get_text() for text in figure.axes[0].texts]
    assert figure.axes[0].yaxis_inverted()
    check_layout(figure)
    whole = plot_intervals(["a"], np.array([0.5]), np.array([[0.4, 0.6]]), "minDCF")
    assert points(whole, "estimates").tolist() == [[0.5, 0]]
    check_layout(whole)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: plot_intervals([], np.array([]), np.zeros((0, 2)), "EER"),
        lambda: plot_intervals(["a"], np.array([0.1]), np.array([0.1, 0.2]), "EER"),
    ],
)
def test_what_is_refused(attempt: Callable[[], Figure]) -> None:
    with pytest.raises(ValueError):
        attempt()
