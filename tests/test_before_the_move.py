"""Runs that an earlier version wrote go on, and are evaluated, as then: see tests/before_the_move/README.md."""

import json
import shutil
from pathlib import Path

import pytest

from data_objects.index import load_index, load_statistics
from tests.helpers import Outcome, call_script, preprocess, write_small_corpus
from tests.runs import architecture, metrics
from utils.records.checkpoint import load_checkpoint

KEPT = Path(__file__).parent / "before_the_move"
EXPECTED = json.loads((KEPT / "expected.json").read_text())


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """The corpus that they learnt from, with the index of then."""
    folder = write_small_corpus(tmp_path / "corpus")
    shutil.copytree(KEPT / "feature", folder / "feature")
    return folder


def go_on(script: str, corpus: Path, tmp_path: Path, *more: object) -> tuple[Outcome, Path]:
    """Call a script with an old run and its settings, as its user would; how it ended, and the run folder."""
    name = script.removesuffix(".py") if script in ("search.py", "train.py") else "train"
    run_dir = Path(shutil.copytree(KEPT / name, tmp_path / name))
    command = ("--cfg", run_dir / "config.yaml", "--load_path", run_dir, "DATASET.DATA_DIR", corpus)
    outcome = call_script(script, *command, *more)
    assert outcome.status == 0, outcome.stderr
    return outcome, run_dir


def test_index(corpus: Path) -> None:
    """It is read, has the fingerprint that the networks were trained with, and is what would be written today."""
    index, statistics = load_index(corpus, corpus / "feature"), load_statistics(corpus / "feature", "merged")
    for name in ("search", "train"):
        assert load_checkpoint(KEPT / name / "last.pt", (name,)).index == index.fingerprint
    preprocess(corpus, corpus / "new")
    assert load_index(corpus, corpus / "new").fingerprint == index.fingerprint
    for then, now in zip(statistics, load_statistics(corpus / "new", "merged"), strict=True):
        assert now == pytest.approx(then, rel=1e-5)


@pytest.mark.parametrize("script", ["search", "train"])
def test_run_goes_on(corpus: Path, tmp_path: Path, script: str) -> None:
    """To the figures that the code of then went on to, with a warning that it is another's."""
    outcome, run_dir = go_on(f"{script}.py", corpus, tmp_path, "TRAIN.END_EPOCH", 2)
    assert [line["epoch"] for line in metrics(run_dir)] == [1, 2]
    # A path is evaluated with its own statistics now, and not with those of all paths.
    expected = {name: value for name, value in EXPECTED[script].items() if not name.startswith("argmax_")}
    figures = {name: metrics(run_dir)[-1][name] for name in expected}  # there may be more now
    assert figures == pytest.approx(expected, abs=1e-3)  # other machines round otherwise
    warnings = [line for line in outcome.stderr.splitlines() if "WARNING: " in line]
    assert len(warnings) == 2
    assert "was written by other code: config.py, " in warnings[0]
    assert " more changed" in warnings[0]  # most files have moved
    assert "TRAIN.END_EPOCH is 2 (was 1)" in warnings[1]
    if script == "search":
        assert [record["epoch"] for record in architecture(run_dir)] == [1, 2]
        assert outcome.stdout.splitlines()[-2] == (run_dir / "genotype.txt").read_text().strip()


def test_identification(corpus: Path, tmp_path: Path) -> None:
    """Of the test part, by the best epoch."""
    outcome, _ = go_on("evaluate_identification.py", corpus, tmp_path)
    figures = json.loads(outcome.last_line)
    assert {name: figures[name] for name in EXPECTED["identification"]} == EXPECTED["identification"]


def test_verification(corpus: Path, tmp_path: Path) -> None:
    """Figures, and the score of every trial."""
    outcome, run_dir = go_on("evaluate_verification.py", corpus, tmp_path)
    figures = json.loads(outcome.last_line)
    assert {name: figures[name] for name in EXPECTED["verification"]} == EXPECTED["verification"]
    scores = [float(line.split()[0]) for line in (run_dir / "scores.txt").read_text().splitlines()]
    assert scores == pytest.approx(EXPECTED["scores"], abs=1e-5)
