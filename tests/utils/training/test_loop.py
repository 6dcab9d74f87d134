"""Training a network: it learns, drop-path rises, and it may learn in bfloat16."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data_objects.lists import speaker_of
from tests.helpers import (
    GENOTYPE,
    SCRATCH,
    SEARCH,
    SPEAKERS,
    SPLIT,
    call_script,
    options,
    preprocess,
    write_corpus,
    write_small_corpus,
)
from tests.networks import build, configured, settings
from tests.runs import metrics, only_run
from utils.records.checkpoint import load_checkpoint
from utils.system.errors import UserError
from utils.training.loop import check_masks, keeps, train_network

CPU = torch.device("cpu")


def test_drop_path_rises_over_the_epochs(tmp_path: Path) -> None:
    """To MODEL.DROP_PATH_PROB times epoch / epochs."""
    corpus_dir = write_small_corpus(tmp_path / "corpus", samples=8_000)
    preprocess(corpus_dir)
    cfg = settings(corpus_dir, TRAIN__END_EPOCH=4, MODEL__DROP_PATH_PROB=0.4, OUT_DIR=str(tmp_path))
    network, _, corpus = build(cfg)
    train_network(cfg, network, corpus, script="train", config_file="tiny.yaml", load_path=None, device=CPU)
    assert network.drop_path_probability == pytest.approx(0.4 * 3 / 4)


@pytest.mark.parametrize(
    ("every", "val_freq", "kept"), [(0, 1, []), (1, 1, [1, 2, 3, 4, 5, 6, 7]), (1, 3, [3, 6, 7]), (2, 2, [4, 7])]
)
def test_epochs_to_keep(every: int, val_freq: int, kept: list[int]) -> None:
    """Every N-th of those validated, and the last, wherever the run stops in between."""
    for stop in (0, 5):
        cfg = configured(TRAIN__KEEP_EPOCHS=every, VAL_FREQ=val_freq, TRAIN__END_EPOCH=7, TRAIN__STOP_EPOCH=stop)
        assert [epoch for epoch in range(1, 8) if keeps(cfg, epoch)] == kept


def test_training_learns(tmp_path: Path) -> None:
    """A handful of utterances are learnt by heart: over its epochs, the loss on their crops falls."""
    split = {utterance: part for utterance, part in SPLIT.items() if speaker_of(utterance) in SPEAKERS[:3]}
    lengths = {utterance: 3_000 + 2_900 * number for number, utterance in enumerate(split)}
    corpus_dir = write_corpus(tmp_path / "corpus", lengths, split)
    preprocess(corpus_dir)
    cfg = settings(corpus_dir, TRAIN__END_EPOCH=40, MODEL__DROP_PATH_PROB=0.0, VAL_FREQ=40, OUT_DIR=str(tmp_path))
    network, _, corpus = build(cfg)
    run_dir = train_network(cfg, network, corpus, script="train", config_file="tiny.yaml", load_path=None, device=CPU)
    losses = [json.loads(line)["train_loss"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])


def test_masks_that_would_leave_nothing() -> None:
    """Of as many bins as the features have; where none are drawn, it does not matter."""
    for masks, widest, bins in ((0, 300, 257), (1, 79, 80)):
        check_masks(configured(AUGMENT__FREQUENCY_MASKS=masks, AUGMENT__FREQUENCY_MASK_BINS=widest), bins)
    with pytest.raises(UserError, match=r"^AUGMENT\.FREQUENCY_MASK_BINS 80 must be less than the features' 80 bins"):
        check_masks(configured(AUGMENT__FREQUENCY_MASKS=1, AUGMENT__FREQUENCY_MASK_BINS=80), 80)


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))],
)
@pytest.mark.parametrize("script", ["search", "train"])
def test_learning_in_bfloat16(toy: Path, tmp_path: Path, script: str, device: str) -> None:
    """Losses are finite and near those in float32; weights and the norms' statistics stay in float32."""
    arguments = ["--text_arch", GENOTYPE] if script == "train" else []
    losses = {}
    for precision in ("fp32", "bf16"):
        settings = {"DATASET__DATA_DIR": toy, "OUT_DIR": tmp_path / precision, "TRAIN__PRECISION": precision}
        settings |= {"DEVICE": device, "TRAIN__LR": 0.001}
        config = SEARCH if script == "search" else SCRATCH
        outcome = call_script(f"{script}.py", "--cfg", config, *arguments, *options(**settings))
        assert outcome.status == 0, outcome.stderr
        run_dir = only_run(tmp_path / precision, script)
        losses[precision] = metrics(run_dir)[0]["train_loss"]
        model = load_checkpoint(run_dir / "last.pt", (script,)).model
        assert {value.dtype for value in model.values()} == {torch.float32, torch.int64}
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)
