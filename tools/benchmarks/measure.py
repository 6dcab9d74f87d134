"""What the benchmarks share: a process of its own for a case, time, memory, what the machine can do, tables."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.system.errors import UserError

if TYPE_CHECKING:
    import torch
    from yacs.config import CfgNode

ROOT = Path(__file__).resolve().parents[2]
VOXCELEB1_TRAIN = 138_361  # utterances of the train part (iden_split.txt)
OUT_OF_MEMORY = "out of memory"
NO_MEMORY = (OUT_OF_MEMORY, "not enough memory", "allocate memory")  # how PyTorch says so
MATRIX_SIZE = {"cpu": 2048, "cuda": 8192}  # large enough for the machine's full speed
MULTIPLICATIONS = 5


# ------------------------------------------------------------------------------------------------------------------
# Processes
# ------------------------------------------------------------------------------------------------------------------
def run_case(command: str, case: dict, name: str, environment: dict[str, str] | None = None) -> dict:
    """What `tools/benchmark.py COMMAND --worker CASE` prints, run in a process of its own.

    Args:
        name: what to call the case where it fails.
        environment: variables on top of this process's.

    Raises:
        UserError: it failed, for another reason than memory: of that, its `error` tells.
    """
    line = [sys.executable, str(ROOT / "tools" / "benchmark.py"), command, "--worker", json.dumps(case)]
    done = subprocess.run(line, cwd=ROOT, env=os.environ | (environment or {}), capture_output=True, text=True)
    if done.returncode == -9:  # the system's way to say so
        return {"error": OUT_OF_MEMORY}
    if done.returncode:
        message = (done.stderr.strip() or "no message").splitlines()[-1]
        raise UserError(f"{name} failed: {message.removeprefix('benchmark.py: error: ')}")
    return json.loads(done.stdout.splitlines()[-1])


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory was short; CUDA's OutOfMemoryError is a RuntimeError."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in NO_MEMORY)


def build_settings(
    device: str, batch_size: int, frames: int, data_dir: str | None = None, num_workers: int = 0
) -> "CfgNode":
    """The default settings but for what options say; free to change."""
    from config import default_config

    cfg = default_config()
    cfg.DEVICE, cfg.TRAIN.BATCH_SIZE = device, batch_size
    cfg.DATASET.DATA_DIR, cfg.DATASET.NUM_WORKERS = data_dir or "", num_workers
    cfg.DATASET.PARTIAL_N_FRAMES = frames
    return cfg


# ------------------------------------------------------------------------------------------------------------------
# Memory
# ------------------------------------------------------------------------------------------------------------------
def memory_mb(field: str, file: str = "/proc/self/status") -> float:
    """In MB: of this process VmRSS (memory now), VmHWM (at most so far), VmData (asked for); or of the machine."""
    for line in Path(file).read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise UserError(f"{file} has no {field}: memory is measured on Linux only")


def limit_memory(on_cuda: bool) -> None:
    """Let this process fail, not the machine, where a case needs more main memory than is free."""
    if on_cuda:
        return
    import resource

    limit = 1e6 * (memory_mb("VmData") + 0.9 * memory_mb("MemAvailable", "/proc/meminfo"))
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit), resource.RLIM_INFINITY))


def forget_peak(device: "torch.device") -> None:
    """Let the peak that `peak_mb` tells begin here."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        with contextlib.suppress(OSError):  # some systems have no such file: then the peak is since the beginning
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak becomes what is in memory now


def peak_mb(device: "torch.device") -> float:
    """Memory in MB that tensors took at most on a CUDA device, or that this process took at most on a CPU."""
    import torch

    return torch.cuda.max_memory_allocated() / 1e6 if device.type == "cuda" else memory_mb("VmHWM")


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

    def __call__(self, step: str, work: Callable[[], object]) -> object:
        import torch

        forget_peak(torch.device("cpu"))
        before, began = memory_mb("VmRSS"), time.perf_counter()
        result = work()
        seconds, most = time.perf_counter() - began, memory_mb("VmHWM")
        self.taken[step] = {
            "seconds": seconds,
            "peak_mb": most - self.imports_mb,
            "kept_mb": memory_mb("VmRSS") - self.imports_mb,
            "added_mb": most - before,
            "process_mb": most,
        }
        return result


# ------------------------------------------------------------------------------------------------------------------
# Time
# ------------------------------------------------------------------------------------------------------------------
def clock(device: "torch.device") -> float:
    """Seconds, read when the device has done all that it was asked to."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def multiply_rate(device: "torch.device", dtype: "torch.dtype") -> float:
    """Floating-point operations a second of the fastest of several multiplications of square matrices.

    This is what the machine can do at best with numbers of this type, against which a network's rate is to be held.
    """
    import torch

    size = MATRIX_SIZE[device.type]
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(1 + MULTIPLICATIONS):
        began = clock(device)
        a @ b
        seconds.append(clock(device) - began)
    return 2 * size**3 / min(seconds[1:])  # the first one also sets up the library


def describe_machine(device: "torch.device") -> str:
    """The GPU's name, or the number of threads on a CPU."""
    import torch

    return torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


# ------------------------------------------------------------------------------------------------------------------
# Tables
# ------------------------------------------------------------------------------------------------------------------
def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be, the first one to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([f"{row[0]:{widths[0]}}", *cells]))
    return "\n".join(lines)
