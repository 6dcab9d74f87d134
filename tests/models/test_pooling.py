"""Attentive statistics pooling by its equations, and within the networks."""

import math

import pytest
import torch
from torch import Tensor

from models import build_model, count_parameters
from models.genotypes import PAPER_GENOTYPE
from models.pooling import HIDDEN, SMALLEST_VARIANCE, AttentiveStatistics, AveragePooling

CHANNELS = 6
NETWORK = {"kind": "network", "layers": 3, "channels": 4, "num_classes": 5, "genotype": str(PAPER_GENOTYPE)}
KINDS = ("network", "resnet18", "resnet34")


def draw(frames: int = 9) -> tuple[AttentiveStatistics, Tensor]:
    """Pooling and its input (B, C, T, F), in float64."""
    torch.manual_seed(0)
    return AttentiveStatistics(CHANNELS).double(), torch.randn(3, CHANNELS, frames, 4, dtype=torch.float64)


def build(kind: str, **options: object) -> torch.nn.Module:
    """A network with attentive pooling."""
    return build_model(NETWORK | {"kind": kind, "pooling": "attentive", **options})


# ------------------------------------------------------------------------------------------------------------------
# The equations
# ------------------------------------------------------------------------------------------------------------------
def pool_by_loops(pooling: AttentiveStatistics, x: Tensor) -> Tensor:
    """Equations 2 to 6, number by number."""
    rows = []
    for utterance in x:
        frames = [[sum(channel[t]) / len(channel[t]) for channel in utterance.tolist()] for t in range(x.size(2))]
        scores = []
        for frame in frames:
            hidden = [
                math.tanh(sum(w * h for w, h in zip(row, frame, strict=True)) + bias)
                for row, bias in zip(pooling.hidden.weight.tolist(), pooling.hidden.bias.tolist(), strict=True)
            ]
            scores.append(sum(v * g for v, g in zip(pooling.score.weight[0].tolist(), hidden, strict=True)))
        total = sum(math.exp(score) for score in scores)
        weights = [math.exp(score) / total for score in scores]
        mean = [sum(a * frame[c] for a, frame in zip(weights, frames, strict=True)) for c in range(CHANNELS)]
        square = [sum(a * frame[c] ** 2 for a, frame in zip(weights, frames, strict=True)) for c in range(CHANNELS)]
        deviation = [math.sqrt(s - m**2 + SMALLEST_VARIANCE) for s, m in zip(square, mean, strict=True)]
        rows.append(mean + deviation)
    return torch.tensor(rows, dtype=torch.float64)


def test_pooling_by_its_equations() -> None:
    """The attention is far from even here."""
    pooling, x = draw()
    torch.nn.init.normal_(pooling.score.weight, 0, 2)
    torch.testing.assert_close(pooling(x), pool_by_loops(pooling, x), rtol=1e-9, atol=1e-9)
    weights = pooling.attend(x.mean(dim=3).transpose(1, 2))
    assert weights.max() > 3 * weights.min()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3, 1, dtype=torch.float64))


def test_even_attention_is_mean_and_deviation() -> None:
    """The population's deviation, of the means over frequency."""
    pooling, x = draw()
    torch.nn.init.zeros_(pooling.score.weight)
    frames = x.mean(dim=3)
    deviation = (frames.var(dim=2, unbiased=False) + SMALLEST_VARIANCE).sqrt()
    torch.testing.assert_close(pooling(x), torch.cat([frames.mean(dim=2), deviation], dim=1), rtol=1e-9, atol=1e-9)


def test_order_of_the_frames_does_not_matter() -> None:
    """Nor that of the frequencies."""
    pooling, x = draw()
    shuffled = x[:, :, torch.randperm(x.size(2))][..., torch.randperm(x.size(3))]
    torch.testing.assert_close(pooling(shuffled), pooling(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("frames", [1, 5])
def test_gradient_of_frames_that_are_all_alike(frames: int) -> None:
    """The root of a variance of 0 has none; there is one of every parameter, finite."""
    pooling, x = draw(frames)
    x = x[:, :, :1].expand(-1, -1, frames, -1).clone().requires_grad_()
    pooling(x).sum().backward()
    assert all(value.grad.isfinite().all() for value in (x, *pooling.parameters()))


def test_gradient_of_pooling() -> None:
    """By finite differences."""
    pooling, x = draw(4)
    assert torch.autograd.gradcheck(pooling, x.requires_grad_())


def test_statistics_are_not_taken_in_bfloat16() -> None:
    """Frames around 100 that differ by 0.5, the step of bfloat16 there: its squares would lose their deviation."""
    pooling = AttentiveStatistics(CHANNELS)
    torch.nn.init.zeros_(pooling.score.weight)
    x = 100 + 0.5 * torch.randint(-1, 2, (2, CHANNELS, 40, 1)).float()
    with torch.autocast("cpu", torch.bfloat16):
        pooled = pooling(x.bfloat16())
    assert pooled.dtype == torch.float32
    deviation = (x[..., 0].double().var(dim=2, unbiased=False) + SMALLEST_VARIANCE).sqrt()
    torch.testing.assert_close(pooled[:, CHANNELS:].double(), deviation, rtol=1e-3, atol=0)


def test_average_pooling_has_nothing_to_learn() -> None:
    """And is the mean that it always was."""
    pooling, x = AveragePooling(CHANNELS), torch.randn(2, CHANNELS, 3, 4)
    assert not pooling.state_dict()
    assert torch.equal(pooling(x), x.mean(dim=(2, 3)))


# ------------------------------------------------------------------------------------------------------------------
# In the networks
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_contract_of_a_network_that_attends(kind: str) -> None:
    """An embedding twice as long, and as many more parameters as the classifier and the attention need."""
    network, usual = build(kind).eval(), build(kind, pooling="average")
    features = torch.randn(2, 101, 257)
    with torch.no_grad():
        embeddings = network.embed(features)
        torch.testing.assert_close(network.classifier(embeddings), network(features))
    channels = usual.embedding_dim
    assert embeddings.shape == (2, network.embedding_dim) == (2, 2 * channels)
    assert count_parameters(network) - count_parameters(usual) == HIDDEN * (channels + 2) + 5 * channels


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_memory_format_changes_nothing(precision: torch.dtype) -> None:
    """Channels-last, as networks are built, or channels-first."""
    features, outputs = torch.randn(2, 60, 257), []
    network = build("network").eval()
    for memory_format in (torch.channels_last, torch.contiguous_format):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            outputs.append(network.to(memory_format=memory_format).embed(features))
    tolerance = 1e-4 if precision == torch.float32 else 0.1
    torch.testing.assert_close(*outputs, rtol=tolerance, atol=tolerance)


def test_compiled_training_step_attends_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced in one piece, as torch.compile does; under autocast too."""
    compile_for_real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda run, **_: compile_for_real(run, backend="aot_eager", fullgraph=True))
    features, gradients = torch.randn(2, 40, 257), []
    for is_compiled in (False, True):
        torch.manual_seed(0)
        network = build("network").train()
        if is_compiled:
            network.compile_for_training()
            with torch.autocast("cpu", torch.bfloat16):
                network(features)
            torch.manual_seed(0)
        network(features).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
