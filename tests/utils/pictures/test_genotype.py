"""Genotypes as graphs: what is drawn is complete and legible. And the tool that draws them."""

import functools
import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from models.genotypes import INPUTS, NODES, PAPER_GENOTYPE, SEARCH_SPACES, Gene, Genotype
from tests.helpers import call_script
from tests.utils.pictures.drawn import MAGIC, contains, modules_loaded
from utils.pictures.genotype import draw_genotype

CONCAT = range(INPUTS, INPUTS + NODES)
CHAIN = tuple((name, INPUTS + node - 1) for node in range(NODES) for name in ("sep_conv_3x3", "skip_connect"))
PARALLEL = tuple((name, source) for _ in range(NODES) for source, name in enumerate(("dil_conv_5x5", "max_pool_3x3")))

# The straight way from 1 to the second input of 4 would graze an operation's name.
DETOUR = (
    *(("sep_conv_5x5", 1), ("avg_pool_3x3", 1)),
    *(("avg_pool_3x3", 2), ("max_pool_3x3", 1)),
    *(("dil_conv_3x3", 3), ("dil_conv_3x3", 1)),
    *(("avg_pool_3x3", 0), ("sep_conv_5x5", 4)),
)


def random_genotype(space: str, seed: int) -> Genotype:
    """Any operations of a search space on any edges, among them two from the same source."""
    draw = random.Random(seed)

    def cell() -> tuple[Gene, ...]:
        names = SEARCH_SPACES[space][1:]
        return tuple((draw.choice(names), draw.randrange(INPUTS + position // 2)) for position in range(2 * NODES))

    return Genotype(cell(), CONCAT, cell(), CONCAT)


GENOTYPES = {
    "paper": PAPER_GENOTYPE,
    "chain": Genotype(CHAIN, CONCAT, CHAIN, CONCAT),
    "parallel": Genotype(PARALLEL, CONCAT, PARALLEL, CONCAT),
    "both": Genotype(CHAIN, CONCAT, PARALLEL, CONCAT),
    "detour": Genotype(DETOUR, CONCAT, CHAIN, CONCAT),
} | {f"{space}-{seed}": random_genotype(space, seed) for space in SEARCH_SPACES for seed in range(6)}
every_genotype = pytest.mark.parametrize("genotype", GENOTYPES.values(), ids=GENOTYPES)
draw_once = functools.cache(draw_genotype)  # the tests only look at it


def drawn(figure: Figure, part: str) -> dict[str, object]:
    """What a figure holds of a part (name, number, node, pill or edge), by cell and number, as normal-name-3."""
    artists = [artist for axes in figure.axes for artist in (*axes.texts, *axes.patches)]
    return {artist.get_gid(): artist for artist in artists if f"-{part}" in artist.get_gid()}


def extents(figure: Figure, *parts: str) -> dict[str, Bbox]:
    """Where these parts are, in pixels."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    artists = {gid: artist for part in parts for gid, artist in drawn(figure, part).items()}
    return {gid: artist.get_window_extent(renderer) for gid, artist in artists.items()}


def cells_of(genotype: Genotype) -> dict[str, tuple[Gene, ...]]:
    return {"normal": genotype.normal, "reduction": genotype.reduce}


@every_genotype
def test_every_operation_is_named_once_on_its_edge(genotype: Genotype) -> None:
    """And nothing else is named; the ends of an edge touch its source and its target, and its name lies on it."""
    figure = draw_once(genotype)
    names, boxes, edges = (drawn(figure, "name"), extents(figure, "pill", "node"), edge_points(figure))
    genes = {f"{cell}-name-{i}": gene for cell, found in cells_of(genotype).items() for i, gene in enumerate(found)}
    assert {gid: text.get_text() for gid, text in names.items()} == {gid: name for gid, (name, _) in genes.items()}
    for gid, (_, source) in genes.items():
        cell, _, position = gid.split("-")
        points = edges[f"{cell}-edge-{position}"]
        target = INPUTS + int(position) // 2
        for end, node in ((points[0], source), (points[-1], target)):
            assert boxes[f"{cell}-node-{node}"].padded(2).contains(*end)
        assert boxes[f"{cell}-pill-{position}"].count_contains(points)


@every_genotype
def test_nothing_overlaps(genotype: Genotype) -> None:
    """Names lie within their pills; pills and nodes lie apart from each other, from the titles and from the rim."""
    figure = draw_once(genotype)
    boxes = extents(figure, "pill", "node", "title")
    assert len(boxes) == 2 * (2 * NODES + INPUTS + NODES + 1 + 1)
    for first, second in itertools.combinations(boxes, 2):
        assert not boxes[first].padded(2).overlaps(boxes[second]), (first, second)
    for gid, inner in extents(figure, "name", "number").items():
        outer = boxes[gid.replace("name", "pill").replace("number", "node")]
        assert contains(outer, inner), gid
    assert all(contains(figure.bbox, box.padded(5)) for box in boxes.values())


@every_genotype
def test_edges_pass_other_boxes_by(genotype: Genotype) -> None:
    """An edge keeps clear of other nodes and names than its own: none seems to lead where it does not."""
    figure = draw_once(genotype)
    boxes, edges = extents(figure, "pill", "node"), edge_points(figure)
    assert len(edges) == 2 * (2 * NODES + NODES)
    for gid, points in edges.items():
        cell, _, position = gid.split("-")
        own = own_boxes(cells_of(genotype)[cell], int(position))
        for name, box in boxes.items():
            if name not in {f"{cell}-{part}" for part in own}:
                assert not box.padded(3).count_contains(points), (gid, name)


def own_boxes(genes: tuple[Gene, ...], position: int) -> tuple[str, ...]:
    """What an edge may touch; those after the operations' lead from the nodes to the output."""
    if position < len(genes):
        source, target = genes[position][1], INPUTS + position // 2
        return f"node-{source}", f"node-{target}", f"pill-{position}"
    return f"node-{INPUTS + NODES}", *(f"node-{node}" for node in CONCAT)


def edge_points(figure: Figure) -> dict[str, np.ndarray]:
    """Points (N, 2) along every edge, closer than a pixel, by its name."""
    points = {}
    for gid, edge in drawn(figure, "edge").items():
        path = edge.get_transform().transform_path(edge._path_original)
        corners = path.to_polygons(closed_only=False)[0]
        points[gid] = np.concatenate(
            [np.linspace(a, b, 2 + int(np.linalg.norm(b - a))) for a, b in itertools.pairwise(corners)]
        )
    return points


@every_genotype
def test_edges_into_a_node_do_not_cross(genotype: Genotype) -> None:
    """Of a node's two operations, the upper one is that whose source is higher."""
    boxes = extents(draw_once(genotype), "pill", "node")
    for cell, genes in cells_of(genotype).items():
        for first in range(0, len(genes), 2):
            sources = [boxes[f"{cell}-node-{genes[position][1]}"].y0 for position in (first, first + 1)]
            pills = [boxes[f"{cell}-pill-{position}"].y0 for position in (first, first + 1)]
            assert sources[0] == sources[1] or (sources[0] > sources[1]) == (pills[0] > pills[1])


def test_edges_of_one_source_are_told_apart() -> None:
    """Two operations on the same edge leave their source apart, and have different names on them."""
    edges = edge_points(draw_once(GENOTYPES["chain"]))
    for node in range(NODES):
        first, second = (edges[f"normal-edge-{2 * node + position}"] for position in range(2))
        assert np.linalg.norm(first[:, None] - second[None], axis=-1).min() > 3


def test_families_have_colours() -> None:
    """Operations of one family share a colour that no other family has."""
    names = sorted({name for space in SEARCH_SPACES.values() for name in space if name != "none"})
    genes = tuple((names[position % len(names)], 0) for position in range(4 * NODES))  # all of them
    figure = draw_genotype(Genotype(genes[: 2 * NODES], CONCAT, genes[2 * NODES :], CONCAT))
    families = {}
    for text in drawn(figure, "name").values():
        family = text.get_text().rsplit("_", 1)[0].replace("max", "avg")
        families.setdefault(family, set()).add(text.get_color())
    assert set(map(len, families.values())) == {1}
    assert len(set.union(*families.values())) == len(families) == 4


# ------------------------------------------------------------------------------------------------------------------
# The tool
# ------------------------------------------------------------------------------------------------------------------
TOOL = "tools/draw_genotype.py"


@pytest.mark.parametrize(("name", "files"), [("cells", ["cells.png", "cells.pdf"]), ("cells.svg", ["cells.svg"])])
def test_tool(tmp_path: Path, name: str, files: list[str]) -> None:
    """The suffix is the format; without one it writes a PNG and a PDF. It says what it wrote."""
    done = call_script(TOOL, "paper", "--out", tmp_path / name)
    assert done.status == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / file) for file in files]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)
    assert all((tmp_path / file).read_bytes().startswith(MAGIC[file.split(".")[-1]]) for file in files)


