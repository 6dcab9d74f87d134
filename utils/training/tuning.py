"""How a run takes its steps: the layout of tensors in memory, torch.compile, CUDA graphs.

Which way is the fastest depends on the GPU, the precision and cuDNN, by factors: what DEVICE_TUNING, TRAIN.COMPILE and
TRAIN.CUDA_GRAPHS leave open is decided by timing the very run's steps before its first one. (On CPUs the layout
channels-last is the fastest as far as measured, and torch.compile does not pay.)
"""

import copy
import os
import shutil
import statistics
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from yacs.config import CfgNode

from data_objects.frontend import BINS
from models.base import SpeakerNetwork
from models.network import Network
from utils.records.checkpoint import generator_states, restore_generators
from utils.system.device import clock
from utils.system.distributed import broadcast
from utils.system.errors import UserError
from utils.system.processes import check_divisible

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
        network.to(memory_format=LAYOUTS[self.layout])  # type: ignore[call-overload]  # which its annotations leave out
        if isinstance(network, Network):
            network.compile_for_training(kernels=self.compiled, graphs=self.graphs)


def list_ways(cfg: CfgNode, network: SpeakerNetwork, device: torch.device) -> tuple[list[Way], list[str]]:
    """The ways that the settings leave open, and as lines, what they ask for and cannot be.

    Raises:
        UserError: TRAIN.COMPILE True for another network than a genotype's, or without a C++ compiler.
    """
    layouts = list(LAYOUTS) if wants_tuning(cfg, device) else [Way().layout]
    compiled, graphs, doubts = _options(cfg.TRAIN.COMPILE), _options(cfg.TRAIN.CUDA_GRAPHS), []
    is_derived, compiler = isinstance(network, Network), os.environ.get("CXX", "g++")
    if any(compiled) and not is_derived:
        doubts.append(f"TRAIN.COMPILE is for the network of a genotype, not for a {network.architecture['kind']}")
    elif any(compiled) and shutil.which(compiler) is None:
        doubts.append(
            f"TRAIN.COMPILE needs a C++ compiler, and {compiler} is not installed: install it, or name another one by "
            "the environment variable CXX"
        )
    if doubts and all(compiled):
        raise UserError(f"{doubts[0]}; or set it to False")
    compiled = [False] if doubts else compiled
    if any(graphs) and (not is_derived or device.type != "cuda"):
        lacking = f"no {device.type.upper()} has them" if is_derived else "they are for the network of a genotype"
        doubts.append(f"TRAIN.CUDA_GRAPHS: {lacking}; steps are launched one operation after the other")
        graphs = [False]
    return [Way(*choice) for choice in product(layouts, compiled, graphs)], doubts


def _options(setting: bool | str) -> list[bool]:
    return [False, True] if setting == "auto" else [bool(setting)]


def wants_tuning(cfg: CfgNode, device: torch.device) -> bool:
    """Whether DEVICE_TUNING asks for either layout to be timed: `auto` does on CUDA."""
    return cfg.DEVICE_TUNING == "on" or (cfg.DEVICE_TUNING == "auto" and device.type == "cuda")


def keep_way(kept: Way, ways: Sequence[Way]) -> Way:
    """How a run that took its steps in the way `kept` goes on where the settings leave `ways` open."""
    compiled, graphs = {way.compiled for way in ways}, {way.graphs for way in ways}
    return Way(
        kept.layout,
        kept.compiled if kept.compiled in compiled else not kept.compiled,
        kept.graphs if kept.graphs in graphs else not kept.graphs,
    )


def time_ways(
    network: N,
    ways: Sequence[Way],
    make_step: MakeStep[N],
    device: torch.device,
    read_clock: Callable[[torch.device], float] = clock,
) -> tuple[dict[Way, float], list[str]]:
    """The median seconds of a step of copies of the network by each way; and as lines, which failed, and why.

    Neither the network nor the generators of random numbers are touched. A way that fails is passed over. Where all do,
    those without CUDA graphs are timed.

    Raises:
        RuntimeError: every way failed; the last one's error.
    """
    before, seconds, failures = generator_states(), dict[Way, float](), dict[Way, RuntimeError]()
    for way in dict.fromkeys([*ways, *(way._replace(graphs=False) for way in ways)]):
        if seconds and way not in ways:
            break
        try:
            seconds[way] = _time_way(copy.deepcopy(network), way, make_step, device, read_clock)
        except RuntimeError as error:  # out of memory, or what torch.compile or CUDA graphs cannot do
            failures[way] = error.with_traceback(None)  # which holds the copy
        if way.compiled or way.graphs:
            torch.compiler.reset()  # it counts how often a function was compiled, and has its limit
        torch.cuda.empty_cache()  # the run needs the room
    restore_generators(before)
    if not seconds:
        raise next(reversed(failures.values()))
    return seconds, [f"{way} fails: {' '.join(str(error).split())[:200]}" for way, error in failures.items()]


def _time_way(
    twin: N, way: Way, make_step: MakeStep[N], device: torch.device, read_clock: Callable[[torch.device], float]
) -> float:
    way.take(twin)
    take_step, taken = make_step(twin), []
    for _ in range(WARM_UP + STEPS):
        began = read_clock(device)
        take_step()
        taken.append(read_clock(device) - began)
    return statistics.median(taken[WARM_UP:])


def choose_way(seconds: dict[Way, float]) -> tuple[Way, str]:
    """The fastest way, by the main process's measurement, and the table as a line."""
    chosen = broadcast(min(seconds, key=seconds.__getitem__))
    table = "; ".join(f"{way}: {value:.4g} s a step" for way, value in seconds.items())
    return chosen, f"DEVICE_TUNING: {table}; taken: {chosen}"


def draw_noise(cfg: CfgNode, device: torch.device) -> tuple[Tensor, Tensor]:
    """A batch as this process will have them, features (B, T, 257) of noise and labels (B,)."""
    size = check_divisible(cfg.TRAIN.BATCH_SIZE)
    generator = torch.Generator(device).manual_seed(0)
    features = torch.randn(size, cfg.DATASET.PARTIAL_N_FRAMES, BINS, device=device, generator=generator)
    return features, torch.zeros(size, dtype=torch.int64, device=device)
