"""benchmark.py launches: what a step asks of a GPU, counted on a device that stands in for one."""

import argparse
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from yacs.config import CfgNode

from data_objects.datasets import CropBatch, WindowBatch
from data_objects.frontend import FrontEnd, front_end_settings, span
from models import BASELINES, build_baseline, build_network, build_supernet
from models.base import SpeakerNetwork
from models.genotypes import PAPER_GENOTYPE, SEARCH_SPACES
from models.network import Network
from tools.benchmarks.measure import build_settings
from tools.benchmarks.options import CLASSES
from tools.benchmarks.tables import Columns, format_table
from utils.recognition.network import embed_windows
from utils.search.cost import build_cost_target
from utils.search.loop import build_optimizers, search_iteration, start_gradients_at_zero
from utils.training.loop import to_features, train_step
from utils.training.losses import build_criterion
from utils.training.meters import TrainingMeter
from utils.training.optim import build_weight_optimizer

META = torch.device("meta")
UTTERANCES = 2
GRADIENTS = "dense", "exact", "sampled"
COLUMNS: Columns = {
    "launches": ("launches", "{:,}".format),
    "waits": ("waits", str),
    "copies": ("copies", str),
}

Answer = Callable[[Tensor], Tensor]


class StandIn(TorchDispatchMode):
    """Counts what tensors on PyTorch's meta device, which have shapes and no numbers, would have a GPU do.

    Whatever mixes devices fails there as on a GPU, and whatever needs numbers before its time fails at all: masks,
    `item()`, `if tensor:`.

    Args:
        answer: numbers (...), on the CPU, for a tensor (...) that the host copies from the device; without it, that
            fails too.

    Attributes:
        launches: operations by name; a GPU runs at least a kernel for each. Views and empty tensors are none.
        waits: how often the host asked for numbers, and so waits until the device has done all that was launched.
        copies: of tensors to the device.
    """

    def __init__(self, answer: Answer | None = None) -> None:
        super().__init__()
        self.answer = answer
        self.forget()

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        options = options or {}
        name = function.name().removeprefix("aten::").partition(".")[0]
        given = _tensors((arguments, options))
        if self.answer and name == "_to_copy" and given[0].is_meta and _target(options) == "cpu":
            self.waits += 1
            return self.answer(given[0]).to(options.get("dtype") or given[0].dtype)
        result = function(*arguments, **options)
        if not any(tensor.is_meta for tensor in given + _tensors(result)):
            return result
        if any(not tensor.is_meta and tensor.dim() for tensor in given):
            self.copies += 1
        elif not _is_view(function) and "empty" not in name:
            self.launches[name] += 1
        return result

    def forget(self) -> None:
        """Begin again."""
        self.launches: Counter[str] = Counter()
        self.waits = self.copies = 0

    def figures(self) -> dict[str, int]:
        """The three numbers."""
        return {"launches": self.launches.total(), "waits": self.waits, "copies": self.copies}


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _target(options: Mapping[str, Any]) -> str:
    return torch.device(options.get("device") or META).type