def test_tool_reads_texts_files_and_runs(tmp_path: Path) -> None:
    """All the same picture, and another one for another genotype."""
    other = GENOTYPES["both"]
    run = tmp_path / "run"
    run.mkdir()
    (run / "genotype.txt").write_text(f"{other}\n")
    pictures = []
    for genotype in (str(other), run / "genotype.txt", run, "paper"):
        assert call_script(TOOL, genotype, "--out", tmp_path / "cells.png").status == 0
        pictures.append((tmp_path / "cells.png").read_bytes())
    assert pictures[0] == pictures[1] == pictures[2] != pictures[3]


@pytest.mark.parametrize(
    ("genotype", "out", "message"),
    [
        ("paper", "cells.bmp", "png, pdf, svg"),
        ("paper", "absent/cells.png", "absent"),
        ("paper", "file/cells", "file/cells"),
        ("paper", "", "--out"),
        ("absent.txt", "cells", "no genotype"),
        ("Genotype(normal=[])", "cells", "not a genotype"),
    ],
)
def test_tool_says_what_is_wrong(tmp_path: Path, genotype: str, out: str, message: str) -> None:
    """In one line, with exit status 2, and nothing written."""
    (tmp_path / "file").write_text("")
    done = call_script(TOOL, genotype, "--out", out and tmp_path / out)
    assert (done.status, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_help_answers_at_once() -> None:
    """Without torch and matplotlib."""
    assert modules_loaded(f"runpy.run_path('{TOOL}', run_name='__main__')") & {"torch", "matplotlib"} == set()
