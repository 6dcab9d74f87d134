"""Genotypes: what a search finds, as text, as a tuple, and derived from architecture parameters.

A genotype holds two cell graphs, normal and reduction. A cell has the inputs 0 (the older one) and 1 (the newer one)
and the intermediate nodes 2, 3, 4, 5; every intermediate node sums two operations on earlier nodes.
"""

import ast
import os
import re
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from models.operations import OPERATIONS
from utils.system.errors import UserError
from utils.system.files import expand_user, read_text

WHOLE = re.compile(r"u?int(8|16|32|64|_)?")  # what Python and NumPy call whole numbers
BYTE_ORDER_MARK = "\ufeff"  # some editors begin a text with it
NODES = 4  # intermediate nodes a cell
INPUTS = 2  # input nodes a cell
CONCAT = range(INPUTS, INPUTS + NODES)  # the nodes that a cell's output is made of: all of them
EDGES = sum(INPUTS + node for node in range(NODES))  # 14, node by node, sources ascending

# What all spaces have; the order is the order of alpha's columns.
_SHARED = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3")
SEARCH_SPACES: dict[str, tuple[str, ...]] = {
    "s2": (*_SHARED, "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
    "s3": (*_SHARED, "sep_conv_3x1", "sep_conv_1x3", "dil_conv_3x3", "dil_conv_3x1", "dil_conv_1x3"),
}

Gene = tuple[str, int]  # (operation, source node)


class Genotype(NamedTuple):
    """Two cells; `normal` and `reduce` hold two (operation, source) pairs a node, nodes in order."""

    normal: tuple[Gene, ...]
    normal_concat: range
    reduce: tuple[Gene, ...]
    reduce_concat: range

    def __str__(self) -> str:
        """The authors' text form, which `parse_genotype` reads."""
        return (
            f"Genotype(normal={list(self.normal)}, normal_concat={self.normal_concat}, "
            f"reduce={list(self.reduce)}, reduce_concat={self.reduce_concat})"
        )


def read_genotype(text_or_file: str) -> Genotype:
    """The genotype in a text, or in the file of that name.

    Raises:
        UserError: neither a file nor the text of a genotype.
    """
    if re.match(rf"[{BYTE_ORDER_MARK}\s]*(\w+\s*(:\s*\w+\s*)?=\s*)?Genotype", text_or_file):
        return parse_genotype(text_or_file)
    path, what = expand_user(text_or_file, "the genotype"), f"{_shorten(text_or_file)} is neither a file"
    if os.path.isdir(path):  # unlike the methods of Path, these are False for what cannot be a name
        path, what = path / "genotype.txt", f"{path} is a folder that holds no genotype.txt,"
    if not os.path.exists(path):
        raise UserError(
            f"no genotype: {what} nor text of the form Genotype(normal=["
            "('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6))"
        )
    text = read_text(path, "needed is a genotype, as text")
    try:
        return parse_genotype(text)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def parse_genotype(text: str) -> Genotype:
    """Read `Genotype(normal=[(operation, source), ...], normal_concat=range(2, 6), reduce=..., reduce_concat=...)`.

    The text is parsed to a syntax tree and only literals are taken from it: nothing in it is ever run.

    Raises:
        UserError: not of this form; an unknown operation; a wrong number of edges; an edge from a later node.
    """
    fields = _genotype_fields(text)
    return Genotype(
        normal=_check_genes("normal", fields["normal"]),
        normal_concat=_check_concat("normal_concat", fields["normal_concat"]),
        reduce=_check_genes("reduce", fields["reduce"]),
        reduce_concat=_check_concat("reduce_concat", fields["reduce_concat"]),
    )


def _genotype_fields(text: str) -> dict[str, object]:
    try:
        with warnings.catch_warnings():  # of Python about its own syntax: the text is no program
            warnings.simplefilter("ignore")
            call = _value(ast.parse(text.lstrip(BYTE_ORDER_MARK).strip()))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"not a genotype: {_shorten(text)} cannot be read ({_shorten(str(error))})") from error
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Genotype"):
        raise UserError(f"not a genotype: {_shorten(text)} is not of the form Genotype(normal=[...], ...)")
    names = [keyword.arg for keyword in call.keywords]
    if call.args or sorted(map(str, names)) != sorted(Genotype._fields):
        raise UserError(
            f"not a genotype: the fields must be {', '.join(Genotype._fields)}, each by name and once; "
            f"given are {_shorten(', '.join(map(str, names)), 200)[1:-1] or 'none by name'}"
        )
    return {str(keyword.arg): _literal(str(keyword.arg), keyword.value) for keyword in call.keywords}


