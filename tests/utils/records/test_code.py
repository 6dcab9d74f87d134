"""Which code computes something: what changes its fingerprints, and what does not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from utils.records.code import NAMED, code_fingerprints, differing_code, imported_modules

# A project whose main.py runs all of these files but the last two.
PROJECT = {
    "main.py": "import near\nimport numpy\n\n\ndef main():\n    from package.lazy import run\n",
    "near.py": "from package.wing import far\n",
    "package/__init__.py": "",
    "package/lazy.py": "import package.wing.named as other\n",
    "package/wing/__init__.py": "from package.wing.deep import VALUE\n",
    "package/wing/deep.py": "VALUE = 1\n",
    "package/wing/far.py": "",
    "package/wing/named.py": "",
    "package/wing/unused.py": "",
    "beside.py": "import main\n",
}
RUN = [*PROJECT][:-2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder of PROJECT."""
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.filterwarnings("error")
def test_python_does_not_speak_of_the_files(tmp_path: Path) -> None:
    """A file with syntax that Python warns of is read as any other."""
    (tmp_path / "main.py").write_text("import near\nTEXT = '\\d'\n")
    assert list(imported_modules(tmp_path / "main.py")) == ["near"]


def fingerprints(project: Path, start: str = "main.py") -> dict[str, str]:
    """Of today's files: within a process they are read once."""
    code_fingerprints.cache_clear()
    return code_fingerprints(start, project)


def test_names_of_the_imported(tmp_path: Path) -> None:
    """Of `from a import b` both; within functions, conditions and classes too."""
    lines = ("import a.b as c, d", "from e import f, g", "if d:", "    import h", "    def run(): from i.j import k")
    (tmp_path / "file.py").write_text("\n".join(lines))
    found = set(imported_modules(tmp_path / "file.py"))
    assert found == {"a.b", "d", "e", "e.f", "e.g", "h", "i.j", "i.j.k"}


def test_files_that_a_file_runs(project: Path) -> None:
    """Those that it imports, within functions too, and those that they import, with their packages' __init__.py."""
    found = fingerprints(project)
    assert set(found) == {*RUN, "torch", "numpy"}
    assert (found["torch"], found["numpy"]) == (torch.__version__, np.__version__)
    assert set(fingerprints(project, "package/wing/far.py")) == {"package/wing/far.py", "torch", "numpy"}


@pytest.mark.parametrize("name", PROJECT)
def test_edited_file(project: Path, name: str) -> None:
    """Its own fingerprint is another, if it is run; no other file's is."""
    before = fingerprints(project)
    with open(project / name, "a") as file:
        file.write("# a word more\n")
    after = fingerprints(project)
    assert {key for key in before if after[key] != before[key]} == ({name} & set(RUN))
    assert list(after) == list(before)


@pytest.mark.parametrize("importing", ["near.py", "package/wing/__init__.py", "package/lazy.py"])
def test_file_that_is_imported_from_now_on(project: Path, importing: str) -> None:
    """It joins the chain, with what it imports itself; importing what is not the project's changes one file alone."""
    before = fingerprints(project)
    with open(project / importing, "a") as file:
        file.write("import package.wing.unused\n")
    (project / "package/wing/unused.py").write_text("from beside import anything\n")
    assert set(fingerprints(project)) - set(before) == {"package/wing/unused.py", "beside.py"}
    with open(project / importing, "a") as file:
        file.write("import json\n")
    assert set(fingerprints(project)) - set(before) == {"package/wing/unused.py", "beside.py"}


def test_file_that_comes_to_be(project: Path) -> None:
    """A module that an import has named all along counts as soon as it is there."""
    (project / "main.py").write_text("import later\n")
    assert "later.py" not in fingerprints(project)
    (project / "later.py").touch()
    assert "later.py" in fingerprints(project)


def test_code_of_a_training() -> None:
    """All that train.py runs, however late it imports it; not what searches, and no tool."""
    found = set(code_fingerprints("train.py"))
    assert {"train.py", "config.py", "models/network.py", "utils/training/loop.py", "torch", "numpy"} <= found
    assert {"models/__init__.py", "data_objects/frontend.py", "utils/system/distributed.py"} <= found
    assert not {"utils/search/loop.py", "utils/search/monitor.py", "search.py"} & found
    assert not [name for name in found if name.startswith(("tools/", "tests/"))]


# ------------------------------------------------------------------------------------------------------------------
# What is told
# ------------------------------------------------------------------------------------------------------------------
def test_nothing_differs() -> None:
    """No text, also where what the code was before is not known."""
    code = {"config.py": "1", "torch": "2.0"}
    assert differing_code(code, dict(code)) == ""
    assert differing_code({}, code) == ""


def test_what_differs() -> None:
    """Files by name: changed, new or gone; then versions, both of them."""
    before = {"config.py": "1", "gone.py": "1", "same.py": "1", "torch": "1.0", "numpy": "2.0"}
    now = {"config.py": "2", "new.py": "1", "same.py": "1", "torch": "1.1", "numpy": "2.0"}
    assert differing_code(before, now) == "config.py, gone.py, new.py, torch 1.1 (was 1.0)"


@pytest.mark.parametrize("more", [0, 1, 30])
def test_more_than_a_line_can_name(more: int) -> None:
    """Eight files by name, the others by their number."""
    names = [f"file{number:02}.py" for number in range(NAMED + more)]
    told = differing_code(dict.fromkeys([*names, "torch"], "1"), dict.fromkeys([*names, "torch"], "2"))
    rest = [f"{more} more"] if more else []
    assert told.split(", ") == [*names[:8], *rest, "torch 2 (was 1)"]
