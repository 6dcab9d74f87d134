"""Cases in a few processes that outlive them: one that dies or hangs is replaced, and its case is named."""

import contextlib
import multiprocessing
import shutil
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

from tools.fuzzing.judge import Bounds, Judge, Outcome, limit_memory
from tools.fuzzing.mutations import Sample
from tools.fuzzing.targets import Target, make_case

BATCH = 200  # cases handed out at once
READY = 300.0  # seconds for a process to read all seeds, before which there is no case to blame
FORK = multiprocessing.get_context("fork")  # hands on targets as they are, imported


class Batch(NamedTuple):
    """Cases of a target: from first up to end."""

    target: str
    first: int
    end: int


Seeds = dict[str, list[Sample]]


@dataclass(frozen=True)
class Work:
    """What all processes share."""

    targets: Mapping[str, Target]
    seeds: Seeds
    seed: int
    bounds: Bounds

    def case(self, target: str, number: int) -> Sample:
        return make_case(self.targets[target], target, self.seeds[target], self.seed, number)


def scratch() -> str | None:
    """Where the files of cases lie: in memory, if there is such a place."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def judge_batches(work: Work, connection: Connection, folder: str) -> None:
    """A process: an outcome for every case of the batches that come, in order."""
    judge = Judge(Path(folder), work.bounds)
    with judge.captured():
        warm_up(work, Path(folder))
        judge.start_afresh()
        limit_memory(work.bounds)
        connection.send(None)
        while (batch := connection.recv()) is not None:
            for number in range(batch.first, batch.end):
                connection.send(judge.run(work.targets[batch.target], work.case(batch.target, number)))


def warm_up(work: Work, folder: Path) -> None:
    """Read every seed, unjudged: what is imported or compiled at first use is no case's doing."""
    for name, seeds in work.seeds.items():
        for sample in seeds:
            path = folder / f"seed{sample.suffix}"
            path.write_bytes(sample.data)
            with contextlib.suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                work.targets[name].run(path)


class Worker:
    """A process, and the batch that it is at."""

    def __init__(self, work: Work) -> None:
        self.folder = tempfile.mkdtemp(prefix="fuzz-", dir=scratch())
        self.connection, theirs = FORK.Pipe()
        self.process = FORK.Process(target=judge_batches, args=(work, theirs, self.folder), daemon=True)
        self.process.start()
        theirs.close()
        self.batch: Batch | None = None
        self.next, self.ready, self.since = 0, False, time.monotonic()

    @property
    def is_idle(self) -> bool:
        return self.ready and (self.batch is None or self.next == self.batch.end)

    def give(self, batch: Batch) -> None:
        self.batch, self.next, self.since = batch, batch.first, time.monotonic()
        with contextlib.suppress(OSError):  # it died while idle: the next case is blamed
            self.connection.send(batch)

    def results(self) -> Iterator[tuple[str, int, Outcome]]:
        """What has come in.

        Raises:
            EOFError, OSError: the process has died.
        """
        while self.connection.poll():
            outcome = self.connection.recv()
            self.since = time.monotonic()
            if outcome is None:
                self.ready = True
                continue
            assert self.batch is not None
            self.next += 1
            yield self.batch.target, self.next - 1, outcome

    def is_late(self, bounds: Bounds) -> bool:
        return not self.is_idle and time.monotonic() - self.since > (bounds.hang if self.ready else READY)

    def end(self) -> int | None:
        """End the process; its exit status, if it had ended by itself."""
        self.process.join(0 if self.is_idle else 0.5)  # one that has died may not be reaped yet
        status = self.process.exitcode
        self.process.kill()
        self.process.join()
        self.connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return status


def run_cases(work: Work, batches: Sequence[Batch], workers: int) -> Iterator[tuple[str, int, Outcome]]:
    """Target, number and outcome of all cases, as they end.

    Raises:
        RuntimeError: a process ended before its first case.
    """
    queue = deque(batches)
    crew = [Worker(work) for _ in range(min(workers, len(batches)))]
    try:
        while queue or any(not worker.is_idle for worker in crew):
            for worker in crew:
                if worker.is_idle and queue:
                    worker.give(queue.popleft())
            wait([worker.connection for worker in crew], timeout=0.2)
            for place, worker in enumerate(crew):
                failure = yield from collect(worker, work.bounds)
                if failure is not None:
                    yield replace(crew, place, work, queue, failure)
    finally:
        for worker in crew:
            worker.end()


def collect(worker: Worker, bounds: Bounds) -> Generator[tuple[str, int, Outcome], None, str | None]:
    """The results of a worker; returns how it failed, or None."""
    try:
        yield from worker.results()
    except (EOFError, OSError):
        return "died"
    return "hang" if worker.is_late(bounds) else None


def replace(crew: list[Worker], place: int, work: Work, queue: deque[Batch], failure: str) -> tuple[str, int, Outcome]:
    """Another process for one that failed; the outcome of the case that it was at, whose batch goes on behind it."""
    worker = crew[place]
    waited = time.monotonic() - worker.since
    status = worker.end()
    if worker.batch is None or not worker.ready:
        raise RuntimeError(f"a process ended ({status}) before its first case: a seed makes it")
    target, _, end = worker.batch
    if worker.next + 1 < end:
        queue.appendleft(Batch(target, worker.next + 1, end))
    crew[place] = Worker(work)
    message = f"exit status {status}" if failure == "died" else f"more than {work.bounds.hang:g} s"
    return target, worker.next, Outcome(failure, message, waited)
