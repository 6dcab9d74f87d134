"""What the index says of an utterance, measured in blocks: the memory is that of a minute, however long the file."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import torch

from data_objects.audio import FULL_SCALE, SAMPLE_RATE, gain_of, read_samples
from data_objects.frontend import BINS, CONTEXT, HOP, FrontEnd, count_frames

BLOCK = 60 * SAMPLE_RATE  # samples looked at at a time; a whole number of frames


@dataclass
class Samples:
    """The samples of a 16 kHz mono 16-bit wav file, as training reads them."""

    path: Path
    offset: int  # bytes from the file's start to the first sample
    count: int
    _kept: tuple[int, np.ndarray] = field(default=(0, np.zeros(0, np.float32)), repr=False)

    def read(self, begin: int, end: int) -> np.ndarray:
        """Samples begin to end, float32 in [-1, 1]; what was read last is kept.

        Raises:
            AudioError: the file holds fewer.
        """
        first, kept = self._kept
        if not first <= begin <= end <= first + len(kept):
            kept = read_samples(self.path, self.offset, begin, end - begin) / np.float32(FULL_SCALE)
            first, self._kept = begin, (begin, kept)
        return kept[begin - first : end - first]


@dataclass(frozen=True)
class Level:
    """What a whole utterance is like."""

    audio: str  # hash of its samples
    gain: float  # up to -30 dBFS; see `level_gain`
    is_silent: bool


def measure(source: Samples) -> Level:
    """Hash, gain and silence of an utterance: to the bit those of its samples in one piece."""
    digest = hashlib.blake2b(digest_size=8)
    total = _sum_of_squares(source, 0, source.count, digest)
    rms = float(np.sqrt(np.float64(total) / source.count))
    return Level(digest.hexdigest(), gain_of(rms), is_silent=total == 0)  # the square of the smallest sample is no 0


def _sum_of_squares(source: Samples, begin: int, end: int, digest: "hashlib.blake2b") -> float:
    """Of samples begin to end, which are hashed on the way.

    Longer than a block, it is split as numpy splits its pairwise sums: halves whose first is a multiple of 8. So the
    sum, and with it the gain, is the very float that `level_gain` finds for the whole.
    """
    if end - begin <= BLOCK:
        samples = source.read(begin, end)
        digest.update(samples.tobytes())
        return float(np.sum(np.square(samples, dtype=np.float64)))
    half = (end - begin) // 2
    half -= half % 8
    first = _sum_of_squares(source, begin, begin + half, digest)
    return first + _sum_of_squares(source, begin + half, end, digest)


@cache
def _magnitudes() -> FrontEnd:
    """The front end without normalisation, made once a process."""
    return FrontEnd()


def frame_sums(source: Samples, gain: float) -> tuple[np.ndarray, int]:
    """Sums of the magnitudes and of their squares, (2, 257), over all frames of a levelled utterance, and how many."""
    frames = count_frames(source.count)
    sums = np.zeros((2, BINS))
    last = max(frames - 2, 1)  # no block holds the last frame alone: mirroring needs the samples before it
    for begin in range(0, last, BLOCK // HOP):
        end = begin + BLOCK // HOP
        waveform = _with_context(source, begin, frames if end >= last else end) * np.float32(gain)
        magnitudes = _magnitudes()(torch.from_numpy(waveform)[None])[0].numpy().astype(np.float64)  # (T, 257)
        sums += np.stack([magnitudes.sum(axis=0), np.square(magnitudes).sum(axis=0)])
    return sums, frames


def _with_context(source: Samples, begin: int, end: int) -> np.ndarray:
    """The samples that frames begin to end need; beyond the utterance's ends mirrored, as `pad_reflect` does."""
    first, last = begin * HOP - CONTEXT, (end - 1) * HOP + CONTEXT
    if end == count_frames(source.count):
        last = source.count + CONTEXT
    samples = source.read(max(first, 0), min(last, source.count))
    return np.pad(samples, (max(-first, 0), max(last - source.count, 0)), mode="reflect")


def write_copy(path: Path, blocks: Iterable[np.ndarray]) -> int:
    """Write blocks (N,) in [-1, 1] as one 16 kHz mono 16-bit PCM file, whole or not at all; returns the samples.

    Raises:
        AudioError: whatever the blocks raise; then nothing stays.
        OSError, soundfile.LibsndfileError: no room, or no right to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    count = 0
    try:
        with soundfile.SoundFile(os.fsencode(partial), "w", SAMPLE_RATE, 1, subtype="PCM_16", format="WAV") as file:
            for block in blocks:
                file.write(block)
                count += len(block)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count
