"""Genotypes as text and derived from alpha: what is read, what is refused, which edges are kept."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from models.genotypes import (
    EDGES,
    INPUTS,
    NODES,
    PAPER_GENOTYPE,
    SEARCH_SPACES,
    Genotype,
    derive_genotype,
    edge_rows,
    parse_genotype,
    read_genotype,
)
from models.operations import OPERATIONS
from tests.helpers import ROOT, environment
from utils.system.errors import UserError

CONCAT = range(INPUTS, INPUTS + NODES)
PAPER = (
    "Genotype(normal=[('dil_conv_5x5', 1), ('dil_conv_3x3', 0), ('dil_conv_5x5', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 2), ('dil_conv_3x3', 2), ('max_pool_3x3', 1)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3x3', 1), ('max_pool_3x3', 0), ('dil_conv_5x5', 2), ('max_pool_3x3', 1), ('dil_conv_5x5', 3), "
    "('dil_conv_3x3', 2), ('dil_conv_5x5', 4), ('dil_conv_5x5', 2)], reduce_concat=range(2, 6))"
)


@st.composite
def genotypes(draw: st.DrawFn) -> Genotype:
    """Any valid genotype."""
    names = st.sampled_from([name for name in OPERATIONS if name != "none"])

    def draw_cell() -> tuple[tuple[str, int], ...]:
        return tuple((draw(names), draw(st.integers(0, INPUTS + position // 2 - 1))) for position in range(2 * NODES))

    return Genotype(draw_cell(), CONCAT, draw_cell(), CONCAT)


# ------------------------------------------------------------------------------------------------------------------
# As text
# ------------------------------------------------------------------------------------------------------------------
@given(genotypes())
def test_text_and_genotype(genotype: Genotype) -> None:
    """What is written is read back."""
    assert parse_genotype(str(genotype)) == genotype


def test_genotype_of_the_paper() -> None:
    """As the authors' README prints it, character by character."""
    assert str(PAPER_GENOTYPE) == PAPER
    assert parse_genotype(PAPER) == PAPER_GENOTYPE


@pytest.mark.parametrize(
    "text",
    [
        f"  {PAPER}\n",
        PAPER.replace(", ", ",\n    "),
        PAPER.replace("range(2, 6)", "[2, 3, 4, 5]"),
        PAPER.replace("[", "(").replace("]", ")"),
        PAPER.replace("'", '"'),
    ],
)
def test_other_ways_to_write_it(text: str) -> None:
    """Blanks, line breaks, lists or tuples: what Python would read as the same."""
    assert parse_genotype(text) == PAPER_GENOTYPE


