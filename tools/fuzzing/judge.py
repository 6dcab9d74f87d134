"""One case: is it read, refused in one clear line, or what went wrong?"""

import contextlib
import ctypes
import gc
import os
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from data_objects.audio import AudioError
from tools.fuzzing.mutations import Sample
from tools.fuzzing.targets import Target
from utils.system.errors import UserError
from utils.system.files import ROOT

MEGABYTE = 2**20
PAGE = resource.getpagesize()
LONGEST_MESSAGE = 4_000  # characters
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class Bounds:
    """What a case may take."""

    memory: float = 512.0  # MB of growth
    seconds: float = 5.0  # of processor time
    hang: float = 60.0  # seconds of wall clock, after which its process is ended
    address_space: float = 8192.0  # MB beyond what a process has at its start


class Outcome(NamedTuple):
    """How a case ended: accepted, refused, or a kind of failure; and what it says."""

    kind: str
    message: str
    seconds: float = 0.0
    megabytes: float = 0.0


def limit_memory(bounds: Bounds) -> None:
    """Let this process have so much address space more than it has, for good."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * PAGE + int(bounds.address_space * MEGABYTE)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


class Judge:
    """Runs cases in this process, one after another, with standard output and error kept in a file."""

    def __init__(self, folder: Path, bounds: Bounds) -> None:
        self.folder, self.bounds = folder, bounds
        self.said = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the judge
        self.seen = 0  # bytes of it that earlier cases wrote

    @contextlib.contextmanager
    def captured(self) -> Iterator[None]:
        """Whatever Python or native code writes to descriptors 1 and 2 goes to the file."""
        saved = [os.dup(1), os.dup(2)]
        self._flush()
        for number in (1, 2):
            os.dup2(self.said.fileno(), number)
        try:
            yield
        finally:
            self._flush()
            for number, original in zip((1, 2), saved, strict=True):
                os.dup2(original, number)
                os.close(original)

    def start_afresh(self) -> None:
        """Forget what was written; and let no case free what was there, or be given what lies free but in memory.

        Either would hide what the case takes.
        """
        self._written()
        gc.collect()
        gc.freeze()
        if trim := getattr(LIBC, "malloc_trim", None):  # glibc's
            trim(0)

    def run(self, target: Target, case: Sample) -> Outcome:
        """The outcome of a case; what it wrote is told from what earlier ones did by the file's size."""
        path = self.folder / f"case{case.suffix}"
        path.write_bytes(case.data)
        _forget_peak()
        resident, began = _resident(), time.process_time()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            kind, message = _attempt(target, path)
        seconds, megabytes = time.process_time() - began, _growth(resident)
        kind, message = self._complaint(kind, message, [str(warning.message) for warning in warned])
        if kind in ("accepted", "refused") and megabytes > self.bounds.memory:
            kind, message = "memory", f"more than {self.bounds.memory:g} MB"
        if kind in ("accepted", "refused") and seconds > self.bounds.seconds:
            kind, message = "slow", f"more than {self.bounds.seconds:g} s"
        return Outcome(kind, message, seconds, megabytes)

    def _complaint(self, kind: str, message: str, warned: list[str]) -> tuple[str, str]:
        """The kind and message, with regard to what was written and warned of."""
        written = self._written()
        if kind in ("accepted", "refused") and written:
            return "output", written.decode(errors="replace")[:500]
        if kind in ("accepted", "refused") and warned:
            return "warning", warned[0]
        if kind == "refused" and (problem := _unclear(message)):
            return "message", f"{problem}: {message[:300]!r}"
        return kind, message

    def _written(self) -> bytes:
        self._flush()
        size = os.fstat(self.said.fileno()).st_size
        written = os.pread(self.said.fileno(), size - self.seen, self.seen)
        self.seen = size
        return written

    def _flush(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        LIBC.fflush(None)


def _attempt(target: Target, path: Path) -> tuple[str, str]:
    try:
        target.run(path)
    except (UserError, AudioError) as error:
        return "refused", str(error)
    except (Exception, SystemExit) as error:
        return "exception", f"{type(error).__name__} in {_place(error)}: {error}"[:1000]
    return "accepted", ""


def _place(error: BaseException) -> str:
    """The innermost line of the project's own code, which does not move with the case."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(ROOT))]
    return f"{Path(frames[-1].filename).name}, {frames[-1].name}" if frames else "other code"


def _unclear(message: str) -> str:
    """What keeps a refusal from being one clear line."""
    if not message.strip():
        return "an empty message"
    if CONTROL.search(message):
        return "control characters or several lines"
    return "too long a message" if len(message) > LONGEST_MESSAGE else ""


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def _growth(resident: int) -> float:
    """MB between what lay in memory before and the process's peak since it was forgotten."""
    return max(0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - resident) / MEGABYTE


def _forget_peak() -> None:
    with contextlib.suppress(OSError):  # not every kernel lets it be written
        Path("/proc/self/clear_refs").write_text("5")
