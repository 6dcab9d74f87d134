"""A process of its own for every case that is measured."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from utils.system.errors import UserError
from utils.system.files import ROOT

OUT_OF_MEMORY = "out of memory"
NO_MEMORY = (OUT_OF_MEMORY, "not enough memory", "allocate memory")  # how PyTorch says so


def run_in_turn(
    command: str, cases: dict[str, dict[str, Any]], rounds: int, environment: dict[str, str] | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Every case's outcomes, one a round; after one that is out of memory it is not run again.

    Args:
        cases: by what to call them.
        environment: variables on top of this process's.
    """
    outcomes: dict[str, list[dict[str, Any]]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            if not is_short(outcomes[name]):
                outcomes[name].append(run_case(command, case, name, environment))
    return outcomes


def is_short(outcomes: list[dict[str, Any]]) -> bool:
    """Whether memory was too short for a case."""
    return any("error" in outcome for outcome in outcomes)


def run_case(
    command: str, case: dict[str, Any], name: str, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """What `tools/benchmark.py COMMAND --worker CASE` prints, run in a process of its own.

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


def try_case(measure: Callable[[dict[str, Any]], dict[str, Any]], case: dict[str, Any]) -> dict[str, Any]:
    """What is measured of a case, or the `error` that memory was too short."""
    try:
        return measure(case)
    except (RuntimeError, MemoryError) as error:  # of which CUDA's OutOfMemoryError is one
        if isinstance(error, MemoryError) or any(text in str(error) for text in NO_MEMORY):
            return {"error": OUT_OF_MEMORY}
        raise
