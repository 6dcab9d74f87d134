"""The additive angular margin by its definition, and the cosine classifier that it needs."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from config import default_config
from models import BASELINES, build_baseline, build_model, build_network, build_supernet, describe
from models.folding import fold_norms
from models.genotypes import PAPER_GENOTYPE
from models.heads import CosineClassifier
from models.resnet import resnet18
from tests.utils.records.test_checkpoint import make_checkpoint
from utils.records.checkpoint import check_architecture
from utils.system.errors import UserError
from utils.training.losses import AdditiveAngularMargin, build_criterion

SCALE, MARGIN, CLASSES = 30.0, 0.2, 7
TINY = {"kind": "network", "layers": 3, "channels": 4, "num_classes": CLASSES, "genotype": str(PAPER_GENOTYPE)}


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


# ------------------------------------------------------------------------------------------------------------------
# The margin
# ------------------------------------------------------------------------------------------------------------------
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


def test_gradient_of_the_loss() -> None:
    """By finite differences."""
    angles, labels = draw()
    logits = (SCALE * angles.cos()).requires_grad_()
    criterion = AdditiveAngularMargin(MARGIN, SCALE, 0.1)
    assert torch.autograd.gradcheck(lambda logits: criterion(logits, labels), logits)


def test_target_falls_with_its_angle() -> None:
    """All the way from 0 to pi, across the place where theta + m is pi."""
    angles = torch.linspace(0, math.pi, 2000, dtype=torch.float64)[:, None]
    labels = torch.zeros(len(angles), dtype=torch.int64)
    logits = AdditiveAngularMargin(0.5, SCALE).add_margin(SCALE * angles.cos(), labels)
    assert (logits.diff(dim=0) < 0).all()


@pytest.mark.parametrize("cosine", [1.0, -1.0, 1 + 1e-6, -1 - 1e-6])
def test_gradient_at_the_ends_is_finite(cosine: float) -> None:
    """Where the sine is 0, and where rounding passes 1."""
    logits = torch.tensor([[SCALE * cosine, 0.0]], requires_grad=True)
    loss = AdditiveAngularMargin(MARGIN, SCALE)(logits, torch.tensor([0]))
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


# ------------------------------------------------------------------------------------------------------------------
# The classifier
# ------------------------------------------------------------------------------------------------------------------
def test_logits_are_scaled_cosines() -> None:
    """Whatever the lengths of embeddings and weights."""
    classifier = CosineClassifier(5, CLASSES, SCALE).double()
    embeddings = 100 * torch.randn(3, 5, dtype=torch.float64)
    logits = classifier(embeddings)
    for row, embedding in enumerate(embeddings):
        for label, weight in enumerate(classifier.weight):
            cosine = embedding @ weight / (embedding.norm() * weight.norm())
            assert logits[row, label].item() == pytest.approx(SCALE * cosine.item())


def test_cosines_are_not_taken_in_bfloat16() -> None:
    """Under autocast too; the embeddings may be."""
    classifier, embeddings = CosineClassifier(64, CLASSES, SCALE), torch.randn(3, 64).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        logits = classifier(embeddings)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, classifier(embeddings.float()))


@pytest.mark.parametrize("kind", ["network", *BASELINES])
def test_contract_of_a_network_with_cosines(kind: str) -> None:
    """`classifier` gives the logits of `embed`, without margin, whatever the mode."""
    network = build_model(TINY | {"kind": kind, "loss": "aam", "scale": SCALE}).eval()
    features = torch.randn(2, 101, 257)
    with torch.no_grad():
        logits, embeddings = network(features), network.embed(features)
        torch.testing.assert_close(network.classifier(embeddings), logits)
        torch.testing.assert_close(fold_norms(network)(features), logits, rtol=1e-3, atol=1e-3)
    assert isinstance(network.classifier, nn.Linear)
    assert network.classifier.bias is None
    assert (logits.abs() <= SCALE * 1.0001).all()


def test_weights_of_resnets_are_not_initialised_twice() -> None:
    """Rows of a length of about 1, not the 0.2 of N(0, 0.01)."""
    lengths = resnet18(50, cosine_scale=SCALE).classifier.weight.norm(dim=1)
    assert (lengths - 1).abs().max() < 0.2


# ------------------------------------------------------------------------------------------------------------------
# Checkpoints
# ------------------------------------------------------------------------------------------------------------------
CHANGES = [("MODEL.POOLING", "attentive", "pooling", "average"), ("TRAIN.LOSS", "aam", "loss", "softmax")]


def configured(**settings: object):
    """The defaults, but for these settings."""
    cfg = default_config()
    cfg.merge_from_list([item for key, value in settings.items() for item in (key.replace("__", "."), value)])
    return cfg


def test_usual_architecture_says_nothing_of_the_options() -> None:
    """So that checkpoints are what they were."""
    assert describe(default_config(), "network") == {"kind": "network", "layers": 8, "channels": 64}
    network = build_network(configured(MODEL__LAYERS=3), PAPER_GENOTYPE, 2)
    assert set(network.architecture) == {"kind", "layers", "channels", "num_classes", "genotype"}
    assert not any("pooling" in name for name in network.state_dict())


@pytest.mark.parametrize(("key", "value", "name", "usual"), CHANGES)
def test_checkpoint_of_another_head_is_refused_by_name(tmp_path, key: str, value: str, name: str, usual: str) -> None:
    """In both directions; one from before there was a choice is one of the usual."""
    checkpoint = make_checkpoint()
    plain, other = ({**describe(configured(**settings), "network")} for settings in ({}, {key: value}))
    checkpoint.architecture = plain
    check_architecture(plain, checkpoint, tmp_path)
    with pytest.raises(UserError, match=f"its {name} is {usual}, the settings say {value}"):
        check_architecture(other, checkpoint, tmp_path)
    checkpoint.architecture = other
    check_architecture(other, checkpoint, tmp_path)
    with pytest.raises(UserError, match=f"its {name} is {value}, the settings say {usual}"):
        check_architecture(plain, checkpoint, tmp_path)


def test_checkpoint_of_another_scale_is_refused(tmp_path) -> None:
    """Logits would be others."""
    checkpoint = make_checkpoint()
    checkpoint.architecture = describe(configured(TRAIN__LOSS="aam"), "network")
    with pytest.raises(UserError, match=r"its scale is 30\.0, the settings say 20\.0"):
        check_architecture(describe(configured(TRAIN__LOSS="aam", TRAIN__SCALE=20.0), "network"), checkpoint, tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.POOLING", "attentive"),
        ("TRAIN.LOSS", "aam"),
        ("AUGMENT.NOISE_DIR", "noise"),
        ("AUGMENT.RIR_DIR", "rir"),
        ("AUGMENT.SPEED", "0.9 1.1"),
    ],
)
def test_supernet_refuses_what_it_does_not_take(key: str, value: str) -> None:
    """One line that names the key; a search would leave it out in silence otherwise."""
    cfg = configured(MODEL__NAME="supernet", **{key: value})
    with pytest.raises(UserError, match=rf"^{key}.*\bleave it\b.*$") as raised:
        build_supernet(cfg, 3)
    assert "\n" not in str(raised.value)


def test_vggm_takes_cosines_but_no_other_pooling() -> None:
    """Its pooling is a layer of its table."""
    cfg = configured(MODEL__NAME="vggm", TRAIN__LOSS="aam")
    assert isinstance(build_baseline(cfg, 3).classifier, CosineClassifier)
    cfg.MODEL.POOLING = "attentive"
    with pytest.raises(UserError, match=r"^MODEL\.POOLING attentive.*not for vggm"):
        build_baseline(cfg, 3)
