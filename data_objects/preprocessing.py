"""Preprocessing: what data_preprocess.py does, from the wavs and the lists to the index (see `data_objects.index`)."""

import csv
import hashlib
import io
import json
import multiprocessing
import os
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from tqdm import tqdm

from data_objects.audio import SAMPLE_RATE, AudioError, WavLayout, read_blocks, read_native, read_wav_layout
from data_objects.frontend import BINS, count_frames
from data_objects.index import COLUMNS, DEV, REJECTED, STATISTICS, UTTERANCES, VERSION, Row, cells_of, moments
from data_objects.lists import META, SPLIT, SUB_DIRS, TRIALS, Lists, read_lists, speaker_of
from data_objects.measuring import Samples, frame_sums, measure, write_copy
from data_objects.voxceleb import Found, find_utterances, parts_of
from utils.system.errors import UserError
from utils.system.files import write_atomically


@dataclass(frozen=True)
class SpeakerTask:
    """What a worker does at a time: all utterances of one speaker."""

    speaker: str
    utterances: list[tuple[str, str, str, str]]  # utterance, file relative to DATA_DIR, parts in merged and in dev
    data_dir: Path
    out_dir: Path

    @property
    def result_file(self) -> Path:
        return self.out_dir / "parts" / f"{self.speaker}.npz"

    def fingerprint(self) -> str:
        """Changes when a file, its part or the program's format changes."""
        digest = hashlib.sha256(f"{VERSION}".encode())
        for utterance in self.utterances:
            try:
                status = (self.data_dir / utterance[1]).stat()
                state = [status.st_size, status.st_mtime_ns]
            except OSError:  # a dangling link, say; reading it will say so
                state = []
            digest.update(json.dumps([*utterance, *state]).encode())
        return digest.hexdigest()


@dataclass
class SpeakerResult:
    """What came of a task. Sums are over all frames of the utterances trained on, one row each for SUB_DIRS."""

    rows: list[Row] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)  # file, reason
    silent: list[str] = field(default_factory=list)
    sums: np.ndarray = field(default_factory=lambda: np.zeros((len(SUB_DIRS), 2, BINS)))  # of x and of x squared
    frames: np.ndarray = field(default_factory=lambda: np.zeros(len(SUB_DIRS), dtype=np.int64))

    @property
    def speaker(self) -> str:
        """Whose utterances these are."""
        return speaker_of(self.rows[0].utterance)


@dataclass(frozen=True)
class BuildReport:
    """What `build_index` did, for the summary."""

    rows: list[Row]
    rejected: list[tuple[str, str]]
    silent: list[str]
    reused_speakers: int = 0


def plan_tasks(found: Found, lists: Lists, data_dir: Path, out_dir: Path) -> tuple[list[SpeakerTask], list[Path]]:
    """A task for every speaker on disk, and the files of speakers that vox1_meta.csv does not know."""
    known = sorted(name for name in found.files if speaker_of(name) in lists.speakers)
    parts = parts_of(known, lists)
    tasks = [
        SpeakerTask(
            speaker,
            [(name, found.files[name].relative_to(data_dir).as_posix(), *parts[name]) for name in names],
            data_dir,
            out_dir,
        )
        for speaker, names in groupby(known, key=speaker_of)
    ]
    return tasks, [path for name, path in found.files.items() if name not in parts]


def build_index(
    tasks: list[SpeakerTask],
    unusable: list[tuple[str, str]],
    out_dir: Path,
    num_workers: int,
    skip_existing: bool,
    advance: Callable[[int], object],
) -> BuildReport:
    """Decode every utterance once and write the index, the statistics and the list of what was rejected.

    The result depends on the files alone: not on the number of workers, nor on how often the run was interrupted.

    Args:
        tasks: from `plan_tasks`.
        unusable: (file, reason) of what is rejected before any decoding.
        num_workers: processes; 0: none but this one.
        skip_existing: take over the speakers that an earlier run finished and whose files have not changed.
        advance: called with a number of utterances whenever they are done.

    Raises:
        UserError: no utterance can be used (rejected.csv is written even so); out_dir cannot be written to.
    """
    try:
        (out_dir / "parts").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {out_dir} ({error.strerror}): give another folder with --out_dir") from error
    waiting = [task for task in tasks if not (skip_existing and _is_done(task))]
    advance(sum(len(task.utterances) for task in tasks) - sum(len(task.utterances) for task in waiting))
    for count in _run(waiting, num_workers):
        advance(count)
    _remove_stale_parts(tasks, out_dir)
    report = write_index(out_dir, (_load_result(task.result_file)[1] for task in tasks), unusable)
    return replace(report, reused_speakers=len(tasks) - len(waiting))


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
    rejected, silent = list(unusable), []
    total = SpeakerResult()
    dev: dict[str, tuple[np.ndarray, int]] = {}  # speaker -> sums and frames
    for result in results:
        rows += result.rows
        rejected += result.rejected
        silent += result.silent
        total.sums += result.sums
        total.frames += result.frames
        if result.frames[DEV]:
            dev[result.speaker] = result.sums[DEV], int(result.frames[DEV])
    rejected.sort()
    _write_csv(out_dir / REJECTED, ("file", "reason"), rejected)
    if not rows:
        raise UserError(f"no utterance can be used: see {out_dir / REJECTED} for the reasons")
    _write_statistics(out_dir / STATISTICS, total, dev)
    _write_csv(out_dir / UTTERANCES, COLUMNS, map(cells_of, rows))
    return BuildReport(rows, rejected, silent)


