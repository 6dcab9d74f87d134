"""Ours computes what the original implementation computes: its numbers, from GOLDEN_DIR or tests/golden.

Every convolution and linear weight is filled by a rule that knows its shape alone, so nothing depends on names.
"""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from data_objects.datasets import read_frames
from data_objects.frontend import FrontEnd, count_frames, reverse_time
from data_objects.index import Index, load_statistics
from models import build_model, count_parameters
from models.genotypes import SEARCH_SPACES, derive_genotype, parse_genotype
from tests.helpers import index_of, write_lists
from utils.metrics.rates import equal_error_rate

FOLDER = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "golden")
DESCRIPTION = json.loads((FOLDER / "goldens.json").read_text(encoding="utf-8"))
WAVS = [Path(name).stem for name in DESCRIPTION["wavs"]]
NETWORKS, BASELINES = DESCRIPTION["networks"], DESCRIPTION["baselines"]
SUPERNET = DESCRIPTION["supernet"]

by_name = {"ids": lambda network: network["name"]}


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    """Every array of the folder."""
    with np.load(FOLDER / "goldens.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """The index of a corpus of the folder's wavs, in their order, one a speaker and all trained on."""
    folder = tmp_path_factory.mktemp("golden")
    utterances = [f"id{10001 + number}/video/00001.wav" for number in range(len(WAVS))]
    for name, utterance in zip(WAVS, utterances, strict=True):
        path = folder / "wav" / utterance
        path.parent.mkdir(parents=True)
        path.write_bytes((FOLDER / f"{name}.wav").read_bytes())
    write_lists(folder, dict.fromkeys(utterances, 1))
    return index_of(folder)


@pytest.fixture(scope="module")
def front_end(index: Index) -> FrontEnd:
    """The front end that is normalised by the statistics of the folder's wavs."""
    return FrontEnd(*load_statistics(index.feature_dir, "merged"))


def assert_close(actual, expected: np.ndarray, tolerance: float) -> None:
    """Equal within `tolerance` of the largest expected magnitude."""
    actual = actual.detach().numpy() if isinstance(actual, torch.Tensor) else np.asarray(actual)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def fill(network: nn.Module) -> nn.Module:
    """Give every convolution and linear layer the weights that its shape determines, and biases of 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = layer.weight[0].numel()
            place = torch.arange(layer.weight.numel(), dtype=torch.float64)
            values = math.sqrt(2 / fan_in) * torch.sin(0.7 * place + 0.1 * fan_in)
            layer.weight.data.copy_(values.view(layer.weight.shape))
            if layer.bias is not None:
                layer.bias.data.zero_()
    return network


def build_filled(description: dict, kind: str) -> nn.Module:
    """The network of an entry of goldens.json, filled; channels outermost, which in float64 is several times faster."""
    return fill(build_model(description | {"kind": kind})).to(memory_format=torch.contiguous_format)


def gradient_norm(parameters) -> float:
    """2-norm of all gradients together."""
    return math.sqrt(
        sum(parameter.grad.square().sum().item() for parameter in parameters if parameter.grad is not None)
    )


def smoothed_loss(logits: torch.Tensor, golden: dict[str, np.ndarray]) -> torch.Tensor:
    """The training loss of the golden batch."""
    target = torch.from_numpy(golden["target"]).long()
    return nn.functional.cross_entropy(logits, target, label_smoothing=0.1)


# ------------------------------------------------------------------------------------------------------------------
# Front end
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", range(len(WAVS)), ids=WAVS)
def test_spectrogram(index: Index, golden: dict[str, np.ndarray], number: int) -> None:
    """The levelled magnitudes of a whole utterance, and their number of frames."""
    name = WAVS[number]
    frames = count_frames(int(index.samples[number]))
    assert frames == golden[f"{name}_frames"]
    gains = torch.from_numpy(index.gains[[number]])
    magnitudes = FrontEnd()(torch.tensor(read_frames(index, number, 0, frames))[None], gains)[0]
    expected = golden[f"{name}_spectrogram"]
    assert_close(magnitudes[: len(expected)], expected, 1e-5)
    assert magnitudes.double().sum().item() == pytest.approx(float(golden[f"{name}_spectrogram_sum"]), rel=1e-5)


def test_statistics(front_end: FrontEnd, golden: dict[str, np.ndarray]) -> None:
    """Mean and population deviation over all frames trained on."""
    assert_close(front_end.mean, golden["mean"], 1e-5)
    assert_close(front_end.deviation, golden["std"], 1e-5)


def test_input(index: Index, front_end: FrontEnd, golden: dict[str, np.ndarray]) -> None:
    """A batch of the wavs' first frames, and of the same reversed in time."""
    count, frames, _ = golden["input"].shape
    waveforms = np.stack([read_frames(index, row, 0, frames) for row in range(count // 2)])
    gains = torch.from_numpy(np.tile(index.gains[: count // 2], 2))
    features = front_end(torch.from_numpy(np.concatenate([waveforms, waveforms])), gains)
    reverse = torch.arange(count) >= count // 2
    assert_close(reverse_time(features, reverse), golden["input"], 1e-5)


# ------------------------------------------------------------------------------------------------------------------
# Networks
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("description", NETWORKS, **by_name)
def test_network_embedding(golden: dict[str, np.ndarray], description: dict) -> None:
    """Parameters, and embeddings in evaluation mode."""
    network = build_filled(description, "network").eval()
    assert count_parameters(network) == description["parameters"]
    with torch.no_grad():
        embedding = network.embed(torch.from_numpy(golden["input"]))
    assert_close(embedding, golden[f"{description['name']}_embedding"], 1e-4)


@pytest.mark.parametrize("description", NETWORKS, **by_name)
def test_network_training(golden: dict[str, np.ndarray], description: dict) -> None:
    """Logits, loss and gradients of a training step in float64, without drop-path."""
    name = description["name"]
    network = build_filled(description, "network").double().train()
    logits = network(torch.from_numpy(golden["input"]).double())
    loss = smoothed_loss(logits, golden)
    loss.backward()
    assert_close(logits, golden[f"{name}_train_logits"], 1e-6)
    assert loss.item() == pytest.approx(float(golden[f"{name}_train_loss"]), rel=1e-6)
    assert gradient_norm(network.parameters()) == pytest.approx(float(golden[f"{name}_grad_norm"]), rel=1e-6)


@pytest.mark.parametrize("description", BASELINES, **by_name)
def test_baseline_embedding(golden: dict[str, np.ndarray], description: dict) -> None:
    """Parameters, and embeddings of the first inputs in evaluation mode."""
    network = build_filled(description, description["name"]).eval()
    assert count_parameters(network) == description["parameters"]
    expected = golden[f"{description['name']}_embedding"]
    with torch.no_grad():
        embedding = network.embed(torch.from_numpy(golden["input"][: len(expected)]))
    assert_close(embedding, expected, 1e-4)


# ------------------------------------------------------------------------------------------------------------------
# Search
# ------------------------------------------------------------------------------------------------------------------
Step = tuple[nn.Module, torch.Tensor, torch.Tensor]  # the supernet after it, logits, loss


def supernet_step(golden: dict[str, np.ndarray], learn: str) -> Step:
    """The backward pass of one step, `learn_alpha` or `learn_weights`, in float64."""
    supernet = build_filled(SUPERNET, "supernet").double().train()
    supernet.alpha_normal.data.copy_(torch.from_numpy(golden["supernet_alpha_normal"]))
    supernet.alpha_reduce.data.copy_(torch.from_numpy(golden["supernet_alpha_reduce"]))
    {"alpha": supernet.learn_alpha, "weights": supernet.learn_weights}[learn]()
    noise = torch.from_numpy(golden["supernet_noise"]).double()
    logits = supernet(torch.from_numpy(golden["input"]).double(), noise)
    loss = smoothed_loss(logits, golden)
    loss.backward()
    return supernet, logits, loss


@pytest.fixture(scope="module")
def steps(golden: dict[str, np.ndarray]) -> dict[str, Step]:
    """Both steps of a search iteration."""
    return {learn: supernet_step(golden, learn) for learn in ("alpha", "weights")}


def test_search_space() -> None:
    """The candidate operations, in the order of alpha's columns, and the supernet's size."""
    assert list(SEARCH_SPACES[SUPERNET["space"]]) == SUPERNET["operations"]
    assert count_parameters(build_model(SUPERNET | {"kind": "supernet"})) == SUPERNET["parameters"]


@pytest.mark.parametrize("learn", ["alpha", "weights"])
def test_supernet_output(golden: dict[str, np.ndarray], steps: dict[str, Step], learn: str) -> None:
    """Logits and loss of either step of a search iteration, in float64."""
    _, logits, loss = steps[learn]
    assert_close(logits, golden["supernet_logits"], 1e-6)
    assert loss.item() == pytest.approx(float(golden["supernet_loss"]), rel=1e-6)


def test_supernet_alpha_gradients(golden: dict[str, np.ndarray], steps: dict[str, Step]) -> None:
    """The gradients that all operations, run densely, give alpha."""
    supernet, _, _ = steps["alpha"]
    assert_close(supernet.alpha_normal.grad, golden["supernet_grad_alpha_normal"], 1e-6)
    assert_close(supernet.alpha_reduce.grad, golden["supernet_grad_alpha_reduce"], 1e-6)


def test_supernet_weight_gradients(golden: dict[str, np.ndarray], steps: dict[str, Step]) -> None:
    """The gradients of all other weights."""
    supernet, _, _ = steps["weights"]
    norm = gradient_norm(supernet.weight_parameters())
    assert norm == pytest.approx(float(golden["supernet_weight_grad_norm"]), rel=1e-6)


@pytest.mark.parametrize("number", range(len(DESCRIPTION["derive_genotypes"])))
def test_derived_genotype(golden: dict[str, np.ndarray], number: int) -> None:
    """The genotype of a pair of alphas, equal as a text and as a genotype."""
    expected = DESCRIPTION["derive_genotypes"][number]
    alphas = map(torch.from_numpy, golden["derive_alphas"][number])
    genotype = derive_genotype(*alphas, SEARCH_SPACES[SUPERNET["space"]])
    assert genotype == parse_genotype(expected)
    assert str(genotype) == expected


# ------------------------------------------------------------------------------------------------------------------
# Metrics
# ------------------------------------------------------------------------------------------------------------------
def test_equal_error_rate(golden: dict[str, np.ndarray]) -> None:
    """Equal to the original's, which does not interpolate, within one trial."""
    labels = golden["eer_labels"]
    one_trial = 1 / min(np.sum(labels == 1), np.sum(labels == 0))
    assert equal_error_rate(golden["eer_scores"], labels) == pytest.approx(float(golden["eer"]), abs=one_trial)


def test_arrays_are_all_there_and_all_read(golden: dict[str, np.ndarray]) -> None:
    """An array that no test here reads would be a promise that nobody checks."""
    names = {f"{name}_{what}" for name in WAVS for what in ("spectrogram", "spectrogram_sum", "frames")}
    for network in NETWORKS:
        names |= {f"{network['name']}_{what}" for what in ("embedding", "train_logits", "train_loss", "grad_norm")}
    names |= {f"{network['name']}_embedding" for network in BASELINES}
    supernet = "alpha_normal alpha_reduce noise logits loss grad_alpha_normal grad_alpha_reduce weight_grad_norm"
    names |= {f"supernet_{what}" for what in supernet.split()}
    names |= {"mean", "std", "input", "target", "derive_alphas", "eer_scores", "eer_labels", "eer"}
    assert names <= set(golden)
    if "GOLDEN_DIR" not in os.environ:
        assert names == set(golden)