def _value(module: ast.Module) -> ast.expr | None:
    """What stands there, or is given a name: `Genotype(...)`, `NAME = Genotype(...)`; None for anything else.

    Raises:
        SyntaxError: nothing stands there, or more than that.
    """
    if len(module.body) != 1:
        raise SyntaxError(f"one genotype is needed, not {len(module.body)} statements")
    (statement,) = module.body
    return statement.value if isinstance(statement, ast.Expr | ast.Assign | ast.AnnAssign) else None


class _PlainNumbers(ast.NodeTransformer):
    """np.int64(1) as 1: so NumPy writes its whole numbers from version 2 on."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        is_whole = len(node.args) == 1 and not node.keywords and isinstance(node.args[0], ast.Constant)
        return node.args[0] if is_whole and WHOLE.fullmatch(name) else node


def _literal(field: str, node: ast.expr) -> object:
    """The value of a literal, or of range(a, b) or range(a, b, 1) with whole numbers."""
    try:
        node = _PlainNumbers().visit(node)
    except RecursionError as error:
        raise UserError(f"not a genotype: {field} is an expression nested too deeply") from error
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        bounds = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        whole = [bound for bound in bounds if isinstance(bound, int) and not isinstance(bound, bool)]
        if len(whole) == len(node.args) and (len(whole) == 2 or (len(whole) == 3 and whole[2] == 1)):
            return range(*whole[:2])
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise UserError(f"not a genotype: {field} must hold literals only, found {_source(node)}") from error


def _source(node: ast.expr) -> str:
    try:
        return _shorten(ast.unparse(node))
    except RecursionError:
        return "an expression nested too deeply"


def _check_genes(field: str, genes: object) -> tuple[Gene, ...]:
    if not isinstance(genes, list | tuple) or len(genes) != 2 * NODES:
        count = f"{len(genes)}" if isinstance(genes, list | tuple) else "no list"
        raise UserError(
            f"not a genotype: {field} needs {2 * NODES} edges (two for each of {NODES} nodes), found {count}"
        )
    for position, gene in enumerate(genes):
        node = INPUTS + position // 2
        if not (isinstance(gene, list | tuple) and len(gene) == 2 and type(gene[1]) is int):
            raise UserError(f"not a genotype: {field}[{position}] must be ('operation', source), found {_shown(gene)}")
        operation, source = gene
        if not isinstance(operation, str) or operation not in OPERATIONS or operation == "none":
            valid = ", ".join(name for name in OPERATIONS if name != "none")
            raise UserError(f"{field}[{position}]: unknown operation {_shown(operation)}; valid are {valid}")
        if not 0 <= source < node:
            raise UserError(
                f"{field}[{position}]: node {node} takes its inputs from nodes 0 to {node - 1} only, "
                f"not from {_shown(source)}"
            )
    return tuple((operation, source) for operation, source in genes)


def _check_concat(field: str, nodes: object) -> range:
    if not isinstance(nodes, range | list | tuple) or nodes[: NODES + 1] not in (CONCAT, [*CONCAT], (*CONCAT,)):
        raise UserError(
            f"not a genotype: {field} must be {CONCAT} (a cell's output is all its nodes), not {_shown(nodes)}"
        )
    return CONCAT


def _shown(value: object, limit: int = 80) -> str:
    """A value as Python writes it, cut where it is long."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        return "a value that cannot be shown"  # nested too deeply, or a number of thousands of digits
    return text if len(text) <= limit else text[:limit] + "..."


