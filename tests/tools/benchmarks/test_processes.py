"""Cases that are measured in processes of their own."""

import os
import signal
from typing import Any
from unittest import mock

import pytest

from tools.benchmarks import processes
from utils.system.errors import UserError


def fail(case: dict[str, Any]) -> dict[str, Any]:
    """What a case's `how` says, or its process."""
    if case["how"] == "refused":
        raise UserError("no such corpus")
    if case["how"] == "killed":
        os.kill(os.getpid(), case["signal"])
    if case["how"] == "short":
        raise MemoryError
    return {"process": os.getpid(), "missing": case["missing"]}


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"how": "mistaken"}, "bf16 failed: KeyError: 'missing'"),
        ({"how": "refused"}, "bf16 failed: no such corpus"),
        ({"how": "killed", "signal": signal.SIGSEGV}, "bf16 failed: its process ended with exit status -11"),
    ],
)
def test_failed_case_is_told_in_one_line(case: dict[str, Any], message: str) -> None:
    """With what its process said last."""
    with pytest.raises(UserError) as raised:
        processes.run_case(fail, case, "bf16")
    assert str(raised.value) == message


def test_case_has_a_process_of_its_own() -> None:
    """A new one each time; none of its outcome where memory is short, or where the system killed it for that."""
    seen = {processes.run_case(fail, {"how": "", "missing": 0}, "")["process"] for _ in range(2)}
    assert len(seen | {os.getpid()}) == 3
    assert processes.run_case(fail, {"how": "short"}, "") is None
    assert processes.run_case(fail, {"how": "killed", "signal": signal.SIGKILL}, "") is None


def test_cases_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Round by round; one that memory was too short for is not run again."""
    run_case = mock.Mock(side_effect=lambda measure, case, name: None if case["large"] else {"seconds": 1})
    monkeypatch.setattr(processes, "run_case", run_case)
    outcomes = processes.run_in_turn(fail, {"a": {"large": 0}, "b": {"large": 1}, "c": {"large": 0}}, 2)
    assert [call.args[2] for call in run_case.call_args_list] == ["a", "b", "c", "a", "c"]
    assert outcomes == {"a": [{"seconds": 1}] * 2, "c": [{"seconds": 1}] * 2}
    with pytest.raises(UserError, match=r"^b failed: out of memory$"):
        processes.run_alone(fail, {"large": 1}, "b")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory: 2 GiB"), RuntimeError("boom")])
def test_case_for_which_memory_is_short(error: Exception) -> None:
    """It has no outcome; whatever else went wrong is raised."""
    measure = mock.Mock(side_effect=error)
    if str(error) == "boom":
        with pytest.raises(RuntimeError, match="boom"):
            processes.try_case(measure, {})
    else:
        assert processes.try_case(measure, {}) is None


def test_summary_of_rounds() -> None:
    """The median over all rounds' seconds, one or many a round; the most of what is asked for."""
    rounds = [{"seconds": [1, 2, 9], "peak_mb": 3}, {"seconds": [4], "peak_mb": 5}]
    assert processes.summarise(rounds) == {"seconds": 3, "peak_mb": 5}
    rounds = [{"seconds": 2, "kept_mb": 1, "imports_mb": 9}]
    assert processes.summarise(rounds, ["seconds", "kept_mb"]) == {"seconds": 2, "kept_mb": 1}
