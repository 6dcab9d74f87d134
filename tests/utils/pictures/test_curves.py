"""Learning curves of many trainings."""

import numpy as np
import pytest

from tests.utils.pictures.drawn import draw, named, points
from utils.pictures.curves import draw_curves

CURVES = {
    "one": (np.array([1]), np.array([3.0])),
    "two $x$": (np.array([1, 3, 9]), np.array([3.5, 2.0, 1.0])),
    "three": (np.array([1, 3]), np.array([3.2, 2.5])),
}


def test_curves() -> None:
    """A line each, all points of it; the chosen one is on top, and the legend's only entry; rungs are named."""
    figure = draw_curves(CURVES, "two $x$", [1, 3, 9], "loss")
    for name, curve in CURVES.items():
        np.testing.assert_array_equal(points(figure, name), np.stack(curve, axis=1))
    chosen = named(figure, "two $x$")
    assert all(chosen.get_zorder() > named(figure, name).get_zorder() for name in ("one", "three"))
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "3", "9"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [r"two \$x\$"]
    draw(figure)


def test_names_of_near_rungs_do_not_overlap() -> None:
    """The last one is named in any case."""
    (axes,) = draw_curves(CURVES, None, [1, 3, 9, 27, 81, 243, 301], "loss").axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "3", "9", "27", "81", "", "301"]


def test_nothing_is_chosen() -> None:
    (axes,) = draw_curves(CURVES, None, [1, 3], "loss").axes
    assert axes.get_legend() is None


@pytest.mark.parametrize("curves", [{}, {"one": (np.array([]), np.array([]))}, {"one": (np.array([1]), np.zeros(2))}])
def test_no_curves(curves: dict) -> None:
    with pytest.raises(ValueError, match="curves are needed"):
        draw_curves(curves, None, [1], "loss")