BAD = {
    "nothing": ("", "cannot be read"),
    "a word": ("sep_conv_3x3", "not of the form Genotype"),
    "another call": (PAPER.replace("Genotype", "print"), "not of the form Genotype"),
    "cut short": (PAPER[:-20], "cannot be read"),
    "two": (f"{PAPER}; {PAPER}", "cannot be read"),
    "unknown operation": (PAPER.replace("dil_conv_5x5", "dil_conv_9x9"), r"normal\[0\].*'dil_conv_9x9'.*sep_conv_7x7"),
    "none": (PAPER.replace("max_pool_3x3", "none"), r"normal\[7\].*'none'; valid are max_pool"),
    "a later node": (PAPER.replace("('dil_conv_3x3', 0)", "('dil_conv_3x3', 2)"), r"normal\[1\]: node 2 .*0 to 1.*2$"),
    "a node that is not": (PAPER.replace("('dil_conv_3x3', 0)", "('dil_conv_3x3', -1)"), r"normal\[1\].*-1$"),
    "an edge too few": (PAPER.replace("('dil_conv_3x3', 0), ", "", 1), "normal needs 8 edges.*found 7"),
    "an edge too many": (PAPER.replace("reduce=[", "reduce=[('max_pool_3x3', 0), "), "reduce needs 8 edges.*found 9"),
    "no edges": (PAPER.replace("normal=[", "normal=7 or ["), "normal"),
    "a number for edges": ("Genotype(normal=1, normal_concat=1, reduce=1, reduce_concat=1)", "found no list"),
    "three things an edge": (
        PAPER.replace("5x5', 1)", "5x5', 1, 2)", 1),
        r"normal\[0\] must be \('operation', source\)",
    ),
    "a fraction": (PAPER.replace("5x5', 1)", "5x5', 1.0)", 1), r"normal\[0\] must be"),
    "a truth": (PAPER.replace("5x5', 1)", "5x5', True)", 1), r"normal\[0\] must be"),
    "a list for an operation": (PAPER.replace("'dil_conv_5x5'", "['dil_conv_5x5']", 1), r"normal\[0\]"),
    "a set for an operation": (PAPER.replace("'dil_conv_5x5'", "{'dil_conv_5x5'}", 1), r"normal\[0\]"),
    "a field too few": (PAPER.replace(", reduce_concat=range(2, 6)", ""), "fields must be normal, normal_concat"),
    "a field twice": (PAPER.replace("reduce_concat", "normal_concat"), "not a genotype"),
    "another field": (PAPER.replace("reduce_concat", "reduction_concat"), "reduction_concat"),
    "positional fields": (PAPER.replace("normal=", "", 1), "each by name"),
    "unpacked fields": ("Genotype(**{'normal': []})", "fields must be"),
    "another output": (PAPER.replace("range(2, 6)", "range(3, 6)", 1), r"normal_concat must be range\(2, 6\)"),
    "an endless output": (PAPER.replace("range(2, 6)", "range(10**9)", 1), "normal_concat"),
    "code for an edge": (PAPER.replace("('dil_conv_5x5', 1)", "print('ran')", 1), "normal must hold literals only"),
    "code for an output": (PAPER.replace("range(2, 6)", "list(range(2, 6))", 1), "normal_concat must hold literals"),
    "deeply nested": (f"Genotype(normal={'-' * 3000}1, normal_concat=1, reduce=1, reduce_concat=1)", "."),
    "a long sum": (f"Genotype(normal={'1+' * 3000}1, normal_concat=1, reduce=1, reduce_concat=1)", "."),
    "many brackets": (f"Genotype(normal={'[' * 1000}{']' * 1000})", "."),
    "a null": ("Genotype(\0)", "cannot be read"),
    "half a character": ("Genotype(\ud800)", "cannot be read"),
}


@pytest.mark.parametrize(("text", "complaint"), BAD.values(), ids=BAD)
def test_bad_text(text: str, complaint: str) -> None:
    """One line that says what is wrong and where."""
    with pytest.raises(UserError, match=complaint) as raised:
        parse_genotype(text)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("place", ["Genotype", "'dil_conv_5x5'", "('dil_conv_3x3', 0)", "range(2, 6)"])
def test_code_is_never_run(tmp_path: Path, place: str) -> None:
    """Wherever it stands."""
    trace = tmp_path / "trace"
    text = PAPER.replace(place, f"__import__('os').system('touch {trace}')", 1)
    with pytest.raises(UserError):
        parse_genotype(text)
    with pytest.raises(UserError):
        read_genotype(text)
    assert not trace.exists()


@given(
    st.text() | st.text("Genotype()[]=,'range2_concat 0123\\\n{}*:#") | st.text().map(lambda text: f"Genotype({text})")
)
def test_garbage_raises_nothing_but_user_errors(text: str) -> None:
    """Whatever the text."""
    with pytest.raises(UserError):
        parse_genotype(text)
    with pytest.raises(UserError):
        read_genotype(text)


@given(st.data())
def test_spoiled_genotype(data: st.DataObject) -> None:
    """A text with one character changed is another valid genotype or an error, never an accident."""
    place = data.draw(st.integers(0, len(PAPER) - 1))
    text = PAPER[:place] + data.draw(st.characters()) + PAPER[place + 1 :]
    try:
        genotype = parse_genotype(text)
    except UserError:
        return
    assert parse_genotype(str(genotype)) == genotype


# ------------------------------------------------------------------------------------------------------------------
# From files
# ------------------------------------------------------------------------------------------------------------------
def test_reading_from_a_file_or_a_run_folder(tmp_path: Path) -> None:
    """A file that holds it, or a search's folder with genotype.txt, wherever the text is taken."""
    (tmp_path / "genotype.txt").write_text(f"{PAPER}\n")
    for given_as in (PAPER, str(tmp_path / "genotype.txt"), str(tmp_path)):
        assert read_genotype(given_as) == PAPER_GENOTYPE