def _run(tasks: list[SpeakerTask], num_workers: int) -> Iterator[int]:
    """Do the tasks; yields the number of utterances of each as it is done."""
    if num_workers == 0:
        yield from map(process_speaker, tasks)
        return
    with ProcessPoolExecutor(num_workers, initializer=_end_with_parent) as pool:
        futures = [pool.submit(process_speaker, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError("a worker process was killed (out of memory?): run again with -s to go on") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Let a worker end when the process that it works for is killed, rather than wait for tasks for ever."""

    def wait() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def process_speaker(task: SpeakerTask) -> int:
    """Do one task and write its result, whole or not at all; returns its number of utterances."""
    torch.set_num_threads(1)  # the workers share the cores among them
    fingerprint = task.fingerprint()
    result = SpeakerResult()
    for utterance, file, merged, dev in task.utterances:
        row = Row(utterance, "data", file, offset=0, samples=0, gain=1.0, merged=merged, dev=dev)
        try:
            _add_utterance(result, *_prepare(task, row))
        except (AudioError, OSError) as error:
            result.rejected.append((file, str(error)))
    write_atomically(task.result_file, _result_bytes(fingerprint, result))
    return len(task.utterances)


def _prepare(task: SpeakerTask, row: Row) -> tuple[Row, Samples]:
    """Where training will read an utterance: the file itself if it can be read as it lies, else a 16-bit copy.

    Raises:
        AudioError: see `read_audio`.
        UserError: the copy cannot be written.
    """
    path = task.data_dir / row.file
    native = read_native(path)
    if native is None:
        row = replace(row, root="feature", file=f"wav/{row.utterance}")
        native = _convert(path, path := task.out_dir / row.file)
    layout, samples = native
    return replace(row, offset=layout.offset, samples=samples), Samples(path, layout.offset, samples)


def _add_utterance(result: SpeakerResult, row: Row, source: Samples) -> None:
    """Add an utterance to a result: its row completed, its frames counted in where they are trained on."""
    level = measure(source)
    row = replace(row, gain=level.gain, audio=level.audio)
    trained_on = [number for number, sub_dir in enumerate(SUB_DIRS) if getattr(row, sub_dir) == "train"]
    sums, frames = frame_sums(source, row.gain) if trained_on else (0, 0)
    result.rows.append(row)
    if level.is_silent:
        result.silent.append(row.utterance)
    result.sums[trained_on] += sums
    result.frames[trained_on] += frames


def _convert(source: Path, path: Path) -> tuple[WavLayout, int]:
    """Write a 16-bit copy, block by block; returns its layout and its number of samples."""
    try:
        samples = write_copy(path, read_blocks(source))
        layout = read_wav_layout(path)
    except (OSError, soundfile.LibsndfileError) as error:
        raise UserError(f"cannot write {path} ({error}): make room and run again with -s") from error
    assert layout is not None
    return layout, samples


def _result_bytes(fingerprint: str, result: SpeakerResult) -> bytes:
    lists = {
        "rows": [cells_of(row) for row in result.rows],
        "rejected": result.rejected,
        "silent": result.silent,
    }
    buffer = io.BytesIO()
    np.savez(buffer, fingerprint=fingerprint, lists=json.dumps(lists), sums=result.sums, frames=result.frames)
    return buffer.getvalue()


def _load_result(path: Path) -> tuple[str, SpeakerResult]:
    with np.load(path) as file:
        lists = json.loads(str(file["lists"]))
        result = SpeakerResult(
            rows=[Row(*row) for row in lists["rows"]],
            rejected=[tuple(pair) for pair in lists["rejected"]],
            silent=lists["silent"],
            sums=file["sums"],
            frames=file["frames"],
        )
        return str(file["fingerprint"]), result


def _is_done(task: SpeakerTask) -> bool:
    if not task.result_file.is_file():
        return False
    try:
        fingerprint, result = _load_result(task.result_file)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):  # of another version, or damaged
        return False
    copies = (task.out_dir / row.file for row in result.rows if row.root == "feature")
    # What was rejected is tried again: the reason may have gone, a missing decoder, say.
    return fingerprint == task.fingerprint() and not result.rejected and all(copy.is_file() for copy in copies)


def _remove_stale_parts(tasks: list[SpeakerTask], out_dir: Path) -> None:
    current = {task.result_file for task in tasks}
    for path in (out_dir / "parts").glob("id[0-9][0-9][0-9][0-9][0-9].npz*"):  # unfinished ones too
        if path not in current:
            path.unlink()


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


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[Iterable]) -> None:
    buffer = io.BytesIO()  # a StringIO takes four bytes a character
    text = io.TextIOWrapper(buffer, encoding="utf-8", errors="surrogateescape", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    text.flush()
    write_atomically(path, buffer.getvalue())


def count_reasons(rejected: list[tuple[str, str]]) -> Counter[str]:
    """How many files were rejected for each reason; details behind a colon do not count."""
    return Counter(reason.split(":", 1)[0] for _, reason in rejected)


def preprocess(data_dir: Path, out_dir: Path | None, num_workers: int, skip_existing: bool) -> str:
    """What data_preprocess.py does: index a corpus, with a progress bar.

    Args:
        out_dir: where the index goes; None: DATA_DIR/feature.
        num_workers, skip_existing: see `build_index`.

    Returns:
        What the user should know at the end, in lines.

    Raises:
        UserError: see `find_utterances`, `read_lists` and `build_index`.
    """
    found = find_utterances(data_dir)
    lists = read_lists(data_dir)
    out_dir = out_dir or data_dir / "feature"
    tasks, strangers = plan_tasks(found, lists, data_dir, out_dir)
    unusable = _list_unusable(found, strangers, data_dir)
    total = sum(len(task.utterances) for task in tasks)
    with tqdm(total=total, unit="utterance", desc="reading", disable=None) as progress:
        report = build_index(tasks, unusable, out_dir, num_workers, skip_existing, progress.update)
    return _summarize(report, found, lists, out_dir)


def _list_unusable(found: Found, strangers: list[Path], data_dir: Path) -> list[tuple[str, str]]:
    """(file, reason) of audio that is not even decoded."""
    reasons = [
        (found.misplaced, "not of the form idNNNNN/VIDEO/NNNNN.wav"),
        (found.duplicates, "a second file of an utterance"),
        (strangers, "speaker not in vox1_meta.csv"),
    ]
    return [(str(path.relative_to(data_dir)), reason) for paths, reason in reasons for path in paths]


def _summarize(report: BuildReport, found: Found, lists: Lists, out_dir: Path) -> str:
    """What the user should know at the end."""
    rows = report.rows
    usable = {row.utterance for row in rows}
    speakers = {speaker_of(utterance) for utterance in usable}
    hours = sum(row.samples for row in rows) / SAMPLE_RATE / 3600
    short = sum(count_frames(row.samples) < 300 for row in rows)
    lines = [
        f"{len(rows):,} utterances of {len(speakers):,} speakers, {hours:.2f} hours -> {out_dir}",
        f"rejected: {len(report.rejected):,}" + (f" (listed in {out_dir / 'rejected.csv'})" if report.rejected else ""),
        *(f"  {count:,} {reason}" for reason, count in count_reasons(report.rejected).most_common()),
        f"converted to 16 kHz mono: {sum(row.root == 'feature' for row in rows):,}; "
        f"shorter than 300 frames, will be tiled: {short:,}; silent: {len(report.silent):,}; "
        f"other files left alone: {found.ignored:,}",
        f"in {SPLIT} but not usable or not on disk: {len(lists.split.keys() - usable):,} of {len(lists.split):,}",
        f"in {TRIALS} but not usable or not on disk: {len(lists.trial_utterances - usable):,} of "
        f"{len(lists.trial_utterances):,} utterances",
        f"in {META} but without an utterance: {len(lists.speakers.keys() - speakers):,} of {len(lists.speakers):,} "
        "speakers",
        f"not in {SPLIT}, so not used with SUB_DIR merged: {len(usable - lists.split.keys()):,}",
    ]
    if report.reused_speakers:
        lines.append(f"taken over from an earlier run: {report.reused_speakers:,} speakers")
    return "\n".join(lines)
