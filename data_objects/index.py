"""The index of a corpus and its feature statistics: all that preprocessing leaves on disk.

feature/utterances.csv   a line an utterance: where its samples lie, how many, its gain, its parts
feature/stats.npz        mean and deviation of every frequency bin, for `merged` and for `dev` training
feature/rejected.csv     what was not used, and why
feature/wav/             16 kHz mono 16-bit copies of the utterances that are something else
feature/parts/           a file a speaker: what a run that was interrupted need not do again
"""

import csv
import hashlib
import io
import json
import multiprocessing
import os
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
import soundfile
import torch

from data_objects.audio import (
    FULL_SCALE,
    SAMPLE_RATE,
    AudioError,
    WavLayout,
    level_gain,
    read_audio,
    read_samples,
    write_wav,
)
from data_objects.frontend import BINS, FrontEnd, pad_reflect
from data_objects.voxceleb import SUB_DIRS, Found, Lists, parts_of, speaker_of
from utils.errors import UserError
from utils.files import write_atomically

VERSION = 1  # of the files below; raise it when what they hold changes
UTTERANCES, STATISTICS, REJECTED = "utterances.csv", "stats.npz", "rejected.csv"


@dataclass(frozen=True)
class Row:
    """A line of utterances.csv."""

    utterance: str
    root: str  # data: file is under DATA_DIR; feature: a converted copy, under the index's folder
    file: str
    offset: int  # bytes from the file's start to its first sample
    samples: int  # at 16 kHz
    gain: float
    merged: str  # part in `merged`: train, val, test or empty
    dev: str  # part in `dev`: train, val or empty


COLUMNS = tuple(Row.__dataclass_fields__)


# ------------------------------------------------------------------------------------------------------------------
# Building
# ------------------------------------------------------------------------------------------------------------------
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


@dataclass(frozen=True)
class BuildReport:
    """What `build_index` did, for the summary."""

    rows: list[Row]
    rejected: list[tuple[str, str]]
    silent: list[str]
    reused_speakers: int


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
    results = [_load_result(task.result_file)[1] for task in tasks]
    rejected = sorted(unusable + [pair for result in results for pair in result.rejected])
    _write_csv(out_dir / REJECTED, ("file", "reason"), rejected)
    rows = [row for result in results for row in result.rows]
    if not rows:
        raise UserError(f"no utterance can be used: see {out_dir / REJECTED} for the reasons")
    _write_statistics(out_dir / STATISTICS, results)
    _write_csv(out_dir / UTTERANCES, COLUMNS, (asdict(row).values() for row in rows))
    return BuildReport(
        rows, rejected, [name for result in results for name in result.silent], len(tasks) - len(waiting)
    )


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
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def process_speaker(task: SpeakerTask) -> int:
    """Do one task and write its result, whole or not at all; returns its number of utterances."""
    torch.set_num_threads(1)  # the workers share the cores among them
    fingerprint = task.fingerprint()
    result = SpeakerResult()
    for utterance, file, merged, dev in task.utterances:
        try:
            samples, layout = read_audio(task.data_dir / file)
        except (AudioError, OSError) as error:
            result.rejected.append((file, str(error)))
        else:
            row = Row(utterance, "data", file, offset=0, samples=len(samples), gain=1.0, merged=merged, dev=dev)
            _add_utterance(result, task, samples, layout, row)
    write_atomically(task.result_file, _result_bytes(fingerprint, result))
    return len(task.utterances)


def _add_utterance(
    result: SpeakerResult, task: SpeakerTask, samples: np.ndarray, layout: WavLayout | None, row: Row
) -> None:
    """Add an utterance to a result: its row completed, its frames counted in where they are trained on."""
    if layout is None:
        row = replace(row, root="feature", file=f"wav/{row.utterance}")
        layout, samples = _convert(samples, task.out_dir / row.file)
    row = replace(row, offset=layout.offset, gain=level_gain(samples))
    result.rows.append(row)
    if not samples.any():
        result.silent.append(row.utterance)
    trained_on = [number for number, sub_dir in enumerate(SUB_DIRS) if getattr(row, sub_dir) == "train"]
    if trained_on:
        sums, frames = _frame_sums(samples * np.float32(row.gain))
        result.sums[trained_on] += sums
        result.frames[trained_on] += frames


