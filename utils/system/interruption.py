"""Stopping a run in an orderly way, and writing its checkpoints in time."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any, TypeVar

from utils.system.distributed import agree
from utils.system.errors import RunStoppedError, UserError
from utils.system.processes import ignore_ends, is_main, processes
from utils.system.shortage import LOADER_KILLED, explain_shortage, is_cut_off

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, a scheduler's, of a terminal that is gone
PATIENCE = 30  # seconds that torchrun gives its processes between SIGTERM and SIGKILL


def _is_muted(number: int) -> bool:
    return number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN


class _Woken(BaseException):
    """A signal came while a batch was waited for."""


class Watch:
    """Looks at the clock and for signals after every iteration, and saves when one of them says so.

    As a context it takes SIGNALS: the first asks the run to stop after its iteration, a second SIGINT stops it at once.
    SIGHUP is left alone where it is ignored, as by nohup. Where several processes share the run, they stop and save
    after the same iteration; one alone stops where it waits for a batch, too, and saves where its loader processes
    fail.

    Args:
        save: writes the checkpoint.
        minutes: between two checkpoints within an epoch; 0 for none there.
        where: how far the run is, and the command that goes on with it, as text.

    Attributes:
        waited: seconds that batches were waited for, and made features of; of a GPU, which is asked and not waited for,
            the asking.
    """

    def __init__(self, save: Callable[[], None], minutes: float, where: Callable[[], str]) -> None:
        self._save = save
        self._seconds = 60 * minutes
        self._where = where
        self._signal = 0
        self._is_waiting = False
        self.waited = 0.0
        self._saved = time.perf_counter()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Watch":
        if threading.current_thread() is threading.main_thread():  # which alone may set handlers
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS if not _is_muted(number)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            shortage = LOADER_KILLED if self._is_waiting and is_cut_off(error) else explain_shortage(error)
            if shortage and self._before:
                ignore_ends()
            if isinstance(error, _Woken) or (shortage and self._is_waiting and processes() == 1):
                self._write()
            if isinstance(error, _Woken):
                self._stop(self._signal)
            if shortage:
                raise UserError(f"{shortage}; stopped {self._where()}") from error
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = number
        if is_main():  # by the system's own call: the signal may have interrupted another writing to standard error
            os.write(2, f"\n{signal.Signals(number).name}: stopping as soon as a checkpoint is written\n".encode())
        self._wake()

    def _wake(self) -> None:
        if self._is_waiting and self._signal and processes() == 1:
            raise _Woken

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches, between which there is nothing that a checkpoint lacks: a signal may end the waiting for one."""
        iterator = iter(batches)
        while True:
            self._is_waiting, began = True, time.perf_counter()
            self._wake()  # if the signal came before
            batch = next(iterator, None)
            self._is_waiting = False
            if batch is None:
                return
            self.waited += time.perf_counter() - began
            yield batch

    def after_iteration(self, over: bool = False) -> bool:
        """Save if a checkpoint is due, or if the run ends here.

        Args:
            over: whether the run shall end here for another reason; the main process's word counts.

        Returns:
            Whether it shall.

        Raises:
            RunStoppedError: a signal came.
        """
        due = 0 < self._seconds <= time.perf_counter() - self._saved
        number, is_due, is_over = agree(self._signal, is_main() and due, is_main() and over)
        if number or is_due or is_over:
            self._write()
        if number:
            agree()  # the main process has written: before, none may end
        self._stop(number)
        return bool(is_over)

    def before_validation(self) -> None:
        """Save if the last checkpoint is older than most who stop a job will wait: validation is not interrupted."""
        due = self._seconds > 0 and time.perf_counter() - self._saved >= PATIENCE
        if agree(is_main() and due)[0]:
            self._write()

    def _write(self) -> None:
        self._save()
        self._saved = time.perf_counter()

    def after_epoch(self) -> None:
        """Note that the epoch's checkpoint is written.

        Raises:
            RunStoppedError: a signal came.
        """
        self._saved = time.perf_counter()
        self._stop(*agree(self._signal))

    def _stop(self, number: int) -> None:
        if number:
            raise RunStoppedError(f"stopped by {signal.Signals(number).name} {self._where()}", number)
