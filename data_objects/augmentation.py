"""Augmentation of training crops: another speed, reverberation, babble, added noise, in this order.

What is done to their spectra, afterwards and on the device, is in `data_objects.spectral`.

As in the recipes that follow Snyder et al., X-vectors, ICASSP 2018, section 3.3 (noise and reverberation), and Ko et
al., Audio augmentation for speech recognition, Interspeech 2015 (speed). The recordings are the user's: MUSAN (OpenSLR
17) and the room impulse responses of OpenSLR 28 fit as they come. A generator of the crop's own decides everything, so
what a crop becomes depends on nothing but seed, epoch and row; and on the recordings, in the order of their names.
"""

import math
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from scipy.signal import oaconvolve, resample_poly
from yacs.config import CfgNode

from data_objects.audio import AUDIO_SUFFIXES, FULL_SCALE, SAMPLE_RATE, AudioError, read_native, read_samples
from data_objects.decoding import checked_file, opened
from data_objects.frontend import CONTEXT, HOP, span
from data_objects.layouts import WavLayout
from data_objects.sources import Found, walk
from data_objects.spectral import Channel, Masks
from utils.system.errors import UserError
from utils.system.logger import get_logger
from utils.system.text import parse_factors

PEAK = 32_767  # of a crop that is brought back to 16 bits
MARGIN = 20  # samples at either end of a resampled crop that the filter's ends may reach
# Of babble, as in Kaldi's recipe for VoxCeleb: speakers, and decibels of speech above it
FEWEST_TALKERS, MOST_TALKERS = 3, 7
BABBLE_DECIBELS = 13.0, 20.0


class Augmentation:
    """What is done to training crops.

    Args:
        noises: files of noise to add; none: no noise is added.
        responses: files of room impulse responses; none: nothing is reverberated.
        speeds: factors; none: the speed stays.
        probability: of each of the three, drawn by itself.
        decibels: the least and the greatest ratio of speech to noise, evenly drawn in between.
        has_speed_classes: every factor makes other speakers; crops then draw theirs evenly among 1 and the factors.
        babble: probability that others of the training speakers talk in the background.
        channel, time_masks, frequency_masks: see `data_objects.spectral`; None: there is none.
    """

    def __init__(
        self,
        noises: Sequence[Path] = (),
        responses: Sequence[Path] = (),
        speeds: Sequence[Fraction] = (),
        probability: float = 1.0,
        decibels: tuple[float, float] = (0.0, 15.0),
        *,
        has_speed_classes: bool = False,
        babble: float = 0.0,
        channel: Channel | None = None,
        time_masks: Masks | None = None,
        frequency_masks: Masks | None = None,
    ) -> None:
        self.noises = noises
        self.responses = responses
        self.speeds = speeds
        self.probability = probability
        self.decibels = decibels
        self.has_speed_classes = has_speed_classes
        self.babble = babble
        self.spectral = channel, time_masks, frequency_masks

    def draw_speed(self, generator: np.random.Generator) -> Fraction:
        """The factor of a crop's speed; 1 leaves it."""
        if self.has_speed_classes:
            return (Fraction(1), *self.speeds)[int(generator.integers(1 + len(self.speeds)))]
        if not self._is_drawn(self.speeds, generator):
            return Fraction(1)
        return self.speeds[int(generator.integers(len(self.speeds)))]

    def place_of(self, speed: Fraction) -> int:
        """Which of the speeds that are classes of their own this is; 0, that of the speakers themselves."""
        return self.speeds.index(speed) + 1 if self.has_speed_classes and speed != 1 else 0

    def apply(
        self,
        samples: np.ndarray,
        gain: np.float32,
        generator: np.random.Generator,
        babble: tuple[np.ndarray, float] | None = None,
    ) -> tuple[np.ndarray, np.float32]:
        """Reverberate a crop and add noise, each where it is drawn.

        Args:
            samples: (N,), 16-bit values as in a file; fractions of them after another speed.
            gain: the level gain of the utterance.
            babble: what is talked in the background (N,), and the decibels of the crop above it; None: nothing.

        Returns:
            Samples (N,) int16 and their gain, which makes up for what brought them to the range of 16 bits.

        Raises:
            UserError: a recording cannot be used.
        """
        changed = samples
        if self._is_drawn(self.responses, generator):
            changed = reverberate(changed, read_response(_choose(self.responses, generator)))
        if babble is not None:
            changed = add_noise(changed, *babble)
        if self._is_drawn(self.noises, generator):
            noise = read_noise(_choose(self.noises, generator), len(changed), generator)
            changed = add_noise(changed, noise, generator.uniform(*self.decibels))
        return (samples, gain) if changed.dtype == np.int16 else quantise(changed, gain)

    def _is_drawn(self, choices: Sequence[object], generator: np.random.Generator) -> bool:
        return len(choices) > 0 and generator.random() < self.probability


