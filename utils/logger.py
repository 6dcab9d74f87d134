"""What a run says: to the console and log.txt, to metrics.jsonl, and to TensorBoard.

The console's part goes to standard error: standard output is for results. Where several processes share a run, the
main one speaks for all.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from utils.distributed import is_main
from utils.files import write_atomically


class _ConsoleHandler(logging.Handler):
    """Prints above a progress bar, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def get_logger() -> logging.Logger:
    """The project's logger, to the console."""
    logger = logging.getLogger("autospeech")
    if not logger.handlers:
        handler = _ConsoleHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if is_main() else logging.ERROR)
        logger.propagate = False
    return logger


class WarningCollector(logging.Handler):
    """Keeps what is warned of from when it is made on, without the word that it begins with.

    Attributes:
        messages: each once, in order.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        logger = get_logger()
        for handler in [other for other in logger.handlers if isinstance(other, WarningCollector)]:
            logger.removeHandler(handler)  # of an earlier evaluation in the same process
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage().removeprefix("WARNING: ")
        if message not in self.messages:
            self.messages.append(message)


def progress_bar(items: Iterable, total: int, description: str, done: int = 0) -> tqdm:
    """A bar on standard error, `done` steps on at its begin; none where that is no terminal."""
    disable = None if is_main() else True
    return tqdm(items, description, total, initial=done, unit="step", leave=False, dynamic_ncols=True, disable=disable)


class RunLog:
    """The record of a run in its folder: log.txt, metrics.jsonl, TensorBoard events.

    Args:
        run_dir: an existing folder.
        epochs_done: of a resumed run; figures of later epochs, left by an interruption, are taken out of metrics.jsonl,
            and TensorBoard's events are made anew from it, so that they have no gaps or repeats either.
    """

    def __init__(self, run_dir: Path, epochs_done: int = 0) -> None:
        self.run_dir = run_dir
        self.logger = get_logger()
        if not is_main():
            return
        from tensorboardX import SummaryWriter

        self._file = logging.FileHandler(run_dir / "log.txt", encoding="utf-8")
        self._file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self.logger.addHandler(self._file)
        self._metrics = run_dir / "metrics.jsonl"
        lines = self._keep_epochs(epochs_done)
        for events in run_dir.glob("events.out.tfevents.*"):
            events.unlink()
        self._tensorboard = SummaryWriter(str(run_dir))
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
        self.logger.warning(f"WARNING: {message}")

    def info(self, message: str) -> None:
        """A line to the console and log.txt."""
        self.logger.info(message)

    def metrics(self, epoch: int, figures: dict[str, float]) -> None:
        """The figures of an epoch, counted from 1, to metrics.jsonl (with the time, in seconds since 1970) and
        TensorBoard."""
        if not is_main():
            return
        line = {"epoch": epoch, "time": round(time.time(), 3), **figures}
        with open(self._metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())  # as the checkpoint that follows is: neither may be ahead of the other for long
        self._add_scalars(line)

    def _add_scalars(self, line: dict[str, float]) -> None:
        for name in line.keys() - {"epoch", "time"}:
            self._tensorboard.add_scalar(name, line[name], line["epoch"], line.get("time"))
        self._tensorboard.flush()

    def close(self) -> None:
        """Finish the files."""
        if is_main():
            self._tensorboard.close()
            self.logger.removeHandler(self._file)
            self._file.close()
