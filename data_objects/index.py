"""The index of a corpus and its feature statistics: all that preprocessing leaves on disk.

feature/utterances.csv   a line an utterance: where its samples lie, how many, its gain, its parts
feature/stats.npz        mean and deviation of every frequency bin, for `merged` and for `dev` training; for `dev` also
                         every speaker's sums, so that those held out can be left out
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile
import torch

from data_objects.audio import (
    FULL_SCALE,
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

VERSION = 2  # of the files below; raise it when what they hold changes
UTTERANCES, STATISTICS, REJECTED = "utterances.csv", "stats.npz", "rejected.csv"
ROOTS = ("data", "feature")
PARTS = ("", "train", "val", "test")
DEV = SUB_DIRS.index("dev")


@dataclass(frozen=True, slots=True)
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
    audio: str = ""  # a hash of the samples: the same recording has the same, whatever its name


COLUMNS = tuple(Row.__dataclass_fields__)
cells_of = attrgetter(*COLUMNS)  # of a row, as utterances.csv and the files of parts/ hold them


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
    audio = hashlib.blake2b(samples.tobytes(), digest_size=8).hexdigest()
    row = replace(row, offset=layout.offset, gain=level_gain(samples), audio=audio)
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
    arrays: dict[str, np.ndarray] = {"version": np.array(VERSION)}
    for number, sub_dir in enumerate(SUB_DIRS):
        mean, deviation = _moments(total.sums[number], total.frames[number])
        arrays[f"{sub_dir}_mean"] = mean
        arrays[f"{sub_dir}_deviation"] = deviation
        arrays[f"{sub_dir}_frames"] = total.frames[number]
    arrays["dev_speakers"] = np.array([name.encode() for name in dev], dtype=np.bytes_)
    arrays["dev_speaker_sums"] = np.array([sums for sums, _ in dev.values()]).reshape(-1, 2, BINS)
    arrays["dev_speaker_frames"] = np.array([frames for _, frames in dev.values()], dtype=np.int64)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def _moments(sums: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population deviation (257,) float32 by the sums (2, 257) of x and of x squared over so many frames."""
    with np.errstate(invalid="ignore"):
        mean, mean_square = sums / frames
        deviation = np.sqrt(np.maximum(mean_square - mean**2, 0))
    return mean.astype(np.float32), deviation.astype(np.float32)


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


# ------------------------------------------------------------------------------------------------------------------
# Loading
# ------------------------------------------------------------------------------------------------------------------
# Lines that are turned into columns at a time: so few that the garbage collector sleeps through them. 4,096 took twice
# as long.
CHUNK = 512
PART_CODES, ROOT_CODES = ({name: code for code, name in enumerate(names)} for names in (PARTS, ROOTS))


class Columns(NamedTuple):
    """Rows of utterances.csv as arrays; names in the file system's bytes, which need not be valid Unicode."""

    utterances: np.ndarray  # (N,) S
    speakers: np.ndarray  # (N,) S
    roots: np.ndarray  # (N,) int8, places in ROOTS
    files: np.ndarray  # (N,) S
    offsets: np.ndarray  # (N,) int64
    samples: np.ndarray  # (N,) int64
    gains: np.ndarray  # (N,) float32
    merged: np.ndarray  # (N,) int8, places in PARTS
    dev: np.ndarray  # (N,) int8, places in PARTS
    audio: np.ndarray  # (N,) S, hashes of the samples


