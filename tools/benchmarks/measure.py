"""What the benchmarks measure with: settings, noise, memory, time, what the machine can do."""

import contextlib
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from yacs.config import CfgNode

from config import default_config
from data_objects.frontend import BINS
from utils.system.device import clock
from utils.system.errors import UserError

MATRIX_SIZE = {"cpu": 2048, "cuda": 8192}  # large enough for the machine's full speed
MULTIPLICATIONS = 5
CPU = torch.device("cpu")
SETTINGS = {  # by the option that means them
    "device": "DEVICE",
    "data_dir": "DATASET.DATA_DIR",
    "num_workers": "DATASET.NUM_WORKERS",
    "frames": "DATASET.PARTIAL_N_FRAMES",
    "layers": "MODEL.LAYERS",
    "channels": "MODEL.INIT_CHANNELS",
    "space": "SEARCH.SPACE",
    "batch_size": "TRAIN.BATCH_SIZE",
    "precision": "TRAIN.PRECISION",
}

Result = TypeVar("Result")


def build_settings(options: Mapping[str, Any]) -> CfgNode:
    """The default settings but for what options say; free to change."""
    cfg = default_config()
    for option, key in SETTINGS.items():
        if options.get(option) is not None:
            cfg.merge_from_list([key, options[option]])
    return cfg


def draw_batch(case: Mapping[str, Any], classes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Features (B, T, 257) and labels (B,) of noise."""
    size = case["batch_size"]
    return torch.randn(size, case["frames"], BINS).to(device), torch.randint(classes, (size,)).to(device)


def memory_mb(field: str, file: str = "/proc/self/status") -> float:
    """In MB: of this process VmRSS (memory now), VmHWM (at most so far), VmData (asked for); or of the machine."""
    for line in Path(file).read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise UserError(f"{file} has no {field}: memory is measured on Linux only")


def limit_memory() -> None:
    """Let this process fail, not the machine, where a case needs more main memory than is free."""
    limit = 1e6 * (memory_mb("VmData") + 0.9 * memory_mb("MemAvailable", "/proc/meminfo"))
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit), resource.RLIM_INFINITY))


class Peak:
    """Memory in MB at most, beyond what there was when this was made: of this process, or of tensors on a CUDA device.

    Attributes:
        before: what there was; on CUDA 0, so that all tensors count.
    """

    def __init__(self, device: torch.device) -> None:
        self.is_cuda = device.type == "cuda"
        self.before = 0 if self.is_cuda else memory_mb("VmRSS")

    def forget(self) -> None:
        """Let the peak begin here."""
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            with contextlib.suppress(OSError):  # some systems have no such file: then the peak is since the beginning
                Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak becomes what is in memory now

    def read(self) -> float:
        """The peak so far."""
        most = torch.cuda.max_memory_allocated() / 1e6 if self.is_cuda else memory_mb("VmHWM")
        return most - self.before


class Steps:
    """Seconds and MB of steps taken one after the other in this process, on CPUs.

    Attributes:
        imports_mb: what the process had when this was made, after its imports.
        taken: of every step its seconds; in MB, beyond the imports, `peak_mb` at most during it and `kept_mb` after it;
            `added_mb` at most beyond what there was when it began; `process_mb`, all of the process at most.
    """

    def __init__(self) -> None:
        self.imports_mb = memory_mb("VmRSS")
        self.taken: dict[str, dict[str, float]] = {}

    def __call__(self, step: str, work: Callable[[], Result]) -> Result:
        """Take a step; returns what it does."""
        peak = Peak(CPU)
        peak.forget()
        began = time.perf_counter()
        result = work()
        seconds, added = time.perf_counter() - began, peak.read()
        most, now = peak.before + added, memory_mb("VmRSS")
        self.taken[step] = {"seconds": seconds, "added_mb": added, "process_mb": most}
        self.taken[step] |= {"peak_mb": most - self.imports_mb, "kept_mb": now - self.imports_mb}
        return result

    def report(self) -> dict[str, Any]:
        """What is reported of them."""
        return {"imports_mb": self.imports_mb, "steps": self.taken}


def time_repeats(work: Callable[[], object], times: int, device: torch.device) -> list[float]:
    """Seconds that work takes each of so many times, after a first time that also sets up what it needs."""
    seconds = []
    for _ in range(1 + times):
        began = clock(device)
        work()
        seconds.append(clock(device) - began)
    return seconds[1:]


def multiply_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of the fastest of several multiplications of square matrices.

    This is what the machine can do at best with numbers of this type, against which a network's rate is to be held.
    """
    size = MATRIX_SIZE[device.type]
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(time_repeats(lambda: a @ b, MULTIPLICATIONS, device))


def describe_machine(device: torch.device) -> dict[str, str]:
    """The GPU's name, or the number of threads on a CPU; and the version of PyTorch."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return {"machine": name, "torch": torch.__version__}
