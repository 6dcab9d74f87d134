"""How a network's tensors lie in memory, decided by timing the very run's steps before its first one: DEVICE_TUNING.

Which layout is the faster one for depthwise and dilated convolutions depends on the GPU, the precision and cuDNN, by
factors; on CPUs channels-last is.
"""

import copy
import statistics
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from yacs.config import CfgNode

from data_objects.frontend import BINS
from models.base import SpeakerNetwork
from utils.records.checkpoint import generator_states, restore_generators
from utils.system.device import clock
from utils.system.distributed import broadcast
from utils.system.processes import check_divisible

LAYOUTS = {"channels_last": torch.channels_last, "channels_first": torch.contiguous_format}
USUAL_LAYOUT = "channels_last"  # as `models.build_model` lays networks out
WARM_UP, STEPS = 3, 5  # of each layout; in the first ones cuDNN looks for its fastest kernels

N = TypeVar("N", bound=SpeakerNetwork)
MakeStep = Callable[[N], Callable[[], object]]  # of a network: what takes a step of it


def lay_out(network: SpeakerNetwork, layout: str) -> None:
    """Lay a network's weights out, and by them what it computes; optimizers keep their hold of them."""
    network.to(memory_format=LAYOUTS[layout])  # type: ignore[call-overload]  # which its annotations leave out


def wants_tuning(cfg: CfgNode, device: torch.device) -> bool:
    """Whether DEVICE_TUNING asks for it: `auto` does on CUDA."""
    return cfg.DEVICE_TUNING == "on" or (cfg.DEVICE_TUNING == "auto" and device.type == "cuda")


def time_layouts(
    network: N, make_step: MakeStep[N], device: torch.device, read_clock: Callable[[torch.device], float] = clock
) -> dict[str, float]:
    """The median seconds of a step of copies of the network in each layout.

    Neither the network nor the generators of random numbers are touched.
    """
    before, seconds = generator_states(), {}
    for layout in LAYOUTS:
        twin = copy.deepcopy(network)
        lay_out(twin, layout)
        take_step, taken = make_step(twin), []
        for _ in range(WARM_UP + STEPS):
            began = read_clock(device)
            take_step()
            taken.append(read_clock(device) - began)
        seconds[layout] = statistics.median(taken[WARM_UP:])
        del twin, take_step
        torch.cuda.empty_cache()  # the run needs the room
    restore_generators(before)
    return seconds


def choose_layout(seconds: dict[str, float]) -> tuple[str, str]:
    """The fastest layout, by the main process's measurement, and the table as a line."""
    chosen = broadcast(min(seconds, key=seconds.__getitem__))
    table = ", ".join(f"{layout} {value:.4g} s a step" for layout, value in seconds.items())
    return chosen, f"DEVICE_TUNING: {table}; {chosen} is taken"


def draw_noise(cfg: CfgNode, device: torch.device) -> tuple[Tensor, Tensor]:
    """A batch as this process will have them, features (B, T, 257) of noise and labels (B,)."""
    size = check_divisible(cfg.TRAIN.BATCH_SIZE)
    generator = torch.Generator(device).manual_seed(0)
    features = torch.randn(size, cfg.DATASET.PARTIAL_N_FRAMES, BINS, device=device, generator=generator)
    return features, torch.zeros(size, dtype=torch.int64, device=device)