def _is_view(function: Any) -> bool:
    """Whether what comes out is what went in, looked at otherwise; what is written to is none."""
    aliases = [returned.alias_info for returned in function._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


@contextlib.contextmanager
def standing_in(answer: Answer | None = None) -> Iterator[StandIn]:
    """Count what is done in this context.

    Two things that the meta device lacks are replaced: autocast, by nothing, and Adam in a single kernel, by the one
    that takes a dozen for all tensors together.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch("torch.autocast", lambda *_, **__: contextlib.nullcontext()))
        stack.enter_context(mock.patch("torch.is_autocast_enabled", lambda *_: False))
        stack.enter_context(mock.patch("torch.get_autocast_dtype", lambda *_: torch.bfloat16))
        stack.enter_context(mock.patch("torch.optim.Adam", _adam))
        yield stack.enter_context(StandIn(answer))


_Adam = torch.optim.Adam


def _adam(*arguments: Any, fused: bool, **options: Any) -> torch.optim.Adam:
    return _Adam(*arguments, foreach=fused, **options)


def run(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Count."""
    sizes = {"layers": args.layers, "frames": args.frames}
    search = build_settings(sizes | {"channels": args.channels})
    train = build_settings(sizes | {"channels": args.train_channels})
    rows = {f"search, {gradient}": count_search(changed(search, SEARCH__GRADIENT=gradient)) for gradient in GRADIENTS}
    rows["training"] = count_training(train)
    rows["training, attention and AAM"] = count_training(changed(train, MODEL__POOLING="attentive", TRAIN__LOSS="aam"))
    rows |= {f"training, {name}": count_training(changed(train, MODEL__NAME=name)) for name in BASELINES}
    rows["embedding a batch"] = count_embedding(train)
    figures = {name: counted.figures() for name, counted in rows.items()}
    yield {"rows": figures, "channels": [args.channels, args.train_channels], "torch": torch.__version__} | sizes


def changed(cfg: CfgNode, **settings: object) -> CfgNode:
    """A copy with other settings, whose dots are written as double underscores."""
    cfg = cfg.clone()
    cfg.merge_from_list([item for key, value in settings.items() for item in (key.replace("__", "."), value)])
    return cfg


def count_search(cfg: CfgNode) -> StandIn:
    """An iteration of a search, with front end and meters; its paths are drawn by chance, always the same."""
    generator, operations = torch.Generator().manual_seed(0), len(SEARCH_SPACES[cfg.SEARCH.SPACE])
    with standing_in(lambda asked: torch.randint(operations, asked.shape, generator=generator)) as counted:
        with META:
            supernet, front_end = build_supernet(cfg, CLASSES).train(), FrontEnd(settings=front_end_settings(cfg))
        supernet.drop_path_probability = cfg.TRAIN.DROPPATH_PROB
        optimizers = build_optimizers(cfg, supernet)
        start_gradients_at_zero(supernet)
        for optimizer in optimizers.values():
            take_up(optimizer)
        meters, cost_target = TrainingMeter(device=META), build_cost_target(cfg, supernet)
        counted.forget()
        train, val = (to_features(draw_crops(cfg), front_end, META) for _ in range(2))
        criterion = nn.CrossEntropyLoss(label_smoothing=cfg.TRAIN.LABEL_SMOOTHING)
        taken = search_iteration(supernet, optimizers, criterion, train, val, cfg.TRAIN.PRECISION, cost_target)
        for outcome in taken.values():
            meters.update(*outcome)
    return counted


def count_training(cfg: CfgNode) -> StandIn:
    """A training step, with front end and meter."""
    with standing_in() as counted:
        network, front_end = build_on_meta(cfg)
        optimizer, meter = build_weight_optimizer(cfg, network.train().parameters()), TrainingMeter(device=META)
        take_up(optimizer)
        counted.forget()
        batch = to_features(draw_crops(cfg), front_end, META)
        meter.update(*train_step(network, optimizer, batch, build_criterion(cfg), cfg.TRAIN.PRECISION))
    return counted


def count_embedding(cfg: CfgNode) -> StandIn:
    """A batch of windows embedded, in evaluation and validation."""
    with standing_in(lambda asked: torch.zeros(asked.shape)) as counted, torch.no_grad():
        network, front_end = build_on_meta(cfg)
        network.eval()
        counted.forget()
        crops = draw_crops(cfg)
        batch = WindowBatch(crops.waveforms, crops.gains, [1] * UTTERANCES, list(range(UTTERANCES)))
        embed_windows(network, front_end, batch, UTTERANCES, META, are_alone=False)
    return counted


def take_up(optimizer: torch.optim.Optimizer) -> None:
    """Have an optimizer's moments made, as its first step does."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


def build_on_meta(cfg: CfgNode) -> tuple[SpeakerNetwork, FrontEnd]:
    """The network of the settings, the paper's where they name none, and its front end."""
    with META:
        baseline = cfg.MODEL.NAME in BASELINES
        network = build_baseline(cfg, CLASSES) if baseline else build_network(cfg, PAPER_GENOTYPE, CLASSES)
        if isinstance(network, Network):
            network.drop_path_probability = cfg.MODEL.DROP_PATH_PROB
        return network, FrontEnd(settings=front_end_settings(cfg))


def draw_crops(cfg: CfgNode) -> CropBatch:
    """Silence, as a loader gives it, on the CPU."""
    waveforms = torch.zeros(UTTERANCES, span(cfg.DATASET.PARTIAL_N_FRAMES), dtype=torch.int16)
    labels, reverse = torch.zeros(UTTERANCES, dtype=torch.int64), torch.zeros(UTTERANCES, dtype=torch.bool)
    return CropBatch(waveforms, torch.ones(UTTERANCES), labels, reverse)


def print_report(report: dict[str, Any]) -> None:
    """A report, for people."""
    channels = "{} channels (search), {} (training)".format(*report["channels"])
    print(f"\n{report['layers']} cells, {channels}, {report['frames']} frames; torch {report['torch']}")
    print(format_table(report["rows"], COLUMNS))
