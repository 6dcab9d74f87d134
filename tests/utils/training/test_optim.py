"""Optimizers by their definitions, and the learning rate's and the margins' schedules."""

import pytest
import torch
from torch import nn

from tests.networks import build_small, configured
from utils.training.finetuning import split_parameters
from utils.training.optim import (
    FACTOR,
    build_weight_optimizer,
    cosine_lr,
    count_steps,
    learning_rate,
    margin_share,
    set_lr,
)

WARM = {"TRAIN__BEGIN_EPOCH": 1, "TRAIN__END_EPOCH": 10, "TRAIN__LR": 0.01, "TRAIN__LR_MIN": 0.001}


# ------------------------------------------------------------------------------------------------------------------
# Schedules
# ------------------------------------------------------------------------------------------------------------------
def test_cosine_schedule() -> None:
    """Both ends and the middle."""
    rates = [cosine_lr(epoch, 10, 0.01, 0.001) for epoch in range(11)]
    assert (rates[0], rates[5], rates[10]) == pytest.approx((0.01, 0.0055, 0.001))
    assert rates == sorted(rates, reverse=True)


def test_warm_up_of_the_learning_rate() -> None:
    """By the same amount every step, to what the cosine has then; without it, the cosine alone."""
    cfg, steps = configured(TRAIN__LR_WARMUP=2, **WARM), 4
    rates = [learning_rate(cfg, epoch, step, steps) for epoch in range(1, 10) for step in range(steps)]
    peak = cosine_lr(3, 10, 0.01, 0.001)
    assert rates[:8] == pytest.approx([peak * number / 8 for number in range(1, 9)])
    cosine = [cosine_lr(epoch, 10, 0.01, 0.001) for epoch in range(1, 10) for _ in range(steps)]
    assert rates[8:] == cosine[8:]
    plain = configured(**WARM)
    assert [learning_rate(plain, epoch, step, steps) for epoch in range(1, 10) for step in range(steps)] == cosine


def test_warm_up_of_the_margins() -> None:
    """From 0 in the first step to 1 after the last of so many epochs."""
    cfg, steps = configured(TRAIN__MARGIN_WARMUP=2, **WARM), 4
    shares = [margin_share(cfg, epoch, step, steps) for epoch in range(1, 5) for step in range(steps)]
    assert shares == [number / 8 for number in range(8)] + [1.0] * 8
    assert margin_share(configured(**WARM), 1, 0, steps) == 1


def test_steps_of_an_epoch() -> None:
    """The last one may be of fewer batches."""
    assert [count_steps(batches, 3) for batches in range(8)] == [0, 1, 1, 1, 2, 2, 2, 3]
    assert count_steps(5, 1) == 5


# ------------------------------------------------------------------------------------------------------------------
# Optimizers
# ------------------------------------------------------------------------------------------------------------------
def layer() -> nn.Linear:
    """A weight that may decay, and a bias that may not."""
    torch.manual_seed(0)
    return nn.Linear(3, 2).double()


def three_steps(module: nn.Linear, optimizer: torch.optim.Optimizer) -> None:
    """On gradients that anybody can compute: the values' squares, times the number of the step."""
    for number in (1, 2, 3):
        for value in module.parameters():
            value.grad = number * value.detach().square()
        optimizer.step()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_by_its_definition(momentum: float) -> None:
    """Sutskever et al., ICML 2013, as PyTorch writes it: the velocity gathers, a step looks ahead of it."""
    cfg = configured(TRAIN__OPTIMIZER="sgd", TRAIN__LR=0.1, TRAIN__MOMENTUM=momentum, TRAIN__WD=0.2)
    module, expected = layer(), layer()
    three_steps(module, build_weight_optimizer(cfg, module.parameters()))
    for value, decay in ((expected.weight, 0.2), (expected.bias, 0.0)):
        velocity = torch.zeros_like(value)
        for number in (1, 2, 3):
            gradient = number * value.detach().square() + decay * value.detach()
            velocity = momentum * velocity + gradient
            value.data -= 0.1 * (gradient + momentum * velocity)
    torch.testing.assert_close(module.weight, expected.weight)
    torch.testing.assert_close(module.bias, expected.bias)


def test_adamw_by_its_definition() -> None:
    """Loshchilov and Hutter, ICLR 2019, algorithm 2: weights shrink by a share of themselves, whatever the gradient."""
    cfg = configured(TRAIN__OPTIMIZER="adamw", TRAIN__LR=0.1, TRAIN__WD=0.2, TRAIN__BETA1=0.8, TRAIN__BETA2=0.95)
    module, expected = layer(), layer()
    three_steps(module, build_weight_optimizer(cfg, module.parameters()))
    for value, decay in ((expected.weight, 0.2), (expected.bias, 0.0)):
        mean, square = torch.zeros_like(value), torch.zeros_like(value)
        for number in (1, 2, 3):
            gradient = number * value.detach().square()
            mean, square = 0.8 * mean + 0.2 * gradient, 0.95 * square + 0.05 * gradient.square()
            ahead = (mean / (1 - 0.8**number)) / ((square / (1 - 0.95**number)).sqrt() + 1e-8)
            value.data = value.data * (1 - 0.1 * decay) - 0.1 * ahead
    torch.testing.assert_close(module.weight, expected.weight)
    torch.testing.assert_close(module.bias, expected.bias)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("kind", ["network", "vggm"])
def test_biases_and_norms_do_not_decay(name: str, kind: str) -> None:
    """Every parameter is in one group; those pretrained keep their share of the rate."""
    network = build_small(kind)
    cfg = configured(TRAIN__OPTIMIZER=name, TRAIN__WD=0.1, TRAIN__LR_PRETRAINED=0.1)
    optimizer = build_weight_optimizer(cfg, *split_parameters(network))
    found = {value: (group["weight_decay"], group.get(FACTOR, 1)) for group in optimizer.param_groups
             for value in group["params"]}  # fmt: skip
    assert len(found) == sum(len(group["params"]) for group in optimizer.param_groups)
    for path, value in network.named_parameters():
        expected = 0.1 if value.ndim > 1 else 0.0, 1 if path.startswith(("classifier.", "pooling.")) else 0.1
        assert found.pop(value) == expected, path
    assert not found
    set_lr(optimizer, 0.02)
    assert all(group["lr"] == pytest.approx(0.02 * group.get(FACTOR, 1)) for group in optimizer.param_groups)


def test_adam_is_left_as_it_was() -> None:
    """One group, whose weights all decay."""
    (group,) = build_weight_optimizer(configured(TRAIN__WD=0.1), build_small("network").parameters()).param_groups
    assert group["weight_decay"] == 0.1
