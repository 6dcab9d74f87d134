"""Cases that are measured in processes of their own."""

from unittest import mock

import pytest

from tools.benchmarks import processes
from utils.system.errors import UserError


def test_failed_case_is_told_in_one_line() -> None:
    """With the last line of what its process said."""
    with pytest.raises(UserError, match=r"^bf16 failed: KeyError: 'layers'$"):
        processes.run_case("search", {"device": "cpu"}, "bf16")


def test_cases_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Round by round; one that memory was too short for is not run again."""
    run_case = mock.Mock(side_effect=lambda command, case, *others: {"error": ""} if case["large"] else {"seconds": 1})
    monkeypatch.setattr(processes, "run_case", run_case)
    outcomes = processes.run_in_turn("search", {"a": {"large": 0}, "b": {"large": 1}, "c": {"large": 0}}, 2, {"X": "1"})
    assert [call.args[2] for call in run_case.call_args_list] == ["a", "b", "c", "a", "c"]
    assert outcomes == {"a": [{"seconds": 1}] * 2, "b": [{"error": ""}], "c": [{"seconds": 1}] * 2}
    assert {str(call.args[3]) for call in run_case.call_args_list} == {"{'X': '1'}"}


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory: 2 GiB"), RuntimeError("boom")])
def test_case_for_which_memory_is_short(error: Exception) -> None:
    """It has an `error`; whatever else went wrong is raised."""
    measure = mock.Mock(side_effect=error)
    if str(error) == "boom":
        with pytest.raises(RuntimeError, match="boom"):
            processes.try_case(measure, {})
    else:
        assert processes.try_case(measure, {}) == {"error": "out of memory"}
