"""The index of a corpus and its feature statistics: all that preprocessing leaves on disk.

feature/utterances.csv   a line an utterance: where its samples lie, how many, its gain, its parts
feature/stats.npz        mean and deviation of every frequency bin, for `merged` and for `dev` training; for `dev` also
                         every speaker's sums, so that those held out can be left out
feature/rejected.csv     what was not used, and why
feature/wav/             16 kHz mono 16-bit copies of the utterances that are something else
feature/silent.csv       utterances that hold nothing but zeros
feature/files.npz        size and time of the file of every row, as they were then
feature/parts/           a file a speaker: what a run that was interrupted need not do again
feature/made_lists.txt   which of the lists beside it were made, and
feature/used_lists.txt   by which lists of DATA_DIR: see `data_objects.completing`
"""

import csv
import hashlib
import io
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from data_objects.audio import FULL_SCALE, AudioError, hash_audio, read_samples
from data_objects.lists import SUB_DIRS
from data_objects.names import decode, encode_path
from utils.system.commands import call_of
from utils.system.errors import UserError

SCRIPT = "data_preprocess.py"  # writes it
VERSION = 2  # of the files below; raise it when what they hold changes
UTTERANCES, STATISTICS, REJECTED, FILES = "utterances.csv", "stats.npz", "rejected.csv", "files.npz"
ROOTS = ("data", "feature", "path", "data%", "path%")  # with %: file is encoded as names are
PARTS = ("", "train", "val", "test")
DEV = SUB_DIRS.index("dev")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of utterances.csv."""

    utterance: str
    root: str  # data: file is under DATA_DIR; feature: a converted copy, under the index's folder; path: from the root
    file: str
    offset: int  # bytes from the file's start to its first sample
    samples: int  # at 16 kHz
    gain: float
    merged: str  # part in `merged`: train, val, test or empty
    dev: str  # part in `dev`: train, val or empty
    audio: str = ""  # a hash of the samples: the same recording has the same, whatever its name


def write_location(file: str) -> tuple[str, str]:
    """Root and file of a row, for a file under DATA_DIR or an absolute path; nothing in them obeys to anything."""
    root, encoded = "path" if file.startswith("/") else "data", encode_path(file)
    return (root, file) if encoded == file else (f"{root}%", encoded)


COLUMNS = tuple(Row.__dataclass_fields__)
cells_of = attrgetter(*COLUMNS)  # of a row, as utterances.csv and the files of parts/ hold them


def moments(sums: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population deviation (257,) float32 by the sums (2, 257) of x and of x squared over so many frames."""
    with np.errstate(invalid="ignore"):
        mean, mean_square = sums / frames
        deviation = np.sqrt(np.maximum(mean_square - mean**2, 0))
    return mean.astype(np.float32), deviation.astype(np.float32)


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

    def __getitem__(self, place: int) -> str:  # type: ignore[override]  # no slices
        return self.encoded[place].decode(errors="surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (name.decode(errors="surrogateescape") for name in self.encoded)


Rows = Sequence[int] | np.ndarray  # of an index


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

    def __init__(
        self, data_dir: Path, feature_dir: Path, columns: Columns, fingerprint: str, states: np.ndarray | None = None
    ) -> None:
        self.data_dir = data_dir
        self.feature_dir = feature_dir
        self.fingerprint = fingerprint
        self.utterances = Names(columns.utterances)
        self.samples = columns.samples
        self.gains = columns.gains
        self.audio = columns.audio
        self._roots = columns.roots
        self._files = Names(columns.files)
        self._offsets = columns.offsets
        # (N,) int64 each, of the files: bytes, -1 where not known, and time of change
        states = np.full((len(columns.utterances), 2), -1) if states is None else states
        self._sizes, self._changed = states.T
        folders = [feature_dir if root == "feature" else data_dir for root in ROOTS]
        self._places = [(folder, root.endswith("%")) for folder, root in zip(folders, ROOTS, strict=True)]
        self._verified: set[int] = set()  # rows whose file has another time, but the same samples
        self._parts = {"merged": columns.merged, "dev": columns.dev}
        speakers, self._speaker = np.unique(columns.speakers, return_inverse=True)
        self._speakers = list(Names(speakers))  # each once; _speaker has a row's place in it
        self._order = np.argsort(columns.utterances, kind="stable")  # quick where they are in order, as they should be

    def __len__(self) -> int:
        return len(self.utterances)

    def location(self, row: int) -> tuple[Path, int]:
        """The file of a row, and the byte at which its samples begin."""
        folder, is_encoded = self._places[self._roots.item(row)]
        file = self._files[row]
        # An absolute path stays what it is.
        return folder / (decode(file) if is_encoded else file), self._offsets.item(row)

    def check(self, row: int, status: os.stat_result) -> None:
        """Hold a row's file, as it is now, against what it was when it was indexed.

        A file with another time, a copy maybe, must have the same samples: they are read once, by each process.

        Raises:
            AudioError: the file has changed.
        """
        size, changed = self._sizes.item(row), self._changed.item(row)
        if (status.st_size == size and status.st_mtime_ns == changed) or size < 0:
            return
        if status.st_size != size:
            raise AudioError(f"{status.st_size} bytes where {size} were")
        if row not in self._verified:
            samples = read_samples(*self.location(row), 0, int(self.samples[row])) / np.float32(FULL_SCALE)
            is_same = hash_audio(samples).encode() == self.audio[row] if self.audio[row] else not samples.any()
            if not is_same:
                raise AudioError("other samples than there were")
            self._verified.add(row)

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
        command = f"{call_of(SCRIPT)} {data_dir}"
        if feature_dir != data_dir / "feature":
            command += f" --out_dir {feature_dir}"
        raise UserError(
            f"{data_dir} is not preprocessed yet ({path} is missing): run '{command}', or set DATASET.FEATURE_DIR to "
            "where its index is"
        )
    with open(path, "rb") as file:  # it is renamed into its place when whole, so both passes read the same
        fingerprint = hashlib.sha256()
        while block := file.read(1 << 20):
            fingerprint.update(block)
        file.seek(0)
        columns = _read_columns(path, file, data_dir)
    states = _read_states(feature_dir / FILES, fingerprint.hexdigest())
    return Index(data_dir, feature_dir, columns, fingerprint.hexdigest(), states)


def _read_states(path: Path, fingerprint: str) -> np.ndarray | None:
    """Bytes and times of the rows' files (N, 2); None where an older version, or an interrupted run, left none."""
    if not path.is_file():
        return None
    try:
        with np.load(path) as file:
            return np.stack([file["bytes"], file["changed"]], axis=1) if file["index"] == fingerprint else None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}): run data_preprocess.py again") from error


def _read_columns(path: Path, file: BinaryIO, data_dir: Path) -> Columns:
    # As Latin-1 a character is a byte, so that the names' bytes come through; what separates cells is ASCII.
    lines = csv.reader(io.TextIOWrapper(file, encoding="latin-1", newline="\n"))
    chunks = []
    try:
        if tuple(next(lines, ())) != COLUMNS:
            raise UserError(f"{path} is of another version: run '{call_of(SCRIPT)} {data_dir}' again")
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
    return *moments(file["dev_speaker_sums"][kept].sum(axis=0), frames), frames
