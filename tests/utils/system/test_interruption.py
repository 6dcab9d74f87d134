"""The watch over a run: when it saves, and when it stops."""

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from utils.system.errors import RunStoppedError, UserError
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


def test_signal_while_a_batch_is_waited_for() -> None:
    """The run stops there, with a checkpoint, though the batch never comes; one that came before is heard, too."""
    saved: list[int] = []

    def batches() -> Iterator[int]:
        yield 1
        signal.raise_signal(signal.SIGTERM)  # as if it came while this waits
        raise AssertionError("waited on")

    seen = []
    with (
        pytest.raises(RunStoppedError, match="stopped by SIGTERM here"),
        Watch(lambda: saved.append(1), 0, lambda: "here") as watch,
    ):
        seen += watch.waiting(batches())
    assert (len(saved), signal.getsignal(signal.SIGTERM)) == (1, signal.SIG_DFL)
    with (
        pytest.raises(RunStoppedError),
        Watch(lambda: saved.append(1), 0, lambda: "here") as watch,
    ):
        signal.raise_signal(signal.SIGTERM)
        seen += watch.waiting(iter([2]))
    assert (seen, len(saved)) == ([1], 2)
    with Watch(lambda: saved.append(1), 0, lambda: "here") as watch:
        assert list(watch.waiting([1, 2])) == [1, 2]
    assert len(saved) == 2


@pytest.mark.parametrize("is_waiting", [True, False])
def test_loader_process_killed(is_waiting: bool) -> None:
    """One line with the way on; a checkpoint is written where the run stood between two steps, and not within one."""
    saved: list[int] = []
    error = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    def batches() -> Iterator[int]:
        yield 1
        raise error

    with (
        pytest.raises(UserError, match=r"a loader process was killed.*NUM_WORKERS; stopped here; go on with: python"),
        Watch(lambda: saved.append(1), 0, lambda: "here; go on with: python") as watch,
    ):
        for _ in watch.waiting(batches()):
            if not is_waiting:
                raise error
    assert len(saved) == is_waiting


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), ConnectionRefusedError(111, "no"), EOFError()])
def test_loader_process_killed_while_it_hands_over(error: Exception) -> None:
    """The socket's end comes before PyTorch's own word, which then does not come into the checkpoint's writing."""
    saved: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    def save() -> None:
        signal.raise_signal(signal.SIGCHLD)
        saved.append(1)

    def batches() -> Iterator[int]:
        yield 1
        raise error

    before = signal.signal(signal.SIGCHLD, interrupt)
    try:
        with (
            pytest.raises(UserError, match=r"a loader process was killed.*NUM_WORKERS; stopped here; go on with: py"),
            Watch(save, 0, lambda: "here; go on with: python") as watch,
        ):
            list(watch.waiting(batches()))
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert saved == [1]


@pytest.mark.parametrize(
    ("error", "is_waiting"),
    [(EOFError("No data left in file"), True), (BrokenPipeError(), True), (ConnectionResetError(), False)],
)
def test_other_ends(error: Exception, is_waiting: bool) -> None:
    """An empty file, a reader that is gone, a connection of something else: no loader process is blamed."""

    def batches() -> Iterator[int]:
        yield 1
        raise error

    with pytest.raises(type(error)) as caught, Watch(lambda: None, 0, lambda: "here") as watch:
        for _ in watch.waiting(batches()):
            if not is_waiting:
                raise error
    assert caught.value is error


def test_nohup() -> None:
    """A SIGHUP that is ignored stays so."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Watch(lambda: None, 0, lambda: "") as watch:
            signal.raise_signal(signal.SIGHUP)
            assert not watch.after_iteration()
    finally:
        signal.signal(signal.SIGHUP, before)
    with pytest.raises(RunStoppedError, match="SIGHUP"), Watch(lambda: None, 0, lambda: "") as watch:
        signal.raise_signal(signal.SIGHUP)
        watch.after_iteration()
