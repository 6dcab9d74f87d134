"""train_baseline.py, and the evaluation of what it trains."""

import json
from pathlib import Path

import pytest

from tests.helpers import call_script, options, preprocess, run_script, write_small_corpus


@pytest.mark.parametrize(("name", "frames", "speeds"), [("resnet18", 64, ""), ("vggm", 80, "0.9 1.1")])
def test_baseline(tmp_path: Path, name: str, frames: int, speeds: str) -> None:
    """A baseline trains, and its run folder is evaluated with the same settings."""
    corpus = write_small_corpus(tmp_path / "corpus")
    preprocess(corpus)
    settings = options(
        DATASET__DATA_DIR=corpus,
        OUT_DIR=tmp_path / "runs",
        MODEL__NAME=name,
        TRAIN__BATCH_SIZE=3,
        DATASET__PARTIAL_N_FRAMES=frames,
        AUGMENT__SPEED=speeds,
        AUGMENT__SPEED_CLASSES=bool(speeds),
    )
    config = ("--cfg", "exps/mini/resnet18.yaml", *settings)
    figures = json.loads(run_script("train_baseline.py", *config, check=True).last_line)
    outcome = call_script("evaluate_identification.py", *config, "--load_path", figures["run_dir"])
    assert json.loads(outcome.last_line)["top1"] == figures["top1"]
