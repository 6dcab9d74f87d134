"""Training a network: it learns, by steps on one batch or several, drop-path rises, and it may learn in bfloat16."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

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
from tests.networks import build, build_small, configured, settings
from tests.runs import metrics, only_run
from utils.records.checkpoint import load_checkpoint
from utils.system.errors import UserError
from utils.training.loop import accumulated_step, check_masks, in_groups, keeps, set_epoch, set_step, train_network
from utils.training.losses import build_criterion
from utils.training.optim import build_weight_optimizer, cosine_lr
from utils.training.state import TrainingState

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


# ------------------------------------------------------------------------------------------------------------------
# A step
# ------------------------------------------------------------------------------------------------------------------
def draw(size: int) -> tuple[Tensor, Tensor]:
    """A batch of noise, in float64."""
    generator = torch.Generator().manual_seed(size)
    features = torch.randn(size, 40, 257, generator=generator, dtype=torch.float64)
    return features, torch.randint(5, (size,), generator=generator)


def stepped(batches: list[tuple[Tensor, Tensor]], monkeypatch: pytest.MonkeyPatch, **changes: object) -> nn.Module:
    """A network, whose norms stand still, after a step on batches, in float64; it has its gradients."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.manual_seed(0)
    network = build_small("network").double().eval()
    cfg = configured(TRAIN__OPTIMIZER="sgd", TRAIN__LR=0.01, **changes)
    optimizer = build_weight_optimizer(cfg, network.parameters())
    how = build_criterion(cfg), "fp32", (), cfg.TRAIN.CLIP
    outcomes = accumulated_step(network, optimizer, iter(batches), len(batches), *how)
    assert [len(labels) for _, _, labels in outcomes] == [len(labels) for _, labels in batches]
    return network


@pytest.mark.parametrize("parts", [(0, 4, 8), (0, 2, 4, 6, 8)])
def test_accumulated_step_is_that_of_the_larger_batch(monkeypatch: pytest.MonkeyPatch, parts: tuple[int, ...]) -> None:
    """But for what norms see: gradients and weights."""
    features, labels = draw(8)
    batches = [(features[begin:end], labels[begin:end]) for begin, end in pairwise(parts)]
    whole, accumulated = stepped([(features, labels)], monkeypatch), stepped(batches, monkeypatch)
    for one, other in zip(whole.parameters(), accumulated.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_gradient_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is brought to the length that is allowed, of all weights together; a shorter one is left alone."""
    gradients = []
    for clip in (0.0, 0.05, 1e6):
        network = stepped([draw(4), draw(4)], monkeypatch, TRAIN__CLIP=clip)
        gradients.append(torch.cat([value.grad.flatten() for value in network.parameters()]))
    assert gradients[0].norm() > 0.1
    torch.testing.assert_close(gradients[1], gradients[0] * 0.05 / gradients[0].norm(), rtol=1e-4, atol=0)
    assert torch.equal(gradients[2], gradients[0])


def test_gradients_of_replays_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA graphs write a batch's gradients where they wrote those of the batch before."""
    network, optimizer = build_small("network"), None
    network.replays = True
    written = {name: torch.zeros_like(value) for name, value in network.named_parameters()}

    def replay(*arguments: object) -> tuple[Tensor, Tensor, Tensor]:
        for name, value in network.named_parameters():
            before = None if value.grad is None else value.grad
            written[name] += 1
            value.grad = written[name] if before is None else before + written[name]
        return torch.zeros(()), torch.zeros(4, 5), torch.zeros(4)

    monkeypatch.setattr("utils.training.loop.take_gradients", replay)
    optimizer = build_weight_optimizer(configured(), network.parameters())
    accumulated_step(network, optimizer, [draw(4)] * 2, 2, nn.CrossEntropyLoss(), "fp32")
    assert all((value.grad == 1 + 2).all() for value in network.parameters())


def test_batches_in_groups() -> None:
    """All, in order; no more are taken than are asked for."""
    items = iter(range(8))
    assert next(in_groups(items, 3)) == [0, 1, 2]
    assert list(in_groups(items, 3)) == [[3, 4, 5], [6, 7]]
    assert list(in_groups([], 3)) == []


def test_what_rises_does_so_by_the_step(toy: Path) -> None:
    """The number of steps counts, not of batches; an epoch that is gone on with after its last step keeps its rate."""
    changes = {"TRAIN__LOSS": "aam", "TRAIN__LR_WARMUP": 1, "TRAIN__MARGIN_WARMUP": 2, "TRAIN__ACCUMULATE": 3}
    cfg = settings(toy, TRAIN__END_EPOCH=4, **changes)
    network, front_end, corpus = build(cfg)
    optimizer, criterion = build_weight_optimizer(cfg, network.parameters()), build_criterion(cfg)
    state = TrainingState(cfg, "train", network, front_end, {"weights": optimizer}, corpus)
    peak, found = cosine_lr(1, 4, 0.01, 0.001), []
    for epoch in range(3):
        state.epoch = epoch
        for batch in (0, 3, 6):  # of 8
            state.batch = batch
            taken = set_step(state, criterion, 8)
            found.append((taken, optimizer.param_groups[0]["lr"], criterion.share))
        state.batch = 8
        set_epoch(state, 8)
        assert optimizer.param_groups[0]["lr"] == (peak if epoch == 0 else cosine_lr(epoch, 4, 0.01, 0.001))
    assert [taken for taken, _, _ in found] == list(range(9))
    assert [rate for _, rate, _ in found[:4]] == pytest.approx([peak / 3, 2 * peak / 3, peak, peak])
    assert [share for _, _, share in found] == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1, 1])
