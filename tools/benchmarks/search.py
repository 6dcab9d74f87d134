"""benchmark.py search: iterations of a search, with each SEARCH.GRADIENT."""

import argparse
import itertools
import statistics
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from config import default_config
from models import build_model
from models.supernet import Supernet
from tools.benchmarks.measure import base_mb, clock, describe_machine, draw_batch, peak_mb
from tools.benchmarks.options import CLASSES, LARGEST, MODES
from tools.benchmarks.processes import is_short, run_case, run_in_turn
from tools.benchmarks.tables import Columns, format_machine, format_settings, format_table
from tools.corpora.sizes import PARTS
from utils.search.loop import search_iteration, start_gradients_at_zero
from utils.system.device import select_device
from utils.training.optim import build_alpha_optimizer, build_weight_optimizer

EPOCHS = 50  # of the paper's search
SETTINGS = ("layers", "channels", "batch_size", "frames", "space", "precision")
COLUMNS: Columns = {
    "seconds": ("s/iteration", "{:.3f}".format),
    "peak_mb": ("peak MB", "{:.0f}".format),
    "time": ("time", "{:.2f}x".format),
    "memory": ("memory", "{:.2f}x".format),
    "voxceleb1_hours": (f"hours for {EPOCHS} epochs of VoxCeleb1", "{:.1f}".format),
}


def run(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure: a report for every precision and batch size."""
    device = select_device(args.device)
    for precision, size in itertools.product(args.precision, args.batch_size):
        case = {key: getattr(args, key) for key in ("layers", "channels", "frames", "space", "iterations")}
        case |= {"device": device.type, "precision": precision}
        case["batch_size"] = largest_batch_size(case) if size == LARGEST else size
        yield compare(case, args.modes, args.rounds) | describe_machine(device)


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Seconds of every iteration, and peak memory in MB, of a search's iterations in this process."""
    device = torch.device(case["device"])
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = default_config().CUDNN.BENCHMARK
    supernet, optimizers = build(case, device)
    train, val = (draw_batch(case["batch_size"], case["frames"], CLASSES, device) for _ in range(2))
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    start_gradients_at_zero(supernet)
    before = base_mb(device)
    seconds = []
    for _ in range(1 + case["iterations"]):
        began = clock(device)
        search_iteration(supernet, optimizers, criterion, train, val, case["precision"])
        seconds.append(clock(device) - began)
    return {"seconds": seconds[1:], "peak_mb": peak_mb(device) - before}


def build(case: dict[str, Any], device: torch.device) -> tuple[Supernet, dict[str, torch.optim.Optimizer]]:
    """A supernet and its optimizers."""
    size = {key: case[key] for key in ("layers", "channels", "space")}
    supernet = build_model(size | {"kind": "supernet", "num_classes": CLASSES})
    assert isinstance(supernet, Supernet)
    supernet.gradient = case["mode"].removesuffix("_channels_last")
    if case["mode"] == "dense":
        supernet.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    supernet.to(device).train()
    cfg = default_config()
    weights = build_weight_optimizer(cfg, supernet.weight_parameters())
    return supernet, {"weights": weights, "alpha": build_alpha_optimizer(cfg, supernet.arch_parameters())}


def compare(case: dict[str, Any], modes: list[str], rounds: int) -> dict[str, Any]:
    """Median seconds and peak memory of each mode, and the ratios dense over exact."""
    outcomes = run_in_turn("search", {mode: case | {"mode": mode} for mode in modes}, rounds)
    report: dict[str, Any] = {mode: summarise(of_mode, case["batch_size"]) for mode, of_mode in outcomes.items()}
    report["ratio"] = compare_modes(report.get("dense", {}), report.get("exact", {}))
    return report | {key: value for key, value in case.items() if key != "iterations"}


def summarise(outcomes: list[dict[str, Any]], batch_size: int) -> dict[str, Any]:
    """A mode's figures; None where memory was short."""
    if is_short(outcomes):
        return {"seconds": None, "peak_mb": None}
    seconds = statistics.median(value for outcome in outcomes for value in outcome["seconds"])
    iterations = EPOCHS * (PARTS[0] // batch_size)  # of the paper's search on VoxCeleb1
    peak = max(outcome["peak_mb"] for outcome in outcomes)
    return {"seconds": seconds, "peak_mb": peak, "voxceleb1_hours": seconds * iterations / 3600}


def compare_modes(mode: dict[str, Any], exact: dict[str, Any]) -> dict[str, float | None]:
    """How many times the seconds and the memory of `exact` a mode takes, where both are known."""
    are_known = mode.get("seconds") and exact.get("seconds")
    keys = {"time": "seconds", "memory": "peak_mb"}
    return {name: mode[key] / exact[key] if are_known else None for name, key in keys.items()}


def largest_batch_size(case: dict[str, Any]) -> int:
    """The largest power of two for which an exact iteration fits."""
    size = 2
    while not is_short(
        [run_case("search", case | {"mode": "exact", "batch_size": 2 * size, "iterations": 1}, "exact")]
    ):
        size *= 2
    return size


def print_report(report: dict[str, Any]) -> None:
    """A report, for people."""
    print(f"\n{format_settings(report, SETTINGS)}; {format_machine(report)}")
    exact = report.get("exact", {})
    rows = {mode: report[mode] | compare_modes(report[mode], exact) for mode in MODES if mode in report}
    print(format_table(rows, COLUMNS))
