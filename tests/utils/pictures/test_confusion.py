"""Who is taken for whom."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.utils.pictures.drawn import STRANGE, check_layout, draw
from utils.pictures.confusion import OTHERS, plot_confused_pairs, plot_confusion


def cells_of(figure: Figure) -> dict[tuple[int, int], str]:
    """The texts of a matrix by row and column."""
    return {tuple(map(int, text.get_gid().split("-")[1:])): text.get_text() for text in figure.axes[0].texts}


def names_of(axes: Axes) -> list[list[str]]:
    return [[label.get_text() for label in axis.get_ticklabels()] for axis in (axes.yaxis, axes.xaxis)]


def decisions_of(counts: np.ndarray) -> np.ndarray:
    """True classes and decisions (2, N) that are counted so."""
    return np.repeat(np.indices(counts.shape).reshape(2, -1), counts.ravel(), axis=1)


DECISIONS = decisions_of(np.array([[9, 1, 0, 0], [0, 9, 0, 4], [0, 0, 9, 0], [0, 2, 1, 1234]]))


def test_confusion() -> None:
    """Classes by their errors in row and column, rows true; zeros are left out; the darkest is the largest error."""
    figure = plot_confusion(*DECISIONS, "abcd")
    assert names_of(figure.axes[0]) == [["b", "d", "a", "c"]] * 2
    assert cells_of(figure) == {
        **{(0, 0): "9", (0, 1): "4", (1, 0): "2", (1, 1): "1,234"},
        **{(1, 3): "1", (2, 0): "1", (2, 2): "9", (3, 3): "9"},
    }
    assert figure.get_suptitle() == "4 of 4 classes: 8 of 8 errors (100 %)"
    (image,) = figure.axes[0].images
    shades = image.to_rgba(image.get_array())[..., :3].sum(axis=-1)
    diagonal = np.eye(4, dtype=bool)
    assert shades[0, 1] == shades[~diagonal].min()
    assert np.unravel_index(np.where(diagonal, np.inf, shades).argmin(), shades.shape) == (0, 1)
    assert len(set(shades[diagonal])) == 1
    check_layout(figure)


def test_confusion_collapses_others() -> None:
    figure = plot_confusion(*DECISIONS, "abcd", most=2)
    assert names_of(figure.axes[0])[0] == ["b", "d", OTHERS]
    assert cells_of(figure) == {(0, 0): "9", (0, 1): "4", (1, 0): "2", (1, 1): "1,234", (1, 2): "1", (2, 0): "1"}
    assert figure.get_suptitle() == "2 of 4 classes: 8 of 8 errors (100 %)"
    assert plot_confusion(*DECISIONS, "abcd", most=1).get_suptitle() == "1 of 4 classes: 7 of 8 errors (87.5 %)"


def test_others_that_nobody_is_taken_for_are_left_out() -> None:
    figure = plot_confusion(*decisions_of(np.array([[1, 2, 0], [0, 1, 0], [0, 0, 5]])), "abc", most=2)
    assert names_of(figure.axes[0])[0] == ["a", "b"]


@pytest.mark.parametrize("most", [1, 2])
def test_confusion_without_errors_among_the_chosen(most: int) -> None:
    draw(plot_confusion(*decisions_of(np.array([[5, 0, 5], [0, 5, 5], [1, 1, 8]])), "abc", most=most))


@pytest.mark.parametrize("classes", [1, 7, 1251])
def test_no_errors(classes: int) -> None:
    right = np.repeat(np.arange(classes), 6)
    figure = plot_confusion(right, right, ["name"] * classes)
    assert not figure.axes
    assert f"No errors among {6 * classes:,} decisions" in figure.texts[0].get_text()
    check_layout(figure)


def test_confusion_of_many_classes_with_any_names() -> None:
    decisions = np.random.default_rng(6).integers(1251, size=(2, 20_000))
    figure = plot_confusion(*decisions, [f"{number}{STRANGE}" for number in range(1251)])
    assert len(figure.axes[0].get_xticks()) == 21
    check_layout(figure)


SPEAKERS = np.array([(0, 1), (1, 0), (0, 1), (0, 2), (2, 3), (3, 2), (1, 1), (0, 0)])
PAIR_SCORES = np.array([0.9, 0.5, 0.1, 0.4, 0.9, 0.1, 0.9, 0.1])
PAIR_LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1])


def test_confused_pairs() -> None:
    """A pair has no order; scoring the threshold is accepted; a dot where nothing was tried, nothing for no errors."""
    figure = plot_confused_pairs(PAIR_SCORES, PAIR_LABELS, SPEAKERS, ["a", "b", "c", "d", "e"], 0.5)
    assert names_of(figure.axes[0]) == [["a", "b", "c", "d"]] * 2
    assert figure.get_suptitle().startswith("4 of 4 speakers: 3 of 3 false acceptances (100 %)")
    upper = {(0, 1): "2/3", (0, 3): "·", (1, 2): "·", (1, 3): "·", (2, 3): "1/2"}
    assert cells_of(figure) == upper | {(column, row): text for (row, column), text in upper.items()}
    (image,) = figure.axes[0].images
    assert image.get_array()[0, 1] == pytest.approx(2 / 3)
    check_layout(figure)


def test_confused_pairs_with_others() -> None:
    figure = plot_confused_pairs(PAIR_SCORES, PAIR_LABELS, SPEAKERS, ["a", "b", "c", "d"], 0.3, most=1)
    assert names_of(figure.axes[0])[0] == ["a", OTHERS]
    assert cells_of(figure) == {(0, 1): "3/4", (1, 0): "3/4"}
    assert "3 of 4 false acceptances (75 %)" in figure.get_suptitle()


def test_many_pairs_are_rates() -> None:
    """In per cent."""
    speakers = np.tile([(0, 1)], (41, 1))
    speakers[-1] = 0
    labels = np.append(np.zeros(40, dtype=int), 1)
    figure = plot_confused_pairs(np.arange(41) / 40, labels, speakers, ["a", "b"], 0.5)
    assert cells_of(figure) == {(0, 1): "50", (1, 0): "50"}


def test_no_false_acceptances() -> None:
    figure = plot_confused_pairs(PAIR_SCORES, PAIR_LABELS, SPEAKERS, ["a", "b", "c", "d"], 2.0)
    assert "No false acceptances among 4 speakers" in figure.texts[0].get_text()


GOOD = np.array([0, 1])


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: plot_confusion(GOOD, np.array([0, 1, 1]), "ab"),
        lambda: plot_confusion(GOOD, np.array([0, 2]), "ab"),
        lambda: plot_confusion(np.array([0, -1]), GOOD, "ab"),
        lambda: plot_confusion(*DECISIONS, "abcd", most=0),
        lambda: plot_confused_pairs(GOOD, GOOD, np.array([[0, 1], [0, 3]]), "abc", 0.5),
        lambda: plot_confused_pairs(GOOD, GOOD, np.array([[1, 1], [0, 0]]), "abc", 0.5),
    ],
)
def test_what_is_refused(attempt: Callable[[], Figure]) -> None:
    with pytest.raises(ValueError):
        attempt()
