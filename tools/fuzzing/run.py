"""All cases, their counts, and the failures by what is wrong."""

import argparse
import json
import re
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.fuzzing.judge import Bounds, Judge, Outcome
from tools.fuzzing.targets import TARGETS, Target
from tools.fuzzing.workers import BATCH, Batch, Work, run_cases, scratch, warm_up
from utils.system.errors import UserError

KEPT = 5  # inputs of a distinct failure


@dataclass
class Count:
    """What became of a target's cases."""

    cases: int = 0
    accepted: int = 0
    refused: int = 0
    failed: int = 0
    slowest: float = 0.0  # seconds
    peak: float = 0.0  # MB
    refusals: set[str] = field(default_factory=set)  # by their form

    def add(self, outcome: Outcome) -> None:
        self.cases += 1
        self.accepted += outcome.kind == "accepted"
        self.refused += outcome.kind == "refused"
        self.failed += outcome.kind not in ("accepted", "refused")
        self.slowest, self.peak = max(self.slowest, outcome.seconds), max(self.peak, outcome.megabytes)
        if outcome.kind == "refused":
            self.refusals.add(form(outcome.message))

    def figures(self) -> dict[str, float]:
        """The table's row."""
        return {
            "cases": self.cases,
            "accepted": self.accepted,
            "refused": self.refused,
            "refusals": len(self.refusals),
            "failures": self.failed,
            "slowest_ms": round(1000 * self.slowest, 1),
            "peak_mb": round(self.peak, 1),
        }


@dataclass
class Result:
    """Counts by target, and the cases of every distinct failure."""

    counts: dict[str, Count]
    failures: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)  # (target, kind, form) -> numbers
    messages: dict[tuple[str, str, str], str] = field(default_factory=dict)  # of the first

    def add(self, target: str, number: int, outcome: Outcome) -> bool:
        """Count a case; whether its input is worth keeping."""
        self.counts[target].add(outcome)
        if outcome.kind in ("accepted", "refused"):
            return False
        key = (target, outcome.kind, form(outcome.message))
        self.messages.setdefault(key, outcome.message)
        numbers = self.failures.setdefault(key, [])
        numbers.append(number)
        return len(numbers) <= KEPT

    def as_json(self, seed: int, seconds: float) -> dict[str, object]:
        failures = [
            {
                "target": key[0],
                "kind": key[1],
                "message": self.messages[key],
                "count": len(found),
                "cases": found[:KEPT],
            }
            for key, found in sorted(self.failures.items())
        ]
        targets = {name: count.figures() for name, count in self.counts.items()}
        return {"seed": seed, "seconds": round(seconds, 1), "targets": targets, "failures": failures}


def form(message: str) -> str:
    """A message without what changes from case to case: paths, quotations and numbers."""
    text = re.sub(r"\S*/\S*", "PATH", message.strip().partition("\n")[0])
    text = re.sub(r"'.*'|\".*\"", "TEXT", text)
    return re.sub(r"0x[0-9a-fA-F]+|\d+([.e+-]+\d+)*", "N", text)[:80]


def choose(only: str, targets: Mapping[str, Target]) -> list[str]:
    """The targets of these names, or of whose names these are the first word.

    Raises:
        UserError: there is none of a name.
    """
    chosen: list[str] = []
    for name in only.replace(",", " ").split():
        found = [target for target in targets if name in (target, target.partition("-")[0])]
        if not found:
            raise UserError(f"there is no target {name!r}; valid are {', '.join(targets)}")
        chosen += found
    return list(dict.fromkeys(chosen)) or list(targets)


def plan(names: Iterable[str], targets: Mapping[str, Target], counts: Mapping[str, int]) -> list[Batch]:
    """The batches of all targets; those of a group share its count."""
    batches = []
    for group, count in counts.items():
        members = [name for name in names if targets[name].group == group]
        for place, name in enumerate(members):
            share = count // len(members) + (place < count % len(members))
            batches += [Batch(name, first, min(first + BATCH, share)) for first in range(0, share, BATCH)]
    return batches


def fuzz(work: Work, batches: list[Batch], workers: int, keep: Path | None = None) -> Result:
    """Run all cases; inputs that fail are written to keep."""
    result = Result({name: Count() for name in work.seeds})
    for target, number, outcome in run_cases(work, batches, workers):
        if result.add(target, number, outcome) and keep is not None:
            keep_case(work, target, number, keep)
    return result


def keep_case(work: Work, target: str, number: int, folder: Path) -> Path:
    """Write a case's input, named by what makes it again: target, seed and number."""
    case = work.case(target, number)
    path = folder / f"{target}-{work.seed}-{number}{case.suffix}"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(case.data)
    return path


def run_one(work: Work, text: str) -> Outcome:
    """The case TARGET:NUMBER, in this process.

    Raises:
        UserError: not of this form, or no such target.
    """
    name, _, number = text.rpartition(":")
    if name not in work.targets or not (number.isascii() and number.isdecimal()):
        raise UserError(f"--case must be TARGET:NUMBER, with one of {', '.join(work.targets)}, not {text!r}")
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        judge = Judge(Path(folder), work.bounds)
        with judge.captured():
            warm_up(work, Path(folder))  # as in a worker: imports at first use are not the case's
            judge.start_afresh()
            return judge.run(work.targets[name], work.case(name, int(number)))


def run_fuzzer(
    args: argparse.Namespace, targets: Mapping[str, Target] | None = None, bounds: Bounds | None = None
) -> int:
    """What tools/fuzz.py does; 1 if there are failures, else 0."""
    targets = TARGETS if targets is None else targets
    names = choose(args.only or args.case.rpartition(":")[0], targets)
    seeds = {name: targets[name].seeds() for name in names}
    work = Work(targets, seeds, args.seed, bounds or Bounds())
    if args.case:
        outcome = run_one(work, args.case)
        line = f"{args.case}, seed {args.seed}: {outcome.kind} {outcome.message}"
        print(json.dumps(outcome._asdict()) if args.json else line)
        return int(outcome.kind not in ("accepted", "refused"))
    began = time.monotonic()
    batches = plan(names, targets, {"texts": args.texts, "files": args.files})
    report = fuzz(work, batches, args.workers, args.keep).as_json(args.seed, time.monotonic() - began)
    print(json.dumps(report) if args.json else table(report))
    return int(bool(report["failures"]))


def table(report: Mapping[str, object]) -> str:
    """Targets and failures as text."""
    rows, failures = report["targets"], report["failures"]
    assert isinstance(rows, dict) and isinstance(failures, list)
    heads = ("cases", "accepted", "refused", "refusals", "failures", "slowest_ms", "peak_mb")
    lines = [f"{'target':<16}" + "".join(f"{head:>12}" for head in heads)]
    lines += [f"{name:<16}" + "".join(f"{row[head]:>12,}" for head in heads) for name, row in rows.items()]
    for failure in failures:
        where = f"{failure['target']}:{failure['cases'][0]}"
        lines.append(f"{failure['kind']} in {failure['count']} cases, {where} first: {failure['message'][:200]!r}")
    return "\n".join([*lines, f"seed {report['seed']}, {report['seconds']} s"])
