"""tools/fuse.py: scores of several systems as one, by what the held-out speakers' trials say."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from data_objects.lists import TrialList
from tests.helpers import call_script, options, preprocess, run_script
from tests.runs import only_run
from utils.evaluation.fusion import FEW, Scored, measure_quality, warn_of_certainty, warn_of_weights
from utils.metrics.rates import equal_error_rate
from utils.metrics.scoring import Fusion
from utils.system.errors import UserError
from utils.system.logger import WarningCollector

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


def lengths_and_seconds(run: Path, corpus: Path, trials: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms (2, N) of the lengths of both embeddings that a run kept, and of the utterances' durations."""
    (file,) = run.glob("embeddings-*.npz")
    with np.load(file) as kept:
        names, lengths = kept["utterances"].astype(str), np.linalg.norm(kept["embeddings"], axis=1)
    length = dict(zip(names, lengths, strict=True))
    pairs = [trial[1:] for trial in trials]
    seconds = [[soundfile.info(corpus / "wav" / name).duration for name in pair] for pair in pairs]
    return np.log([[length[name] for name in pair] for pair in pairs]).T, np.log(seconds).T


def test_back_ends_and_quality(corpus: Path, runs: list[Path], tmp_path: Path) -> None:
    """A run's plda as its own evaluation finds it, beside its cosine; durations and lengths of embeddings, weighted."""
    run = Path(shutil.copytree(runs[1], tmp_path / "run"))
    evaluation = "--cfg", run / "config.yaml", "--load_path", run, "EVAL.BOOTSTRAP", 0, "EVAL.LDA_DIM", 3
    evaluated = call_script("evaluate_verification.py", *evaluation, "EVAL.BACKENDS", "plda,lda,cosine")
    assert evaluated.status == 0, evaluated.stderr
    figures = json.loads((run / "results-verification.json").read_text())["lists"]["veri_test"]["systems"]
    assert list(figures) == ["plda", "lda", "cosine"]
    plda, trials = read_scores(run / "scores.txt")
    cosine, _ = read_scores(run / "scores--cosine.txt")
    words = run, f"{run}:plda", "--quality", "norm,duration", "--out", tmp_path / "fused"
    outcome = call_script(TOOL, *words, "EVAL.BOOTSTRAP", 0, "EVAL.LDA_DIM", 3)
    assert outcome.status == 0, outcome.stderr
    llrs, same_trials = read_scores(tmp_path / "fused" / "scores.txt")
    assert same_trials == trials
    fusion = json.loads(outcome.last_line)["fusion"]
    assert {name: system["system"] for name, system in fusion["systems"].items()} == {
        "run": "cosine",
        "run:plda": "plda",
    }
    lengths, seconds = lengths_and_seconds(run, corpus, trials)
    expected = fusion["offset"] + fusion["systems"]["run"]["weight"] * cosine
    expected += fusion["systems"]["run:plda"]["weight"] * plda
    for name, both in (("log duration", seconds), ("log norm run", lengths)):
        expected += fusion["quality"].pop(f"{name}, smaller") * both.min(axis=0)
        expected += fusion["quality"].pop(f"{name}, greater") * both.max(axis=0)
        assert f"\n{name}, smaller" in outcome.stderr
    assert fusion["quality"] == {}
    np.testing.assert_allclose(llrs, expected, atol=1e-4)
    alone = call_script(
        TOOL, run, "--quality", "duration", "--out", tmp_path / "alone", "EVAL.BOOTSTRAP", 0, "EVAL.LDA_DIM", 3
    )
    assert list(json.loads(alone.last_line)["fusion"]["quality"]) == ["log duration, smaller", "log duration, greater"]
    assert "EVAL.LDA_DIM does nothing here" in alone.stderr


def test_weights_not_to_be_trusted() -> None:
    """Those against a system, quality left aside, and those of few speakers, are warned of."""
    fusion = Fusion((2.0, -1.0, -3.0), 0.0, 0.5)
    for speakers, count in ((FEW, 1), (FEW - 1, 2)):
        warned = WarningCollector()
        warn_of_weights(fusion, ["one", "other"], speakers)
        assert len(warned.messages) == count
        assert warned.messages[0].startswith("other: a weight below 0")
    warned = WarningCollector()
    warn_of_weights(fusion, ["one"], FEW)
    assert warned.messages == []


def test_certainty_not_to_be_trusted() -> None:
    """Of trials that are told apart without an error; one error is enough."""
    for scores, is_warned in (([3.0, 2.0, 1.0], True), ([3.0, 1.0, 2.0], False)):
        warned = WarningCollector()
        warn_of_certainty(np.array(scores), np.array([1, 1, 0]))
        assert bool(warned.messages) is is_warned


def test_quality_that_never_changes() -> None:
    """Is refused by name: from trials that have the same of it nothing can be learnt."""
    trials = TrialList.of([(1, "a/b/1.wav", "a/b/2.wav"), (0, "a/b/1.wav", "c/b/1.wav")])
    source = SimpleNamespace(name="ours", trained=SimpleNamespace(path=Path("best.pt")))
    scored = [(source, Scored([], [np.array([[1.0, 2.0], [1.5, 2.0]])]))]
    with pytest.raises(UserError, match="--quality: log norm ours, greater, is the same in all validation trials"):
        measure_quality(["norm"], scored, [trials])


def test_what_cannot_be_fused(corpus: Path, runs: list[Path], tmp_path: Path) -> None:
    """Told in one line, before anything is written."""
    others = fit(corpus, tmp_path / "others", DATASET__VAL_SEED=5, DATASET__PARTIAL_N_FRAMES=300)
    redrawn = fit(corpus, tmp_path / "redrawn", DATASET__VAL_TRIALS=20, DATASET__PARTIAL_N_FRAMES=300)
    nobody = fit(corpus, tmp_path / "nobody", DATASET__VAL_SPEAKERS=0, DATASET__PARTIAL_N_FRAMES=300)
    cases: list[tuple[tuple[object, ...], str]] = [
        ((runs[0],), "or one with --quality"),
        ((runs[0], "--quality", "loudness"), "--quality must be some of duration, norm, each once, not 'loudness'"),
        (
            (f"{runs[0]}:pla", runs[1]),
            "SYSTEM in RUN:SYSTEM must be one of cosine, centred, snorm, lda, plda, not 'pla'",
        ),
        ((runs[0],), "two runs or more are needed for a fusion"),
        ((runs[0], runs[0]), f"two runs are called {runs[0].name}"),
        ((f"fused={runs[0]}", runs[1]), f"fused is what all together are called: give {runs[0]} another name"),
        ((f"a={runs[0]}", f"b={tmp_path / 'none'}"), "none is no run folder of train.py or train_baseline.py"),
        ((f"a={runs[0]}", f"b={others}"), "b and a held out other speakers"),
        ((f"a={runs[0]}", f"b={redrawn}"), "b and a held out the same speakers, but have other trials of them"),
        ((f"a={nobody}", f"b={runs[0]}"), "a: no speakers were held out from its training"),
    ]
    for words, reason in cases:
        outcome = call_script(TOOL, *words, "--out", tmp_path / "out")
        assert outcome.status == 2
        assert reason in outcome.stderr.splitlines()[-1]
        assert not list((tmp_path / "out").glob("*"))