def _convert(samples: np.ndarray, path: Path) -> tuple[WavLayout, np.ndarray]:
    """Write a 16-bit copy; returns its layout and its samples, which are those that training will read."""
    try:
        layout = write_wav(path, samples)
    except (OSError, soundfile.LibsndfileError) as error:
        raise UserError(f"cannot write {path} ({error}): make room and run again with -s") from error
    return layout, read_samples(path, layout.offset, 0, len(samples)) / np.float32(FULL_SCALE)


@cache
def _magnitudes() -> FrontEnd:
    """The front end without normalisation, made once a process."""
    return FrontEnd()


def _frame_sums(samples: np.ndarray) -> tuple[np.ndarray, int]:
    """Sums of the magnitudes and of their squares, (2, 257), over all frames of an utterance (N,)."""
    magnitudes = _magnitudes()(torch.from_numpy(pad_reflect(samples))[None])[0].numpy().astype(np.float64)
    return np.stack([magnitudes.sum(axis=0), np.square(magnitudes).sum(axis=0)]), len(magnitudes)


def _result_bytes(fingerprint: str, result: SpeakerResult) -> bytes:
    lists = {
        "rows": [list(asdict(row).values()) for row in result.rows],
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
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):  # of another version, or damaged
        return False
    copies = (task.out_dir / row.file for row in result.rows if row.root == "feature")
    # What was rejected is tried again: the reason may have gone, a missing decoder, say.
    return fingerprint == task.fingerprint() and not result.rejected and all(copy.is_file() for copy in copies)


def _remove_stale_parts(tasks: list[SpeakerTask], out_dir: Path) -> None:
    current = {task.result_file for task in tasks}
    for path in (out_dir / "parts").glob("id[0-9][0-9][0-9][0-9][0-9].npz*"):  # unfinished ones too
        if path not in current:
            path.unlink()


def _write_statistics(path: Path, results: list[SpeakerResult]) -> None:
    """Mean and population deviation of every bin; NaN for a sub-directory with nothing to train on."""
    frames = sum(result.frames for result in results)
    sums = sum(result.sums for result in results)
    with np.errstate(invalid="ignore"):
        mean, mean_square = np.moveaxis(sums / frames[:, None, None], 1, 0)
        deviation = np.sqrt(np.maximum(mean_square - mean**2, 0))
    arrays: dict[str, np.ndarray] = {"version": np.array(VERSION)}
    for number, sub_dir in enumerate(SUB_DIRS):
        arrays[f"{sub_dir}_mean"] = mean[number].astype(np.float32)
        arrays[f"{sub_dir}_deviation"] = deviation[number].astype(np.float32)
        arrays[f"{sub_dir}_frames"] = frames[number]
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[Iterable]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, buffer.getvalue())


def count_reasons(rejected: list[tuple[str, str]]) -> Counter[str]:
    """How many files were rejected for each reason; details behind a colon do not count."""
    return Counter(reason.split(":", 1)[0] for _, reason in rejected)


