"""How all tests run, and the toy corpus, made once for them."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.helpers import preprocess, run_script

# The same examples every time, and a busy machine may take as long as it needs.
settings.register_profile("project", derandomize=True, database=None, deadline=None)
settings.load_profile("project")


# What is left behind in the temporary folder where nobody is to blame: by processes that were killed (pymp-), by
# torchrun and torch.compile, and by Hypothesis.
LEFT = ("pymp-", "torchelastic_", "torchinductor_", "hypothesis")


def pytest_configure(config: pytest.Config) -> None:
    """Give the session a temporary folder of its own, which goes with it, whatever was left there.

    Its name is short, since those of sockets in it must be. pytest's own folder stays beside it, with what failed.
    """
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = tempfile.mkdtemp(prefix="t-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(Path(folder) / "hypothesis")


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Whatever runs to its end cleans up after itself."""
    yield
    left = [path.name for path in Path(tempfile.gettempdir()).iterdir() if not path.name.startswith(LEFT)]
    assert not left, f"left behind in the temporary folder: {left}"


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
