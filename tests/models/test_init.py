"""The builders: networks by name, their sizes, the contract that all of them keep, and what they refuse."""

import json

import pytest
import torch
from torch import nn

from config import default_config, flatten, override
from models import (
    BASELINES,
    DERIVED,
    OF_TRAINING,
    build_baseline,
    build_model,
    build_network,
    build_supernet,
    count_parameters,
    describe,
    network_kind,
)
from models.genotypes import PAPER_GENOTYPE
from models.heads import CosineClassifier
from tests.helpers import call_script
from tests.networks import build_small, configured, derived
from utils.system.errors import UserError


# ------------------------------------------------------------------------------------------------------------------
# Sizes
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("layers", "channels", "num_classes", "parameters"),
    [(8, 64, 1251, 5_149_379), (30, 64, 1251, 16_528_323), (8, 128, 1251, 17_674_403), (8, 128, 1211, 17_592_443)],
)
def test_parameters_of_the_derived_network(layers: int, channels: int, num_classes: int, parameters: int) -> None:
    """Counted from the architecture of the paper with its genotype."""
    assert count_parameters(derived(layers, channels, num_classes)) == parameters


@pytest.mark.parametrize(
    ("config", "parameters", "macs"),
    [
        ("scratch/scratch.yaml", 17_674_403, 3.608e9),
        ("scratch/scratch.yaml MODEL.INIT_CHANNELS 64", 5_149_379, 0.926e9),
        ("scratch/scratch.yaml MODEL.INIT_CHANNELS 64 MODEL.LAYERS 30", 16_528_323, 3.209e9),
        ("scratch/scratch_veri.yaml", 17_592_443, 3.608e9),
        ("baseline/resnet18.yaml", 11_812_003, 2.714e9),
        ("baseline/resnet34.yaml", 21_920_163, 5.597e9),
        ("baseline/statistics.yaml", 206_264, None),
        ("search.yaml", 2_248_915, None),
    ],
)
def test_size_of_the_shipped_configs(config: str, parameters: int, macs: float | None) -> None:
    """Parameters exactly; multiply-accumulates for 300 frames within 1 % of the published networks' convolutions."""
    outcome = call_script("tools/summarize.py", "--cfg", *f"exps/{config}".split())
    summary = json.loads(outcome.last_line)
    assert summary["parameters"] == parameters
    if macs:
        assert summary["macs"] == pytest.approx(macs, rel=0.01)


# ------------------------------------------------------------------------------------------------------------------
# Building
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["network", "supernet", "statistics", *BASELINES])
def test_contract_of_a_network(kind: str) -> None:
    """Every network maps features (B, T, F) to embeddings (B, D) and logits (B, K), through a linear classifier."""
    network = build_small(kind).eval()
    features = torch.randn(2, 101, 257)
    with torch.no_grad():
        embedding, logits = network.embed(features), network(features)
    assert embedding.shape == (2, network.embedding_dim)
    assert isinstance(network.classifier, nn.Linear)
    torch.testing.assert_close(network.classifier(embedding), logits)
    assert logits.shape == (2, 5)


@pytest.mark.parametrize("kind", ["network", "supernet", *BASELINES])
def test_weights_are_channels_last(kind: str) -> None:
    """Convolution weights lie with their channels innermost."""
    convolutions = [layer for layer in build_small(kind).modules() if isinstance(layer, nn.Conv2d)]
    assert convolutions
    assert all(layer.weight.is_contiguous(memory_format=torch.channels_last) for layer in convolutions)


def test_baseline_by_name() -> None:
    """MODEL.NAME builds a baseline; a name that is none lists those there are."""
    cfg = default_config()
    cfg.MODEL.NAME = "resnet18"
    assert build_baseline(cfg, 3).classifier.out_features == 3
    cfg.MODEL.NAME = "resnet19"
    with pytest.raises(UserError, match=r"'resnet19'.*resnet18, resnet34, vggm"):
        build_baseline(cfg, 3)


@pytest.mark.parametrize("name", ["resnet", "ResNet34", "resnet50", "vgg-m", "statistic"])
def test_name_that_is_nearly_a_baselines(name: str) -> None:
    """Is no genotype's network, as any other name is."""
    cfg = override(default_config(), ["MODEL.NAME", name])
    with pytest.raises(UserError, match=rf"^MODEL.NAME '{name}' is nearly, but not quite, one of resnet18, "):
        network_kind(cfg)
    for other in ("network", "mine", "AutoSpeech"):
        assert network_kind(override(default_config(), ["MODEL.NAME", other])) == DERIVED


