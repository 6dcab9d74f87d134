"""Reading and levelling audio. Everything past this module is 16 kHz mono, samples in [-1, 1]."""

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from data_objects.decoding import checked_file, opened
from data_objects.layouts import SAMPLE_RATE as SAMPLE_RATE
from data_objects.layouts import UNKNOWN_LENGTH as UNKNOWN_LENGTH
from data_objects.layouts import AudioError as AudioError
from data_objects.layouts import WavLayout as WavLayout
from data_objects.layouts import check_complete, has_unstated_samples
from data_objects.layouts import read_wav_layout as read_wav_layout

LEVEL_DBFS = -30  # quieter utterances are scaled up to it
LEVEL = 10 ** (LEVEL_DBFS / 20)  # the RMS of that
SHORTEST = 400  # samples: one analysis window (25 ms)
FULL_SCALE = 32_768  # of 16-bit samples
LOUDEST = 2.0  # floating-point samples may overshoot 1 a little; beyond this they are of another scale
LOWEST_RATE, HIGHEST_RATE = 4_000, 192_000  # Hz; other rates are damaged headers
# Of files to look at; of an utterance that has several, the first in this order is preferred.
LOSSLESS = (".wav", ".flac", ".w64", ".rf64", ".aif", ".aiff", ".au", ".caf", ".sph", ".nist")
AUDIO_SUFFIXES = (*LOSSLESS, ".mp3", ".ogg", ".opus", ".m4a", ".mp4", ".aac")


def read_audio(path: Path) -> tuple[np.ndarray, WavLayout | None]:
    """Decode a whole file to 16 kHz mono.

    Returns:
        Samples (N,) float32, and the layout if the file can be read as it lies (16 kHz mono 16-bit PCM), else None.

    Raises:
        AudioError: empty, truncated, not audio, not finite, or shorter than one analysis window.
    """
    native = read_native(path)
    try:
        return np.concatenate(list(read_blocks(path))), None if native is None else native[0]
    except MemoryError as error:
        raise AudioError("too long: it does not fit into memory") from error


def read_native(path: Path) -> tuple[WavLayout, int] | None:
    """The layout of a file that can be read as it lies, and how many samples it holds; None for any other.

    Raises:
        AudioError: no file that can be read, empty, or truncated.
    """
    with checked_file(path):
        layout = read_wav_layout(path)
        if layout is None or not layout.is_native:
            return None
        stated = check_complete(path)
        present = path.stat().st_size - layout.offset
        is_unstated = stated is not None and has_unstated_samples(path, stated)
        samples = (present if is_unstated else min(present, layout.declared_bytes)) // 2
    with opened(path) as source:  # libsndfile looks into the header, too
        if (source.rate, source.channels, source.frames) != (SAMPLE_RATE, 1, samples):
            return None
    return layout, samples


def check_length(samples: int) -> None:
    """Raises an AudioError for fewer samples than an analysis window needs."""
    if samples == 0:
        raise AudioError("no samples")
    if samples < SHORTEST:
        raise AudioError(f"too short: {samples} samples, less than one analysis window of {SHORTEST}")


def read_blocks(path: Path) -> Iterator[np.ndarray]:
    """A file as 16 kHz mono: blocks (N,) float32. The memory is that of a block, however long the file.

    Raises:
        AudioError: see `read_audio`; some reasons show at the end only.
    """
    with opened(path) as source:
        yield from as_mono(source.blocks, source.rate)


def as_mono(blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Blocks (N, channels) float32 at any rate as 16 kHz mono: blocks (N,) float32.

    Raises:
        AudioError: not finite, out of range, or too short altogether, which shows at the end only.
    """
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(f"sampling rate out of range: {rate} Hz")
    total = 0
    for block in _resample(map(_mix, blocks), rate):
        total += len(block)
        yield block
    check_length(total)


def _mix(block: np.ndarray) -> np.ndarray:
    """The mean of all channels of a block (N, channels) of sound samples."""
    loudest = np.abs(block).max()
    if not np.isfinite(loudest):
        raise AudioError("not finite: NaN or infinite samples")
    if loudest > LOUDEST:
        raise AudioError(f"samples out of range: up to {loudest:.3g}, where 1 is full scale")
    return block.mean(axis=1)


def _resample(blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Blocks (N,) at 16 kHz, to the bit what `librosa.resample` makes of the whole."""
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="soxr_hq")
    read = written = 0
    for block in blocks:
        read += len(block)
        resampled = stream.resample_chunk(block)
        written += len(resampled)
        yield resampled
    missing = math.ceil(read * (float(SAMPLE_RATE) / rate)) - written
    rest = stream.resample_chunk(np.zeros(0, np.float32), last=True) if read else np.zeros(0, np.float32)
    yield np.pad(rest[:missing], (0, max(missing - len(rest), 0)))


def write_wav(path: Path, samples: np.ndarray) -> WavLayout:
    """Write samples (N,) in [-1, 1] as 16 kHz mono 16-bit PCM, whole or not at all, and return where they lie."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    soundfile.write(os.fsencode(partial), samples, SAMPLE_RATE, subtype="PCM_16", format="WAV")
    partial.replace(path)
    layout = read_wav_layout(path)
    assert layout is not None
    return layout


def hash_audio(samples: np.ndarray) -> str:
    """A hash of samples (N,) float32: the same recording has the same, whatever its name."""
    return hashlib.blake2b(samples.tobytes(), digest_size=8).hexdigest()


def level_gain(samples: np.ndarray) -> float:
    """The factor that brings samples (N,) up to an RMS of -30 dBFS; 1 for louder ones and for silence.

    Deviation: the original divides by zero on a silent utterance.
    """
    return gain_of(float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))))


def gain_of(rms: float) -> float:
    """The factor that brings samples of this RMS up to -30 dBFS; see `level_gain`."""
    return LEVEL / rms if 0 < rms < LEVEL else 1.0


def read_samples(
    path: Path, offset: int, start: int, count: int, check: Callable[[os.stat_result], object] | None = None
) -> np.ndarray:
    """Samples start to start + count of a native wav file, in one read: int16 (count,).

    Args:
        check: called with the state of the opened file; raises AudioError where it is not the one that is expected.

    Raises:
        AudioError: the file holds fewer; what `check` raises.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a file object would look at it once more, and seek
    try:
        if check is not None:
            check(os.fstat(file))
        samples = np.frombuffer(os.pread(file, 2 * count, offset + 2 * start), dtype="<i2")
    finally:
        os.close(file)
    if len(samples) < count:
        raise AudioError(f"{start + len(samples)} samples where {start + count} were expected")
    return samples
