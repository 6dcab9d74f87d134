"""A run's state: which epoch is the best, and a loss that is no number."""

from pathlib import Path

import pytest
import torch

from tests.networks import build, settings
from utils.records.checkpoint import load_checkpoint
from utils.system.errors import DivergedError, UserError
from utils.training.run_log import RunLog
from utils.training.state import TrainingState, check_finite
from utils.training.validation import validate


def test_best_epoch_has_the_highest_accuracy_and_then_the_lowest_loss(toy: Path) -> None:
    """Of equals, the earlier."""
    network, front_end, corpus = build(settings(toy))
    state = TrainingState(settings(toy), "train", network, front_end, {}, corpus)
    assert state.is_better({"top1": 0.0, "loss": 9.0})
    state.advance({"epoch": 1, "top1": 50.0, "loss": 1.0})
    assert state.is_better({"top1": 51.0, "loss": 2.0})
    assert state.is_better({"top1": 50.0, "loss": 0.5})
    assert not state.is_better({"top1": 50.0, "loss": 1.0})
    assert not state.is_better({"top1": 49.0, "loss": 0.1})


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_loss_that_is_no_number_stops_the_run(loss: float) -> None:
    """With what to do."""
    with pytest.raises(UserError, match=r"epoch 3, at or before batch 7: lower TRAIN\.LR"):
        check_finite(loss, 2, 7)


@pytest.mark.parametrize("name", ["classifier.weight", "stem_0.1.running_var"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_nothing_that_is_no_number_is_saved(toy: Path, tmp_path: Path, name: str, value: float) -> None:
    """Weights and statistics alike: the culprit is named, and what was saved before stays."""
    network, front_end, corpus = build(settings(toy))
    state = TrainingState(settings(toy), "train", network, front_end, {}, corpus)
    state.save(tmp_path / "last.pt")
    before = (tmp_path / "last.pt").read_bytes()
    network.get_buffer(name).fill_(value) if "running" in name else network.get_parameter(name).data[0, 0].fill_(value)
    with pytest.raises(DivergedError, match=rf"{name} is not finite in epoch 1, at or before batch 0: lower TRAIN\.LR"):
        state.save(tmp_path / "last.pt")
    assert (tmp_path / "last.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_average_is_what_is_validated_and_kept(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it is of beside it in last.pt, to go on with; without one, the network is."""
    network, front_end, corpus = build(settings(toy))
    cfg, weight = settings(toy, TRAIN__EMA=0.5), network.classifier.weight.detach().clone()
    state = TrainingState(cfg, "train", network, front_end, {}, corpus)
    with torch.no_grad():
        network.classifier.weight.add_(1)
    state.average.update(network, 8)
    for name in ("last.pt", "best.pt"):
        state.save(tmp_path / name)
        checkpoint = load_checkpoint(tmp_path / name, ("train",))
        torch.testing.assert_close(checkpoint.model["classifier.weight"], weight + 0.5)
        trained = {"classifier.weight": network.classifier.weight} if name == "last.pt" else {}
        assert checkpoint.trained.keys() == (network.state_dict().keys() if trained else set())
        assert all(torch.equal(checkpoint.trained[own], value) for own, value in trained.items())
    validated = []
    monkeypatch.setattr("utils.training.validation.identify", lambda own, *others: validated.append(own) or {})
    validate(state)
    validate(TrainingState(settings(toy), "train", network, front_end, {}, corpus))
    assert validated == [state.average.network, network]


def test_figures_that_are_no_numbers_are_not_written(tmp_path: Path) -> None:
    """JSON has no NaN, and a reader of metrics.jsonl must not stumble over one."""
    log = RunLog(tmp_path)
    log.metrics(1, {"loss": 1.0})
    with pytest.raises(DivergedError, match="loss is nan in epoch 2"):
        log.metrics(2, {"top1": 1.0, "loss": torch.tensor(float("nan")).item()})
    log.close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1
