"""Building the index (see `data_objects.index`) from the tasks of all speakers, in processes of their own."""

import csv
import hashlib
import io
import multiprocessing
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_objects.frontend import BINS
from data_objects.index import COLUMNS, DEV, FILES, REJECTED, STATISTICS, UTTERANCES, VERSION, Row, cells_of, moments
from data_objects.lists import SUB_DIRS
from data_objects.names import encode_path
from data_objects.silence import HEADER, SILENT
from data_objects.sources import INDEX_BEGUN, is_index
from data_objects.speaker_tasks import NONE_AVOIDED, Avoided, SpeakerResult, SpeakerTask, load_result, process_speaker
from utils.system.errors import UserError
from utils.system.files import write_atomically
from utils.system.locks import claim
from utils.system.text import printable

FAILED = "rejected-by-failed-run.csv"  # in place of rejected.csv, which belongs to the index that is there


@dataclass(frozen=True)
class BuildReport:
    """What `build_index` did, for the summary."""

    rows: list[Row]
    rejected: list[tuple[str, str]]
    silent: list[str]
    reused_speakers: int = 0


def build_index(
    tasks: list[SpeakerTask],
    unusable: list[tuple[str, str]],
    out_dir: Path,
    num_workers: int,
    advance: Callable[[int], object],
    added: Sequence[SpeakerTask] = (),
    trial_utterances: Collection[str] = (),
) -> BuildReport:
    """Decode every utterance once and write the index, the statistics and the list of what was rejected.

    The result depends on the files alone: not on the number of workers, nor on how often the run was interrupted.

    Args:
        tasks: from `plan_tasks`.
        unusable: (file, reason) of what is rejected before any decoding.
        num_workers: processes; 0: none but this one.
        advance: called with a number of utterances whenever they are done.
        added: from `plan_added`; done after the others, since none of what is tested may be in it.
        trial_utterances: what is tested on, besides the test speakers' utterances.

    Raises:
        UserError: no utterance can be used (rejected.csv is written even so); out_dir cannot be written to, or another
            job is at it.
    """
    parts = out_dir / "parts"
    try:
        if not is_index(out_dir) and any(parts.glob("*.npz")):
            raise UserError(f"{parts} is of no index, and would be overwritten: give another folder with --out_dir")
        parts.mkdir(parents=True, exist_ok=True)
        (out_dir / INDEX_BEGUN).touch()
    except OSError as error:
        raise UserError(f"cannot write to {out_dir} ({error.strerror}): give another folder with --out_dir") from error
    with claim(out_dir, INDEX_BEGUN, "give another folder with --out_dir"):
        reused = _run(tasks, NONE_AVOIDED, num_workers, advance)
        if added:
            reused += _run(added, _tested_audio(tasks, trial_utterances), num_workers, advance)
        every = [*tasks, *added]
        _remove_stale_parts(every, out_dir)
        report = write_index(out_dir, (load_result(task.result_file)[1] for task in every), unusable)
    return replace(report, reused_speakers=reused)


def _tested_audio(tasks: list[SpeakerTask], trial_utterances: Collection[str]) -> Avoided:
    """The recordings of test speakers, and those that trials use."""
    results = (load_result(task.result_file)[1] for task in tasks)
    rows = (row for result in results for row in result.rows)
    return Avoided(frozenset(row.audio for row in rows if not row.dev or row.utterance in trial_utterances))


def _run(tasks: Sequence[SpeakerTask], avoided: Avoided, num_workers: int, advance: Callable[[int], object]) -> int:
    """Do the tasks; returns how many were taken over from an earlier run."""
    reused = 0
    for count, is_reused in _outcomes(tasks, avoided, num_workers):
        advance(count)
        reused += is_reused
    return reused


_avoided = NONE_AVOIDED  # in a worker: there may be many, so they come once and not with each task


