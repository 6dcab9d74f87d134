"""Decoding audio of any kind in blocks, bounded by what a file holds and never by what its header promises."""

import io
import os
import shutil
import stat
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from data_objects.layouts import AudioError, Stated, check_complete, has_unstated_samples

BLOCK = 960_000  # values of all channels decoded at a time: a minute at 16 kHz
BY_FFMPEG = (".m4a", ".aac", ".mp4")  # what libsndfile does not know
BY_LIBSNDFILE = (".wav", ".flac", ".ogg")
# By libsndfile's names; of its others (VOC, MAT4, IRCAM, ...) a half is taken for the whole.
WIDTHS = {
    "PCM_S8": 1,
    "PCM_U8": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
    "ULAW": 1,
    "ALAW": 1,
}
CONTAINERS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "NIST", "SVX", "CAF", "FLAC", "OGG")
UNKNOWN = 2**62  # frames from here on are libsndfile's word for a length it does not know
FLAC_TOTAL = 21  # bytes from a FLAC file's start to the 36 bits of its number of samples
FLAC_DENSEST = 65_535 // 10  # samples a byte: the largest frame in the fewest bytes
FFMPEG_MISSING = "cannot be decoded: ffmpeg is not installed"
_stderr_lock = threading.Lock()


@dataclass
class Source:
    """A file that is open, at its own rate."""

    rate: int  # Hz
    channels: int
    frames: int | None  # by the header; None: unknown
    blocks: Iterator[np.ndarray]  # (N, channels) float32, none of them empty
    can_seek: bool = False  # whether soundfile by itself finds any frame, since it takes the file for as long


class _Stream(soundfile.SoundFile):
    """A file that is read to its end: soundfile bounds what it can seek in by the length that the header states."""

    def seekable(self) -> bool:
        return False


class _Overlay(io.RawIOBase):
    """A file with some bytes replaced: a length that its header should not state."""

    def __init__(self, path: Path, place: int, content: bytes) -> None:
        super().__init__()
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115, closed by close
        self._place, self._content = place, content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        view, begin = memoryview(buffer).cast("B"), self._file.tell()
        count = self._file.readinto(view) or 0
        first, last = max(begin, self._place), min(begin + count, self._place + len(self._content))
        if first < last:
            view[first - begin : last - begin] = self._content[first - self._place : last - self._place]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def needs_ffmpeg(path: Path) -> bool:
    """Whether the file is of a kind, by its suffix, that only ffmpeg decodes on this machine."""
    suffix = path.suffix.lower()
    if suffix == ".mp3":
        return "MP3" not in soundfile.available_formats()
    if suffix == ".opus":
        return "OPUS" not in soundfile.available_subtypes("OGG")
    return suffix in BY_FFMPEG


def has_ffmpeg() -> bool:
    """Whether the program ffmpeg can be run."""
    return shutil.which("ffmpeg") is not None


@contextmanager
def checked_file(path: Path) -> Iterator[None]:
    """Work with a regular file that is not empty; what the system refuses becomes an AudioError."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise AudioError("not a regular file: a folder, pipe or device")
        if status.st_size == 0:
            raise AudioError("empty file")
        yield
    except OSError as error:
        raise AudioError(f"cannot be read: {error.strerror or error}") from error
    except soundfile.LibsndfileError as error:  # closing tells of errors, too
        raise AudioError(f"damaged: {error.error_string}") from error
    except MemoryError as error:
        raise AudioError("too large: out of memory while decoding") from error


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open a file of any kind for decoding in blocks.

    Raises:
        AudioError: empty, truncated, not audio, or nothing that the system lets us read.
    """
    with checked_file(path), ExitStack() as stack:
        yield _open_any(path, stack)


def _open_any(path: Path, stack: ExitStack) -> Source:
    if needs_ffmpeg(path):
        return stack.enter_context(_by_ffmpeg(path))
    try:
        return _open_by_libsndfile(path, stack)
    except AudioError as error:
        is_strange = str(error).startswith("not audio") and path.suffix.lower() not in BY_LIBSNDFILE
        if not (is_strange and has_ffmpeg()):
            raise
    return stack.enter_context(_by_ffmpeg(path))


