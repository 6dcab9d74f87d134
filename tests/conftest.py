"""How all tests run, and the toy corpus, made once for them."""

import os
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.helpers import preprocess, run_script

# Nothing is written to the project's folder.
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(Path(tempfile.gettempdir()) / "hypothesis"))
# The same examples every time, and a busy machine may take as long as it needs.
settings.register_profile("project", derandomize=True, database=None, deadline=None)
settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads that wait for each other on a busy machine make work as small as this slower by orders of magnitude."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toy_wavs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy corpus before preprocessing: 6 speakers, the last two of them test speakers, 8 utterances each."""
    folder = tmp_path_factory.mktemp("corpus") / "toy"
    sizes = ("--speakers", 6, "--videos", 4, "--utterances", 2)
    run_script("tools/make_toy_corpus.py", folder, *sizes, check=True)
    return folder


@pytest.fixture(scope="session")
def toy(toy_wavs: Path) -> Path:
    """The toy corpus, preprocessed; tests must leave it as it is."""
    preprocess(toy_wavs)
    return toy_wavs
