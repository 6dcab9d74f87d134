"""MODEL.NAME statistics: fitted as scikit-learn does, in a run folder like any other."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from models.statistics import MOMENTS, Statistics
from tests.helpers import call_script, options
from tests.runs import files, metrics, only_run
from utils.metrics.scoring import cosine_scores
from utils.records.checkpoint import load_checkpoint
from utils.system.errors import UserError
from utils.training.fitting import fit

BASELINE = "exps/baseline/statistics.yaml"
WHOLE = {"MODEL__NUM_CLASSES": 0, "DATASET__NUM_WORKERS": 0, "DATASET__PARTIAL_N_FRAMES": 300}


def draw(speakers: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Moments (N, 464), on scales of their own, of so many speakers, and their labels (N,)."""
    generator, labels = np.random.default_rng(0), np.repeat(np.arange(speakers), each)
    means, scales = generator.normal(size=(speakers, MOMENTS)), generator.uniform(0.01, 100, MOMENTS)
    return (scales * (means[labels] + generator.normal(size=(len(labels), MOMENTS)))).astype(np.float32), labels


def test_fit_is_discriminant_analysis() -> None:
    """Of standardised moments; the classifier's directions are the means of the embeddings' directions."""
    moments, labels = draw(6, 5)
    network = Statistics(6)
    fit(network, moments, labels)
    standard = StandardScaler().fit_transform(moments.astype(np.float64))
    expected = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(standard, labels).transform(standard)
    found = ((torch.from_numpy(moments) - network.mean) @ network.projection).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    logits = network.classifier(torch.from_numpy(found)).numpy()
    assert (logits.argmax(axis=1) == labels).all()
    directions = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    mean = directions[labels == 2].mean(axis=0)
    pair = np.stack([expected[7], mean]).astype(np.float32)
    assert logits[7, 2] == pytest.approx(30 * float(cosine_scores(pair, np.array([0]), np.array([1]))[0]), rel=1e-3)


def test_speakers_without_utterances() -> None:
    """Have no direction, and take nothing from those of the others; what never varies does not matter."""
    moments, labels = draw(4, 5)
    moments[:, 3] = 7.0
    network = Statistics(9)
    fit(network, moments, labels * 2)  # of classes 0, 2, 4, 6
    embeddings = (torch.from_numpy(moments) - network.mean) @ network.projection
    assert embeddings.shape == (20, 8)
    assert not embeddings[:, 3:].any()
    assert (network.classifier(embeddings).argmax(dim=1).numpy() == labels * 2).all()
    assert all(parameter.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize(("speakers", "each"), [(1, 5), (5, 1)])
def test_too_little_to_fit_to(speakers: int, each: int) -> None:
    """One speaker, or one utterance of each."""
    with pytest.raises(
        UserError, match=f"statistics needs two speakers or more .* has {speakers * each} of {speakers}"
    ):
        fit(Statistics(speakers), *draw(speakers, each))


def test_run_of_statistics(toy: Path, tmp_path: Path) -> None:
    """A run folder as of any baseline, from which both evaluations work; it recognises speakers; nothing goes on."""
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path, **WHOLE)
    outcome = call_script("train_baseline.py", "--cfg", BASELINE, *settings)
    assert outcome.status == 0, outcome.stderr
    run_dir = only_run(tmp_path, "train_baseline")
    assert {"best.pt", "last.pt", "results.json", "metrics.jsonl", "config.yaml", "protocol.json"} <= files(run_dir)
    (figures,) = metrics(run_dir)
    results = json.loads(outcome.last_line)
    assert results["val_top1"] == figures["val_top1"] > 50  # of 6 speakers
    assert results["epoch"] == load_checkpoint(run_dir / "best.pt", ("train_baseline",)).epoch == 1
    before = (run_dir / "best.pt").read_bytes()
    again = call_script("train_baseline.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir)
    assert again.status == 0, again.stderr
    assert "nothing to do: 1 epochs are done" in again.stderr
    assert (run_dir / "best.pt").read_bytes() == before
    for script in ("evaluate_identification.py", "evaluate_verification.py"):
        outcome = call_script(script, "--cfg", run_dir / "config.yaml", "--load_path", run_dir)
        assert outcome.status == 0, outcome.stderr
        found = json.loads(outcome.last_line)
        assert found["top1"] == results["top1"] if "top1" in found else found["eer"] < 40


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("TRAIN.LOSS", "aam", "TRAIN.LOSS aam is for networks that are trained"),
        ("MODEL.POOLING", "attentive", "MODEL.POOLING attentive is for the network of a genotype and for ResNets"),
        ("MODEL.PRETRAINED", "somewhere.pt", "MODEL.PRETRAINED is for"),
        ("AUGMENT.SPEED", "0.9", "AUGMENT.SPEED is for"),
    ],
)
def test_what_statistics_do_not_take(toy: Path, tmp_path: Path, setting: str, value: str, reason: str) -> None:
    """In one line, before anything begins."""
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path / "runs", **WHOLE)
    outcome = call_script("train_baseline.py", "--cfg", BASELINE, *settings, setting, value)
    assert outcome.status == 2
    assert reason in outcome.stderr.splitlines()[-1]
    assert not (tmp_path / "runs").exists()
