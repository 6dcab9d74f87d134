"""The networks, and the only place that maps settings to modules.

Every network is a `models.base.SpeakerNetwork`. Those built here have their `architecture`: plain values that
`build_model` builds the same network from; checkpoints record it.
"""

import difflib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from models.base import BINS, SpeakerNetwork
from models.cost import DerivedCost
from models.genotypes import SEARCH_SPACES, Genotype, parse_genotype
from models.network import Network
from models.resnet import resnet18, resnet34
from models.statistics import Statistics
from models.supernet import Supernet
from models.vggm import SHORTEST, VGGM
from utils.system.errors import UserError
from utils.system.processes import check_divisible
from utils.system.text import parse_factors

BASELINES: dict[str, Callable[..., SpeakerNetwork]] = {"resnet18": resnet18, "resnet34": resnet34, "vggm": VGGM}
STATISTICS = "statistics"  # a baseline that is fitted, not trained
SUPERNET = "supernet"
DERIVED = "network"
# What an architecture has of which it says nothing: only what is something else is recorded, so that the checkpoints
# from before there was anything else are those of the usual.
USUAL: dict[str, Any] = {"pooling": "average", "loss": "softmax", "subcenters": 1, "stem": "paper", "speeds": ""}
# Settings of how networks are trained that say nothing where none is, with the value that asks for nothing.
OF_TRAINING = {
    "MODEL.PRETRAINED": "",
    "AUGMENT.NOISE_DIR": "",
    "AUGMENT.RIR_DIR": "",
    "AUGMENT.SPEED": "",
    "AUGMENT.BABBLE": 0,
    "AUGMENT.EQ_DB": 0,
    "AUGMENT.GAIN_DB": 0,
    "AUGMENT.BAND_PROBABILITY": 0,
    "AUGMENT.TIME_MASKS": 0,
    "AUGMENT.FREQUENCY_MASKS": 0,
    "DATASET.PARTIAL_N_FRAMES_MIN": 0,
    "DATASET.SAMPLING": "natural",
    "TRAIN.SUBCENTERS": 1,
    "TRAIN.TOP_K": 0,
    "TRAIN.MARGIN_WARMUP": 0,
    "TRAIN.LR_WARMUP": 0,
    "TRAIN.OPTIMIZER": "adam",
    "TRAIN.CLIP": 0,
    "TRAIN.ACCUMULATE": 1,
    "TRAIN.EMA": 0,
    "TRAIN.KEEP_EPOCHS": 0,
}


def network_kind(cfg: CfgNode) -> str:
    """What MODEL.NAME means: a baseline by its name, `supernet`, or `network` (a genotype's) for any other name.

    Raises:
        UserError: a name that is nearly one of them.
    """
    name, known = cfg.MODEL.NAME, (*BASELINES, STATISTICS, SUPERNET)
    if name in known:
        return name
    if difflib.get_close_matches(name.lower(), known, cutoff=0.7):
        raise UserError(
            f"MODEL.NAME {name!r} is nearly, but not quite, one of {', '.join(known)}: which is meant? A genotype's "
            f"network may be called {DERIVED}"
        )
    return DERIVED


def describe(cfg: CfgNode, kind: str) -> dict[str, Any]:
    """What the settings alone say of the architecture of a network of this kind.

    Raises:
        UserError: they ask for a pooling, a loss or a front end that this kind of network does not take.
    """
    architecture: dict[str, Any] = {"kind": kind}
    if kind in (SUPERNET, DERIVED):
        architecture |= {"layers": cfg.MODEL.LAYERS, "channels": cfg.MODEL.INIT_CHANNELS}
    if kind == SUPERNET:
        architecture["space"] = cfg.SEARCH.SPACE
        if cfg.SEARCH.STEM == "network":
            architecture["stem"] = cfg.SEARCH.STEM
    if cfg.MODEL.NUM_CLASSES:
        architecture["num_classes"] = cfg.MODEL.NUM_CLASSES
    return architecture | _describe_options(cfg, kind)


