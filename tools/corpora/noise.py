"""Noises and room impulse responses that are drawn, for a first look at augmentation."""

from pathlib import Path

import numpy as np

from data_objects.audio import SAMPLE_RATE, write_wav
from tools.corpora import make_folder
from utils.system.errors import UserError

COLOURS = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # the magnitude falls with frequency to this power
HUMS = (50, 60)  # Hz
TALKERS = (3, 6)
REVERBERATION_TIMES = (0.2, 0.4, 0.6, 0.9, 1.3)  # seconds in which the energy falls by 60 dB
DIRECT_TO_REVERBERANT = (0.0, 10.0)  # dB, evenly drawn


def make_noise(out: Path, seconds: float, seed: int) -> tuple[int, int]:
    """Write noises of so many seconds and room impulse responses, their peaks at half of full scale.

    Returns:
        How many there are of either.

    Raises:
        UserError: too short or too long; `out` is not an empty folder.
    """
    if not 0.1 <= seconds <= 3600:
        raise UserError(f"--seconds must be from 0.1 to 3600, not {seconds}")
    make_folder(out)
    generator, time = np.random.default_rng(seed), np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noises = {name: draw_noise(len(time), generator, power=power) for name, power in COLOURS.items()}
    for frequency in HUMS:  # a sawtooth has all harmonics, ever weaker
        noises[f"hum-{frequency}"] = frequency * time % 1 - 0.5 + draw_noise(len(time), generator) / 100
    noises |= {f"babble-{talkers}": draw_babble(time, talkers, generator) for talkers in TALKERS}
    rooms = {f"room-{1000 * fall:.0f}ms": draw_room(fall, generator) for fall in REVERBERATION_TIMES}
    for folder, sounds in (("noise", noises), ("rir", rooms)):
        for name, samples in sounds.items():
            write_wav(out / folder / f"{name}.wav", 0.5 * samples / np.abs(samples).max())
    return len(noises), len(rooms)


def draw_noise(
    count: int, generator: np.random.Generator, low: float = 20, high: float = SAMPLE_RATE / 2, power: float = 0
) -> np.ndarray:
    """Noise (count,) between two frequencies in Hz, whose magnitude falls with frequency to this power."""
    frequencies = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    shape = np.where((low <= frequencies) & (frequencies <= high), np.maximum(frequencies, low) ** -power, 0)
    return np.fft.irfft(shape * np.fft.rfft(generator.standard_normal(count)), count)


def draw_babble(time: np.ndarray, talkers: int, generator: np.random.Generator) -> np.ndarray:
    """Babble (N,): noise in the band of a voice for each talker, as loud as its syllables, 2 to 6 a second."""
    babble = np.zeros(len(time))
    for low, width, rate, phase in generator.uniform((150, 4, 2, 0), (500, 8, 6, 1), (talkers, 4)):
        syllables = np.sin(2 * np.pi * (rate * time + phase))
        babble += np.maximum(syllables, 0) * draw_noise(len(time), generator, low, low * width)
    return babble


def draw_room(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """An impulse response of a reverberation time: a direct path after up to 10 ms, and noise that decays behind it."""
    count = round(seconds * SAMPLE_RATE)
    decay = generator.standard_normal(count) * 10 ** (-3 * np.arange(count) / count)  # 60 dB
    decay /= np.sqrt(np.square(decay).sum()) * 10 ** (generator.uniform(*DIRECT_TO_REVERBERANT) / 20)
    return np.concatenate([np.zeros(generator.integers(1, 160)), [1.0], decay])