class Names(Sequence[str]):
    """An array of names (N,) S, read as text."""

    def __init__(self, encoded: np.ndarray) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, place: int) -> str:
        return self.encoded[place].decode(errors="surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (name.decode(errors="surrogateescape") for name in self.encoded)


class Index:
    """The utterances of a corpus, one a row, in the order of utterances.csv.

    Everything is in numpy arrays, for 153,516 utterances 16 MB. Strings would be ten times as much, and each loader
    process that is forked would come to have a copy: to look at a Python object is to write its count of references.

    Attributes:
        utterances: names, as in the official lists.
        samples: (N,) int64, lengths at 16 kHz.
        gains: (N,) float32, level gains.
        audio: (N,) S, hashes of the samples.
        fingerprint: sha256 of utterances.csv.
    """

    def __init__(self, data_dir: Path, feature_dir: Path, columns: Columns, fingerprint: str) -> None:
        self.data_dir = data_dir
        self.feature_dir = feature_dir
        self.fingerprint = fingerprint
        self.utterances = Names(columns.utterances)
        self.samples = columns.samples
        self.gains = columns.gains
        self.audio = columns.audio
        self._folders = [data_dir if root == "data" else feature_dir for root in ROOTS]
        self._roots = columns.roots
        self._files = Names(columns.files)
        self._offsets = columns.offsets
        self._parts = {"merged": columns.merged, "dev": columns.dev}
        speakers, self._speaker = np.unique(columns.speakers, return_inverse=True)
        self._speakers = list(Names(speakers))  # each once; _speaker has a row's place in it
        self._order = np.argsort(columns.utterances, kind="stable")  # quick where they are in order, as they should be

    def __len__(self) -> int:
        return len(self.utterances)

    def location(self, row: int) -> tuple[Path, int]:
        """The file of a row, and the byte at which its samples begin."""
        return self._folders[self._roots[row]] / self._files[row], int(self._offsets[row])

    def rows(self, sub_dir: str, part: str) -> np.ndarray:
        """The rows of a part (train, val or test) of a sub-directory (merged or dev)."""
        return np.flatnonzero(self._parts[sub_dir] == PART_CODES[part])

    def row_of(self, utterance: str) -> int | None:
        """The row of an utterance; None if the index does not have it."""
        name, names = utterance.encode(errors="surrogateescape"), self.utterances.encoded
        if len(name) > names.itemsize:  # NumPy would widen every name to compare them
            return None
        place = int(np.searchsorted(names, name, sorter=self._order))
        if place == len(names):
            return None
        row = int(self._order[place])
        return row if self.utterances[row] == utterance else None

    def fingerprints(self) -> tuple[str, ...]:
        """Its own, and that of the same index as it was written before it had hashes of samples."""
        with open(self.feature_dir / UTTERANCES, "rb") as file:
            before = hashlib.sha256()
            for line in file:
                before.update(line.rpartition(b",")[0] + b"\n")
        return self.fingerprint, before.hexdigest()

    def rows_of(self, utterances: Iterable[str]) -> np.ndarray:
        """The rows of utterances, (N,) int64; -1 for one that the index does not have."""
        rows = [-1 if (row := self.row_of(utterance)) is None else row for utterance in utterances]
        return np.array(rows, dtype=np.int64)

    def speakers(self, sub_dir: str) -> list[str]:
        """The speakers of a sub-directory, sorted; a speaker's place is its class."""
        present = np.unique(self._speaker[self._parts[sub_dir] != PART_CODES[""]])
        return sorted(self._speakers[speaker] for speaker in present)

    def labels(self, speakers: Sequence[str]) -> np.ndarray:
        """The class of every row, (N,) int64: its speaker's place among `speakers`, -1 for a speaker not there."""
        label_of = {speaker: label for label, speaker in enumerate(speakers)}
        return np.array([label_of.get(speaker, -1) for speaker in self._speakers], dtype=np.int64)[self._speaker]


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
    with open(path, "rb") as file:  # it is renamed into its place when whole, so both passes read the same
        fingerprint = hashlib.sha256()
        while block := file.read(1 << 20):
            fingerprint.update(block)
        file.seek(0)
        columns = _read_columns(path, file, data_dir)
    return Index(data_dir, feature_dir, columns, fingerprint.hexdigest())


def _read_columns(path: Path, file: BinaryIO, data_dir: Path) -> Columns:
    # As Latin-1 a character is a byte, so that the names' bytes come through; what separates cells is ASCII.
    lines = csv.reader(io.TextIOWrapper(file, encoding="latin-1", newline="\n"))
    chunks = []
    try:
        if tuple(next(lines, ())) != COLUMNS:
            raise UserError(f"{path} is of another version: run 'python data_preprocess.py {data_dir}' again")
        number = 2
        while chunk := list(islice(lines, CHUNK)):
            chunks.append(_parse_chunk(path, number, chunk))
            number += len(chunk)
    except csv.Error as error:
        raise _malformed(path, lines.line_num) from error
    return Columns(*map(np.concatenate, zip(*chunks, strict=True))) if chunks else _parse_lines([])


def _parse_chunk(path: Path, number: int, lines: list[list[str]]) -> Columns:
    """The columns of lines, the first of which is line `number` of the file."""
    try:
        return _parse_lines(lines)
    except (ValueError, KeyError, OverflowError) as error:
        if len(lines) == 1:
            raise _malformed(path, number) from error
    for place, line in enumerate(lines):
        _parse_chunk(path, number + place, [line])
    raise AssertionError("lines that cannot be parsed together can be parsed one by one")


def _malformed(path: Path, number: int) -> UserError:
    return UserError(f"{path}, line {number}: expected {','.join(COLUMNS)}; run data_preprocess.py again")


def _parse_lines(lines: list[list[str]]) -> Columns:
    """The columns of lines' cells, decoded as Latin-1.

    Raises:
        ValueError, KeyError, OverflowError: one of them is malformed.
    """
    cells = zip(*lines, strict=True) if lines else [()] * len(COLUMNS)
    utterances, roots, files, offsets, samples, gains, merged, dev, audio = cells
    names = [name.encode("latin-1") for name in utterances]
    return Columns(
        utterances=np.array(names, dtype=np.bytes_),
        speakers=np.array([name.partition(b"/")[0] for name in names], dtype=np.bytes_),
        roots=np.array(list(map(ROOT_CODES.__getitem__, roots)), dtype=np.int8),
        files=np.array([file.encode("latin-1") for file in files], dtype=np.bytes_),
        offsets=np.array(list(map(int, offsets)), dtype=np.int64),
        samples=np.array(list(map(int, samples)), dtype=np.int64),
        gains=np.array(list(map(float, gains)), dtype=np.float32),
        merged=np.array(list(map(PART_CODES.__getitem__, merged)), dtype=np.int8),
        dev=np.array(list(map(PART_CODES.__getitem__, dev)), dtype=np.int8),
        audio=np.array([digest.encode("latin-1") for digest in audio], dtype=np.bytes_),
    )


def load_statistics(feature_dir: Path, sub_dir: str, without: Sequence[str] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation, (257,) each, over the frames of a sub-directory's training part.

    Args:
        without: speakers of `dev` whose frames do not count.

    Raises:
        UserError: missing, of another version, or nothing to train on in this sub-directory.
    """
    path = feature_dir / STATISTICS
    if not path.is_file():
        raise UserError(f"{path} is missing: run data_preprocess.py again")
    try:
        with np.load(path) as file:
            version = file["version"]
            if version != VERSION:
                raise UserError(f"{path} is of another version: run data_preprocess.py again")
            mean, deviation, frames = _statistics_without(file, without) if without else _statistics(file, sub_dir)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}): run data_preprocess.py again") from error
    if frames == 0:
        raise UserError(f"{path}: SUB_DIR {sub_dir} has no utterance to train on; check the lists in DATA_DIR")
    # A bin that never varies carries nothing; it must not blow up either.
    return mean, np.maximum(deviation, 1e-8)


def _statistics(file: np.lib.npyio.NpzFile, sub_dir: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean, deviation and frames of a sub-directory."""
    return file[f"{sub_dir}_mean"], file[f"{sub_dir}_deviation"], int(file[f"{sub_dir}_frames"])


def _statistics_without(file: np.lib.npyio.NpzFile, without: Sequence[str]) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean, deviation and frames of the speakers of `dev` but these."""
    kept = ~np.isin(file["dev_speakers"], np.array([name.encode() for name in without], dtype=np.bytes_))
    frames = int(file["dev_speaker_frames"][kept].sum())
    return *_moments(file["dev_speaker_sums"][kept].sum(axis=0), frames), frames
