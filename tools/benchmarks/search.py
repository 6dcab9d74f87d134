"""Iterations of a search: an alpha step and a weight step, with each SEARCH.GRADIENT.

`dense` is run as the original runs it: every operation with its graph in both steps, channels-first;
`dense_channels_last` is the same in the memory layout of `exact` and `sampled`. Every one runs in a process of its own,
in turn, --rounds times; seconds are the median over all iterations but each process's first. Memory is what the process
took at most beyond what it had before its first iteration (on CUDA: the allocator's peak, with the weights). `max` is
the largest power of two for which an exact iteration fits into the device's memory.
"""

import argparse
import json
import statistics
import time

from tools.benchmarks.measure import (
    OUT_OF_MEMORY,
    VOXCELEB1_TRAIN,
    describe_machine,
    is_out_of_memory,
    limit_memory,
    memory_mb,
    run_case,
)
from utils.system.errors import UserError

SUMMARY = "iterations of a search"
MODES = ("dense", "dense_channels_last", "exact", "sampled")
EPOCHS = 50  # of the paper's search


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `benchmark.py search`."""
    parser.add_argument("--layers", type=int, default=8, help="cells (default: 8)")
    parser.add_argument("--channels", type=int, default=16, help="of the first cell (default: 16)")
    parser.add_argument("--batch_size", nargs="+", default=["2"], help="utterances, or max (default: 2)")
    parser.add_argument("--frames", type=int, default=300, help="of 10 ms (default: 300)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32"])
    parser.add_argument("--space", choices=("s2", "s3"), default="s2")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--iterations", type=int, default=3, help="measured in every process (default: 3)")
    parser.add_argument("--rounds", type=int, default=2, help="processes for each mode, in turn (default: 2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, no table")
    parser.add_argument("--worker", help=argparse.SUPPRESS)  # a case to measure in this process, as JSON


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    if args.worker:
        print(json.dumps(measure(json.loads(args.worker))))
        return
    import torch

    from utils.system.device import select_device

    if min(args.layers - 2, args.channels - 1, args.frames - 31, args.iterations, args.rounds) < 1:
        raise UserError("needed are --layers 3, --channels 2, --frames 32, --iterations 1 and --rounds 1, or more")
    device = select_device(args.device)
    sizes = [size if size == "max" else parse_batch_size(size) for size in args.batch_size]
    reports = []
    for precision in args.precision:
        for size in sizes:
            case = {key: getattr(args, key) for key in ("layers", "channels", "frames", "space", "iterations")}
            case |= {"device": device.type, "precision": precision}
            case["batch_size"] = largest_batch_size(case) if size == "max" else size
            report = compare(case, args.modes, args.rounds) | {
                "machine": describe_machine(device),
                "torch": torch.__version__,
            }
            reports.append(report)
            if not args.json:
                print_table(report)
    if args.json:
        print(json.dumps(reports[0] if len(reports) == 1 else {"reports": reports}))


def parse_batch_size(text: str) -> int:
    """A batch size given as text."""
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--batch_size must be whole numbers of 1 or more, or max, not {text!r}")
    return int(text)


# ------------------------------------------------------------------------------------------------------------------
# One process
# ------------------------------------------------------------------------------------------------------------------
def measure(case: dict) -> dict:
    """Seconds of every iteration, and peak memory in MB, of a search's iterations in this process."""
    import torch

    from utils.search.loop import search_iteration, start_gradients_at_zero

    supernet, optimizers, criterion, train, val = build(case)
    start_gradients_at_zero(supernet)
    on_cuda = case["device"] == "cuda"
    limit_memory(on_cuda)
    before = 0 if on_cuda else memory_mb("VmRSS")
    seconds = []
    try:
        for _ in range(1 + case["iterations"]):
            began = time.perf_counter()
            search_iteration(supernet, optimizers, criterion, train, val, case["precision"])
            if on_cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
    except (RuntimeError, MemoryError) as error:  # of which CUDA's OutOfMemoryError is one
        if not is_out_of_memory(error):
            raise
        return {"error": OUT_OF_MEMORY}
    peak = torch.cuda.max_memory_allocated() / 1e6 if on_cuda else memory_mb("VmHWM")
    return {"seconds": seconds[1:], "peak_mb": peak - before}