def _open_by_libsndfile(path: Path, stack: ExitStack) -> Source:
    with open(path, "rb") as file:
        head = file.read(FLAC_TOTAL + 5)
    if head[:4] == b"fLaC" and len(head) == FLAC_TOTAL + 5:
        return _open_flac(path, head, stack)
    return _open_mp3(path, stack) if _is_mp3(head) else _open_plain(path, stack)


def _is_mp3(head: bytes) -> bool:
    return head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0)


def _open_plain(path: Path, stack: ExitStack) -> Source:
    """Formats whose header states where the samples end."""
    stated = check_complete(path)
    is_unstated = stated is not None and has_unstated_samples(path, stated)
    source: Any = stack.enter_context(_with_length(path, stated)) if stated and is_unstated else path
    with _quiet():  # libsndfile tries MP3 where it finds nothing else
        file = stack.enter_context(_open(source))
    if file.format == "MP3":
        return _open_mp3(path, stack)
    if file.format not in CONTAINERS:
        raise AudioError(f"not audio of a kind that is read here ({file.format}): convert it to wav or flac")
    frames = _known(file)
    width = WIDTHS.get(file.subtype)
    if stated is not None and width is not None and frames is not None and stated.size and not is_unstated:
        # In W64 and SPHERE, libsndfile takes what follows the samples for more of them.
        frames = min(frames, stated.size // (width * file.channels))
    can_seek = frames is not None and not is_unstated
    blocks = _first(_whole(file, frames), frames)
    return Source(file.samplerate, file.channels, frames, blocks, can_seek)


def _with_length(path: Path, stated: Stated) -> _Overlay:
    """The file with its length where its header states 0."""
    length = min(path.stat().st_size - stated.offset, 0xFFFF_FFFE)
    return _Overlay(path, stated.offset - 4, struct.pack(stated.field, length))


def _open_flac(path: Path, head: bytes, stack: ExitStack) -> Source:
    """FLAC is decoded until its stream ends; the stated total is compared with what came, where it can be true."""
    stated = int.from_bytes(head[FLAC_TOTAL:], "big") & 0xF_FFFF_FFFF
    unknown = bytes([head[FLAC_TOTAL] & 0xF0, 0, 0, 0, 0])
    file = stack.enter_context(_open(stack.enter_context(_Overlay(path, FLAC_TOTAL, unknown))))
    frames = stated if 0 < stated <= path.stat().st_size * FLAC_DENSEST else None
    return Source(file.samplerate, file.channels, frames, _whole(file, frames), can_seek=frames is not None)


def _open_mp3(path: Path, stack: ExitStack) -> Source:
    """MP3 comes through a pipe: of a file, libsndfile decodes no more than it guesses from the first frame."""
    end = stack.enter_context(_piped(path))
    with _quiet():
        file = stack.enter_context(_open(end))
    return Source(file.samplerate, file.channels, _known(file), _whole_mp3(file, end, path.stat().st_size))


def _open(source: Any) -> _Stream:
    source = os.fsencode(source) if isinstance(source, Path) else source  # which soundfile does not do by itself
    try:
        return _Stream(source, closefd=False) if isinstance(source, int) else _Stream(source)
    except (soundfile.LibsndfileError, ValueError, TypeError) as error:
        raise AudioError(f"not audio: {getattr(error, 'error_string', error)}") from error


def _known(file: _Stream) -> int | None:
    return file.frames if 0 <= file.frames < UNKNOWN else None


def _blocks(file: _Stream, frames: int | None) -> Iterator[np.ndarray]:
    size = max(BLOCK // file.channels, 1)
    size = size if frames is None else min(size, frames + 1)  # a byte that says nothing is zeroed all the same
    try:
        while len(block := file.read(size, dtype="float32", always_2d=True)):
            yield block
    except (soundfile.LibsndfileError, ValueError) as error:
        raise AudioError(f"truncated or damaged: {getattr(error, 'error_string', error)}") from error


def _whole(file: _Stream, frames: int | None) -> Iterator[np.ndarray]:
    """All blocks, which must come to at least as many frames as are stated."""
    total = 0
    for block in _blocks(file, frames):
        total += len(block)
        yield block
    if frames is not None and total < frames:
        raise AudioError(f"truncated: {total} of {frames} samples")


def _first(blocks: Iterator[np.ndarray], frames: int | None) -> Iterator[np.ndarray]:
    """Blocks, cut off after so many frames."""
    left = frames
    for block in blocks:
        yield block if left is None else block[:left]
        left = None if left is None else left - len(block)
        if left is not None and left <= 0:
            break


def _whole_mp3(file: _Stream, end: int, size: int) -> Iterator[np.ndarray]:
    """All blocks of an MP3, without the notes that its decoder writes to standard error."""
    blocks = _whole(file, _known(file))
    while True:
        with _quiet():
            block = next(blocks, None)
        if block is None:
            break
        yield block
    rest = 0
    while piece := os.read(end, 65_536):
        rest += len(piece)
    if rest > max(size // 10, 65_536):  # more than tags: two files in one, say
        raise AudioError(f"damaged: {rest} bytes follow the end of the stream")


@contextmanager
def _piped(path: Path) -> Iterator[int]:
    """The end of a pipe through which the file comes."""
    end, begin = os.pipe()

    def feed() -> None:
        with suppress(OSError), open(begin, "wb", buffering=0) as pipe, open(path, "rb") as file:
            shutil.copyfileobj(file, pipe, 65_536)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        yield end
    finally:
        os.close(end)  # the feeder stops at once
        feeder.join()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep out what C code writes to standard error. It is the whole process's, so one thread at a time."""
    with _stderr_lock:
        try:
            kept = os.dup(2)
        except OSError:  # there is none
            yield
            return
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def _by_ffmpeg(path: Path) -> Iterator[Source]:
    """Decoded by ffmpeg, through a pipe, as AU: the simplest header that tells rate and channels."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", f"file:{path}", "-map", "0:a:0", "-c:a", "pcm_f32be"]
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                [*command, "-f", "au", "-"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
        except FileNotFoundError as error:
            raise AudioError(f"{FFMPEG_MISSING}; no other decoder here reads {path.suffix}") from error
        with process:
            try:
                yield _source_of(process, errors)
            finally:
                process.kill()


def _source_of(process: "subprocess.Popen[bytes]", errors: Any) -> Source:
    assert process.stdout is not None
    header = process.stdout.read(24)
    if len(header) < 24 or header[:4] != b".snd":
        raise _failed(process, errors)
    offset, _, _, rate, channels = struct.unpack(">5I", header[4:])
    if not 0 < channels <= 1_024 or not 24 <= offset <= 65_536:
        raise AudioError("cannot be decoded: ffmpeg's output has no sound header")
    process.stdout.read(offset - 24)
    return Source(rate, channels, None, _blocks_of(process, errors, channels))


def _blocks_of(process: "subprocess.Popen[bytes]", errors: Any, channels: int) -> Iterator[np.ndarray]:
    assert process.stdout is not None
    size = 4 * channels * max(BLOCK // channels, 1)
    while content := process.stdout.read(size):
        if len(content) % (4 * channels):
            raise _failed(process, errors)
        yield np.frombuffer(content, ">f4").astype(np.float32).reshape(-1, channels)
    if process.wait() or errors.seek(0, os.SEEK_END):
        raise _failed(process, errors)


def _failed(process: "subprocess.Popen[bytes]", errors: Any) -> AudioError:
    """What ffmpeg said last."""
    if process.stdout is not None:
        process.stdout.close()  # it may still be writing
    status = process.wait()
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return AudioError(f"cannot be decoded: ffmpeg: {lines[-1] if lines else f'ended early, status {status}'}")
