"""Figures over the epochs."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.utils.pictures.drawn import check_layout, legend_of, named, points
from utils.pictures.epochs import Curve, plot_curves

EPOCHS = np.arange(1, 25)


def test_curves() -> None:
    """Every epoch where it is, what is no number left out, levels and rests named in the legend once."""
    values = np.where(EPOCHS == 5, np.nan, EPOCHS / 10)
    sparse = Curve("sparse", EPOCHS[2::3], values[2::3], np.stack([values[2::3] - 1, values[2::3] + 1], axis=1))
    curves = [Curve("dense", EPOCHS, values), sparse, Curve("of $5", EPOCHS, -values)]
    figure = plot_curves(curves, "Top-1, %", levels={"chance": 0.5}, rest=[1, 2, 3, 7])
    np.testing.assert_array_equal(points(figure, "dense"), np.stack([EPOCHS, values], axis=1)[EPOCHS != 5])
    assert points(figure, "sparse")[:, 0].tolist() == [3, 6, 9, 12, 15, 18, 21, 24]
    assert points(figure, "level")[:, 1].tolist() == [0.5, 0.5]
    rests = [(patch.get_x(), patch.get_width()) for patch in figure.axes[0].patches]
    assert rests == [(0.5, 3), (6.5, 1)]
    assert legend_of(figure) == ["dense", "sparse", r"of \$5", "chance", "alpha rests (warm-up)"]
    assert figure.axes[0].get_xlim() == (0.5, 24.5)
    assert figure.axes[0].get_ylim()[0] == 0
    check_layout(figure)


def test_one_epoch() -> None:
    """It is a mark, or it would not be seen; the axis of epochs has whole numbers alone."""
    figure = plot_curves([Curve("one", np.array([1]), np.array([2.0]))], "y", limits=(None, None))
    assert named(figure, "one").get_marker() == "o"
    assert [tick for tick in figure.axes[0].get_xticks() if 0.5 <= tick <= 1.5] == [1]
    check_layout(figure)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: plot_curves([], "y"),
        lambda: plot_curves([Curve("a", EPOCHS, EPOCHS[1:])], "y"),
        lambda: plot_curves([Curve("a", EPOCHS[:0], EPOCHS[:0])], "y"),
        lambda: plot_curves([Curve("a", EPOCHS, EPOCHS, np.zeros((3, 2)))], "y"),
    ],
)
def test_what_is_refused(attempt: Callable[[], Figure]) -> None:
    with pytest.raises(ValueError):
        attempt()
