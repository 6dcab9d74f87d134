"""Who is taken for whom."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.utils.pictures.drawn import STRANGE, check_layout, draw
from utils.pictures.confusion import OTHERS, confused_pairs, plot_confused_pairs, plot_confusion


def cells_of(figure: Figure) -> dict[tuple[int, int], str]:
    """The texts of a matrix by row and column."""
    return {tuple(map(int, text.get_gid().split("-")[1:])): text.get_text() for text in figure.axes[0].texts}


def names_of(axes: Axes) -> list[list[str]]:
    return [[label.get_text() for label in axis.get_ticklabels()] for axis in (axes.yaxis, axes.xaxis)]


COUNTS = np.array([[9, 1, 0, 0], [0, 9, 0, 4], [0, 0, 9, 0], [0, 2, 1, 1234]])


def test_confusion() -> None:
    """Classes by their errors in row and column, rows true; zeros are left out; the darkest is the largest error."""
    figure = plot_confusion(COUNTS, "abcd")
    assert names_of(figure.axes[0]) == [["b", "d", "a", "c"]] * 2
    assert cells_of(figure) == {
        **{(0, 0): "9", (0, 1): "4", (1, 0): "2", (1, 1): "1,234"},
        **{(1, 3): "1", (2, 0): "1", (2, 2): "9", (3, 3): "9"},
    }
    assert figure.get_suptitle() == "4 of 4 classes: 8 of 8 errors (100 %)"
    shades = figure.axes[0].images[0].get_array()[..., :3].sum(axis=-1)
    diagonal = np.eye(4, dtype=bool)
    assert shades[~diagonal].argmin() == 0
    assert shades[0, 1] == shades[~diagonal].min()
    assert len(set(shades[diagonal])) == 1
    check_layout(figure)


def test_confusion_collapses_others() -> None:
    figure = plot_confusion(COUNTS, "abcd", most=2)
    assert names_of(figure.axes[0])[0] == ["b", "d", OTHERS]
    assert cells_of(figure) == {(0, 0): "9", (0, 1): "4", (1, 0): "2", (1, 1): "1,234", (1, 2): "1", (2, 0): "1"}
    assert figure.get_suptitle() == "2 of 4 classes: 8 of 8 errors (100 %)"
    assert plot_confusion(COUNTS, "abcd", most=1).get_suptitle() == "1 of 4 classes: 7 of 8 errors (87.5 %)"


def test_confusion_of_rates() -> None:
    """In per cent; the others are left out, since rates cannot be added up."""
    figure = plot_confusion(COUNTS / COUNTS.sum(axis=1, keepdims=True), "abcd", most=2)
    assert names_of(figure.axes[0])[0] == ["b", "d"]
    assert cells_of(figure) == {(0, 0): "69", (0, 1): "31", (1, 0): "0.16", (1, 1): "100"}
    assert figure.axes[0].get_ylabel() == "true (cells: %)"


@pytest.mark.parametrize("most", [1, 2])
def test_confusion_without_errors_among_the_chosen(most: int) -> None:
    rates = np.array([[0.5, 0, 0.5], [0, 0.5, 0.5], [0.1, 0.1, 0.8]])
    draw(plot_confusion(rates, "abc", most=most))


@pytest.mark.parametrize("classes", [1, 7, 1251])
def test_no_errors(classes: int) -> None:
    figure = plot_confusion(np.eye(classes, dtype=int) * 6, ["name"] * classes)
    assert not figure.axes
    assert f"No errors among {6 * classes:,} decisions" in figure.texts[0].get_text()
    check_layout(figure)


def test_confusion_of_many_classes_with_any_names() -> None:
    draw = np.random.default_rng(6)
    true, decided = draw.integers(1251, size=(2, 20_000))
    counts = np.zeros((1251, 1251), dtype=int)
    np.add.at(counts, (true, decided), 1)
    figure = plot_confusion(counts, [f"{number}{STRANGE}" for number in range(1251)])
    assert len(figure.axes[0].get_xticks()) == 21
    check_layout(figure)


SPEAKERS = np.array([(0, 1), (1, 0), (0, 1), (0, 2), (2, 3), (3, 2), (1, 1), (0, 0)])
PAIR_SCORES = np.array([0.9, 0.5, 0.1, 0.4, 0.9, 0.1, 0.9, 0.1])
PAIR_LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1])


def test_confused_pairs() -> None:
    """A pair has no order; scoring the threshold is accepted; NaN where nothing was tried."""
    pairs = confused_pairs(PAIR_SCORES, PAIR_LABELS, SPEAKERS, ["a", "b", "c", "d", "e"], 0.5)
    assert (pairs.names, pairs.others, pairs.total, pairs.speakers) == (("a", "b", "c", "d"), False, 3, 4)
    nan = np.nan
    expected = [[nan, 2 / 3, 0, nan], [2 / 3, nan, nan, nan], [0, nan, nan, 0.5], [nan, nan, 0.5, nan]]
    np.testing.assert_allclose(pairs.rates, expected)
    figure = plot_confused_pairs(pairs)
    assert figure.get_suptitle().startswith("4 of 4 speakers: 3 of 3 false acceptances (100 %)")
    cells = cells_of(figure)
    assert (cells[0, 1], cells[2, 3], cells[0, 3], cells.get((0, 2))) == ("2/3", "1/2", "·", None)
    check_layout(figure)


def test_confused_pairs_with_others() -> None:
    pairs = confused_pairs(PAIR_SCORES, PAIR_LABELS, SPEAKERS, ["a", "b", "c", "d"], 0.3, most=1)
    assert (pairs.names, pairs.others, pairs.total) == (("a", OTHERS), True, 4)
    np.testing.assert_allclose(pairs.rates, [[np.nan, 3 / 4], [3 / 4, np.nan]])
    assert "3 of 4 false acceptances (75 %)" in plot_confused_pairs(pairs).get_suptitle()


def test_many_pairs_are_rates() -> None:
    """In per cent."""
    speakers = np.tile([(0, 1)], (41, 1))
    speakers[-1] = 0
    labels = np.append(np.zeros(40, dtype=int), 1)
    pairs = confused_pairs(np.arange(41) / 40, labels, speakers, ["a", "b"], 0.5)
    assert cells_of(plot_confused_pairs(pairs)) == {(0, 1): "50", (1, 0): "50"}


def test_no_false_acceptances() -> None:
    pairs = confused_pairs(PAIR_SCORES, PAIR_LABELS, SPEAKERS, ["a", "b", "c", "d"], 2.0)
    assert pairs.total == 0
    assert "No false acceptances among 4 speakers" in plot_confused_pairs(pairs).texts[0].get_text()


GOOD = np.array([0, 1])


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: plot_confusion(np.zeros((2, 3)), "ab"),
        lambda: plot_confusion(np.zeros((2, 2)), "abc"),
        lambda: plot_confusion(np.array([[0, -1], [0, 0]]), "ab"),
        lambda: plot_confusion(np.array([[0, np.nan], [0, 0]]), "ab"),
        lambda: plot_confusion(COUNTS, "abcd", most=0),
        lambda: confused_pairs(GOOD, GOOD, np.array([[0, 1], [0, 3]]), "abc", 0.5),
        lambda: confused_pairs(GOOD, GOOD, np.array([[1, 1], [0, 0]]), "abc", 0.5),
    ],
)
def test_what_is_refused(attempt: Callable[[], Figure]) -> None:
    with pytest.raises(ValueError):
        attempt()
