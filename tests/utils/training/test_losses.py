"""The additive angular margin by its definition, and the criterion that the settings ask for."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from config import default_config
from tests.networks import configured
from utils.system.errors import UserError
from utils.training.losses import AdditiveAngularMargin, build_criterion, check_top_k

SCALE, MARGIN, CLASSES = 30.0, 0.2, 7


def draw(batch: int = 12) -> tuple[Tensor, Tensor]:
    """Angles (B, K) in float64 all over from 0 to pi, and targets (B,)."""
    generator = torch.Generator().manual_seed(0)
    angles = 0.01 + 3.12 * torch.rand(batch, CLASSES, generator=generator, dtype=torch.float64)
    return angles, torch.randint(CLASSES, (batch,), generator=generator)


def margin_by_definition(angles: Tensor, labels: Tensor, margin: float) -> Tensor:
    """s cos(theta), for the target s cos(theta + m), or s (cos(theta) - m sin(m)) where theta + m > pi."""
    logits = SCALE * angles.cos()
    for row, label in enumerate(labels):
        angle = angles[row, label]
        is_within = angle + margin <= math.pi
        widened = (angle + margin).cos() if is_within else angle.cos() - margin * math.sin(margin)
        logits[row, label] = SCALE * widened
    return logits


@pytest.mark.parametrize("margin", [0.0, 0.2, 0.5, 1.5])
def test_margin_by_its_definition(margin: float) -> None:
    """With the angle from arccos; the other classes' logits stay."""
    angles, labels = draw(200)
    assert margin == 0 or {True, False} == set((angles[range(200), labels] + margin > math.pi).tolist())
    logits = AdditiveAngularMargin(margin, SCALE).add_margin(SCALE * angles.cos(), labels)
    torch.testing.assert_close(logits, margin_by_definition(angles, labels, margin), rtol=0, atol=1e-9)


def test_without_a_margin_it_is_softmax_of_the_cosines() -> None:
    """m = 0."""
    angles, labels = draw()
    logits = SCALE * angles.cos()
    loss = AdditiveAngularMargin(0.0, SCALE)(logits, labels)
    torch.testing.assert_close(loss, cross_entropy(logits, labels))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_by_its_definition(smoothing: float) -> None:
    """Of the target 1 - eps + eps / K, of every other class eps / K."""
    angles, labels = draw()
    logs = margin_by_definition(angles, labels, MARGIN).log_softmax(dim=1)
    share = torch.full_like(logs, smoothing / CLASSES)
    share[range(len(labels)), labels] += 1 - smoothing
    loss = AdditiveAngularMargin(MARGIN, SCALE, smoothing)(SCALE * angles.cos(), labels)
    torch.testing.assert_close(loss, -(share * logs).sum(dim=1).mean())


@pytest.mark.parametrize(("top_k", "margin"), [(1, 0.06), (3, 0.06), (CLASSES - 1, 1.0)])
def test_hardest_others_by_their_definition(top_k: int, margin: float) -> None:
    """One row after the other: the smallest angles but the target's are lowered, and go on falling where they end."""
    angles, labels = draw(200)
    expected, are_within = margin_by_definition(angles, labels, MARGIN), set()
    for row, label in enumerate(labels.tolist()):
        others = sorted((angle, place) for place, angle in enumerate(angles[row].tolist()) if place != label)
        for angle, place in others[:top_k]:
            is_within = angle >= margin
            lowered = math.cos(angle - margin) if is_within else math.cos(angle) + margin * math.sin(margin)
            expected[row, place] = SCALE * lowered
            are_within.add(is_within)
    assert True in are_within
    assert margin < 1 or False in are_within
    logits = AdditiveAngularMargin(MARGIN, SCALE, 0.0, top_k, margin).add_margin(SCALE * angles.cos(), labels)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-9)


def test_share_of_the_margins() -> None:
    """Both are as if they were set so small; at 0 there is none."""
    angles, labels = draw()
    logits, criterion = SCALE * angles.cos(), AdditiveAngularMargin(0.4, SCALE, 0.0, 2, 0.1)
    criterion.share = 0.25
    smaller = AdditiveAngularMargin(0.1, SCALE, 0.0, 2, 0.025)
    torch.testing.assert_close(criterion.add_margin(logits, labels), smaller.add_margin(logits, labels))
    criterion.share = 0.0
    torch.testing.assert_close(criterion.add_margin(logits, labels), logits)


@pytest.mark.parametrize("top_k", [0, 2])
def test_gradient_of_the_loss(top_k: int) -> None:
    """By finite differences."""
    angles, labels = draw()
    logits = (SCALE * angles.cos()).requires_grad_()
    criterion = AdditiveAngularMargin(MARGIN, SCALE, 0.1, top_k, 0.06)
    assert torch.autograd.gradcheck(lambda logits: criterion(logits, labels), logits)


def test_target_falls_with_its_angle() -> None:
    """All the way from 0 to pi, across the place where theta + m is pi."""
    angles = torch.linspace(0, math.pi, 2000, dtype=torch.float64)[:, None]
    labels = torch.zeros(len(angles), dtype=torch.int64)
    logits = AdditiveAngularMargin(0.5, SCALE).add_margin(SCALE * angles.cos(), labels)
    assert (logits.diff(dim=0) < 0).all()


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("cosine", [1.0, -1.0, 1 + 1e-6, -1 - 1e-6])
def test_gradient_at_the_ends_is_finite(cosine: float, target: int) -> None:
    """Of the target and of another class, where the sine is 0, and where rounding passes 1."""
    logits = torch.tensor([[SCALE * cosine, 0.0]], requires_grad=True)
    loss = AdditiveAngularMargin(MARGIN, SCALE, 0.0, 1, 0.06)(logits, torch.tensor([target]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_criterion_of_the_settings() -> None:
    """Plain cross-entropy by default."""
    cfg = default_config()
    plain = build_criterion(cfg)
    assert (type(plain), plain.label_smoothing) == (nn.CrossEntropyLoss, 0.1)
    cfg.TRAIN.LOSS, cfg.TRAIN.MARGIN, cfg.TRAIN.SCALE = "aam", 0.3, 20.0
    criterion = build_criterion(cfg)
    assert (criterion.margin, criterion.scale, criterion.label_smoothing) == (0.3, 20.0, 0.1)
    assert criterion.top_k == 0
    cfg.TRAIN.TOP_K, cfg.TRAIN.TOP_K_MARGIN = 5, 0.1
    assert (build_criterion(cfg).top_k, build_criterion(cfg).top_k_margin) == (5, 0.1)


def test_more_others_than_there_are() -> None:
    """One line; all of them may be looked for."""
    check_top_k(configured(TRAIN__TOP_K=4), 5)
    with pytest.raises(UserError, match=r"^TRAIN\.TOP_K 5 must be less than the 5 classes that are told apart$"):
        check_top_k(configured(TRAIN__TOP_K=5), 5)
