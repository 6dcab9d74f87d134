"""The cells of a genotype as graphs. All lengths are inches, and y points upwards.

Every intermediate node has a lane of its own, a horizontal strip that holds the node and, to its left, the names of
its two operations: so these cannot overlap, whatever the genotype. An edge bends in the columns' gaps and runs
straight in its target's lane.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve
from matplotlib.textpath import TextPath

from models.genotypes import Gene, Genotype
from utils.pictures.figure import FONT, GREY, INK, styled

INPUTS = 2  # of a cell; nodes are numbered from here
FAMILIES = {  # an operation's family, by the beginning or the end of its name: dark enough to be read on white
    "pool_3x3": "#0067a5",
    "skip_connect": "#8a3fa0",
    "sep_conv": "#bf4b00",
    "dil_conv": "#00775a",
}
NAME_SIZE, NODE_SIZE, TITLE_SIZE = 7.5, 9.5, 10.5  # points
BOX_WIDTH, BOX_HEIGHT = 0.32, 0.42
INPUT_WIDTH = 0.50  # of the boxes of a cell's inputs and output
LANE = 0.56
NAME_HEIGHT, NAME_SHIFT = 0.17, 0.105  # a name's pill, and how far its middle is above or below its node's
NAME_MARGIN = 0.07  # between a name and the ends of its pill
ARROW = 0.17  # between a pill and its node
GAP = 0.47  # between a column's nodes and the next column's pills
BORDER, TITLE_HEIGHT = 0.12, 0.36
PORT_SHIFT, PORT_LIMIT = 0.055, 0.15  # between the edges that leave a box, and the farthest from its middle
CLEARANCE = 0.035  # between an edge and the boxes that it passes
SAMPLING = 0.0193  # of edges, where crossings are counted; odd, so that no sample falls on a crossing by symmetry
ARROW_STYLE: dict[str, Any] = {
    "arrowstyle": "-|>,head_length=0.42,head_width=0.2",
    "mutation_scale": 10,
    "capstyle": "butt",
    "joinstyle": "miter",
}
Point = tuple[float, float]


@dataclass(frozen=True)
class _Box:
    """A node or a pill."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2


@dataclass(frozen=True)
class _Edge:
    """A curve that rises or falls from `bend[0]` to `bend[1]` (a cubic), and is level before and after."""

    source: int
    start: Point
    end: Point
    bend: tuple[float, float]

    def heights(self, xs: np.ndarray) -> np.ndarray:
        """Its y at every x; NaN where it is not."""
        progress = np.clip((xs - self.bend[0]) / (self.bend[1] - self.bend[0]), 0, 1)
        heights = self.start[1] + (self.end[1] - self.start[1]) * progress**2 * (3 - 2 * progress)
        return np.where((xs >= self.start[0]) & (xs <= self.end[0]), heights, np.nan)

    def curve(self) -> Curve:
        """The same to draw: a cubic in x is the Bezier curve whose control points divide its width into thirds."""
        (begin, finish), (start, end) = self.bend, (self.start[1], self.end[1])
        third = (finish - begin) / 3
        points = [self.start, (begin, start), (begin + third, start), (finish - third, end), (finish, end), self.end]
        return Curve(points, [Curve.MOVETO, Curve.LINETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4, Curve.LINETO])


@dataclass(frozen=True)
class _Layout:
    """Where everything of a cell is; the cell's middle is at y = 0."""

    vertices: tuple[_Box, ...]  # the inputs, the intermediate nodes, the output
    pills: tuple[_Box, ...]  # one an operation
    edges: tuple[_Edge, ...]  # one an operation, then one a node, to the output


