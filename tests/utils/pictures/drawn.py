"""What tests of pictures have in common: trials to draw, and looking at what is drawn."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from models.genotypes import EDGES, SEARCH_SPACES
from tests.helpers import ROOT

Trials = tuple[np.ndarray, np.ndarray]
PRIORS = (0.01, 0.05)
MAGIC = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}  # how a file of each format begins
STRANGE = '_<b>&"$x$ \udc80\x00中 ' + "long " * 30


def simulate(number: int, seed: int = 0, target: float = 0.6, share: float = 0.5) -> Trials:
    """Scores as those of a trained network."""
    draw = np.random.default_rng(seed)
    labels = (np.arange(number) < share * number).astype(int)
    return np.where(labels, draw.normal(target, 0.15, number), draw.normal(0.1, 0.15, number)), labels


SEPARATE = (np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]))
CONSTANT = (np.full(6, 0.5), np.array([0, 1] * 3))
TIED = (np.array([0.1, 0.2, 0.3, 0.3, 0.8, 0.9]), np.array([0, 1, 0, 1, 0, 1]))
SYSTEMS = {
    "834": simulate(834),
    "37720": simulate(37_720, 1),
    "few targets": simulate(2_000, 2, share=0.002),
    "worse than chance": simulate(834, 3, target=-0.2),
    "all wrong": (SEPARATE[0], 1 - SEPARATE[1]),
    "separate": SEPARATE,
    "constant": CONSTANT,
    "tied": TIED,
}
every_system = pytest.mark.parametrize("trials", SYSTEMS.values(), ids=SYSTEMS)


def named(figure: Figure, gid: str) -> Line2D:
    (found,) = figure.findobj(lambda artist: artist.get_gid() == gid)
    return found


def points(figure: Figure, gid: str) -> np.ndarray:
    """The points (N, 2) of a line, by its id."""
    return np.asarray(named(figure, gid).get_xydata())


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def draw(figure: Figure) -> FigureCanvasAgg:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


def check_layout(figure: Figure) -> None:
    """All text is whole within the figure, and no two texts of an axis or a legend touch each other."""
    renderer = draw(figure).get_renderer()
    boxes = []
    for axes in figure.axes:
        labels = [[label for label in axis.get_ticklabels() if label.get_text()] for axis in (axes.xaxis, axes.yaxis)]
        shown = [
            [label for label in group if lower <= label.get_position()[position] <= upper]
            for position, (group, (lower, upper)) in enumerate(
                zip(labels, (sorted(axes.get_xlim()), sorted(axes.get_ylim())), strict=True)
            )
        ]
        for group in shown if axes.axison else ():
            check_apart([label.get_window_extent(renderer).padded(2) for label in group])
        boxes += [axes.get_tightbbox(renderer)]
    for legend in figure.legends:
        check_apart([text.get_window_extent(renderer) for text in legend.get_texts()])
        boxes += [text.get_window_extent(renderer) for text in legend.get_texts()]
    boxes += [text.get_window_extent(renderer) for text in figure.texts]
    if figure._suptitle is not None:
        boxes.append(figure._suptitle.get_window_extent(renderer))
    assert all(contains(figure.bbox, box) for box in boxes)


def check_apart(boxes: list[Bbox]) -> None:
    assert not any(first.overlaps(second) for first, second in itertools.combinations(boxes, 2))


def contains(outer: Bbox, inner: Bbox) -> bool:
    return outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1


def alpha_history(epochs: int, space: str) -> np.ndarray:
    """Architecture parameters (epochs, EDGES, operations) of a search."""
    return np.random.default_rng(epochs).standard_normal((epochs, EDGES, len(SEARCH_SPACES[space]))).cumsum(axis=0)


def modules_loaded(statement: str) -> set[str]:
    """What a process has loaded after a statement, its command line a call for help."""
    code = (
        f"import runpy, sys\nsys.argv = ['tool', '--help']\ntry:\n    {statement}\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())
