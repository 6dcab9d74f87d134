"""The architecture parameters over a search, as heat maps."""

import itertools

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from models.genotypes import EDGES, INPUTS, NODES, SEARCH_SPACES
from tests.utils.pictures.drawn import alpha_history, contains
from utils.pictures.alpha import draw_alpha_history

CONCAT = range(INPUTS, INPUTS + NODES)


def visible(texts: list[Text]) -> list[str]:
    return [text.get_text() for text in texts if text.get_visible()]


def panels_of(figure: Figure) -> list[Axes]:
    """The heat maps, without the colour bar."""
    return [axes for axes in figure.axes if axes.images]


@pytest.mark.parametrize("space", SEARCH_SPACES)
@pytest.mark.parametrize("epochs", [1, 2, 50])
def test_alpha_history(epochs: int, space: str) -> None:
    """A panel an edge holds the softmax of its row of alpha, operations downwards and epochs from 1 to the right."""
    history, operations = alpha_history(epochs, space), SEARCH_SPACES[space]
    figure = draw_alpha_history(history, operations, "normal cell")
    panels = panels_of(figure)
    edges = [(source, node) for node in CONCAT for source in range(node)]
    expected = np.exp(history) / np.exp(history).sum(axis=-1, keepdims=True)
    assert figure.get_suptitle() == "normal cell"
    assert [axes.get_title() for axes in panels] == [f"{source} → {node}" for source, node in edges]
    for axes, (source, _), row in zip(panels, edges, expected.swapaxes(0, 1), strict=True):
        (image,) = axes.images
        np.testing.assert_allclose(image.get_array(), row.T, rtol=1e-12)
        assert image.get_extent() == [0.5, epochs + 0.5, len(operations) - 0.5, -0.5]
        assert image.norm.vmin == 0
        assert image.norm.vmax == pytest.approx(expected.max())
        assert list(axes.get_yticks()) == list(range(len(operations)))
        assert visible(axes.get_yticklabels()) == (list(operations) if source == 0 else [])
        ticks = [tick for tick in axes.get_xticks() if 0.5 <= tick <= epochs + 0.5]
        assert ticks
        assert all(tick == round(tick) for tick in ticks)


def test_alpha_panels_form_a_grid() -> None:
    """A row of panels for every node, a column for every source; all labels within the picture."""
    figure = draw_alpha_history(alpha_history(3, "s3"), SEARCH_SPACES["s3"], "reduction cell")
    panels = {axes.get_title(): axes for axes in panels_of(figure)}
    for (first, a), (second, b) in itertools.combinations(panels.items(), 2):
        same_column, same_row = (first[position] == second[position] for position in (0, -1))
        assert (round(a.get_position().x0, 6) == round(b.get_position().x0, 6)) == same_column
        assert (round(a.get_position().y0, 6) == round(b.get_position().y0, 6)) == same_row
    assert len(figure.axes) == EDGES + 1
    renderer = FigureCanvasAgg(figure).get_renderer()
    assert all(contains(figure.bbox, axes.get_tightbbox(renderer)) for axes in figure.axes)
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("shape", [(0, EDGES, 8), (3, EDGES - 1, 8), (3, EDGES, 7), (EDGES, 8)])
def test_alpha_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="history must be"):
        draw_alpha_history(np.zeros(shape), SEARCH_SPACES["s2"], "normal cell")
