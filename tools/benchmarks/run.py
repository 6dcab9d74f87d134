"""What tools/benchmark.py does: a command's measurements, printed as JSON or as tables."""

import argparse
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tools.benchmarks import data, preprocess, scale, search, train, trials
from tools.benchmarks.measure import limit_memory
from tools.benchmarks.processes import try_case


class Command(NamedTuple):
    """How a command reports, what people see of a report, and what it measures in processes of their own."""

    run: Callable[[argparse.Namespace], Iterator[dict[str, Any]]]
    print_report: Callable[[dict[str, Any]], None]
    measure: Callable[[dict[str, Any]], dict[str, Any]] | None = None


COMMANDS = {
    "search": Command(search.run, search.print_report, search.measure),
    "train": Command(train.run, train.print_report, train.measure),
    "data": Command(data.run, data.print_report),
    "scale": Command(scale.run, scale.print_report, scale.measure),
    "trials": Command(trials.run, trials.print_report, trials.measure),
    "preprocess": Command(preprocess.run, preprocess.print_report),
}


def run_benchmark(args: argparse.Namespace) -> None:
    """Measure and print; with --worker, only a case, in this process."""
    command = COMMANDS[args.command]
    if args.worker and command.measure:
        case = json.loads(args.worker)
        if "device" in case:
            limit_memory(case["device"])
        print(json.dumps(try_case(command.measure, case)))
        return
    reports = []
    for report in command.run(args):
        reports.append(report)
        if not args.json:
            command.print_report(report)
    if args.json:
        print(json.dumps(reports[0] if len(reports) == 1 else {"reports": reports}))
