"""What a worker of preprocessing does at a time: all utterances of one speaker, read once each."""

import collections
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch

from data_objects.audio import AudioError, WavLayout, check_length, read_blocks, read_native, read_wav_layout
from data_objects.frontend import BINS
from data_objects.index import VERSION, Row, cells_of, write_location
from data_objects.lists import SUB_DIRS, speaker_of
from data_objects.measuring import Samples, frame_sums, measure, write_copy
from data_objects.names import file_name
from utils.system.errors import UserError
from utils.system.files import write_atomically

SECOND = "a second file of an utterance"
TESTED = "a recording that is tested on, under another name"


class Planned(NamedTuple):
    """An utterance to be indexed."""

    name: str
    files: list[str]  # relative to data_dir, or absolute; the one to be preferred first
    merged: str  # parts: see `index.Row`
    dev: str


@dataclass(frozen=True)
class Avoided:
    """Recordings that are tested on, by the hashes of their samples: none of what is added may be one."""

    hashes: frozenset[str] = frozenset()

    @cached_property
    def digest(self) -> str:
        """Of all of them together."""
        return hashlib.sha256("".join(sorted(self.hashes)).encode()).hexdigest()


NONE_AVOIDED = Avoided()


@dataclass(frozen=True)
class SpeakerTask:
    """What a worker does at a time: all utterances of one speaker, in one corpus.

    Attributes:
        skip_existing: take over what an earlier run did, but for files that it could not use.
        corpus: 0 for the one that is tested on, else the number of one that is added.
    """

    speaker: str
    utterances: list[Planned]
    data_dir: Path
    out_dir: Path
    skip_existing: bool = False
    corpus: int = 0

    @property
    def result_file(self) -> Path:
        return self.out_dir / "parts" / f"{file_name(self.speaker)}{'+' * self.corpus}.npz"  # + is in no name

    def fingerprint(self, avoided: Avoided) -> str:
        """Changes when a file, its part or the program's format changes."""
        digest = hashlib.sha256(f"{VERSION} {avoided.digest}".encode())
        for utterance in self.utterances:
            states = [_state_of(self.data_dir / file) for file in utterance.files]
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


def process_speaker(task: SpeakerTask, avoided: Avoided = NONE_AVOIDED) -> tuple[int, bool]:
    """Do one task and write its result, whole or not at all.

    Returns:
        Its number of utterances, and whether an earlier run's result was taken over.
    """
    torch.set_num_threads(1)  # the workers share the cores among them
    fingerprint = task.fingerprint(avoided)
    if task.skip_existing and _is_done(task, fingerprint):
        return len(task.utterances), True
    result = SpeakerResult()
    for utterance in task.utterances:
        _add_first_usable(result, task, utterance, avoided)
    write_atomically(task.result_file, _result_bytes(fingerprint, result))
    return len(task.utterances), False


def _add_first_usable(result: SpeakerResult, task: SpeakerTask, utterance: Planned, avoided: Avoided) -> None:
    """Add an utterance to a result, by the first of its files that can be used."""
    row = Row(utterance.name, "", "", 0, 0, 1.0, utterance.merged, utterance.dev)
    for place, file in enumerate(utterance.files, start=1):
        try:
            _add_utterance(result, *_prepare(task, file, row), avoided)
        except (AudioError, OSError) as error:
            result.rejected.append((file, str(error)))
        else:
            result.rejected += [(other, SECOND) for other in utterance.files[place:]]
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
        root, written = "feature", f"wav/{_copy_name(row.utterance)}"
        native = _convert(path, path := task.out_dir / written)
    layout, samples = native
    check_length(samples)
    row = replace(row, root=root, file=written, offset=layout.offset, samples=samples)
    return row, Samples(path, layout.offset, samples)


def _copy_name(utterance: str) -> str:
    """A copy's path; a folder that is called like a file is told from it by a ~, which is in no name."""
    *folders, name = utterance.split("/")
    folders = [f"{file_name(folder)}{'~' if folder.endswith('.wav') else ''}" for folder in folders]
    return "/".join([*folders, f"{file_name(name.removesuffix('.wav'))}.wav"])


def _add_utterance(result: SpeakerResult, row: Row, source: Samples, avoided: Avoided) -> None:
    """Add an utterance to a result: its row completed, its frames counted in where they are trained on."""
    state = _state_of(source.path)
    level = measure(source)
    if not level.is_silent and level.audio in avoided.hashes:
        if row.root == "feature":
            source.path.unlink()
        raise AudioError(TESTED)
    row = replace(row, gain=level.gain, audio="" if level.is_silent else level.audio)  # silence is no recording
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


def load_result(path: Path) -> tuple[str, SpeakerResult]:
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


def _is_done(task: SpeakerTask, fingerprint: str) -> bool:
    """Whether an earlier run did the task, and all would come out as it did."""
    if not task.result_file.is_file():
        return False
    try:
        before, result = load_result(task.result_file)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):  # of another version, or damaged
        return False
    if before != fingerprint:
        return False
    copies = [place for place, row in enumerate(result.rows) if row.root == "feature"]
    if any(_state_of(task.out_dir / result.rows[place].file) != result.states[place] for place in copies):
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
