"""One utterance in memory: to the bit what preprocessing and the loader of windows make of the same file."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from data_objects.audio import (
    FULL_SCALE,
    SAMPLE_RATE,
    AudioError,
    as_mono,
    check_length,
    read_blocks,
    read_native,
    read_samples,
)
from data_objects.datasets import count_windows, cut_windows
from data_objects.measuring import Samples, measure

Audio = str | Path | tuple[np.ndarray, int]  # a file; or samples (N,) or (N, channels), and their rate in Hz


@dataclass(frozen=True, eq=False)
class Speech:
    """An utterance.

    Attributes:
        samples: (N,) int16, 16 kHz mono.
        gain: brings it up to -30 dBFS; see `audio.level_gain`.
        is_silent: whether it holds nothing but zeros.
    """

    samples: np.ndarray
    gain: np.float32
    is_silent: bool

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    def count_windows(self, frames: int) -> int:
        return count_windows(len(self.samples), frames)

    def windows(self, frames: int) -> np.ndarray:
        """All windows (W, samples) int16 that an evaluation makes of it; see `datasets.count_windows`."""
        return cut_windows(lambda begin, end: self.samples[begin:end], len(self.samples), frames)


def read_speech(audio: Audio) -> Speech:
    """An utterance of a file of any kind that preprocessing reads, or of samples.

    Floating-point samples are in [-1, 1], integers of the range of their type.

    Raises:
        AudioError: what preprocessing would reject it for.
    """
    samples = _read_file(Path(audio)) if isinstance(audio, str | Path) else _read_array(*audio)
    check_length(len(samples))
    level = measure(Samples(Path(), 0, len(samples), (0, samples / np.float32(FULL_SCALE))))
    return Speech(samples, np.float32(level.gain), level.is_silent)


def _read_file(path: Path) -> np.ndarray:
    native = read_native(path)
    if native is None:
        return to_16_bit(read_blocks(path))
    layout, count = native
    return read_samples(path, layout.offset, 0, count)


def _read_array(samples: np.ndarray, rate: int) -> np.ndarray:
    samples = np.asarray(samples)
    is_shaped = samples.ndim == 1 or (samples.ndim == 2 and 0 < samples.shape[1] <= max(samples.shape[0], 1))
    if not is_shaped or samples.dtype.kind not in "fi":
        raise AudioError(
            "samples must be (N,) or (N, channels), of floats or signed integers, not "
            f"{samples.shape} of {samples.dtype}"
        )
    if not isinstance(rate, int | np.integer):
        raise AudioError(f"the rate must be a whole number of Hz, not {rate!r}")
    if (samples.dtype, rate, samples.ndim) == (np.int16, SAMPLE_RATE, 1):
        return samples
    if samples.dtype.kind == "i":
        samples = samples / (np.iinfo(samples.dtype).max + 1.0)
    frames = (samples[:, None] if samples.ndim == 1 else samples).astype(np.float32)  # (N, channels)
    return to_16_bit(as_mono(iter([frames] if len(frames) else []), rate))


def to_16_bit(blocks: Iterator[np.ndarray]) -> np.ndarray:
    """Blocks (N,) in [-1, 1] as int16 (N,), rounded as in the copies that preprocessing writes.

    Raises:
        AudioError: whatever the blocks raise; more than memory holds.
    """
    content = io.BytesIO()
    try:
        with soundfile.SoundFile(content, "w", SAMPLE_RATE, 1, subtype="PCM_16", format="RAW") as file:
            for block in blocks:
                file.write(block)
        return np.frombuffer(content.getbuffer(), dtype="<i2")
    except MemoryError as error:
        raise AudioError("too long: it does not fit into memory") from error
