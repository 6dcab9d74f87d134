"""The record of a run: nothing that is wrong with the machine makes it wait."""

import resource
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.runs import scalars
from utils.training.run_log import RunLog

FIGURES = {f"figure_{number}": float(number) for number in range(40)}


def test_clock_that_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By weeks, and forward again: every figure is there, at the time that the clock said."""
    now = time.time()

    def write() -> None:
        log = RunLog(tmp_path)
        for epoch, days in enumerate((0, -40, 40), start=1):
            monkeypatch.setattr(time, "time", lambda days=days: now + 86_400 * days)
            log.metrics(epoch, FIGURES)
        log.close()

    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    writing.join(timeout=30)
    assert not writing.is_alive()
    expected = [(epoch, name, value) for epoch in (1, 2, 3) for name, value in FIGURES.items()]
    assert scalars(tmp_path) == sorted(expected)


def test_events_that_cannot_be_written(tmp_path: Path) -> None:
    """A limit that the events alone run into, as on a disk with room for a line: an error, and no waiting."""
    claim, claimed = ExitStack(), []
    claim.callback(lambda: claimed.append("given back"))
    log = RunLog(tmp_path, claim=claim)
    log.metrics(1, FIGURES)
    (events,) = tmp_path.glob("events.out.*")
    metrics, limits = tmp_path / "metrics.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
    assert events.stat().st_size > 2 * metrics.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (events.stat().st_size + 10, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*events\.out"):
            log.metrics(2, FIGURES)
        with pytest.raises(OSError, match=r"File too large: .*events\.out"):
            log.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert claimed == ["given back"]
