"""What a run says, to the console and to files in its folder: log.txt, metrics.jsonl, TensorBoard events."""

import json
import logging
import math
import os
import time
from contextlib import ExitStack
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from utils.system.errors import DivergedError
from utils.system.files import naming, write_atomically
from utils.system.logger import Formatter, get_logger
from utils.system.processes import is_main

LOG, EVENTS = "log.txt", "events.out.tfevents.*"


class RunLog:
    """The record of a run in its folder: log.txt, metrics.jsonl, TensorBoard events.

    Args:
        run_dir: an existing folder.
        epochs_done: of a resumed run; figures of later epochs, left by an interruption, are taken out of metrics.jsonl,
            and TensorBoard's events are made anew from it, so that they have no gaps or repeats either.
        claim: what keeps other jobs out of the folder, to be closed with the log: see `claim`.
    """

    def __init__(self, run_dir: Path, epochs_done: int = 0, claim: ExitStack | None = None) -> None:
        self.run_dir = run_dir
        self._claim = claim or ExitStack()
        self.logger = get_logger()
        if not is_main():
            return
        self._file = logging.FileHandler(run_dir / LOG, encoding="utf-8")
        self._file.setFormatter(Formatter("%(asctime)s %(message)s"))
        self.logger.addHandler(self._file)
        self._metrics = run_dir / "metrics.jsonl"
        lines = self._keep_epochs(epochs_done)
        for events in run_dir.glob(EVENTS):
            events.unlink()
        # Not tensorboardX's SummaryWriter: the thread that it writes by ends where a disk is full, or the clock is set
        # back by weeks, and then the run waits for it for ever.
        self._events = EventsWriter(str(run_dir / "events"))
        for line in lines:
            self._add_scalars(line)

    def _keep_epochs(self, epochs: int) -> list[dict[str, float]]:
        if not self._metrics.is_file():
            return []
        lines = self._metrics.read_text(encoding="utf-8").splitlines()
        # An interruption can leave half a line, which is of an epoch that was not finished.
        whole = [line for line in lines if line.endswith("}") and json.loads(line)["epoch"] <= epochs]
        write_atomically(self._metrics, "".join(f"{line}\n" for line in whole))
        return [json.loads(line) for line in whole]

    def warning(self, message: str) -> None:
        """A warning to the console and log.txt."""
        self.logger.warning(message)

    def info(self, message: str) -> None:
        """A line to the console and log.txt."""
        self.logger.info(message)

    def metrics(self, epoch: int, figures: dict[str, float]) -> None:
        """The figures of an epoch, counted from 1, to metrics.jsonl (with the time, in seconds since 1970) and
        TensorBoard.

        Raises:
            DivergedError: one is not finite, which JSON has no way to write.
            OSError: they cannot be written.
        """
        for name, value in figures.items():
            if not math.isfinite(value):
                raise DivergedError(f"{name} is {value} in epoch {epoch}: lower TRAIN.LR, and begin anew")
        if not is_main():
            return
        line = {"epoch": epoch, "time": round(time.time(), 3), **figures}
        with naming(self._metrics), open(self._metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())  # as the checkpoint that follows is: neither may be ahead of the other for long
        self._add_scalars(line)

    def _add_scalars(self, line: dict[str, float]) -> None:
        at, epoch = line.get("time", time.time()), int(line["epoch"])
        with naming(self.run_dir / EVENTS):
            for name in line.keys() - {"epoch", "time"}:
                self._events.write_event(Event(wall_time=at, step=epoch, summary=scalar(name, line[name])))
            self._events.flush()

    def close(self) -> None:
        """Finish the files."""
        with self._claim:
            if is_main():
                self.logger.removeHandler(self._file)
                self._file.close()
                with naming(self.run_dir / EVENTS):
                    self._events.close()
