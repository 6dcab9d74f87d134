"""What a worker of preprocessing does at a time: all utterances of one speaker, read once each."""

import collections
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

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
    check_length(samples)
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


def _is_done(task: SpeakerTask) -> bool:
    """Whether an earlier run did the task, and all would come out as it did."""
    if not task.result_file.is_file():
        return False
    try:
        fingerprint, result = load_result(task.result_file)
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
