"""A comparison that a test file's own `compare` makes once, and copies of it."""

import shutil
from pathlib import Path

import pytest

from tests.helpers import Outcome


@pytest.fixture(scope="module")
def compared(
    request: pytest.FixtureRequest, toy: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcome, Path]:
    """How a comparison ended, and its folder, which tests must leave as it is."""
    out = tmp_path_factory.mktemp("comparison") / "made by the tool"
    outcome = request.module.compare(toy, out)
    assert outcome.status == 0, outcome.stderr
    return outcome, out


@pytest.fixture
def copied(compared: tuple[Outcome, Path], tmp_path: Path) -> Path:
    """A copy of that folder."""
    return Path(shutil.copytree(compared[1], tmp_path / "copy"))
