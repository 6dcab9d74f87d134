"""What the project says while it works, on standard error: standard output is for results.

Where several processes share a job, the main one speaks for all.
"""

import logging
import sys
from collections.abc import Iterable

from tqdm import tqdm

from utils.system.processes import is_main
from utils.system.text import printable


class Formatter(logging.Formatter):
    """Time and message; a warning says that it is one."""

    def format(self, record: logging.LogRecord) -> str:
        marked = logging.makeLogRecord(record.__dict__ | {"args": (), "msg": _mark(record)})
        return printable(super().format(marked))


def _mark(record: logging.LogRecord) -> str:
    return f"WARNING: {record.getMessage()}" if record.levelno == logging.WARNING else record.getMessage()


class _ConsoleHandler(logging.Handler):
    """Prints above a progress bar, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def get_logger() -> logging.Logger:
    """The project's logger, to the console."""
    logger = logging.getLogger("autospeech")
    if not logger.handlers:
        handler = _ConsoleHandler()
        handler.setFormatter(Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if is_main() else logging.ERROR)
        logger.propagate = False
    return logger


class WarningCollector(logging.Handler):
    """Keeps what is warned of from when it is made on.

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
        if record.getMessage() not in self.messages:
            self.messages.append(record.getMessage())


def progress_bar(items: Iterable, total: int, description: str, done: int = 0) -> tqdm:
    """A bar on standard error, `done` steps on at its begin; none where that is no terminal."""
    disable = None if is_main() else True
    return tqdm(items, description, total, initial=done, unit="step", leave=False, dynamic_ncols=True, disable=disable)
