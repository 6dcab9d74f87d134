"""What tools/benchmark.py does: a command's measurements, printed as JSON or as tables."""

import argparse
import json
from types import ModuleType

from tools.benchmarks import data, launches, preprocess, recognition, scale, search, train, trials

# Each yields the reports that `run(args)` measures, and has `print_report(report)` for people.
COMMANDS: dict[str, ModuleType] = {
    "search": search,
    "train": train,
    "launches": launches,
    "data": data,
    "scale": scale,
    "trials": trials,
    "preprocess": preprocess,
    "recognition": recognition,
}


def run_benchmark(args: argparse.Namespace) -> None:
    """Measure, and print every report as soon as it is there, or all as one JSON object."""
    command, reports = COMMANDS[args.command], []
    for report in command.run(args):
        reports.append(report)
        if not args.json:
            command.print_report(report)
    if args.json:
        print(json.dumps(reports[0] if len(reports) == 1 else {"reports": reports}))
