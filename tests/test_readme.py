"""What the README says is there, is there."""

import re

import pytest

from tests.helpers import ROOT

README = (ROOT / "README.md").read_text()
FILES = sorted(set(re.findall(r"\b(?:exps|tools|tests|models|utils)/[\w/]+\.(?:py|yaml)", README)))


def test_nothing_is_left_to_fill_in() -> None:
    """No placeholder."""
    assert not re.search(r"@@|TODO|TBD", README)


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"\b(?:exps|tools|tests|models|utils)/[\w/]+\.(?:py|yaml)", README)))
)
def test_files_exist(path: str) -> None:
    """Every file that it names."""
    assert (ROOT / path).is_file()


def test_scripts_exist() -> None:
    """Every command."""
    scripts = re.findall(r"python ((?:tools/)?\w+\.py)", README)
    assert len(scripts) > 5
    assert all((ROOT / script).is_file() for script in scripts)


def test_make_targets_exist() -> None:
    """Every `make` command."""
    targets = re.findall(r"make (\w+)", README)
    makefile = (ROOT / "Makefile").read_text()
    assert {"demo", "test"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