def test_usual_architecture_says_nothing_of_the_options() -> None:
    """So that checkpoints are what they were."""
    assert describe(default_config(), "network") == {"kind": "network", "layers": 8, "channels": 64}
    network = build_network(configured(MODEL__LAYERS=3), PAPER_GENOTYPE, 2)
    assert set(network.architecture) == {"kind", "layers", "channels", "num_classes", "genotype"}
    assert not any("pooling" in name for name in network.state_dict())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.POOLING", "attentive"),
        ("TRAIN.LOSS", "aam"),
        ("AUGMENT.NOISE_DIR", "noise"),
        ("AUGMENT.RIR_DIR", "rir"),
        ("AUGMENT.SPEED", "0.9 1.1"),
        ("AUGMENT.BABBLE", 0.5),
        ("AUGMENT.EQ_DB", 6.0),
        ("AUGMENT.GAIN_DB", 6.0),
        ("AUGMENT.BAND_PROBABILITY", 0.5),
        ("AUGMENT.TIME_MASKS", 2),
        ("AUGMENT.FREQUENCY_MASKS", 2),
        ("DATASET.PARTIAL_N_FRAMES_MIN", 200),
        ("DATASET.SAMPLING", "balanced"),
        ("TRAIN.SUBCENTERS", 2),
        ("TRAIN.TOP_K", 5),
        ("TRAIN.MARGIN_WARMUP", 1),
        ("TRAIN.LR_WARMUP", 1),
        ("TRAIN.OPTIMIZER", "sgd"),
        ("TRAIN.CLIP", 1.0),
        ("TRAIN.ACCUMULATE", 2),
        ("TRAIN.EMA", 0.999),
        ("TRAIN.KEEP_EPOCHS", 1),
        ("MODEL.PRETRAINED", "run"),
    ],
)
def test_what_is_not_trained_refuses_what_it_does_not_take(key: str, value: object) -> None:
    """One line that names the key; a search, or the fitting of statistics, would leave it out in silence otherwise."""
    for kind, build in (("supernet", build_supernet), ("statistics", build_baseline)):
        cfg = configured(MODEL__NAME=kind, **{key: value})
        with pytest.raises(UserError, match=rf"^{key}.*\bleave it\b.*$") as raised:
            build(cfg, 3)
        assert "\n" not in str(raised.value)


def test_speeds_make_classes() -> None:
    """Three times as many with two factors; the architecture says so, and the number of speakers stays."""
    cfg = configured(MODEL__NAME="resnet18", AUGMENT__SPEED_CLASSES=True)
    cfg.AUGMENT.SPEED = "0.9, 1.1"
    network = build_baseline(cfg, 5)
    assert network.architecture == {"kind": "resnet18", "num_classes": 5, "speeds": "9/10 11/10"}
    assert network.classifier.out_features == 15
    assert "speeds" not in describe(configured(AUGMENT__SPEED="0.9 1.1"), "network")


def test_vggm_needs_so_many_frames() -> None:
    """In its shortest crops, too."""
    cfg = configured(MODEL__NAME="vggm", DATASET__PARTIAL_N_FRAMES_MIN=40)
    with pytest.raises(UserError, match=r"^DATASET\.PARTIAL_N_FRAMES_MIN must be at least \d+ for vggm"):
        build_baseline(cfg, 3)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("vggm", "FRONTEND.FEATURE", "log_mel"),
        ("statistics", "FRONTEND.FEATURE", "log_magnitude"),
        ("statistics", "FRONTEND.NORM", "utterance_mean"),
    ],
)
def test_front_ends_that_a_network_does_not_take(kind: str, key: str, value: str) -> None:
    """One line that names the key."""
    with pytest.raises(UserError, match=rf"^{key} {value} is not for {kind}") as raised:
        build_baseline(configured(MODEL__NAME=kind, **{key: value}), 3)
    assert "\n" not in str(raised.value)


def test_what_asks_for_nothing_is_the_default() -> None:
    """A setting of training that is left alone is refused by nobody."""
    cfg = flatten(default_config())
    assert {key: cfg[key] for key in OF_TRAINING} == OF_TRAINING


@pytest.mark.parametrize("kind", ["network", "supernet", "resnet18"])
def test_any_number_of_bins(kind: str) -> None:
    """The same weights serve whatever a frame's features are."""
    network = build_small(kind).eval()
    with torch.no_grad():
        assert [network(torch.randn(2, 32, bins)).shape for bins in (20, 80, 257)] == [(2, 5)] * 3


def test_correlation_knows_the_bins_and_needs_two_utterances() -> None:
    """As the front end has them; the checkpoint records their number, and builds the same network."""
    cfg = configured(MODEL__POOLING="correlation", MODEL__LAYERS=3, FRONTEND__FEATURE="log_mel", FRONTEND__BANDS=40)
    network = build_network(cfg, PAPER_GENOTYPE, 2)
    assert (network.architecture["pooling"], network.architecture["bins"]) == ("correlation", 40)
    build_model(network.architecture).load_state_dict(network.state_dict())
    assert describe(configured(MODEL__POOLING="correlation"), "resnet18")["bins"] == 257
    cfg.TRAIN.BATCH_SIZE = 1
    with pytest.raises(UserError, match=r"^TRAIN\.BATCH_SIZE must be at least 2 a process for MODEL\.POOLING corr"):
        build_network(cfg, PAPER_GENOTYPE, 2)


def test_vggm_takes_cosines_but_no_other_pooling() -> None:
    """Its pooling is a layer of its table."""
    cfg = configured(MODEL__NAME="vggm", TRAIN__LOSS="aam")
    assert isinstance(build_baseline(cfg, 3).classifier, CosineClassifier)
    cfg.MODEL.POOLING = "attentive"
    with pytest.raises(UserError, match=r"^MODEL\.POOLING attentive.*not for vggm"):
        build_baseline(cfg, 3)
