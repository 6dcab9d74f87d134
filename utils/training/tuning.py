"""How a run takes its steps: the layout of tensors in memory, torch.compile, CUDA graphs.

Which way is the fastest depends on the GPU, the precision and cuDNN, by factors: what DEVICE_TUNING, TRAIN.COMPILE and
TRAIN.CUDA_GRAPHS leave open is decided by timing the very run's steps before its first one. (On CPUs the layout
channels-last is the fastest as far as measured, and torch.compile does not pay.)
"""

import copy
import gc
import math
import os
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch._dynamo.utils import counters
from yacs.config import CfgNode

from data_objects.frontend import count_bins, front_end_settings
from models.base import SpeakerNetwork
from models.network import Network
from utils.records.checkpoint import generator_states, restore_generators
from utils.system.device import clock
from utils.system.distributed import agree, broadcast
from utils.system.errors import UserError
from utils.system.logger import get_logger
from utils.system.processes import check_divisible, processes

LAYOUTS = {"channels_last": torch.channels_last, "channels_first": torch.contiguous_format}
WARM_UP, STEPS = 3, 5  # of each way; in the first ones cuDNN looks for its fastest kernels, and all is compiled

N = TypeVar("N", bound=SpeakerNetwork)
MakeStep = Callable[[N], Callable[[], object]]  # of a network: what takes a step of it


class Way(NamedTuple):
    """How steps are taken."""

    layout: str = "channels_last"  # as `models.build_model` lays networks out
    compiled: bool = False
    graphs: bool = False

    def __str__(self) -> str:
        """In words, for the log."""
        return self.layout + ", compiled" * self.compiled + ", CUDA graphs" * self.graphs

    def take(self, network: SpeakerNetwork) -> None:
        """Lay a network's weights out, and by them what it computes, and have it compiled; optimizers keep their hold
        of the weights."""
        self.lay_out(network)
        if isinstance(network, Network):
            network.compile_for_training(kernels=self.compiled, graphs=self.graphs)

    def lay_out(self, network: SpeakerNetwork) -> None:
        """Lay a network's weights out."""
        network.to(memory_format=LAYOUTS[self.layout])  # type: ignore[call-overload]  # which its annotations leave out


def list_ways(cfg: CfgNode, network: SpeakerNetwork, device: torch.device) -> tuple[list[Way], list[str]]:
    """The ways that the settings leave open, the same in all processes; and as lines, what they ask for and cannot be.

    Raises:
        UserError: TRAIN.COMPILE True for a baseline, or without a C++ compiler.
    """
    takes_steps = any(parameter.requires_grad for parameter in network.parameters())
    layouts = list(LAYOUTS) if takes_steps and wants_tuning(cfg, device) else [Way().layout]
    compiled, graphs, doubts = _options(cfg.TRAIN.COMPILE), _options(cfg.TRAIN.CUDA_GRAPHS), []
    if cfg.DATASET.PARTIAL_N_FRAMES_MIN:  # both are made for a shape, and asking for them is refused
        compiled = graphs = [False]
    kind, compiler = network.architecture["kind"], os.environ.get("CXX", "g++")
    if any(compiled) and not isinstance(network, Network):
        if all(compiled):
            doubts.append(f"TRAIN.COMPILE True is for the network of a genotype, not for a {kind}: set it to False")
        compiled = [False]
    elif any(compiled) and agree(int(shutil.which(compiler) is None))[0]:
        doubts.append(
            f"TRAIN.COMPILE needs a C++ compiler, and {compiler} is not installed: install it, name another one by the "
            "environment variable CXX, or set TRAIN.COMPILE False"
        )
        compiled = [False]
    if cfg.TRAIN.COMPILE is True and doubts and kind != "supernet":  # a search's YAML may be a training's, too
        raise UserError(doubts[0])
    if any(graphs) and not (isinstance(network, Network) and device.type == "cuda"):
        if all(graphs):
            lacking = f"a {device.type.upper()} has none" if isinstance(network, Network) else f"not for a {kind}"
            doubts.append(f"TRAIN.CUDA_GRAPHS True: {lacking}; steps are launched one operation after the other")
        graphs = [False]
    return [Way(*choice) for choice in product(layouts, compiled, graphs)], doubts


