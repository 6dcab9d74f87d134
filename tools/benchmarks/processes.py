"""A process of its own for every case that is measured, and what all rounds of a case come to."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from traceback import format_exception_only
from typing import Any

import numpy as np

from tools.benchmarks.measure import limit_memory
from utils.system.errors import UserError

Case = dict[str, Any]
Outcome = dict[str, Any]
Measure = Callable[[Case], Outcome]
OUT_OF_MEMORY = "out of memory"
NO_MEMORY = (OUT_OF_MEMORY, "not enough memory", "allocate memory")  # how PyTorch says so


def run_in_turn(measure: Measure, cases: Mapping[str, Case], rounds: int) -> dict[str, list[Outcome]]:
    """The outcomes of every case, by its name, one a round; a case that memory is too short for is left out."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in cases}
    for name, case in [*cases.items()] * rounds:
        if name in outcomes:
            outcome = run_case(measure, case, name)
            if outcome is None:
                del outcomes[name]
            else:
                outcomes[name].append(outcome)
    return outcomes


def run_alone(measure: Measure, case: Case, name: str, rounds: int = 1) -> list[Outcome]:
    """The outcomes of a command that has one case only.

    Raises:
        UserError: it failed, or memory was too short for it.
    """
    outcomes = run_in_turn(measure, {name: case}, rounds)
    if not outcomes:
        raise UserError(f"{name} failed: {OUT_OF_MEMORY}")
    return outcomes[name]


def run_case(measure: Measure, case: Case, name: str) -> Outcome | None:
    """What is measured of a case in a new process; None where memory was too short.

    Raises:
        UserError: it failed for another reason.
    """
    try:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            outcome = pool.submit(try_case, measure, case)
            (process,) = active_children()
            return outcome.result()
    except BrokenProcessPool as error:
        if process.exitcode == -9:  # the system's way to say that memory is short
            return None
        raise UserError(f"{name} failed: its process ended with exit status {process.exitcode}") from error
    except Exception as error:
        message = str(error) if isinstance(error, UserError) else format_exception_only(error)[-1].strip()
        raise UserError(f"{name} failed: {message}") from error


def try_case(measure: Measure, case: Case) -> Outcome | None:
    """What is measured of a case in this process; None where memory is too short."""
    if case.get("device") == "cpu":
        limit_memory()
    try:
        return measure(case)
    except (RuntimeError, MemoryError) as error:  # of which CUDA's OutOfMemoryError is one
        if isinstance(error, MemoryError) or any(text in str(error) for text in NO_MEMORY):
            return None
        raise


def summarise(rounds: Sequence[Outcome], keys: Iterable[str] = ("seconds", "peak_mb")) -> dict[str, float]:
    """The median `seconds` of all rounds, and the most of what else there is of these keys."""
    most = {key: max(outcome[key] for outcome in rounds) for key in keys}
    return most | {"seconds": float(np.median(np.hstack([outcome["seconds"] for outcome in rounds])))}
