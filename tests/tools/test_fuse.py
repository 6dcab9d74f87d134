"""tools/fuse.py: two networks' scores as one, by what the held-out speakers' trials say."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import call_script, options, preprocess, run_script
from tests.runs import only_run
from utils.metrics.rates import equal_error_rate

TOOL, FRAMES = "tools/fuse.py", (40, 300)


def fit(corpus: Path, out: Path, **settings: object) -> Path:
    """The run folder of statistics, for verification."""
    usual = {"DATASET__SUB_DIR": "dev", "DATASET__VAL_SPEAKERS": 3, "DATASET__VAL_TRIALS": 40}
    usual |= {"MODEL__NUM_CLASSES": 0, "DATASET__NUM_WORKERS": 0}
    chosen = options(DATASET__DATA_DIR=corpus, OUT_DIR=out, **(usual | settings))
    outcome = call_script("train_baseline.py", "--cfg", "exps/baseline/statistics.yaml", *chosen)
    assert outcome.status == 0, outcome.stderr
    return only_run(out, "train_baseline")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of more speakers than the usual toy corpus: of two trained on, all cosines would be 1 or -1."""
    folder = tmp_path_factory.mktemp("corpus") / "toy"
    run_script("tools/make_toy_corpus.py", folder, "--speakers", 10, "--videos", 3, "--utterances", 2, check=True)
    preprocess(folder)
    return folder


@pytest.fixture(scope="module")
def runs(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two systems that hear windows of other lengths."""
    out = tmp_path_factory.mktemp("runs")
    return [fit(corpus, out / str(frames), DATASET__PARTIAL_N_FRAMES=frames) for frames in FRAMES]


def read_scores(file: Path) -> tuple[np.ndarray, list[list[str]]]:
    """Scores (N,), and what they are of."""
    lines = [line.split() for line in file.read_text().splitlines()]
    return np.array([float(line[0]) for line in lines]), [line[1:] for line in lines]


def test_fused_scores_and_figures(runs: list[Path], tmp_path: Path) -> None:
    """The ratios are weights times the cosines that each run's own evaluation finds; the figures are of them."""
    outcome = call_script(
        TOOL, f"short={runs[0]}", f"long={runs[1]}", "--out", tmp_path / "fused", "EVAL.BOOTSTRAP", 20
    )
    assert outcome.status == 0, outcome.stderr
    llrs, trials = read_scores(tmp_path / "fused" / "scores.txt")
    results = json.loads((tmp_path / "fused" / "fusion.json").read_text())
    fusion = results["fusion"]
    expected = np.full(len(llrs), fusion["offset"])
    for name, run in zip(("short", "long"), runs, strict=True):
        copy = Path(shutil.copytree(run, tmp_path / name))
        evaluated = call_script("evaluate_verification.py", "--cfg", copy / "config.yaml", "--load_path", copy)
        assert evaluated.status == 0, evaluated.stderr
        scores, same_trials = read_scores(copy / "scores.txt")
        assert same_trials == trials
        expected += fusion["systems"][name]["weight"] * scores
        alone = results["lists"]["veri_test"][name]
        assert alone["eer"] == pytest.approx(json.loads(evaluated.last_line)["eer"], abs=1e-3)
    np.testing.assert_allclose(llrs, expected, atol=1e-4)
    labels = np.array([int(label) for label, *_ in trials])
    printed = json.loads(outcome.last_line)
    assert printed["eer"] == pytest.approx(100 * equal_error_rate(llrs, labels), abs=1e-3)
    assert (printed["trials"], printed["fusion"]) == (len(llrs), fusion)
    assert [line.split()[1] for line in outcome.stderr.splitlines() if line.startswith("veri_test ")] == [
        *("short", "long", "fused")
    ]


def test_what_cannot_be_fused(corpus: Path, runs: list[Path], tmp_path: Path) -> None:
    """Told in one line, before anything is written."""
    others = fit(corpus, tmp_path / "others", DATASET__VAL_SEED=5, DATASET__PARTIAL_N_FRAMES=300)
    nobody = fit(corpus, tmp_path / "nobody", DATASET__VAL_SPEAKERS=0, DATASET__PARTIAL_N_FRAMES=300)
    cases: list[tuple[tuple[object, ...], str]] = [
        ((runs[0],), "two runs or more are needed for a fusion"),
        ((runs[0], runs[0]), f"two runs are called {runs[0].name}"),
        ((f"fused={runs[0]}", runs[1]), f"fused is what all together are called: give {runs[0]} another name"),
        ((f"a={runs[0]}", f"b={tmp_path / 'none'}"), "none is no run folder of train.py or train_baseline.py"),
        ((f"a={runs[0]}", f"b={others}"), "b and a held out other speakers"),
        ((f"a={nobody}", f"b={runs[0]}"), "a: no speakers were held out from its training"),
    ]
    for words, reason in cases:
        outcome = call_script(TOOL, *words, "--out", tmp_path / "out")
        assert outcome.status == 2
        assert reason in outcome.stderr.splitlines()[-1]
        assert not list((tmp_path / "out").glob("*"))
