"""Poolings by their equations, and within the networks."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import build_model, count_parameters
from models.base import SpeakerNetwork
from models.genotypes import PAPER_GENOTYPE
from models.pooling import (
    COORDINATES,
    EMBEDDING,
    FLOOR,
    HIDDEN,
    MOMENTS,
    SMALLEST_VARIANCE,
    AttentiveStatistics,
    AveragePooling,
    Correlations,
    MapMoments,
    ShareDropout,
)

CHANNELS = 6
NETWORK = {"kind": "network", "layers": 3, "channels": 4, "num_classes": 5, "genotype": str(PAPER_GENOTYPE)}
KINDS = ("network", "resnet18", "resnet34")


def draw(frames: int = 9) -> tuple[AttentiveStatistics, Tensor]:
    """Pooling and its input (B, C, T, F), in float64."""
    torch.manual_seed(0)
    return AttentiveStatistics([(CHANNELS, 4)]).double(), torch.randn(3, CHANNELS, frames, 4, dtype=torch.float64)


def build(kind: str, **options: object) -> SpeakerNetwork:
    """A network, with attentive pooling."""
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
    torch.testing.assert_close(pooling([x]), pool_by_loops(pooling, x), rtol=1e-9, atol=1e-9)
    weights = pooling.attend(x.mean(dim=3).transpose(1, 2))
    assert weights.max() > 3 * weights.min()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3, 1, dtype=torch.float64))


def test_even_attention_is_mean_and_deviation() -> None:
    """The population's deviation, of the means over frequency."""
    pooling, x = draw()
    torch.nn.init.zeros_(pooling.score.weight)
    frames = x.mean(dim=3)
    deviation = (frames.var(dim=2, unbiased=False) + SMALLEST_VARIANCE).sqrt()
    torch.testing.assert_close(pooling([x]), torch.cat([frames.mean(dim=2), deviation], dim=1), rtol=1e-9, atol=1e-9)


