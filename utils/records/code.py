"""Which code computes something: the source files that a file imports, and those that they import, by reading them."""

import ast
import hashlib
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch

from utils.system.files import ROOT

NAMED = 8  # of the source files that differ, how many a message names


def imported_modules(file: Path) -> Iterator[str]:
    """The modules, dotted, that a source file imports, at its top or anywhere else in it.

    Of `from a import b`, both a and a.b: b may be a module.
    """
    with warnings.catch_warnings():  # of the syntax of files that somebody is at work on: running them will tell
        warnings.simplefilter("ignore")
        tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_files(start: Path, root: Path = ROOT) -> set[Path]:
    """The source files under `root` that a file there depends on, itself among them."""
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += [own for module in imported_modules(file) for own in _files_of(module, root)]
    return found


def _files_of(module: str, root: Path) -> Iterator[Path]:
    """The files that importing a module runs: of its packages, and its own."""
    place = root
    for name in module.split("."):
        place /= name
        candidates = (place / "__init__.py", place.with_suffix(".py"))
        yield from (file for file in candidates if file.is_file())


@cache
def code_fingerprints(start: str, root: Path = ROOT) -> dict[str, str]:
    """What decides what a source file computes, by name.

    Args:
        start: the file, relative to `root`: a script of the project, or a module.

    Returns:
        The beginning of the sha256 of every source file that it depends on, and the versions of PyTorch and NumPy.
    """
    files = sorted(imported_files(root / start, root))
    code = {file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files}
    return code | {"torch": str(torch.__version__), "numpy": np.__version__}


def differing_code(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What of the code is not what it was, for a message; nothing where that is not known."""
    names = [name for name in sorted(now.keys() | before.keys()) if before and now.get(name) != before.get(name)]
    told = [f"{name} {now.get(name)} (was {before.get(name)})" for name in names if "." not in name]
    files = [name for name in names if "." in name]
    more = [f"{len(files) - NAMED} more"] if len(files) > NAMED else []
    return ", ".join([*files[:NAMED], *more, *told])
