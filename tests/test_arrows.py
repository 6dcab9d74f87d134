"""The plan of the house: who may import whom, no circles, no imports inside functions but a few with a reason."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.helpers import ROOT

WINGS = (  # of utils/; each may import itself and those before it
    "system",
    "metrics",
    "pictures",
    "records",
    "recognition",
    "training",
    "evaluation",
    "reports",
    "search",
)
PARTS = ("autospeech", "models", "data_objects", "utils", "tools")  # folders of source files
LOWER = {"config", "models", "data_objects"}
# Where imports may stand inside functions, and why. Besides, the `main` of a script or tool imports one module, after
# its command line was read: so that --help answers at once.
LOCAL: dict[tuple[str, str], str] = {}


def sources(root: Path) -> list[Path]:
    """The source files outside tests/."""
    files = [*root.glob("*.py"), *(file for name in PARTS for file in
                                   (root / name).rglob("*.py"))]  # fmt: skip
    return sorted(file for file in files if file.name != "conftest.py")


def imports(root: Path, file: Path, within: ast.AST | None = None) -> set[Path]:
    """The project's files that a file (or a part of its tree) imports, anywhere in it."""
    found = set()
    for node in ast.walk(within or ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {file_of(root, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            of_module = file_of(root, node.module)
            found |= {file_of(root, f"{node.module}.{alias.name}") or of_module for alias in node.names}
    return {other for other in found if other is not None}


def file_of(root: Path, module: str) -> Path | None:
    """The file of a module of the project; None for any other name."""
    place = root.joinpath(*module.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def part_of(root: Path, file: Path) -> str:
    """autospeech, models, data_objects, tools, a wing of utils as utils/NAME, or a module at the top by its name."""
    first, *others = file.relative_to(root).with_suffix("").parts
    assert first != "utils" or others[0] in (*WINGS, "__init__"), f"{file} is in no wing of utils/: see WINGS"
    return f"utils/{others[0]}" if first == "utils" else first


def may_import(own: str, other: str) -> bool:
    """Whether a part of the house may import another."""
    if own == "autospeech":  # what pip shows to the world; the rest goes by names that mean nothing outside the project
        return other in (own, "utils/system")
    if own in ("models", "data_objects", "config"):
        return other in (own, "utils/system")
    if own.startswith("utils/"):
        before = WINGS[: WINGS.index(own.removeprefix("utils/")) + 1]
        # The lowest wing is what even models/ and data_objects/ stand on: it knows nothing of theirs.
        return other in {f"utils/{wing}" for wing in before} or (own != "utils/system" and other in LOWER)
    if other == "autospeech":
        return False
    return own == "tools" or other == "config" or other.startswith("utils/") or other == "data_objects"


def broken_arrows(root: Path) -> list[str]:
    """Every import that the plan does not allow."""
    return [
        f"{file.relative_to(root)} imports {other.relative_to(root)}"
        for file in sources(root)
        for other in sorted(imports(root, file))
        if not may_import(part_of(root, file), part_of(root, other))
    ]


def eager_imports(root: Path) -> list[str]:
    """What importing autospeech imports of the project; it may, when it is called, but not before."""
    complaints = []
    for file in sorted((root / "autospeech").glob("*.py")):
        body = [node for node in ast.parse(file.read_bytes()).body if not isinstance(node, ast.FunctionDef)]
        others = imports(root, file, ast.Module(body, type_ignores=[]))
        complaints += [f"{file.relative_to(root)} imports {other.relative_to(root)}" for other in sorted(others)
                       if part_of(root, other) != "autospeech"]  # fmt: skip
    return complaints


def circle(root: Path) -> list[str]:
    """The files of a circle, if there is one."""
    graph = {file: imports(root, file) - {file} for file in sources(root)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(file.relative_to(root)) for file in error.args[1]]
    return []


def local_imports(root: Path) -> list[str]:
    """Every import inside a function that has no reason."""
    complaints = []
    for file in sources(root):
        name, tree = file.relative_to(root).as_posix(), ast.parse(file.read_bytes())
        is_script = (
            name == "autospeech/cli.py" or "/" not in name or (name.startswith("tools/") and name.count("/") == 1)
        )
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
            nodes = [node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
            if is_script and function.name == "main" and len(nodes) == 1 and len(nodes[0].names) == 1:
                continue
            modules = [node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in nodes]
            complaints += [f"{name}: {function.name} imports {module}" for module in modules
                           if (name, module) not in LOCAL]  # fmt: skip
    return complaints


def test_every_part_imports_only_what_is_below_it() -> None:
    assert broken_arrows(ROOT) == []


def test_the_package_imports_nothing_before_it_is_asked() -> None:
    assert eager_imports(ROOT) == []


def test_no_circle() -> None:
    assert circle(ROOT) == []


def test_no_import_inside_a_function_without_a_reason() -> None:
    assert local_imports(ROOT) == []


def test_nothing_is_held_back_from_running() -> None:
    """No part of the code is for type checkers alone: an import that only they see would be an arrow too."""
    assert [str(file) for file in sources(ROOT) if "TYPE_CHECKING" in file.read_text()] == []


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small project in which all is well."""
    files = {
        "config.py": "from utils.system.errors import UserError\n",
        "train.py": "from config import A\n\ndef main():\n    from utils.training.loop import run\n    run()\n",
        "models/__init__.py": "from models.network import Network\n",
        "models/network.py": "import torch\nfrom utils.system.errors import UserError\n",
        "data_objects/audio.py": "import librosa\n",
        "utils/system/errors.py": "",
        "utils/records/guard.py": "from models import Network\nimport utils.system.errors\n",
        "utils/training/loop.py": "from utils.records import guard\nfrom config import A\n",
        "autospeech/__init__.py": "",
        "autospeech/cli.py": "import autospeech\n\ndef main():\n    from utils.system.errors import UserError\n",
        "tools/demo.py": "from utils.training.loop import run\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_sound_house_has_no_complaints(house: Path) -> None:
    assert broken_arrows(house) == eager_imports(house) == circle(house) == local_imports(house) == []


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("models/network.py", "from utils.records.guard import A", "models/network.py imports utils/records/guard.py"),
        ("models/network.py", "import data_objects.audio", "models/network.py imports data_objects/audio.py"),
        ("utils/records/guard.py", "from utils.training import loop", "utils/records/guard.py imports utils/training/"),
        ("utils/system/errors.py", "from models import Network", "utils/system/errors.py imports models/__init__.py"),
        ("utils/training/loop.py", "def run():\n    import tools.demo", "utils/training/loop.py imports tools/demo.py"),
        ("config.py", "from models import Network", "config.py imports models/__init__.py"),
        (
            "autospeech/cli.py",
            "from utils.training.loop import run",
            "autospeech/cli.py imports utils/training/loop.py",
        ),
        ("utils/system/errors.py", "import autospeech", "utils/system/errors.py imports autospeech/__init__.py"),
        ("tools/demo.py", "from autospeech import cli", "tools/demo.py imports autospeech/cli.py"),
        ("train.py", "from tools.demo import run", "train.py imports tools/demo.py"),
    ],
)
def test_a_broken_arrow_is_named(house: Path, file: str, line: str, complaint: str) -> None:
    (house / file).write_text((house / file).read_text() + line + "\n")
    (found,) = broken_arrows(house)
    assert found.startswith(complaint)


def test_an_import_before_it_is_asked_is_named(house: Path) -> None:
    (house / "autospeech/__init__.py").write_text("from utils.system.errors import UserError\n")
    assert eager_imports(house) == ["autospeech/__init__.py imports utils/system/errors.py"]


def test_a_circle_is_named(house: Path) -> None:
    (house / "utils/records/guard.py").write_text("import utils.records.checkpoint\n")
    (house / "utils/records/checkpoint.py").write_text("from utils.records.guard import A\n")
    assert set(circle(house)) == {"utils/records/guard.py", "utils/records/checkpoint.py"}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("utils/training/loop.py", "def run():\n    import torch\n"),
        ("train.py", "def main():\n    import torch\n    import numpy\n"),
        ("train.py", "def run():\n    import torch\n"),
        ("train.py", "def main():\n    from utils.training.loop import run, walk\n"),
        ("data_objects/audio.py", "def read():\n    import torch\n"),
    ],
)
def test_an_import_inside_a_function_is_named(house: Path, file: str, text: str) -> None:
    (house / file).write_text(text)
    assert local_imports(house)
    assert all(complaint.startswith(f"{file}: ") for complaint in local_imports(house))
