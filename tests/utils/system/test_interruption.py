"""The watch over a run: when it saves, and when it stops."""

import signal

import pytest

from utils.system.errors import RunStoppedError
from utils.system.interruption import Watch


def test_watch() -> None:
    """Saves when it is due or asked for, stops after the iteration, and at once at a second Ctrl-C."""
    saved: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with Watch(lambda: saved.append(1), 0, lambda: "somewhere") as watch:
        assert not watch.after_iteration()
        assert watch.after_iteration(over=True)
        assert len(saved) == 1
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(RunStoppedError, match="stopped by SIGTERM somewhere") as stopped:
            watch.after_iteration()
        assert (stopped.value.status, len(saved)) == (143, 2)
    assert signal.getsignal(signal.SIGTERM) == before
    with Watch(lambda: saved.append(1), 1e-9, lambda: "") as watch:
        assert not watch.after_iteration()
        assert len(saved) == 3
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
