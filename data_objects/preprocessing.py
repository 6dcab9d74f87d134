"""Preprocessing: what data_preprocess.py does, from the wavs and the lists to the index (see `data_objects.index`)."""

import collections
import csv
import hashlib
import io
import json
import multiprocessing
import os
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from tqdm import tqdm

from data_objects.audio import SAMPLE_RATE, AudioError, WavLayout, read_blocks, read_native, read_wav_layout
from data_objects.decoding import has_ffmpeg, needs_ffmpeg
from data_objects.frontend import BINS, count_frames
from data_objects.index import (
    COLUMNS,
    DEV,
    FILES,
    REJECTED,
    STATISTICS,
    UTTERANCES,
    VERSION,
    Row,
    cells_of,
    moments,
    write_location,
)
from data_objects.lists import META, SPLIT, SUB_DIRS, TRIALS, Lists, speaker_of
from data_objects.making import complete_lists, write_made_lists
from data_objects.measuring import Samples, frame_sums, measure, write_copy
from data_objects.names import encode_path, file_name
from data_objects.parts import dev_parts, parts_of
from data_objects.silence import HEADER, SILENT
from data_objects.sources import Found, find_corpus
from utils.system.errors import UserError
from utils.system.files import write_atomically
from utils.system.text import printable

SECOND = "a second file of an utterance"
TESTED = "a recording that is tested on, under another name"


@dataclass(frozen=True)
class SpeakerTask:
    """What a worker does at a time: all utterances of one speaker, in one corpus.

    Attributes:
        utterances: name, files (relative to data_dir, or absolute) with the one to be preferred first, parts in merged
            and in dev.
        skip_existing: take over what an earlier run did, but for files that it could not use.
        is_added: of another corpus than the one that is tested on.
        avoid: hashes of recordings that are tested on, of which none may be trained on.
    """

    speaker: str
    utterances: list[tuple[str, list[str], str, str]]
    data_dir: Path
    out_dir: Path
    skip_existing: bool = False
    is_added: bool = False
    avoid: frozenset[str] = frozenset()

    @property
    def result_file(self) -> Path:
        return self.out_dir / "parts" / f"{file_name(self.speaker)}{'+' if self.is_added else ''}.npz"

    def fingerprint(self) -> str:
        """Changes when a file, its part or the program's format changes."""
        digest = hashlib.sha256(f"{VERSION} {sorted(self.avoid)}".encode())
        for utterance in self.utterances:
            states = [_state_of(self.data_dir / file) for file in utterance[1]]
            digest.update(json.dumps([*utterance, states]).encode())
        return digest.hexdigest()


def _state_of(path: Path) -> tuple[int, int]:
    """A file's bytes, and when it was changed, in nanoseconds; -1 where there is none."""
    try:
        status = path.stat()
    except OSError:  # a dangling link, say; reading it will say so
        return -1, -1
    return status.st_size, status.st_mtime_ns


@dataclass
class SpeakerResult:
    """What came of a task. Sums are over all frames of the utterances trained on, one row each for SUB_DIRS."""

    rows: list[Row] = field(default_factory=list)
    states: list[tuple[int, int]] = field(default_factory=list)  # of the rows' files: see `_state_of`
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


def plan_tasks(
    found: Found, lists: Lists, data_dir: Path, out_dir: Path, skip_existing: bool = False
) -> tuple[list[SpeakerTask], list[Path]]:
    """A task for every speaker on disk, and the files of speakers that vox1_meta.csv does not know."""
    known = sorted(name for name in found.files if speaker_of(name) in lists.speakers)
    parts = parts_of(known, lists)
    make = partial(SpeakerTask, data_dir=data_dir, out_dir=out_dir, skip_existing=skip_existing)
    strangers = [path for name, paths in found.files.items() if name not in parts for path in paths]
    return list(_tasks_of(found, parts, data_dir, make)), strangers


def plan_added(
    found: Found, lists: Lists, taken: set[str], data_dir: Path, out_dir: Path, skip_existing: bool = False
) -> list[SpeakerTask]:
    """A task for every speaker of a corpus that is added: all are `dev`, and nobody is tested on.

    What cannot be used is noted in `found`: speakers that are tested on, and utterances that are there already.

    Args:
        taken: names of the utterances that are there already; what is added joins them.
    """
    tested = {name for name, speaker in lists.speakers.items() if speaker.set == "test"}
    tested |= set(map(speaker_of, lists.trial_utterances))
    usable = []
    for name, paths in found.files.items():
        reason = "speaker that is tested on" if speaker_of(name) in tested else SECOND if name in taken else ""
        if reason:
            found.unusable += [(path, reason) for path in paths]
        else:
            usable.append(name)
    taken.update(usable)
    parts = {name: ("", part) for name, part in dev_parts(sorted(usable)).items()}
    make = partial(SpeakerTask, data_dir=data_dir, out_dir=out_dir, skip_existing=skip_existing, is_added=True)
    return list(_tasks_of(found, parts, data_dir, make))