def _describe_options(cfg: CfgNode, kind: str) -> dict[str, Any]:
    """What is not as USUAL."""
    _check_front_end(cfg, kind)
    options: dict[str, Any] = {}
    if (pooling := cfg.MODEL.POOLING) != USUAL["pooling"]:
        if kind in (SUPERNET, STATISTICS, "vggm"):
            raise UserError(
                f"MODEL.POOLING {pooling} is for the network of a genotype and for ResNets, not for {kind}: leave it "
                "at average"
            )
        options["pooling"] = pooling
        if pooling == "correlation":  # alone knows how many there are
            options["bins"] = cfg.FRONTEND.BANDS if cfg.FRONTEND.FEATURE == "log_mel" else BINS
    if cfg.TRAIN.LOSS == "aam":
        if kind in (SUPERNET, STATISTICS):
            raise UserError(f"TRAIN.LOSS aam is for networks that are trained: leave it at softmax for a {kind}")
        options |= {"loss": "aam", "scale": cfg.TRAIN.SCALE}
        if cfg.TRAIN.SUBCENTERS > 1:
            options["subcenters"] = cfg.TRAIN.SUBCENTERS
    if cfg.AUGMENT.SPEED_CLASSES and kind not in (SUPERNET, STATISTICS):
        options["speeds"] = " ".join(map(str, parse_factors(cfg.AUGMENT.SPEED)))
    return options


def _check_front_end(cfg: CfgNode, kind: str) -> None:
    """Refuse features that a kind of network cannot take; all others take any number of bins."""
    if kind == "vggm" and cfg.FRONTEND.FEATURE == "log_mel":
        pooling = ", and MODEL.POOLING average" if cfg.MODEL.POOLING != "average" else ""
        raise UserError(
            f"FRONTEND.FEATURE log_mel is not for vggm, whose layers span 257 bins: set log_magnitude{pooling}"
        )
    if kind == STATISTICS and (cfg.FRONTEND.FEATURE, cfg.FRONTEND.NORM) != ("magnitude", "corpus"):
        key = "FEATURE" if cfg.FRONTEND.FEATURE != "magnitude" else "NORM"
        raise UserError(
            f"FRONTEND.{key} {cfg.FRONTEND[key]} is not for statistics, which make cepstra of the paper's magnitudes: "
            "leave FRONTEND.FEATURE at magnitude and FRONTEND.NORM at corpus"
        )


def build_baseline(cfg: CfgNode, num_classes: int) -> SpeakerNetwork:
    """The baseline that MODEL.NAME names.

    Raises:
        UserError: no baseline has this name; crops or batches too small for it, or a pooling that it does not have;
            settings of training for statistics, which are fitted.
    """
    if cfg.MODEL.NAME not in (*BASELINES, STATISTICS):
        valid = ", ".join((*BASELINES, STATISTICS))
        raise UserError(f"MODEL.NAME {cfg.MODEL.NAME!r} is not a baseline: valid are {valid}")
    if cfg.MODEL.NAME == STATISTICS:
        _check_untrained(cfg, "statistics are fitted to the utterances as they are")
    for key in ("PARTIAL_N_FRAMES", "PARTIAL_N_FRAMES_MIN") if cfg.MODEL.NAME == "vggm" else ():
        if 0 < cfg.DATASET[key] < SHORTEST:
            raise UserError(f"DATASET.{key} must be at least {SHORTEST} for vggm: its pooling needs as many")
    _check_batch(cfg)
    return build_model(describe(cfg, cfg.MODEL.NAME) | {"num_classes": num_classes})


def build_network(cfg: CfgNode, genotype: Genotype, num_classes: int) -> Network:
    """The network that a genotype derives to, with MODEL.LAYERS cells and MODEL.INIT_CHANNELS channels.

    Raises:
        UserError: MODEL.NAME means another kind of network; batches too small for its pooling.
    """
    if network_kind(cfg) != DERIVED:
        script = "search.py" if network_kind(cfg) == SUPERNET else "train_baseline.py"
        raise UserError(f"MODEL.NAME {cfg.MODEL.NAME!r} is not the network of a genotype but one for {script}")
    _check_batch(cfg)
    network = build_model(describe(cfg, DERIVED) | {"num_classes": num_classes, "genotype": str(genotype)})
    assert isinstance(network, Network)
    return network