def _options(setting: bool | str) -> list[bool]:
    return [False, True] if setting == "auto" else [bool(setting)]


def wants_tuning(cfg: CfgNode, device: torch.device) -> bool:
    """Whether DEVICE_TUNING asks for either layout to be timed: `auto` does on CUDA."""
    return cfg.DEVICE_TUNING == "on" or (cfg.DEVICE_TUNING == "auto" and device.type == "cuda")


def keep_way(kept: Way, ways: Sequence[Way]) -> Way:
    """How a run that took its steps in the way `kept` goes on where the settings leave `ways` open.

    CUDA graphs, which a new run tries first, are not begun with.
    """
    compiled, graphs = {way.compiled for way in ways}, {way.graphs for way in ways}
    return Way(
        kept.layout, kept.compiled if kept.compiled in compiled else not kept.compiled, kept.graphs and True in graphs
    )


def time_ways(
    network: N,
    ways: Sequence[Way],
    make_step: MakeStep[N],
    device: torch.device,
    read_clock: Callable[[torch.device], float] = clock,
) -> dict[Way, float]:
    """The median seconds of a step of copies of the network by each way.

    Neither the network nor the generators of random numbers are touched. A way that fails, in any of the processes, is
    passed over with a warning. Where all do, those without CUDA graphs are timed.

    Raises:
        Exception: whatever the last way that was left failed with; with several processes, what any way of a supernet
            failed with, in whose steps they wait for each other.
    """
    before, seconds = generator_states(), dict[Way, float]()
    candidates = list(dict.fromkeys([*ways, *(way._replace(graphs=False) for way in ways)]))
    for way in candidates:
        if seconds and way not in ways:
            break
        taken, failure = math.inf, ""
        try:
            taken = _time_way(copy.deepcopy(network), way, make_step, device, read_clock)
        except Exception as error:  # out of memory, or whatever it is that torch.compile and CUDA graphs cannot do
            is_last = not seconds and way == candidates[-1]
            if is_last or isinstance(error, UserError) or (processes() > 1 and not isinstance(network, Network)):
                raise
            failure = " ".join(f"{type(error).__name__}: {error}".split())
        if agree(int(bool(failure)))[0]:
            get_logger().warning(f"{way} is passed over: {failure[:200] or 'it fails in another process'}")
        else:
            seconds[way] = taken
        _make_room()
    restore_generators(before)
    if not seconds:
        raise UserError("no step can be taken in another process of the job: its own message says why")
    return seconds


def _time_way(
    twin: N, way: Way, make_step: MakeStep[N], device: torch.device, read_clock: Callable[[torch.device], float]
) -> float:
    skips = counters["inductor"]["cudagraph_skips"]
    way.take(twin)
    take_step, taken = make_step(twin), []
    for _ in range(WARM_UP + STEPS):
        began = read_clock(device)
        take_step()
        taken.append(read_clock(device) - began)
    if way.graphs and counters["inductor"]["cudagraph_skips"] > skips:
        raise RuntimeError("torch.compile does not record it as CUDA graphs")
    return statistics.median(taken[WARM_UP:])


def _make_room() -> None:
    """Let go of a copy: what is compiled refers to itself, and torch.compile has its limits on how often it is."""
    torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()


def choose_way(seconds: Mapping[Way, float]) -> tuple[Way, str]:
    """The fastest way, by the main process's measurement, and the table as a line."""
    chosen = broadcast(min(seconds, key=seconds.__getitem__))
    table = "; ".join(f"{way}: {value:.4g} s" for way, value in seconds.items())
    return chosen, f"steps timed: {table}; taken: {chosen}"


def draw_noise(cfg: CfgNode, device: torch.device) -> tuple[Tensor, Tensor]:
    """A batch as this process will have them, features (B, T, F) of noise and labels (B,)."""
    size = check_divisible(cfg.TRAIN.BATCH_SIZE)
    generator = torch.Generator(device).manual_seed(0)
    shape = size, cfg.DATASET.PARTIAL_N_FRAMES, count_bins(front_end_settings(cfg))
    features = torch.randn(shape, device=device, generator=generator)
    return features, torch.zeros(size, dtype=torch.int64, device=device)