def _outcomes(tasks: Sequence[SpeakerTask], avoided: Avoided, num_workers: int) -> Iterator[tuple[int, bool]]:
    """What `process_speaker` returns of each task, as it is done."""
    if num_workers == 0:
        yield from (process_speaker(task, avoided) for task in tasks)
        return
    with ProcessPoolExecutor(num_workers, initializer=_begin_worker, initargs=(avoided,)) as pool:
        futures = [pool.submit(_do, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError("a worker process was killed (out of memory?): run again with -s to go on") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_worker(avoided: Avoided) -> None:
    global _avoided
    _avoided = avoided
    _end_with_parent()


def _do(task: SpeakerTask) -> tuple[int, bool]:
    return process_speaker(task, _avoided)


def _end_with_parent() -> None:
    """Let a worker end when the process that it works for is killed, rather than wait for tasks for ever."""

    def wait() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _remove_stale_parts(tasks: list[SpeakerTask], out_dir: Path) -> None:
    current = {task.result_file for task in tasks}
    for path in (out_dir / "parts").glob("*.npz*"):  # unfinished ones too
        if path not in current:
            path.unlink()


def write_index(
    out_dir: Path, results: Iterable[SpeakerResult], unusable: Sequence[tuple[str, str]] = ()
) -> BuildReport:
    """Write the index, the statistics and the list of what was rejected, and report on them.

    Args:
        out_dir: an existing folder.
        results: of the speakers, in order; one is looked at at a time.
        unusable: (file, reason) of what was rejected before any decoding.

    Raises:
        UserError: no utterance can be used (rejected.csv is written even so).
    """
    rows: list[Row] = []
    states: list[tuple[int, int]] = []
    rejected, silent = list(unusable), []
    total = SpeakerResult()
    dev: dict[str, tuple[np.ndarray, int]] = {}  # speaker -> sums and frames
    for result in results:
        rows += result.rows
        states += result.states or [(-1, -1)] * len(result.rows)
        rejected += result.rejected
        silent += result.silent
        total.sums += result.sums
        total.frames += result.frames
        if result.frames[DEV]:
            sums, frames = dev.get(result.speaker, (0, 0))
            dev[result.speaker] = sums + result.sums[DEV], frames + int(result.frames[DEV])
    rejected.sort()
    listed = [(encode_path(file), printable(why)) for file, why in rejected]
    if not rows:
        place = out_dir / (FAILED if (out_dir / UTTERANCES).exists() else REJECTED)
        _write_csv(place, ("file", "reason"), listed)
        example = f" ({listed[0][0]}: {listed[0][1]}, ...)" if listed else ""
        kept = "; the index of before stays" if place.name == FAILED else ""
        raise UserError(f"no utterance can be used{example}: see {place} for the reasons{kept}")
    _write_csv(out_dir / REJECTED, ("file", "reason"), listed)
    _write_csv(out_dir / SILENT, HEADER, ([name] for name in silent))
    _write_statistics(out_dir / STATISTICS, total, dev)
    table = _csv_bytes(COLUMNS, map(cells_of, rows))
    _write_states(out_dir / FILES, states, table)
    write_atomically(out_dir / UTTERANCES, table)
    return BuildReport(rows, rejected, silent)


def _write_statistics(path: Path, total: SpeakerResult, dev: dict[str, tuple[np.ndarray, int]]) -> None:
    """Mean and population deviation of every bin; NaN for a sub-directory with nothing to train on.

    Args:
        dev: of each speaker of `dev`, the sums (2, 257) and the frames that they are over.
    """
    arrays: dict[str, Any] = {"version": np.array(VERSION)}
    for number, sub_dir in enumerate(SUB_DIRS):
        mean, deviation = moments(total.sums[number], total.frames[number])
        arrays[f"{sub_dir}_mean"] = mean
        arrays[f"{sub_dir}_deviation"] = deviation
        arrays[f"{sub_dir}_frames"] = total.frames[number]
    arrays["dev_speakers"] = np.array([name.encode() for name in dev], dtype=np.bytes_)
    arrays["dev_speaker_sums"] = np.array([sums for sums, _ in dev.values()]).reshape(-1, 2, BINS)
    arrays["dev_speaker_frames"] = np.array([frames for _, frames in dev.values()], dtype=np.int64)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def _write_states(path: Path, states: list[tuple[int, int]], table: bytes) -> None:
    """Every row's file as it was when it was indexed, and which table that belongs to."""
    sizes, changed = np.array(states, dtype=np.int64).reshape(-1, 2).T
    buffer = io.BytesIO()
    np.savez(buffer, bytes=sizes, changed=changed, index=np.array(hashlib.sha256(table).hexdigest()))
    write_atomically(path, buffer.getvalue())


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[Iterable]) -> None:
    write_atomically(path, _csv_bytes(header, rows))


def _csv_bytes(header: tuple[str, ...], rows: Iterable[Iterable]) -> bytes:
    buffer = io.BytesIO()  # a StringIO takes four bytes a character
    text = io.TextIOWrapper(buffer, encoding="utf-8", errors="surrogateescape", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    text.flush()
    return buffer.getvalue()