def _check_batch(cfg: CfgNode) -> None:
    """Refuse batches of one utterance for what normalises a value an utterance."""
    for is_asked_for, what, norm in (
        (cfg.MODEL.NAME == "vggm", "vggm", "fc7's norm"),
        (cfg.MODEL.POOLING == "correlation", "MODEL.POOLING correlation", "its norm"),
    ):
        if is_asked_for and check_divisible(cfg.TRAIN.BATCH_SIZE) < 2:
            raise UserError(
                f"TRAIN.BATCH_SIZE must be at least 2 a process for {what}: {norm} has one value an utterance"
            )


def build_supernet(cfg: CfgNode, num_classes: int) -> Supernet:
    """The supernet of SEARCH.SPACE, with MODEL.LAYERS cells and MODEL.INIT_CHANNELS channels.

    Raises:
        UserError: MODEL.NAME is a baseline's; settings for training a network that the supernet does not take.
    """
    if cfg.MODEL.NAME in (*BASELINES, STATISTICS):
        raise UserError(f"MODEL.NAME {cfg.MODEL.NAME!r} is a baseline, not a supernet: use train_baseline.py")
    _check_untrained(cfg, "a search begins anew, and takes its crops and its steps as they are")
    supernet = build_model(describe(cfg, SUPERNET) | {"num_classes": num_classes})
    assert isinstance(supernet, Supernet)
    supernet.gradient, supernet.sampling, supernet.paths = cfg.SEARCH.GRADIENT, cfg.SEARCH.SAMPLING, cfg.SEARCH.PATHS
    return supernet


def _check_untrained(cfg: CfgNode, reason: str) -> None:
    for key, usual in OF_TRAINING.items():
        section, name = key.split(".")
        if cfg[section][name] != usual:
            leave_it = "empty" if usual == "" else f"at {usual}"
            raise UserError(f"{key} is for train.py and train_baseline.py's networks: {reason}; leave it {leave_it}")


def build_cost(cfg: CfgNode, num_classes: int, bins: int) -> DerivedCost:
    """What the genotypes of SEARCH.SPACE cost as networks of SEARCH.COST_LAYERS cells and COST_CHANNELS channels.

    Args:
        bins: frequency bins of an input; SEARCH.COST_FRAMES says how many frames it has.
    """
    return DerivedCost(
        SEARCH_SPACES[cfg.SEARCH.SPACE],
        channels=cfg.SEARCH.COST_CHANNELS or cfg.MODEL.INIT_CHANNELS,
        layers=cfg.SEARCH.COST_LAYERS or cfg.MODEL.LAYERS,
        num_classes=num_classes,
        frames=cfg.SEARCH.COST_FRAMES,
        bins=bins,
    )


def build_model(architecture: dict[str, Any]) -> SpeakerNetwork:
    """The network of an architecture.

    Args:
        architecture: kind, num_classes and, unless a baseline, layers, channels, genotype or space; where they are not
            as USUAL, pooling with the bins that it spans, loss with scale, subcenters, a supernet's stem,
            and the speeds that make classes besides the num_classes of the speakers themselves, which come first.
    """
    kind = architecture["kind"]
    num_classes = architecture["num_classes"] * (1 + len(architecture.get("speeds", USUAL["speeds"]).split()))
    if kind == STATISTICS:
        fitted = Statistics(num_classes)
        fitted.architecture = architecture
        return fitted
    options: dict[str, Any] = {"cosine_scale": architecture.get("scale")}
    options["subcenters"] = architecture.get("subcenters", USUAL["subcenters"])
    if kind != "vggm":
        options["pooling"] = architecture.get("pooling", USUAL["pooling"])
        options["bins"] = architecture.get("bins", BINS)
    if kind in BASELINES:
        model: SpeakerNetwork = BASELINES[kind](num_classes, **options)
    elif kind == SUPERNET:
        operations = SEARCH_SPACES[architecture["space"]]
        stem = architecture.get("stem", USUAL["stem"])
        model = Supernet(operations, architecture["channels"], architecture["layers"], num_classes, stem)
    else:
        genotype = parse_genotype(architecture["genotype"])
        model = Network(genotype, architecture["channels"], architecture["layers"], num_classes, **options)
    model.architecture = architecture
    # Channels innermost in memory: what convolution kernels, on CPUs and on tensor cores, are fastest with.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # which its annotations leave out
    return model


def count_parameters(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())
