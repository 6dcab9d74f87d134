"""Runs that several tests of the scripts look at, made once; tests must leave them as they are."""

import functools
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import GENOTYPE, ROOT, SCRATCH, SEARCH, Outcome, call_script, environment, options, run_script
from tests.runs import OPTIONS, long_run, only_run


@pytest.fixture(scope="session")
def searched(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """A search of two epochs, with its report: how it ended, and its run folder."""
    out = tmp_path_factory.mktemp("runs of search")
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=out, TRAIN__END_EPOCH=2, SEARCH__REPORT=True)
    outcome = run_script("search.py", "--cfg", SEARCH, *settings, check=True)
    return outcome, only_run(out, "search")


@pytest.fixture(scope="session")
def trained(searched: tuple[Outcome, Path]) -> tuple[dict, Path]:
    """What the command that the search printed trains, on all speakers: its figures and its run folder."""
    command = searched[0].last_line.replace("python ", f"{shlex.quote(sys.executable)} ", 1)
    command = f"{command} {shlex.join(options())}"
    done = subprocess.run(command, shell=True, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    return figures, Path(figures["run_dir"])


@pytest.fixture(scope="session")
def trained_dev(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a network trained without the test speakers."""
    out = tmp_path_factory.mktemp("dev")
    settings = options(DATASET__DATA_DIR=toy, DATASET__SUB_DIR="dev", OUT_DIR=out)
    outcome = run_script("train.py", "--cfg", SCRATCH, "--text_arch", GENOTYPE, *settings, check=True)
    return Path(json.loads(outcome.last_line)["run_dir"])


@pytest.fixture(scope="session")
def trained_apart(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a network for verification whose best epoch was chosen on two speakers held out."""
    settings = options(
        DATASET__DATA_DIR=toy,
        DATASET__SUB_DIR="dev",
        DATASET__VAL_SPEAKERS=2,
        OUT_DIR=tmp_path_factory.mktemp("apart"),
        TRAIN__END_EPOCH=3,
        VAL_FREQ=1,
    )
    outcome = call_script("train.py", "--cfg", SCRATCH, "--text_arch", GENOTYPE, *settings)
    assert outcome.status == 0, outcome.stderr
    return Path(json.loads(outcome.last_line)["run_dir"])


@pytest.fixture(scope="session")
def trained_paper(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the paper's genotype, which has poolings, trained on all speakers."""
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path_factory.mktemp("paper"))
    outcome = call_script("train.py", "--cfg", SCRATCH, "--text_arch", GENOTYPE, *settings)
    return Path(json.loads(outcome.last_line)["run_dir"])


@pytest.fixture(scope="session")
def uninterrupted(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """By the name of a script: the folder of a run that nothing stopped, and that saved at the ends of epochs alone."""

    @functools.cache
    def run(script: str) -> Path:
        out = tmp_path_factory.mktemp("uninterrupted")
        run_script(f"{script}.py", *long_run(script, toy, out, "TRAIN.CHECKPOINT_MINUTES", 0), check=True)
        return only_run(out, script)

    return run


@pytest.fixture(scope="session")
def trained_otherwise(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a training by `OPTIONS`, of a checkpoint at the end of every epoch."""
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path_factory.mktemp("otherwise"), **OPTIONS)
    outcome = call_script("train.py", "--cfg", SCRATCH, "--text_arch", GENOTYPE, *settings)
    assert outcome.status == 0, outcome.stderr
    assert "TRAIN.EMA 0.9: what is validated, and kept as best.pt, is the average" in outcome.stderr
    return Path(json.loads(outcome.last_line)["run_dir"])