def _shorten(text: str, limit: int = 60) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= limit else line[:limit] + "...")


def edge_rows(node: int) -> slice:
    """The rows of alpha that hold the edges into intermediate node `node` (0 to 3)."""
    first = sum(INPUTS + earlier for earlier in range(node))
    return slice(first, first + INPUTS + node)


def edge_row(node: int, source: int) -> int:
    """The row of alpha of the edge from `source` into intermediate node `node` (0 to 3)."""
    return edge_rows(node).start + source


def derive_genotype(alpha_normal: Tensor, alpha_reduce: Tensor, operations: Sequence[str]) -> Genotype:
    """The genotype of architecture parameters, each (14, len(operations)).

    An edge is as heavy as its heaviest operation other than `none`, after a softmax over its row. Each node keeps its
    two heaviest edges, heaviest first; of equals, the earlier (DARTS, section 2.4).
    """
    return Genotype(_derive_cell(alpha_normal, operations), CONCAT, _derive_cell(alpha_reduce, operations), CONCAT)


def _derive_cell(alpha: Tensor, operations: Sequence[str]) -> tuple[Gene, ...]:
    weights = alpha.detach().cpu().softmax(dim=-1).tolist()
    choices = [column for column, name in enumerate(operations) if name != "none"]
    genes: list[Gene] = []
    for node in range(NODES):
        edges = []
        for source, row in enumerate(weights[edge_rows(node)]):
            best = max(choices, key=row.__getitem__)
            edges.append((row[best], operations[best], source))
        edges.sort(key=lambda edge: -edge[0])  # stable: of equals the earlier source stays first
        genes.extend((operation, source) for _, operation, source in edges[:2])
    return tuple(genes)


def random_genotype(operations: Sequence[str], generator: np.random.Generator) -> Genotype:
    """A genotype drawn by chance: for every node two different sources, each with an operation other than `none`.

    Sources are uniform among the earlier nodes, operations uniform and independent: every cell that a search of
    `operations` can derive is as likely as any other. What a search finds must beat such draws, trained and evaluated
    in the same way, to be worth its time: random search is the baseline that Li and Talwalkar ("Random search and
    reproducibility for neural architecture search", UAI 2019) found hard to beat, and Yang et al. ("NAS evaluation is
    frustratingly hard", ICLR 2020) show that search space and training protocol explain most of what searches report.
    """
    return Genotype(_random_cell(operations, generator), CONCAT, _random_cell(operations, generator), CONCAT)


def _random_cell(operations: Sequence[str], generator: np.random.Generator) -> tuple[Gene, ...]:
    choices = [name for name in operations if name != "none"]
    genes: list[Gene] = []
    for node in range(NODES):
        sources = generator.choice(INPUTS + node, size=2, replace=False)
        genes.extend((choices[generator.integers(len(choices))], int(source)) for source in sources)
    return tuple(genes)


# Ding et al. 2020, as printed in the authors' README.
PAPER_GENOTYPE = parse_genotype(
    "Genotype(normal=[('dil_conv_5x5', 1), ('dil_conv_3x3', 0), ('dil_conv_5x5', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 2), ('dil_conv_3x3', 2), ('max_pool_3x3', 1)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3x3', 1), ('max_pool_3x3', 0), ('dil_conv_5x5', 2), ('max_pool_3x3', 1), ('dil_conv_5x5', 3), "
    "('dil_conv_3x3', 2), ('dil_conv_5x5', 4), ('dil_conv_5x5', 2)], reduce_concat=range(2, 6))"
)