@styled
def draw_genotype(genotype: Genotype) -> Figure:
    """Both cells of a genotype as graphs, the normal cell above the reduction cell.

    Data flows from left to right. c_{k-2} and c_{k-1} are a cell's older and newer input, the genotype's 0 and 1; every
    other node is the sum of its two operations, and the output c_k is the concatenation of the nodes that grey edges
    leave. The colour of an operation tells its family. The same genotype gives the same figure.
    """
    cells = {"normal": genotype.normal, "reduction": genotype.reduce}
    font = FontProperties(family=FONT, size=NAME_SIZE)
    names = {operation for genes in cells.values() for operation, _ in genes}
    # A path's unit is a point, of which an inch has 72.
    name_width = max(TextPath((0, 0), name, prop=font).get_extents().width for name in names) / 72 + 2 * NAME_MARGIN
    layouts = {name: _best_layout(genes, name_width) for name, genes in cells.items()}
    lanes = LANE * (len(genotype.normal) // 2)
    width = max(layout.vertices[-1].right for layout in layouts.values()) + BORDER
    figure = Figure(figsize=(width, len(cells) * (TITLE_HEIGHT + lanes) + BORDER))
    share = (TITLE_HEIGHT + lanes) / figure.get_figheight()  # of a cell, whose middle is at y = 0 of its own axes
    for row, (name, genes) in enumerate(cells.items(), start=1):
        axes = figure.add_axes((0, 1 - row * share, 1, share))
        axes.set(xlim=(0, width), ylim=(-lanes / 2, lanes / 2 + TITLE_HEIGHT))
        axes.set_axis_off()
        title: dict[str, Any] = {"size": TITLE_SIZE, "weight": "bold", "va": "center", "gid": f"{name}-title"}
        axes.text(BORDER, (lanes + TITLE_HEIGHT) / 2, f"{name} cell", **title)
        _draw_cell(axes, name, genes, layouts[name])
    return figure


def _best_layout(genes: Sequence[Gene], name_width: float) -> _Layout:
    """Of every order of the lanes and of the inputs, the first of the best."""
    orders = itertools.permutations(range(len(genes) // 2))
    layouts = [_place(genes, lanes, flipped, name_width) for lanes in orders for flipped in (False, True)]
    return min(layouts, key=_cost)


def _place(genes: Sequence[Gene], lanes: Sequence[int], flipped: bool, name_width: float) -> _Layout:
    """The layout whose node n is in the lane lanes[n], counted from the top."""
    depths = [0] * INPUTS
    for node in range(len(lanes)):
        depths.append(1 + max(depths[source] for _, source in genes[2 * node : 2 * node + 2]))
    pitch = GAP + name_width + ARROW + BOX_WIDTH
    first = BORDER + INPUT_WIDTH - BOX_WIDTH / 2  # the middle of the column of depth 0, were its boxes as others
    top = LANE * (len(lanes) - 1) / 2
    sides = (-1, 1) if flipped else (1, -1)
    vertices = [_Box(BORDER + INPUT_WIDTH / 2, side * LANE, INPUT_WIDTH, BOX_HEIGHT) for side in sides]
    for depth, lane in zip(depths[INPUTS:], lanes, strict=True):
        vertices.append(_Box(first + depth * pitch, top - lane * LANE, BOX_WIDTH, BOX_HEIGHT))
    last = first + max(depths) * pitch + BOX_WIDTH / 2
    vertices.append(_Box(last + GAP + INPUT_WIDTH / 2, 0, INPUT_WIDTH, BOX_HEIGHT))
    pills = _place_pills(genes, vertices, name_width)
    # Where the pills of the columns begin, in which edges have to be level.
    columns = [first + depth * pitch + BOX_WIDTH / 2 + GAP for depth in range(max(depths))]
    edges = [*_operation_edges(genes, vertices, pills, depths, columns), *_output_edges(vertices, last)]
    return _Layout(tuple(vertices), pills, tuple(edges))


def _place_pills(genes: Sequence[Gene], vertices: Sequence[_Box], name_width: float) -> tuple[_Box, ...]:
    """Left of every node two pills, the upper one for the operation whose source is higher."""
    pills = []
    for node, box in enumerate(vertices[INPUTS:-1]):
        first, second = (vertices[source].y for _, source in genes[2 * node : 2 * node + 2])
        shift = NAME_SHIFT if first >= second else -NAME_SHIFT
        x = box.left - ARROW - name_width / 2
        pills += [_Box(x, box.y + side * shift, name_width, NAME_HEIGHT) for side in (1, -1)]
    return tuple(pills)


def _operation_edges(
    genes: Sequence[Gene],
    vertices: Sequence[_Box],
    pills: Sequence[_Box],
    depths: Sequence[int],
    columns: Sequence[float],
) -> Iterator[_Edge]:
    """The edges of the operations, each with the longest bend that keeps clear of what it passes."""
    ports = _ports(genes, vertices, pills)
    for position, (_, source) in enumerate(genes):
        target = INPUTS + position // 2
        others = [box for number, box in enumerate(vertices) if number not in (source, target)]
        others += [pill for number, pill in enumerate(pills) if number != position]
        start, end = (vertices[source].right, ports[position]), (vertices[target].left, pills[position].y)
        # The last one ends in the first gap, where there is nothing.
        for column in reversed(columns[depths[source] : depths[target]]):
            edge = _Edge(source, start, end, (start[0], column))
            if not _hits(edge, others):
                break
        yield edge


def _ports(genes: Sequence[Gene], vertices: Sequence[_Box], pills: Sequence[_Box]) -> dict[int, float]:
    """The heights at which the operations' edges leave their sources: those that rise above those that fall."""
    ports: dict[int, float] = {}
    for source, box in enumerate(vertices[:-1]):
        leaving = [position for position, gene in enumerate(genes) if gene[1] == source]
        for side in (1, -1):
            group = [position for position in leaving if side * (pills[position].y - box.y) > 0]
            group.sort(key=lambda position: abs(pills[position].y - box.y))
            shift = min(PORT_SHIFT, PORT_LIMIT / max(1, len(group)))
            ports |= {position: box.y + side * shift * (rank + 1) for rank, position in enumerate(group)}
    return ports


def _output_edges(vertices: Sequence[_Box], last: float) -> Iterator[_Edge]:
    """The edges to the output: level in their nodes' lanes as far as the last column."""
    *_, output = vertices
    nodes = sorted(range(INPUTS, len(vertices) - 1), key=lambda node: vertices[node].y)
    for rank, node in enumerate(nodes):
        box = vertices[node]
        end = (output.left, output.y + (rank - (len(nodes) - 1) / 2) * 2 * PORT_SHIFT)
        yield _Edge(node, (box.right, box.y), end, (last, output.left - 0.08))


def _hits(edge: _Edge, boxes: Sequence[_Box]) -> int:
    """How many of the boxes an edge comes too close to."""
    xs = np.arange(edge.start[0], edge.end[0], SAMPLING)
    heights = edge.heights(xs)
    middles = np.array([(box.x, box.y) for box in boxes])
    reach = np.array([(box.width, box.height) for box in boxes]) / 2 + CLEARANCE
    inside = (abs(xs - middles[:, :1]) < reach[:, :1]) & (abs(heights - middles[:, 1:]) < reach[:, 1:])
    return int(inside.any(axis=1).sum())


def _cost(layout: _Layout) -> float:
    """What makes a layout hard to read: crossings, edges that run close together, and long ways up and down."""
    operations = len(layout.pills)
    xs = np.arange(0, layout.vertices[-1].right, SAMPLING)
    heights = np.array([edge.heights(xs) for edge in layout.edges])
    crossings = close = 0.0
    for first, second in itertools.combinations(range(len(heights)), 2):
        apart = heights[first] - heights[second]
        apart = apart[np.isfinite(apart)]
        weight = 1.0 if second < operations else 0.5  # the edges to the output are no more than a background
        crossings += weight * np.count_nonzero(apart[1:] * apart[:-1] < 0)
        if layout.edges[first].source != layout.edges[second].source:
            close += weight * np.count_nonzero(abs(apart) < PORT_SHIFT) * SAMPLING
    climbs = sum(abs(edge.end[1] - edge.start[1]) for edge in layout.edges) / LANE
    return round(crossings + 0.5 * close + 0.12 * climbs, 6)  # rounded, so that ties are the same on every machine


def _draw_cell(axes: Axes, name: str, genes: Sequence[Gene], layout: _Layout) -> None:
    """Draw a cell; its artists' ids (gid) tell what they are."""
    colours = [next((colour for part, colour in FAMILIES.items() if part in operation), INK) for operation, _ in genes]
    for position, edge in enumerate(layout.edges):
        colour, width, order = (colours[position], 1.2, 2) if position < len(genes) else (GREY, 0.7, 1)
        style = ARROW_STYLE | {"color": colour, "linewidth": width, "zorder": order}
        axes.add_patch(FancyArrowPatch(path=edge.curve(), gid=f"{name}-edge-{position}", **style))
    for position, ((operation, _), pill, colour) in enumerate(zip(genes, layout.pills, colours, strict=True)):
        shape = {"facecolor": "white", "edgecolor": colour, "linewidth": 0.8, "gid": f"{name}-pill-{position}"}
        text = {"size": NAME_SIZE, "color": colour, "gid": f"{name}-name-{position}"}
        _draw_box(axes, pill, NAME_HEIGHT / 2, shape, operation, text)
    symbols = {0: "$c_{k{-}2}$", 1: "$c_{k{-}1}$", len(layout.vertices) - 1: "$c_{k}$"}
    for number, box in enumerate(layout.vertices):
        colour = "#ececec" if number in symbols else "#fff3cf"
        shape = {"facecolor": colour, "edgecolor": INK, "linewidth": 0.9, "gid": f"{name}-node-{number}"}
        text = {"size": NODE_SIZE, "gid": f"{name}-number-{number}"}
        _draw_box(axes, box, 0.06, shape, symbols.get(number, str(number)), text)


def _draw_box(
    axes: Axes, box: _Box, rounding: float, shape: dict[str, Any], text: str, text_style: dict[str, Any]
) -> None:
    corner, boxstyle = (box.left, box.y - box.height / 2), f"round,pad=0,rounding_size={rounding}"
    axes.add_patch(FancyBboxPatch(corner, box.width, box.height, boxstyle=boxstyle, zorder=3, **shape))
    axes.text(box.x, box.y, text, ha="center", va="center_baseline", zorder=4, **text_style)