def test_genotype_that_begins_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As some editors write it, in a file or copied from one."""
    path = tmp_path / "genotype.txt"
    path.write_text(f"{PAPER}\n", encoding="utf-8-sig")
    assert read_genotype(str(path)) == read_genotype(f"\ufeff{PAPER}") == PAPER_GENOTYPE


def test_folder_without_a_genotype(tmp_path: Path) -> None:
    """It is a folder, and the file that is looked for in it is named."""
    with pytest.raises(UserError, match=r"is a folder that holds no genotype\.txt"):
        read_genotype(str(tmp_path))
    (tmp_path / "genotype.txt").mkdir()
    with pytest.raises(UserError, match=r"genotype\.txt is a folder; needed is a genotype"):
        read_genotype(str(tmp_path))


def test_python_does_not_speak_of_strange_genotypes() -> None:
    """Only the line for the user: what Python thinks of the text's syntax helps nobody."""
    code = (
        "from models.genotypes import parse_genotype\nfrom utils.system.errors import UserError\n"
        "for text in (r\"Genotype(normal='\\d')\", '1[0]', '1if 2 else 3', '()()', 'Genotype(normal=1 is 2)'):\n"
        "    try:\n        parse_genotype(text)\n    except UserError:\n        pass\n"
    )
    command = [sys.executable, "-W", "default", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("content", ["Genotype(normal=[])", b"\xff\xfe"])
def test_bad_file_is_named(tmp_path: Path, content: str | bytes) -> None:
    """With what is wrong in it."""
    path = tmp_path / "genotype.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=r"genotype\.txt(: | is not a text file)"):
        read_genotype(str(path))


@pytest.mark.parametrize("text", ["genotypes/none.txt", "", "AutoSpeech = PAPER", "a\0b", "x" * 5000])
def test_neither_a_file_nor_a_genotype(tmp_path: Path, text: str) -> None:
    """Both forms are told, also where the text is longer than a file's name can be."""
    with pytest.raises(UserError, match=r"no genotype: .*Genotype\(normal="):
        read_genotype(str(tmp_path / "empty") if text == "" else text)


# ------------------------------------------------------------------------------------------------------------------
# From alpha
# ------------------------------------------------------------------------------------------------------------------
def alphas(space: str) -> st.SearchStrategy[torch.Tensor]:
    """Alphas with many equal entries."""
    columns = len(SEARCH_SPACES[space])
    row = st.lists(st.integers(-2, 2), min_size=columns, max_size=columns)
    return st.lists(row, min_size=EDGES, max_size=EDGES).map(lambda rows: torch.tensor(rows, dtype=torch.float64))


def test_edges_of_a_node() -> None:
    """Node by node, sources ascending: 2, 3, 4 and 5 edges."""
    rows = [list(range(EDGES))[edge_rows(node)] for node in range(NODES)]
    assert rows == [[0, 1], [2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12, 13]]


@pytest.mark.parametrize("space", SEARCH_SPACES)
@given(data=st.data())
def test_derived_genotype(space: str, data: st.DataObject) -> None:
    """Never `none`; per node the two heaviest edges, heaviest first, of equals the earlier; each its best operation."""
    alpha = data.draw(alphas(space))
    operations = SEARCH_SPACES[space]
    genotype = derive_genotype(alpha, alpha.flip(0), operations)
    assert parse_genotype(str(genotype)) == genotype
    weights = alpha.softmax(dim=-1)[:, 1:]  # without `none`, which is first
    assert operations[0] == "none"
    for node in range(NODES):
        rows = weights[edge_rows(node)]
        heaviest = rows.max(dim=-1).values.tolist()
        kept = genotype.normal[2 * node : 2 * node + 2]
        assert [source for _, source in kept] == sorted(range(len(rows)), key=lambda edge: (-heaviest[edge], edge))[:2]
        for operation, source in kept:
            assert operation == operations[1 + rows[source].tolist().index(heaviest[source])]


def test_equal_weights_keep_the_earlier_edges() -> None:
    """And the earlier operations."""
    alpha = torch.zeros(EDGES, 8)
    genotype = derive_genotype(alpha, alpha, SEARCH_SPACES["s2"])
    assert genotype == Genotype((("max_pool_3x3", 0), ("max_pool_3x3", 1)) * NODES, CONCAT, genotype.normal, CONCAT)


def test_none_takes_weight_from_its_edge() -> None:
    """An edge whose `none` is heavy is light, though its other operations lead among themselves."""
    alpha = torch.zeros(EDGES, 8)
    alpha[2:5, 4] = 1.0  # node 3: sep_conv_3x3 leads on every edge
    alpha[2, 0] = 9.0  # but `none` is heavier still on the edge from node 0
    genotype = derive_genotype(alpha, alpha, SEARCH_SPACES["s2"])
    assert genotype.normal[2:4] == (("sep_conv_3x3", 1), ("sep_conv_3x3", 2))


@given(alphas("s2"))
def test_cells_are_derived_apart(alpha: torch.Tensor) -> None:
    """The reduction cell has its own alpha."""
    other = torch.randn(EDGES, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assume(not torch.equal(alpha, other))
    genotype, swapped = (derive_genotype(*pair, SEARCH_SPACES["s2"]) for pair in ((alpha, other), (other, alpha)))
    assert (genotype.normal, genotype.reduce) == (swapped.reduce, swapped.normal)


def test_shipped_genotype_is_the_papers() -> None:
    """The file that the README names."""
    assert read_genotype(str(ROOT / "exps/genotypes/paper.txt")) == PAPER_GENOTYPE


@pytest.mark.parametrize("text", ["Genotype(normal=1if 1else 2)", "Genotype(normal='\\d')"])
def test_python_does_not_warn_of_what_is_refused(text: str) -> None:
    with warnings.catch_warnings(record=True) as warned:  # as errors they would be refusals, too
        warnings.simplefilter("always")
        with pytest.raises(UserError, match="not a genotype"):
            parse_genotype(text)
    assert not warned


@pytest.mark.parametrize("old, new", [("dil_conv_5x5", "9" * 5000), ("range(2, 6)", f"range(0, {10**30})")])
def test_a_refusal_is_short_whatever_stands_there(old: str, new: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_genotype(str(PAPER_GENOTYPE).replace(old, new))
    assert len(str(caught.value)) < 1000


PASTED = {
    "given a name": "genotype = {}",
    "in DARTS' own file": "\ufeffPAPER={}\n",
    "with a type": "best: Genotype = {}",
    "with a comment": "# epoch 49\n{}  # the last",
}


@pytest.mark.parametrize("form", PASTED.values(), ids=PASTED)
def test_genotypes_as_people_paste_them(tmp_path: Path, form: str) -> None:
    """As text, and in a file."""
    text = form.format(PAPER_GENOTYPE)
    (tmp_path / "genotype.txt").write_text(text)
    assert parse_genotype(text) == PAPER_GENOTYPE
    assert read_genotype(str(tmp_path / "genotype.txt")) == PAPER_GENOTYPE
    if not text.startswith("#"):
        assert read_genotype(text) == PAPER_GENOTYPE


@pytest.mark.parametrize("number", ["np.int64({})", "numpy.int32({})", "int({})", "np.uint8({})"])
def test_numbers_as_numpy_writes_them(number: str) -> None:
    """np.int64(1) is 1, in edges and in ranges; range(2, 6, 1) is range(2, 6)."""
    text = re.sub(r"(\d+)(?=\)[,\]])", lambda match: number.format(match[1]), str(PAPER_GENOTYPE))
    text = text.replace("range(2,", f"range({number.format(2)},")
    assert text.count(number.split("(")[0]) == 16 + 3
    for last in (number.format(6), "6"):
        text = text.replace(f"({number.format(2)}, {last})", f"({number.format(2)}, {last}, 1)")
    assert text.count(", 1)") >= 2
    assert parse_genotype(text) == PAPER_GENOTYPE


@pytest.mark.parametrize("call", ["np.float64(1)", "np.int64(1, 2)", "np.int64(x)", "open('x')", "int.x(1)"])
def test_other_calls_are_refused(call: str) -> None:
    """Nothing is run."""
    text = re.sub(r"(\d+)(?=\)[,\]])", call, str(PAPER_GENOTYPE), count=1)
    with pytest.raises(UserError):
        parse_genotype(text)


@pytest.mark.parametrize("text", ["a = b = 3", "import os", "{0}\n{0}", "a, b = {0}", "x += {0}"])
def test_programs_are_no_genotypes(text: str) -> None:
    """One genotype, given one name at most."""
    if text == "a, b = {0}":
        assert parse_genotype(text.format(PAPER_GENOTYPE)) == PAPER_GENOTYPE  # whatever it is given to
        return
    with pytest.raises(UserError, match="not a genotype"):
        parse_genotype(text.format(PAPER_GENOTYPE))