# ------------------------------------------------------------------------------------------------------------------
# Loading
# ------------------------------------------------------------------------------------------------------------------
class Index:
    """The utterances of a corpus, one a row, in the order of utterances.csv.

    Attributes:
        utterances: names, as in the official lists.
        samples: (N,) int64, lengths at 16 kHz.
        gains: (N,) float32, level gains.
        fingerprint: sha256 of utterances.csv.
    """

    def __init__(self, data_dir: Path, feature_dir: Path, rows: list[Row], fingerprint: str) -> None:
        self.data_dir = data_dir
        self.feature_dir = feature_dir
        self.fingerprint = fingerprint
        self.utterances = [row.utterance for row in rows]
        self.samples = np.array([row.samples for row in rows], dtype=np.int64)
        self.gains = np.array([row.gain for row in rows], dtype=np.float32)
        self._roots = {"data": data_dir, "feature": feature_dir}
        self._files = [(row.root, row.file) for row in rows]
        self._offsets = np.array([row.offset for row in rows], dtype=np.int64)
        self._parts = {sub_dir: np.array([getattr(row, sub_dir) for row in rows]) for sub_dir in SUB_DIRS}
        self._row_of = {utterance: number for number, utterance in enumerate(self.utterances)}

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def hours(self) -> float:
        """Hours of speech."""
        return float(self.samples.sum()) / SAMPLE_RATE / 3600

    def location(self, row: int) -> tuple[Path, int]:
        """The file of a row, and the byte at which its samples begin."""
        root, file = self._files[row]
        return self._roots[root] / file, int(self._offsets[row])

    def rows(self, sub_dir: str, part: str) -> np.ndarray:
        """The rows of a part (train, val or test) of a sub-directory (merged or dev)."""
        return np.flatnonzero(self._parts[sub_dir] == part)

    def row_of(self, utterance: str) -> int | None:
        """The row of an utterance; None if the index does not have it."""
        return self._row_of.get(utterance)

    def speakers(self, sub_dir: str) -> list[str]:
        """The speakers of a sub-directory, sorted; a speaker's place is its class."""
        rows = np.flatnonzero(self._parts[sub_dir] != "")
        return sorted({speaker_of(self.utterances[row]) for row in rows})


def load_index(data_dir: Path, feature_dir: Path) -> Index:
    """Read utterances.csv.

    Raises:
        UserError: the folder is not there, not preprocessed, or preprocessed by another version.
    """
    if not data_dir.is_dir():
        raise UserError(f"DATASET.DATA_DIR: no such folder: {data_dir}; set it in the YAML or as DATASET.DATA_DIR PATH")
    path = feature_dir / UTTERANCES
    if not path.is_file():
        command = f"python data_preprocess.py {data_dir}"
        if feature_dir != data_dir / "feature":
            command += f" --out_dir {feature_dir}"
        raise UserError(f"{data_dir} is not preprocessed yet ({path} is missing): run '{command}'")
    content = path.read_bytes()
    lines = csv.reader(io.StringIO(content.decode(errors="surrogateescape")))
    if tuple(next(lines, ())) != COLUMNS:
        raise UserError(f"{path} is of another version: run 'python data_preprocess.py {data_dir}' again")
    rows = [_parse_row(path, number, line) for number, line in enumerate(lines, start=2)]
    return Index(data_dir, feature_dir, rows, hashlib.sha256(content).hexdigest())


def _parse_row(path: Path, number: int, line: list[str]) -> Row:
    try:
        utterance, root, file, offset, samples, gain, merged, dev = line
        return Row(utterance, root, file, int(offset), int(samples), float(gain), merged, dev)
    except ValueError as error:
        raise UserError(f"{path}, line {number}: expected {','.join(COLUMNS)}; run data_preprocess.py again") from error


def load_statistics(feature_dir: Path, sub_dir: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation, (257,) each, over the frames of a sub-directory's training part.

    Raises:
        UserError: missing, of another version, or nothing to train on in this sub-directory.
    """
    path = feature_dir / STATISTICS
    if not path.is_file():
        raise UserError(f"{path} is missing: run data_preprocess.py again")
    try:
        with np.load(path) as file:
            version, frames = file["version"], file[f"{sub_dir}_frames"]
            mean, deviation = file[f"{sub_dir}_mean"], file[f"{sub_dir}_deviation"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}): run data_preprocess.py again") from error
    if version != VERSION:
        raise UserError(f"{path} is of another version: run data_preprocess.py again")
    if frames == 0:
        raise UserError(f"{path}: SUB_DIR {sub_dir} has no utterance to train on; check the lists in DATA_DIR")
    # A bin that never varies carries nothing; it must not blow up either.
    return mean, np.maximum(deviation, 1e-8)
