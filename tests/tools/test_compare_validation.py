"""tools/compare_validation.py: validation against test, at every epoch that a training kept."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from tests.helpers import GENOTYPE, SCRATCH, call_script, options
from tests.runs import metrics, only_run
from tests.tools.comparisons import assert_refused
from tests.utils.pictures.drawn import points
from tools.comparison.validation import agree, plot_scatter

TOOL = "tools/compare_validation.py"
DRAWN = {"DATASET__SUB_DIR": "dev", "DATASET__VAL_SPEAKERS": 2, "DATASET__VAL_CHOICE": "hard"}


@pytest.fixture(scope="module")
def run(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of three epochs, all of which are kept; tests must leave it as it is."""
    out = tmp_path_factory.mktemp("runs")
    epochs = {"TRAIN__END_EPOCH": 3, "VAL_FREQ": 1, "TRAIN__KEEP_EPOCHS": 1, "TRAIN__LR": 0.01}
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=out, **DRAWN, **epochs)
    outcome = call_script("train.py", "--cfg", SCRATCH, "--text_arch", GENOTYPE, *settings)
    assert outcome.status == 0, outcome.stderr
    return only_run(out, "train")


def test_every_epoch_that_was_kept(run: Path, tmp_path: Path) -> None:
    """By the trials of the training, figures are those of its metrics; the test's are evaluate_verification.py's."""
    outcome = call_script(TOOL, f"a={run}", "--out", tmp_path / "out")
    assert outcome.status == 0, outcome.stderr
    table = pd.read_csv(tmp_path / "out" / "validation.csv")
    assert table["run"].tolist() == ["a"] * 3
    assert table["epoch"].tolist() == [1, 2, 3]
    lines = metrics(run)
    for name in ("eer", "min_dcf"):
        assert table[f"hard_{name}"].tolist() == pytest.approx([line[f"val_{name}"] for line in lines], abs=1e-3)
    kept = Path(shutil.copy(run / "epoch-0002.pt", tmp_path))
    evaluated = call_script("evaluate_verification.py", "--cfg", run / "config.yaml", "--load_path", kept)
    assert evaluated.status == 0, evaluated.stderr
    assert table["test_eer"][1] == pytest.approx(json.loads(evaluated.last_line)["eer"], abs=1e-3)
    results = json.loads(outcome.last_line)
    assert results == json.loads((tmp_path / "out" / "validation.json").read_text())
    own = results["runs"]["a"]
    assert own["kinds"]["hard"]["epoch"] == json.loads((run / "results.json").read_text())["epoch"]
    assert list(own["kinds"]) == ["random", "hard"]  # both speakers held out have several sessions
    assert "a: no hard trials across sessions: 2 of the 2 speakers held out have several" in outcome.stderr
    files = {f"validation.{kind}" for kind in ("csv", "json", "md", "html", "png", "pdf")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files | {
        f"validation-scatter.{kind}" for kind in ("png", "pdf")
    }
    assert not list(run.glob("embeddings-*"))


def made_up() -> pd.DataFrame:
    """Figures of six epochs."""
    return pd.DataFrame(
        {
            "random_eer": [9.0, 7.0, 5.0, 4.0, 4.0, 4.0],
            "random_min_dcf": [0.9, 0.9, 0.9, 0.8, 0.7, 0.7],
            "hard_eer": [9.0, 9.0, 9.0, 9.0, 9.0, 9.0],
            "hard_min_dcf": [0.9, 0.9, 0.9, 0.9, 0.9, 0.9],
            "test_eer": [20.0, 14.0, 12.0, 13.0, 15.0, 16.0],
        },
        index=pd.Index([1, 2, 3, 4, 5, 6], name="epoch"),
    )


def test_agreement() -> None:
    """Correlations by their definitions; the epoch of the lowest EER, then minDCF, then the earliest."""
    table = made_up()
    found = agree(table)
    validation, test = table["random_eer"].to_numpy(), table["test_eer"].to_numpy()
    assert found["kinds"]["random"] == {
        "pearson": pytest.approx(np.corrcoef(validation, test)[0, 1]),
        "spearman": pytest.approx(np.corrcoef(rankdata(validation), rankdata(test))[0, 1]),
        "epoch": 5,
        "eer": 4.0,
        "test_eer": 15.0,
    }
    constant = {"pearson": None, "spearman": None, "epoch": 1, "eer": 9.0, "test_eer": 20.0}
    assert found["kinds"]["hard"] == constant
    assert (found["best"], found["last"]) == ({"epoch": 3, "test_eer": 12.0}, {"epoch": 6, "test_eer": 16.0})


def test_picture_of_several_runs() -> None:
    """A panel a kind, with the epoch that it chooses; a run need not have all kinds."""
    table = made_up()
    figure = plot_scatter({"a": table, "b": table.drop(columns=["hard_eer", "hard_min_dcf"])})
    assert len(figure.axes) == 2
    np.testing.assert_allclose(points(figure, "random 1"), table[["random_eer", "test_eer"]])
    np.testing.assert_allclose(points(figure, "random 0 chosen"), [[4.0, 15.0]])


def test_what_is_refused(toy: Path, run: Path, tmp_path: Path) -> None:
    """In one line."""
    few = tmp_path / "few"
    few.mkdir()
    for name in ("config.yaml", "epoch-0001.pt", "epoch-0003.pt"):
        shutil.copy(run / name, few)
    cases = [
        (
            (tmp_path / "none",),
            "none has kept 0 epochs (epoch-*.pt), and 3 are needed: train",
        ),
        ((few,), "has kept 2 epochs"),
        ((run, "--from_epoch", 2), f"--from_epoch 2: {run.name} has kept 2 such epochs"),
        ((run, run), f"two runs are called {run.name}"),
        ((run, "--trials", tmp_path / "no.txt"), "missing list"),
    ]
    for words, reason in cases:
        assert_refused(call_script(TOOL, *words, "--out", tmp_path / "out"), reason)
        assert not list((tmp_path / "out").glob("*"))
    fitted = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path / "fitted", **DRAWN, MODEL__NAME="statistics")
    assert call_script("train_baseline.py", "--cfg", SCRATCH, *fitted).status == 0
    statistics = only_run(tmp_path / "fitted", "train_baseline")
    assert_refused(call_script(TOOL, statistics, "--out", tmp_path / "out"), "is of statistics, which are fitted")
    merged = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path / "merged", TRAIN__KEEP_EPOCHS=1)
    trained = call_script("train.py", "--cfg", SCRATCH, "--text_arch", GENOTYPE, *merged, "DATASET.VAL_CHOICE", "hard")
    assert "DATASET.VAL_CHOICE hard says nothing with SUB_DIR merged" in trained.stderr
    other = only_run(tmp_path / "merged", "train")
    for number in (2, 3):
        shutil.copy(other / "epoch-0001.pt", other / f"epoch-{number:04}.pt")
    assert_refused(call_script(TOOL, other, "--out", tmp_path / "out"), "held no speakers out: train with SUB_DIR dev")
