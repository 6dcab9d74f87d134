"""The learning rate's schedule."""

import pytest

from utils.training.optim import cosine_lr


def test_cosine_schedule() -> None:
    """Both ends and the middle."""
    rates = [cosine_lr(epoch, 10, 0.01, 0.001) for epoch in range(11)]
    assert (rates[0], rates[5], rates[10]) == pytest.approx((0.01, 0.0055, 0.001))
    assert rates == sorted(rates, reverse=True)