def test_order_of_the_frames_does_not_matter() -> None:
    """Nor that of the frequencies."""
    pooling, x = draw()
    shuffled = x[:, :, torch.randperm(x.size(2))][..., torch.randperm(x.size(3))]
    torch.testing.assert_close(pooling([shuffled]), pooling([x]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("frames", [1, 5])
def test_gradient_of_frames_that_are_all_alike(frames: int) -> None:
    """The root of a variance of 0 has none; there is one of every parameter, finite."""
    pooling, x = draw(frames)
    x = x[:, :, :1].expand(-1, -1, frames, -1).clone().requires_grad_()
    pooling([x]).sum().backward()
    assert all(value.grad.isfinite().all() for value in (x, *pooling.parameters()))


def test_gradient_of_pooling() -> None:
    """By finite differences."""
    pooling, x = draw(4)
    assert torch.autograd.gradcheck(lambda x: pooling([x]), x.requires_grad_())


def test_statistics_are_not_taken_in_bfloat16() -> None:
    """Frames around 100 that differ by 0.5, the step of bfloat16 there: its squares would lose their deviation."""
    pooling = AttentiveStatistics([(CHANNELS, 4)])
    torch.nn.init.zeros_(pooling.score.weight)
    x = 100 + 0.5 * torch.randint(-1, 2, (2, CHANNELS, 40, 1)).float()
    with torch.autocast("cpu", torch.bfloat16):
        pooled = pooling([x.bfloat16()])
    assert pooled.dtype == torch.float32
    deviation = (x[..., 0].double().var(dim=2, unbiased=False) + SMALLEST_VARIANCE).sqrt()
    torch.testing.assert_close(pooled[:, CHANNELS:].double(), deviation, rtol=1e-3, atol=0)


def test_average_pooling_has_nothing_to_learn() -> None:
    """And is the mean that it always was."""
    pooling, x = AveragePooling([(CHANNELS, 4)]), torch.randn(2, CHANNELS, 3, 4)
    assert not pooling.state_dict()
    assert torch.equal(pooling([x]), x.mean(dim=(2, 3)))


# ------------------------------------------------------------------------------------------------------------------
# Correlations
# ------------------------------------------------------------------------------------------------------------------
def draw_moments(frames: int = 9) -> tuple[MapMoments, Tensor]:
    """Moments, as they are evaluated, and a map (B, C, T, F), in float64."""
    torch.manual_seed(0)
    return MapMoments((CHANNELS, 4)).double().eval(), torch.randn(3, CHANNELS, frames, 4, dtype=torch.float64)


def test_moments_by_numpy() -> None:
    """Means, log deviations and what NumPy's correlations are, the floor of variances left aside."""
    moments, x = draw_moments(40)
    weight = moments.project[0].weight
    frames = 5 * torch.einsum("bctf,rcf->brt", x, weight[:, :, 0])
    moments.project[1].weight.data *= 5 * (1 + moments.project[1].eps) ** 0.5
    found = moments(x).split([COORDINATES, COORDINATES, MOMENTS - 2 * COORDINATES], dim=1)
    for utterance, mean, logarithm, correlations in zip(frames.detach().numpy(), *found, strict=True):
        np.testing.assert_allclose(mean.detach(), utterance.mean(axis=1), atol=1e-12)
        np.testing.assert_allclose(logarithm.detach(), np.log(utterance.std(axis=1)), atol=FLOOR)
        pairs = np.triu_indices(COORDINATES, 1)
        np.testing.assert_allclose(correlations.detach(), np.corrcoef(utterance)[pairs], atol=FLOOR)


def test_correlations_have_shallow_maps_and_the_mean_of_the_last() -> None:
    """Side by side, without dropout, through one layer; maps of different lengths and depths."""
    torch.manual_seed(0)
    pooling = Correlations([(4, 10), (6, 5), (8, 3)]).eval()
    maps = [torch.randn(2, 4, 20, 10), torch.randn(2, 6, 10, 5), torch.randn(2, 8, 5, 3)]
    first, second = pooling.moments
    layer = pooling.embed[3]
    pooling.embed[0].running_var.fill_(1 - pooling.embed[0].eps)
    expected = layer(torch.cat([first(maps[0]), second(maps[1]), maps[2].mean(dim=(2, 3))], dim=1))
    torch.testing.assert_close(pooling(maps), expected)
    assert layer.weight.shape == (EMBEDDING, 2 * MOMENTS + 8)
    assert not torch.equal(pooling.train()(maps), pooling(maps))  # other values are dropped each time


def test_dropout_of_a_share() -> None:
    """It is nn.Dropout's of the whole batch, share by share; a mean of 1 stays, and evaluation leaves all as it is."""
    ours, usual, x = ShareDropout(0.3), nn.Dropout(0.3), torch.randn(6, 50)
    torch.manual_seed(1)
    whole = usual(x)
    for processes in (1, 3):
        for place, share in enumerate(x.chunk(processes)):
            ours.shares = (place, processes)
            torch.manual_seed(1)
            torch.testing.assert_close(ours(share), whole.chunk(processes)[place])
    assert ours.eval()(x) is x


def test_every_part_knows_its_share() -> None:
    """Drop-path, and dropout of whatever network."""
    for kind in ("network", "resnet18"):
        network = build(kind, pooling="correlation")
        network.share_batches(1, 2)
        having = [module for module in network.modules() if hasattr(module, "shares")]
        assert len(having) == (2 if kind == "network" else 1)
        assert all(module.shares == (1, 2) for module in having)


@pytest.mark.parametrize("frames", [1, 5])
def test_gradient_of_moments_of_frames_that_are_all_alike(frames: int) -> None:
    """As of attention: there is one, finite."""
    moments, x = draw_moments(frames)
    x = x[:, :, :1].expand(-1, -1, frames, -1).clone().requires_grad_()
    moments(x).sum().backward()
    assert all(value.grad.isfinite().all() for value in (x, *moments.parameters()))


def test_gradient_of_moments() -> None:
    """By finite differences."""
    moments, x = draw_moments(4)
    assert torch.autograd.gradcheck(moments, x.requires_grad_())


def test_moments_are_not_taken_in_bfloat16() -> None:
    """Whatever the map comes in: of what it is projected to, in bfloat16, the moments are float32's."""
    moments, x = draw_moments(200)
    moments, x = moments.float(), x.float()
    with torch.autocast("cpu", torch.bfloat16):
        found, frames = moments(x), moments.project(x)
    assert found.dtype == torch.float32 and frames.dtype == torch.bfloat16
    frames = frames.double().squeeze(3)
    mean, deviation = frames.mean(dim=2), (frames.var(dim=2, unbiased=False) + FLOOR).sqrt()
    standard = (frames - mean[:, :, None]) / deviation[:, :, None]
    row, column = torch.triu_indices(COORDINATES, COORDINATES, offset=1)
    correlations = (standard @ standard.mT / frames.size(2))[:, row, column]
    expected = torch.cat([mean, deviation.log(), correlations], dim=1)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bins", [23, 80, 257])
def test_contract_of_a_network_that_correlates(kind: str, bins: int) -> None:
    """Its layers fit the maps of any number of bins; the embedding is as long as it says."""
    network = build(kind, pooling="correlation", bins=bins).eval()
    features = torch.randn(2, 101, bins)
    with torch.no_grad():
        embeddings = network.embed(features)
        torch.testing.assert_close(network.classifier(embeddings), network(features))
    assert embeddings.shape == (2, network.embedding_dim) == (2, EMBEDDING)
    depths = len(network.pooling.moments)
    assert depths == 4  # of features, and of a network's stem and two reductions, or a ResNet's first stages


@pytest.mark.parametrize("layers", [1, 2, 8])
def test_maps_of_any_number_of_cells(layers: int) -> None:
    """One cell is both reductions."""
    network = build("network", pooling="correlation", bins=80, layers=layers).eval()
    with torch.no_grad():
        assert network(torch.randn(2, 40, 80)).shape == (2, 5)


@pytest.mark.parametrize("pooling", ["attentive", "correlation"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_memory_format_changes_nothing(precision: torch.dtype, pooling: str) -> None:
    """Channels-last, as networks are built, or channels-first."""
    features, outputs = torch.randn(2, 60, 257), []
    network = build("network", pooling=pooling).eval()
    for memory_format in (torch.channels_last, torch.contiguous_format):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            outputs.append(network.to(memory_format=memory_format).embed(features))
    tolerance = 1e-4 if precision == torch.float32 else 0.1
    torch.testing.assert_close(*outputs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("pooling", ["attentive", "correlation"])
def test_compiled_training_step_pools_as_before(monkeypatch: pytest.MonkeyPatch, pooling: str) -> None:
    """Traced in one piece, as torch.compile does; under autocast too."""
    compile_for_real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda run, **_: compile_for_real(run, backend="aot_eager", fullgraph=True))
    features, gradients = torch.randn(2, 40, 257), []
    for is_compiled in (False, True):
        torch.manual_seed(0)
        network = build("network", pooling=pooling).train()
        for module in network.modules():
            if isinstance(module, ShareDropout):
                module.probability = 0.0  # compiled, it is drawn in another way
        if is_compiled:
            network.compile_for_training()
            with torch.autocast("cpu", torch.bfloat16):
                network(features)
            torch.manual_seed(0)
        network(features).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
