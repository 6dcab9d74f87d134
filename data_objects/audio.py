"""Reading and levelling audio. Everything past this module is 16 kHz mono, samples in [-1, 1]."""

import hashlib
import os
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE = 16_000  # Hz
LEVEL = 10 ** (-30 / 20)  # RMS of -30 dBFS: quieter utterances are scaled up to it
SHORTEST = 400  # samples: one analysis window (25 ms)
FULL_SCALE = 32_768  # of 16-bit samples
LOUDEST = 2.0  # floating-point samples may overshoot 1 a little; beyond this they are of another scale
LOWEST_RATE, HIGHEST_RATE = 4_000, 192_000  # Hz; other rates are damaged headers
AUDIO_SUFFIXES = (".wav", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".aac")
UNKNOWN_LENGTH = 0x7FFF_0000  # sizes from here on are what streaming writers put in place of a length they do not know


class AudioError(Exception):
    """Why a file cannot be used, in a few words; preprocessing lists it."""


@dataclass(frozen=True)
class WavLayout:
    """Where a wav file's samples lie, by its header."""

    sample_rate: int  # Hz
    channels: int
    bits: int
    is_pcm: bool
    offset: int  # bytes from the file's start to the first sample
    declared_bytes: int  # of samples, as the header says

    @property
    def is_native(self) -> bool:
        """Whether the samples can be read as they lie: 16 kHz mono, 16-bit PCM."""
        return (self.sample_rate, self.channels, self.bits, self.is_pcm) == (SAMPLE_RATE, 1, 16, True)


def read_wav_layout(path: Path) -> WavLayout | None:
    """The layout of a RIFF wav file; None for a file of another kind.

    Raises:
        AudioError: a RIFF file without a format or a data chunk.
    """
    with open(path, "rb") as file:
        riff, _, wave = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        if riff != b"RIFF" or wave != b"WAVE":
            return None
        layout = None
        while len(header := file.read(8)) == 8:
            chunk, size = struct.unpack("<4sI", header)
            if chunk == b"fmt " and size >= 16:
                code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", file.read(16).ljust(16, b"\0"))
                layout = (rate, channels, bits, code == 1)
                file.seek(size - 16 + size % 2, 1)
            elif chunk == b"data":
                if layout is None:
                    break
                return WavLayout(*layout, offset=file.tell(), declared_bytes=size)
            else:
                file.seek(size + size % 2, 1)
    raise AudioError("truncated: the wav header has no data")


def read_audio(path: Path) -> tuple[np.ndarray, WavLayout | None]:
    """Decode a whole file to 16 kHz mono.

    Returns:
        Samples (N,) float32, and the layout if the file can be read as it lies (16 kHz mono 16-bit PCM), else None.

    Raises:
        AudioError: empty, truncated, not audio, not finite, or shorter than one analysis window.
    """
    if path.stat().st_size == 0:
        raise AudioError("empty file")
    layout = read_wav_layout(path)
    if layout is not None:
        _check_complete(path, layout)
    samples, rate = _decode(path)
    if samples.size and not np.isfinite(samples).all():
        raise AudioError("not finite: NaN or infinite samples")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(f"sampling rate out of range: {rate} Hz")
    if samples.size and np.abs(samples).max() > LOUDEST:
        raise AudioError(f"samples out of range: up to {np.abs(samples).max():.3g}, where 1 is full scale")
    samples = samples.mean(axis=1)
    if rate != SAMPLE_RATE and samples.size:
        import librosa  # slow to import, and seldom needed

        samples = librosa.resample(samples, orig_sr=rate, target_sr=SAMPLE_RATE)
    if samples.size == 0:
        raise AudioError("no samples")
    if samples.size < SHORTEST:
        raise AudioError(f"too short: {samples.size} samples, less than one analysis window of {SHORTEST}")
    return samples.astype(np.float32), layout if layout is not None and layout.is_native else None


def _check_complete(path: Path, layout: WavLayout) -> None:
    present = path.stat().st_size - layout.offset
    if present < layout.declared_bytes < UNKNOWN_LENGTH:
        raise AudioError(f"truncated: {present} of {layout.declared_bytes} bytes of samples")


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Samples (N, channels) float32 and their rate, by soundfile, or by librosa for what soundfile does not know."""
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            samples = file.read(dtype="float32", always_2d=True)
            if len(samples) < file.frames:
                raise AudioError(f"truncated: {len(samples)} of {file.frames} samples")
            return samples, file.samplerate
    except (soundfile.LibsndfileError, ValueError) as error:  # ValueError: a codec that it cannot seek in
        if path.suffix.lower() in (".wav", ".flac", ".ogg"):
            raise AudioError(f"not audio: {getattr(error, 'error_string', error)}") from error
    return _decode_by_librosa(path)


def _decode_by_librosa(path: Path) -> tuple[np.ndarray, int]:
    import librosa  # slow to import, and seldom needed

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # librosa warns that audioread is on its way out
            samples, rate = librosa.load(path, sr=None, mono=False)
    except Exception as error:  # audioread's back ends raise their own
        raise AudioError(f"cannot be decoded ({type(error).__name__}): is ffmpeg installed?") from error
    return np.atleast_2d(samples).T, int(rate)


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
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
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
    with open(path, "rb", buffering=0) as file:
        if check is not None:
            check(os.fstat(file.fileno()))
        file.seek(offset + 2 * start)
        samples = np.frombuffer(file.read(2 * count), dtype="<i2")
    if len(samples) < count:
        raise AudioError(f"{start + len(samples)} samples where {start + count} were expected")
    return samples
