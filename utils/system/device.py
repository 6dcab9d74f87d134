"""The device that a script computes on, and how: seeds, cuDNN, precision."""

import random
import time

import numpy as np
import torch
from yacs.config import CfgNode

from utils.system.distributed import start
from utils.system.errors import UserError
from utils.system.processes import local_rank


def select_device(name: str) -> torch.device:
    """The device that DEVICE (auto, cpu or cuda) means here; of several GPUs, the one with this process's number.

    Raises:
        UserError: CUDA asked for and absent; more processes on this machine than GPUs.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("DEVICE is cuda, but PyTorch sees no CUDA device here: set DEVICE auto or cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank() >= torch.cuda.device_count():
        raise UserError(
            f"{local_rank() + 1} or more processes on a machine with {torch.cuda.device_count()} GPUs: set "
            f"torchrun's --nproc_per_node to {torch.cuda.device_count()}, or DEVICE to cpu"
        )
    return torch.device("cuda", local_rank())


def prepare(cfg: CfgNode) -> torch.device:
    """Seed every generator, set cuDNN and TF32 as configured, join the other processes, and return the device.

    All processes of a job draw the same numbers: weights, paths, drop-path.

    Raises:
        UserError: CUDA asked for and absent.
    """
    device = select_device(cfg.DEVICE)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    random.seed(cfg.SEED)
    np.random.seed(cfg.SEED)
    torch.manual_seed(cfg.SEED)
    torch.backends.cudnn.enabled = cfg.CUDNN.ENABLED
    # Which tries every kernel for every shape: where crops of any length come, that takes longer than it gains.
    torch.backends.cudnn.benchmark = cfg.CUDNN.BENCHMARK and not cfg.DATASET.PARTIAL_N_FRAMES_MIN
    torch.backends.cudnn.deterministic = cfg.CUDNN.DETERMINISTIC
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = cfg.TRAIN.TF32
    start(device)
    return device


def clock(device: torch.device) -> float:
    """Seconds, read when the device has done all that it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context that TRAIN.PRECISION asks for around a forward pass: bf16 autocast, or nothing for fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
