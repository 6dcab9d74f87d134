"""What a training counts over an epoch, and how it goes on with it."""

import pytest
import torch

from utils.training import meters
from utils.training.meters import TrainingMeter

LOGITS, LABELS = torch.tensor([[2.0, 1.0], [3.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1, 1])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What perf_counter says, in a list of one."""
    now = [100.0]
    monkeypatch.setattr(meters.time, "perf_counter", lambda: now[0])
    return now


def count(meter: TrainingMeter, clock: list[float], seconds: float) -> None:
    """A batch of three, two of them right, which takes so long."""
    clock[0] += seconds
    meter.update(torch.tensor(0.5), LOGITS, LABELS)


def test_figures_of_an_epoch(clock: list[float]) -> None:
    meter = TrainingMeter()
    count(meter, clock, 2)
    assert meter.read() == pytest.approx({"loss": 0.5, "top1": 200 / 3, "utterances_per_second": 1.5})


@pytest.mark.parametrize("batches", [0, 1])
def test_interrupted_epoch(clock: list[float], batches: int) -> None:
    """Its speed is of all its batches, what was done before the interruption among them, even where nothing is left."""
    before = TrainingMeter()
    count(before, clock, 2)
    state = before.state()
    clock[0] += 1000  # and back
    meter = TrainingMeter(state)
    for _ in range(batches):
        count(meter, clock, 1)
    assert meter.read()["utterances_per_second"] == pytest.approx(3 * (1 + batches) / (2 + batches))
    assert meter.read()["loss"] == pytest.approx(0.5)


def test_state_of_an_earlier_version(clock: list[float]) -> None:
    """It does not say how long its utterances took: the speed is of those since."""
    before = TrainingMeter()
    count(before, clock, 2)
    state = before.state()
    del state["seconds"]
    meter = TrainingMeter(state)
    count(meter, clock, 1)
    assert meter.read()["utterances_per_second"] == pytest.approx(3)
    assert meter.state()["utterances"] == 6
