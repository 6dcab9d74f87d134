"""A run's state: which epoch is the best, and a loss that is no number."""

from pathlib import Path

import pytest

from tests.networks import build, settings
from utils.system.errors import UserError
from utils.training.state import TrainingState, check_finite


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
    with pytest.raises(UserError, match=r"epoch 3, at or before step 7: lower TRAIN\.LR"):
        check_finite(loss, 2, 7)