def _tasks_of(
    found: Found, parts: dict[str, tuple[str, str]], data_dir: Path, make: Callable[..., SpeakerTask]
) -> Iterator[SpeakerTask]:
    """A task for every speaker of utterances in order."""
    for speaker, names in groupby(parts, key=speaker_of):
        files = ((name, [_relative(path, data_dir) for path in found.files[name]]) for name in names)
        yield make(speaker, [(name, paths, *parts[name]) for name, paths in files])


def _relative(path: Path, data_dir: Path) -> str:
    """A file relative to data_dir if it lies there, else absolute."""
    return (path.relative_to(data_dir) if path.is_relative_to(data_dir) else path.absolute()).as_posix()


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
        UserError: no utterance can be used (rejected.csv is written even so); out_dir cannot be written to.
    """
    try:
        (out_dir / "parts").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {out_dir} ({error.strerror}): give another folder with --out_dir") from error
    reused = _run(tasks, num_workers, advance)
    if added:
        avoid = _tested_audio(tasks, trial_utterances)
        added = [replace(task, avoid=avoid) for task in added]
        reused += _run(added, num_workers, advance)
    every = [*tasks, *added]
    _remove_stale_parts(every, out_dir)
    report = write_index(out_dir, (_load_result(task.result_file)[1] for task in every), unusable)
    return replace(report, reused_speakers=reused)


def _tested_audio(tasks: list[SpeakerTask], trial_utterances: Collection[str]) -> frozenset[str]:
    """Hashes of the recordings by test speakers, and of those that trials use."""
    results = (_load_result(task.result_file)[1] for task in tasks)
    rows = (row for result in results for row in result.rows)
    return frozenset(row.audio for row in rows if not row.dev or row.utterance in trial_utterances)


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
    _write_csv(out_dir / REJECTED, ("file", "reason"), [(encode_path(file), printable(why)) for file, why in rejected])
    _write_csv(out_dir / SILENT, HEADER, ([name] for name in silent))
    if not rows:
        raise UserError(f"no utterance can be used: see {out_dir / REJECTED} for the reasons")
    _write_statistics(out_dir / STATISTICS, total, dev)
    table = _csv_bytes(COLUMNS, map(cells_of, rows))
    _write_states(out_dir / FILES, states, table)
    write_atomically(out_dir / UTTERANCES, table)
    return BuildReport(rows, rejected, silent)


def _run(tasks: Sequence[SpeakerTask], num_workers: int, advance: Callable[[int], object]) -> int:
    """Do the tasks; returns how many were taken over from an earlier run."""
    reused = 0
    for count, is_reused in _outcomes(tasks, num_workers):
        advance(count)
        reused += is_reused
    return reused


def _outcomes(tasks: Sequence[SpeakerTask], num_workers: int) -> Iterator[tuple[int, bool]]:
    """What `process_speaker` returns of each task, as it is done."""
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


def process_speaker(task: SpeakerTask) -> tuple[int, bool]:
    """Do one task and write its result, whole or not at all.

    Returns:
        Its number of utterances, and whether an earlier run's result was taken over.
    """
    torch.set_num_threads(1)  # the workers share the cores among them
    if task.skip_existing and _is_done(task):
        return len(task.utterances), True
    fingerprint = task.fingerprint()
    result = SpeakerResult()
    for utterance, files, merged, dev in task.utterances:
        _add_first_usable(result, task, files, Row(utterance, "", "", 0, 0, 1.0, merged, dev))
    write_atomically(task.result_file, _result_bytes(fingerprint, result))
    return len(task.utterances), False


def _add_first_usable(result: SpeakerResult, task: SpeakerTask, files: list[str], row: Row) -> None:
    """Add an utterance to a result, by the first of its files that can be used."""
    for place, file in enumerate(files, start=1):
        try:
            _add_utterance(result, task, *_prepare(task, file, row))
        except (AudioError, OSError) as error:
            result.rejected.append((file, str(error)))
        else:
            result.rejected += [(other, SECOND) for other in files[place:]]
            return


def _prepare(task: SpeakerTask, file: str, row: Row) -> tuple[Row, Samples]:
    """Where training will read an utterance: the file itself if it can be read as it lies, else a 16-bit copy.

    Raises:
        AudioError: see `read_audio`.
        UserError: the copy cannot be written.
    """
    path = task.data_dir / file
    root, written = write_location(file)
    native = read_native(path)
    if native is None:
        name = "/".join(map(file_name, row.utterance.removesuffix(".wav").split("/")))
        root, written = "feature", f"wav/{name}.wav"
        native = _convert(path, path := task.out_dir / written)
    layout, samples = native
    row = replace(row, root=root, file=written, offset=layout.offset, samples=samples)
    return row, Samples(path, layout.offset, samples)


def _add_utterance(result: SpeakerResult, task: SpeakerTask, row: Row, source: Samples) -> None:
    """Add an utterance to a result: its row completed, its frames counted in where they are trained on."""
    state = _state_of(source.path)
    level = measure(source)
    if level.audio in task.avoid:
        raise AudioError(TESTED)
    row = replace(row, gain=level.gain, audio=level.audio)
    trained_on = [number for number, sub_dir in enumerate(SUB_DIRS) if getattr(row, sub_dir) == "train"]
    sums, frames = frame_sums(source, row.gain) if trained_on else (0, 0)
    result.rows.append(row)
    result.states.append(state)
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
        "states": result.states,
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
            states=[tuple(state) for state in lists["states"]],
            rejected=[tuple(pair) for pair in lists["rejected"]],
            silent=lists["silent"],
            sums=file["sums"],
            frames=file["frames"],
        )
        return str(file["fingerprint"]), result


def _is_done(task: SpeakerTask) -> bool:
    """Whether an earlier run did the task, and all would come out as it did."""
    if not task.result_file.is_file():
        return False
    try:
        fingerprint, result = _load_result(task.result_file)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):  # of another version, or damaged
        return False
    copies = (task.out_dir / row.file for row in result.rows if row.root == "feature")
    if fingerprint != task.fingerprint() or not all(copy.is_file() for copy in copies):
        return False
    # What was rejected is tried again: the reason may have gone, a missing decoder, say.
    return not any(_can_be_read(task.data_dir / file) for file, reason in result.rejected if _is_of_reading(reason))


def _is_of_reading(reason: str) -> bool:
    return reason not in (SECOND, TESTED)


def _can_be_read(path: Path) -> bool:
    try:
        collections.deque(read_blocks(path), maxlen=0)
    except (AudioError, OSError):
        return False
    return True


def _remove_stale_parts(tasks: list[SpeakerTask], out_dir: Path) -> None:
    current = {task.result_file for task in tasks}
    for path in (out_dir / "parts").glob("*.npz*"):  # unfinished ones too
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


def count_reasons(rejected: list[tuple[str, str]]) -> Counter[str]:
    """How many files were rejected for each reason; details behind a colon do not count."""
    return Counter(reason.split(":", 1)[0] for _, reason in rejected)


def preprocess(
    data_dir: Path,
    out_dir: Path | None,
    num_workers: int,
    skip_existing: bool,
    manifest: Path | None = None,
    added_dirs: Sequence[Path] = (),
    test_speakers: int | None = None,
) -> str:
    """What data_preprocess.py does: index a corpus, with a progress bar.

    Args:
        out_dir: where the index goes; None: DATA_DIR/feature.
        num_workers: see `build_index`.
        skip_existing: take over the speakers that an earlier run finished and whose files have not changed.
        manifest: see `find_corpus`.
        added_dirs: folders of corpora that are trained on, too.
        test_speakers: how many to test on, where no list says who; None: a fifth.

    Returns:
        What the user should know at the end, in lines.

    Raises:
        UserError: see `find_corpus`, `complete_lists` and `build_index`.
    """
    found = find_corpus(data_dir, manifest)
    out_dir = out_dir or data_dir / "feature"
    lists, missing = complete_lists(found, data_dir, test_speakers)
    tasks, strangers = plan_tasks(found, lists, data_dir, out_dir, skip_existing)
    found.unusable += [(path, f"speaker not in {META}") for path in strangers]
    taken = set(found.files)
    added: list[SpeakerTask] = []
    others = list(map(find_corpus, added_dirs))
    _check_decoders([found, *others])
    for other in others:
        added += plan_added(other, lists, taken, data_dir, out_dir, skip_existing)
        found.unusable += other.unusable
        found.ignored += other.ignored
    unusable = [(_relative(path, data_dir), reason) for path, reason in found.unusable]
    total = sum(len(task.utterances) for task in (*tasks, *added))
    with tqdm(total=total, unit="utterance", desc="reading", disable=None) as progress:
        report = build_index(tasks, unusable, out_dir, num_workers, progress.update, added, lists.trial_utterances)
    usable = {row.utterance for row in report.rows} & found.files.keys()
    lists = write_made_lists(lists, missing, usable, usable - set(report.silent), found, data_dir, out_dir)
    return _summarize(report, found, lists, out_dir)


def _check_decoders(sources: Iterable[Found]) -> None:
    """Raises a UserError for files that need ffmpeg where it is not installed, before hours have gone."""
    files = (files for found in sources for files in found.files.values())
    lone = [own[0] for own in files if all(map(needs_ffmpeg, own))]
    if lone and not has_ffmpeg():
        raise UserError(
            f"{len(lone):,} files ({lone[0]}, ...) are read by ffmpeg, which is not installed: install it, or convert "
            "them to wav or flac"
        )


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
        *found.remarks,
    ]
    if report.reused_speakers:
        lines.append(f"taken over from an earlier run: {report.reused_speakers:,} speakers")
    return printable("\n".join(lines))