class Talkers:
    """Who talks in the background: utterances of a part of the corpus by others than a crop's speaker.

    Args:
        rows: of the index, of that part.
        labels: the classes of all rows of the index.

    Raises:
        UserError: the part has one speaker alone.
    """

    def __init__(self, rows: np.ndarray, labels: np.ndarray) -> None:
        self._rows = rows[np.argsort(labels[rows], kind="stable")]
        self._labels = labels[self._rows]
        if self._labels[0] == self._labels[-1]:
            raise UserError("AUGMENT.BABBLE needs two speakers to train on or more, and there is one: set it to 0")

    def draw(self, label: int, generator: np.random.Generator) -> np.ndarray:
        """3 to 7 rows, all of them of other speakers than this one, each drawn evenly among those that are."""
        first, last = np.searchsorted(self._labels, (label, label + 1))
        count = generator.integers(FEWEST_TALKERS, MOST_TALKERS + 1)
        places = generator.integers(len(self._rows) - (last - first), size=count)
        return self._rows[np.where(places < first, places, places + last - first)]


def _choose(paths: Sequence[Path], generator: np.random.Generator) -> Path:
    return paths[int(generator.integers(len(paths)))]


def frames_needed(frames: int, speed: Fraction) -> int:
    """Frames to read, so that `frames` are left at this speed, and what resampling spoils at the ends besides."""
    return math.ceil((span(frames) * speed + 2 * MARGIN - 2 * CONTEXT) / HOP) + 1


def change_speed(samples: np.ndarray, speed: Fraction, frames: int) -> np.ndarray:
    """The middle of samples (span(frames_needed(frames, speed)),), resampled: (span(frames),) float64.

    Pitch and formants move with the speed, as on a tape.
    """
    resampled = resample_poly(samples.astype(np.float64), speed.denominator, speed.numerator)
    begin = (len(resampled) - span(frames)) // 2
    return resampled[begin : begin + span(frames)]


