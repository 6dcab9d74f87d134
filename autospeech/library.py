"""The project's code for other programs: utils.recognition as autospeech.library.utils.recognition, and so on.

A program that imports from this package may have a `utils` or `config` of its own. So ours are not imported by those
names there: they become modules below this one, which looks like a package for that, and what they import from each
other is renamed as they are read.
"""

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import CodeType, ModuleType

from autospeech.cli import find_root

OWN = ("config", "data_objects", "models", "utils")
__path__: list[str] = []  # a package, in which nothing is found by the usual ways


class _Renaming(ast.NodeTransformer):
    """`from utils.system import errors` becomes `from autospeech.library.utils.system import errors`."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        if node.module and node.module.partition(".")[0] in OWN:
            node.module = f"{__name__}.{node.module}"
        return node


class _Loader(importlib.machinery.SourceFileLoader):
    """Reads a file of ours; what it compiles to is not kept, since the scripts need the same file as it stands."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return compile(_Renaming().visit(ast.parse(self.get_data(path))), path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the files of modules below this one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        below, _, module = fullname.partition(f"{__name__}.")
        if below or module.partition(".")[0] not in OWN:
            return None
        place = find_root().joinpath(*module.split("."))
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if not file.is_file():
            return None
        spec = importlib.util.spec_from_file_location(fullname, file, loader=_Loader(fullname, str(file)))
        if spec is not None and spec.submodule_search_locations:
            spec.submodule_search_locations.clear()  # else the usual ways, which come first, find what is in it
        return spec


sys.meta_path.append(_Finder())