def build(case: dict):
    """A supernet, its optimizers, the loss, and a batch for either step."""
    import torch
    from torch import nn

    from config import default_config
    from data_objects.frontend import BINS
    from models import build_model
    from utils.training.optim import build_alpha_optimizer, build_weight_optimizer

    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = default_config().CUDNN.BENCHMARK
    cfg, classes = default_config(), 1251
    size = {key: case[key] for key in ("layers", "channels", "space")}
    supernet = build_model(size | {"kind": "supernet", "num_classes": classes})
    supernet.gradient = case["mode"].removesuffix("_channels_last")
    if case["mode"] == "dense":
        supernet = supernet.to(memory_format=torch.contiguous_format)
    supernet = supernet.to(case["device"]).train()
    optimizers = {
        "weights": build_weight_optimizer(cfg, supernet.weight_parameters()),
        "alpha": build_alpha_optimizer(cfg, supernet.arch_parameters()),
    }
    shape = (case["batch_size"], case["frames"], BINS)
    batches = [
        (torch.randn(shape).to(case["device"]), torch.randint(classes, shape[:1]).to(case["device"])) for _ in range(2)
    ]
    return supernet, optimizers, nn.CrossEntropyLoss(label_smoothing=0.1), *batches


# ------------------------------------------------------------------------------------------------------------------
# All of them
# ------------------------------------------------------------------------------------------------------------------
def run_mode(case: dict) -> dict:
    """Measure a case in a process of its own."""
    return run_case("search", case, case["mode"])


def compare(case: dict, modes: list[str], rounds: int) -> dict:
    """Median seconds and peak memory of each mode, and the ratios dense over exact."""
    measured: dict[str, list[dict]] = {mode: [] for mode in modes}
    for _ in range(rounds):
        for mode in modes:
            if not any("error" in outcome for outcome in measured[mode]):
                measured[mode].append(run_mode(case | {"mode": mode}))
    report: dict = {}
    for mode, outcomes in measured.items():
        report[mode] = {"seconds": None, "peak_mb": None}
        if not any("error" in outcome for outcome in outcomes):
            seconds = [value for outcome in outcomes for value in outcome["seconds"]]
            peak = max(outcome["peak_mb"] for outcome in outcomes)
            report[mode] = {"seconds": statistics.median(seconds), "peak_mb": peak}
            report[mode]["voxceleb1_hours"] = report[mode]["seconds"] * steps_of_a_search(case["batch_size"]) / 3600
    dense, exact = report.get("dense", {}), report.get("exact", {})
    if dense.get("seconds") and exact.get("seconds"):
        ratio = {name: dense[key] / exact[key] for name, key in (("time", "seconds"), ("memory", "peak_mb"))}
    else:
        ratio = {"time": None, "memory": None}
    return report | {"ratio": ratio} | {key: value for key, value in case.items() if key != "iterations"}


def steps_of_a_search(batch_size: int) -> int:
    """Iterations of the paper's search on VoxCeleb1."""
    return EPOCHS * (VOXCELEB1_TRAIN // batch_size)


def largest_batch_size(case: dict) -> int:
    """The largest power of two for which an exact iteration fits."""
    size = 2
    while "error" not in run_mode(case | {"mode": "exact", "batch_size": 2 * size, "iterations": 1}):
        size *= 2
    return size


def print_table(report: dict) -> None:
    """A report, for people."""
    settings = ", ".join(
        f"{key} {report[key]}" for key in ("layers", "channels", "batch_size", "frames", "space", "precision")
    )
    print(f"\n{settings}; {report['machine']}, torch {report['torch']}")
    print(
        f"{'':20} {'s/iteration':>12} {'peak MB':>9} {'time':>7} {'memory':>7}   hours for {EPOCHS} epochs of VoxCeleb1"
    )
    exact = report.get("exact", {})
    for mode in MODES:
        row = report.get(mode)
        if row is None:
            continue
        if row["seconds"] is None:
            print(f"{mode:20} {OUT_OF_MEMORY:>22}")
            continue
        ratios = [f"{row[key] / exact[key]:.2f}x" if exact.get(key) else "" for key in ("seconds", "peak_mb")]
        print(
            f"{mode:20} {row['seconds']:12.3f} {row['peak_mb']:9.0f} {ratios[0]:>7} {ratios[1]:>7}   "
            f"{row['voxceleb1_hours']:.1f}"
        )