def reverberate(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Samples (N,) as heard in a room: (N,) float64, neither delayed nor louder.

    Args:
        response: (M,) the room's; its peak, the direct path, stays in its place, and the energy of the samples is kept.
    """
    direct = int(np.abs(response).argmax())
    response = response[: direct + len(samples)].astype(np.float64)  # the rest is heard after the crop
    heard = oaconvolve(samples.astype(np.float64), response)[direct : direct + len(samples)]
    before, after = _energy(samples), _energy(heard)
    return heard * math.sqrt(before / after) if after > 0 else heard


def add_noise(samples: np.ndarray, noise: np.ndarray, decibels: float) -> np.ndarray:
    """Samples (N,) and noise (N,) together, (N,) float64, the noise so many decibels below the samples.

    Silence has no level that noise could be below: nothing is added to it, and silent noise adds nothing.
    """
    speech, disturbance = _energy(samples), _energy(noise)
    if disturbance == 0:
        return samples.astype(np.float64)
    return samples + noise.astype(np.float64) * math.sqrt(speech / disturbance / 10 ** (decibels / 10))


def quantise(samples: np.ndarray, gain: np.float32) -> tuple[np.ndarray, np.float32]:
    """Samples (N,), of whatever size, as int16 whose peak is full scale, and the gain that they then need."""
    peak = np.abs(samples).max()
    if peak == 0:
        return np.zeros(len(samples), np.int16), gain
    return np.rint(samples * (PEAK / peak)).astype(np.int16), np.float32(gain * peak / PEAK)


def _energy(samples: np.ndarray) -> float:
    return float(np.square(samples, dtype=np.float64).sum())


def read_noise(path: Path, count: int, generator: np.random.Generator) -> np.ndarray:
    """Samples (count,) at 16 kHz from a random place of a recording, over and over where it is shorter.

    Of several channels, the first.

    Raises:
        UserError: it cannot be read.
    """
    samples = _read(path, count, generator)
    return np.resize(samples, count)


def read_response(path: Path) -> np.ndarray:
    """A whole room impulse response (M,) at 16 kHz. Of several channels, the first.

    Raises:
        UserError: it cannot be read, or is silent.
    """
    samples = _read(path)
    if not samples.any():
        raise _unusable(path, "it is silent")
    return samples


def _read(path: Path, count: int | None = None, generator: np.random.Generator | None = None) -> np.ndarray:
    """All of a recording, or `count` samples from a place that the generator draws; fewer where it is shorter."""
    try:
        samples = _read_part(path, count, generator)
    except (OSError, AudioError) as error:
        raise _unusable(path, error) from error
    if not np.isfinite(samples).all():
        raise _unusable(path, "NaN or infinite samples")
    if len(samples) == 0:
        raise _unusable(path, "no samples")
    return samples


def _read_part(path: Path, count: int | None, generator: np.random.Generator | None) -> np.ndarray:
    with checked_file(path):
        status = path.stat()
    recording = _look_at(path, status.st_size, status.st_mtime_ns)
    wanted = recording.frames if count is None else math.ceil(count * recording.rate / SAMPLE_RATE)
    begin = _draw_begin(recording.frames, wanted, generator)
    samples = _read_frames(path, recording, begin, min(begin + wanted, recording.frames))
    return samples if recording.rate == SAMPLE_RATE else _resample(samples, recording.rate)


class Recording(NamedTuple):
    """How to read a file from any place."""

    rate: int  # Hz
    frames: int
    native: WavLayout | None = None  # of a file that can be read as it lies
    can_seek: bool = False  # of others: see `decoding.Source`


@lru_cache(maxsize=100_000)
def _look_at(path: Path, size: int, changed: int) -> Recording:
    """How to read a file, held against what it holds as in preprocessing.

    Once for every state of a file, which is its size and time: one whose header states no length is decoded for it.
    """
    native = read_native(path)
    if native is not None:
        return Recording(SAMPLE_RATE, native[1], native[0])
    with opened(path) as source:
        frames = sum(map(len, source.blocks)) if source.frames is None else source.frames
        return Recording(source.rate, frames, can_seek=source.can_seek)


def _read_frames(path: Path, recording: Recording, begin: int, end: int) -> np.ndarray:
    """Frames begin to end of the first channel: (end - begin,) float32."""
    if recording.native is not None:
        return read_samples(path, recording.native.offset, begin, end - begin) / np.float32(FULL_SCALE)
    if not recording.can_seek or (begin, end) == (0, recording.frames):  # which holds a stated length against the file
        with opened(path) as source:
            return _cut(source.blocks, begin, end)
    with checked_file(path), soundfile.SoundFile(os.fsencode(path)) as file:
        file.seek(begin)
        samples = file.read(end - begin, dtype="float32", always_2d=True)[:, 0]
    if len(samples) < end - begin:
        raise AudioError(f"truncated: {begin + len(samples)} of {recording.frames} samples")
    return samples


def _cut(blocks: Iterator[np.ndarray], begin: int, end: int) -> np.ndarray:
    """Frames begin to end of the first channel, out of all blocks up to there."""
    pieces, place = [np.zeros(0, np.float32)], 0
    for block in blocks:
        pieces.append(block[max(begin - place, 0) : max(end - place, 0), 0])
        place += len(block)
        if place > end:  # else the stream's end may say that it is none
            break
    return np.concatenate(pieces)


def _draw_begin(length: int, count: int | None, generator: np.random.Generator | None) -> int:
    return 0 if generator is None or count is None else int(generator.integers(max(length - count, 0) + 1))


def _resample(samples: np.ndarray, rate: int) -> np.ndarray:
    shared = math.gcd(SAMPLE_RATE, rate)
    return resample_poly(samples, SAMPLE_RATE // shared, rate // shared) if len(samples) else samples


def _unusable(path: Path, reason: object) -> UserError:
    return UserError(
        f"augmentation cannot use {path} ({reason}): repair it or take it out of the folder; a run goes on with "
        "--load_path"
    )


def build_augmentation(cfg: CfgNode) -> Augmentation | None:
    """What the section AUGMENT asks for; None where it asks for nothing.

    Raises:
        UserError: a folder is missing or holds no audio.
    """
    settings = cfg.AUGMENT
    spectral = _build_spectral(settings)
    if not (settings.NOISE_DIR or settings.RIR_DIR or settings.SPEED or settings.BABBLE or spectral):
        return None
    speeds = parse_factors(settings.SPEED)
    _warn_of_norm(cfg)
    noises = find_recordings("NOISE_DIR", settings.NOISE_DIR) if settings.NOISE_DIR else []
    responses = find_responses(settings.RIR_DIR) if settings.RIR_DIR else []
    get_logger().info(
        f"augmentation: {len(noises):,} noises, {len(responses):,} room impulse responses, {len(speeds)} speeds"
        f"{' that make other speakers' * settings.SPEED_CLASSES}{', babble' * bool(settings.BABBLE)}"
        f"{''.join(f', {name}' for name in spectral).replace('_', ' ')}"
    )
    return Augmentation(
        noises,
        responses,
        speeds,
        settings.PROBABILITY,
        (settings.SNR_MIN, settings.SNR_MAX),
        has_speed_classes=settings.SPEED_CLASSES,
        babble=settings.BABBLE,
        **spectral,
    )


def _warn_of_norm(cfg: CfgNode) -> None:
    """Say where a norm takes out what is constant over time: of logarithms what is added, of magnitudes a factor."""
    norm, is_log = cfg.FRONTEND.NORM, cfg.FRONTEND.FEATURE != "magnitude"
    if norm == "utterance_mean_deviation" or (norm == "utterance_mean" and is_log):
        for key in ("EQ_DB", "GAIN_DB"):
            if cfg.AUGMENT[key]:
                get_logger().warning(
                    f"AUGMENT.{key} does next to nothing with FRONTEND.NORM {norm} of {cfg.FRONTEND.FEATURE}: the norm "
                    "takes out what is the same in all frames"
                )


def _build_spectral(settings: CfgNode) -> dict[str, Any]:
    """Channel and masks, as AUGMENT asks for them, by name; without those that it does not."""
    drawn: dict[str, Any] = {}
    if settings.EQ_DB or settings.GAIN_DB or settings.BAND_PROBABILITY:
        drawn["channel"] = Channel(settings.EQ_DB, settings.GAIN_DB, settings.PROBABILITY, settings.BAND_PROBABILITY)
    if settings.TIME_MASKS:
        drawn["time_masks"] = Masks(settings.TIME_MASKS, settings.TIME_MASK_FRAMES)
    if settings.FREQUENCY_MASKS:
        drawn["frequency_masks"] = Masks(settings.FREQUENCY_MASKS, settings.FREQUENCY_MASK_BINS)
    return drawn


def find_responses(folder: str) -> list[Path]:
    """The room impulse responses of a folder: all recordings but those with `noise` in their file name.

    OpenSLR 28 has such beside them, and speech convolved with minutes of noise is no speech.

    Raises:
        UserError: there are none.
    """
    found = find_recordings("RIR_DIR", folder)
    responses = [path for path in found if "noise" not in path.name.lower()]
    if not responses:
        raise UserError(
            f"AUGMENT.RIR_DIR: {folder} holds nothing but noises, by their names; name another, or leave it empty"
        )
    if len(responses) < len(found):
        left_out = len(found) - len(responses)
        get_logger().info(f"AUGMENT.RIR_DIR: {left_out:,} recordings with `noise` in their name are left out")
    return responses


def find_recordings(key: str, folder: str) -> list[Path]:
    """The audio files of the folder that AUGMENT's `key` names, at any depth, in the order of their names below it.

    Raises:
        UserError: there is no such folder, or no audio in it.
    """
    if not Path(folder).is_dir():
        raise UserError(f"AUGMENT.{key}: no such folder: {folder}; name one that holds audio, or leave it empty")
    passed_over = Found()
    found = [path for path in walk(Path(folder), passed_over) if path.suffix.lower() in AUDIO_SUFFIXES]
    for path, reason in passed_over.unusable:
        raise UserError(f"AUGMENT.{key}: {path} cannot be used ({reason}): take it away, or repair it")
    if not found:
        raise UserError(
            f"AUGMENT.{key}: no audio in {folder} ({', '.join(AUDIO_SUFFIXES)}); name a folder that holds some, or "
            "leave it empty"
        )
    return sorted(found, key=lambda path: path.relative_to(folder).parts)
