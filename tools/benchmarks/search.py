"""benchmark.py search: iterations of a search, with each SEARCH.GRADIENT."""

import argparse
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from models import build_supernet
from tools.benchmarks.measure import Peak, build_settings, describe_machine, draw_batch, time_repeats
from tools.benchmarks.options import CLASSES, LARGEST, MODES
from tools.benchmarks.processes import Case, Outcome, run_case, run_in_turn, summarise
from tools.benchmarks.tables import Columns, format_heading, format_table
from tools.corpora.sizes import PARTS
from utils.search.loop import build_optimizers, search_iteration, start_gradients_at_zero
from utils.system.device import select_device

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
        case = {key: getattr(args, key) for key in ("layers", "channels", "frames", "space")}
        case |= {"device": device.type, "precision": precision}
        case["batch_size"] = largest_batch_size(case) if size == LARGEST else size
        cases = {mode: case | {"mode": mode, "iterations": args.iterations} for mode in args.modes}
        outcomes = run_in_turn(measure, cases, args.rounds)
        report = {mode: report_mode(outcomes.get(mode, []), case["batch_size"]) for mode in cases}
        report["ratio"] = compare_modes(report.get("dense", {}), report.get("exact", {}))
        yield report | case | describe_machine(device)


def largest_batch_size(case: Case) -> int:
    """The largest power of two for which an exact iteration fits."""
    case, size = case | {"mode": "exact", "iterations": 1}, 2
    while run_case(measure, case | {"batch_size": 2 * size}, "exact") is not None:
        size *= 2
    return size


def measure(case: Case) -> Outcome:
    """Seconds of every iteration, and peak memory in MB, of a search's iterations in this process."""
    device, cfg = torch.device(case["device"]), build_settings(case)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = cfg.CUDNN.BENCHMARK
    cfg.SEARCH.GRADIENT = case["mode"].removesuffix("_channels_last")
    supernet = build_supernet(cfg, CLASSES)
    if case["mode"] == "dense":
        supernet.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    supernet.to(device).train()
    optimizers = build_optimizers(cfg, supernet)
    train, val = (draw_batch(case, CLASSES, device) for _ in range(2))
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    start_gradients_at_zero(supernet)
    peak, data = Peak(device), (train, val, case["precision"])
    seconds = time_repeats(lambda: search_iteration(supernet, optimizers, criterion, *data), case["iterations"], device)
    return {"seconds": seconds, "peak_mb": peak.read()}


def report_mode(outcomes: list[Outcome], batch_size: int) -> dict[str, float | None]:
    """A mode's figures; None where memory was short."""
    if not outcomes:
        return {"seconds": None, "peak_mb": None}
    figures = summarise(outcomes)
    iterations = EPOCHS * (PARTS[0] // batch_size)  # of the paper's search on VoxCeleb1
    return {**figures, "voxceleb1_hours": figures["seconds"] * iterations / 3600}


def compare_modes(mode: dict[str, Any], exact: dict[str, Any]) -> dict[str, float | None]:
    """How many times the seconds and the memory of `exact` a mode takes, where both are known."""
    are_known = mode.get("seconds") and exact.get("seconds")
    keys = {"time": "seconds", "memory": "peak_mb"}
    return {name: mode[key] / exact[key] if are_known else None for name, key in keys.items()}


def print_report(report: dict[str, Any]) -> None:
    """A report, for people."""
    exact = report.get("exact", {})
    rows = {mode: report[mode] | compare_modes(report[mode], exact) for mode in MODES if mode in report}
    print(f"\n{format_heading(report, SETTINGS)}\n{format_table(rows, COLUMNS)}")
