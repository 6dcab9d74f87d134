"""Noises and room impulse responses that are drawn, for a first look at augmentation."""

from pathlib import Path

import numpy as np

from data_objects.audio import SAMPLE_RATE
from tools.corpora.folder import band_pass, refuse_occupied, write_wav

COLOURS = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # the magnitude falls with frequency to this power
HUMS = (50.0, 60.0)  # Hz
TALKERS = (3, 6)
REVERBERATION_TIMES = (0.2, 0.4, 0.6, 0.9, 1.3)  # seconds in which the energy falls by 60 dB
DIRECT_TO_REVERBERANT = (0.0, 10.0)  # dB, evenly drawn


def make_noise(out: Path, seconds: float, seed: int) -> tuple[int, int]:
    """Write noises of so many seconds and room impulse responses, their peaks at half of full scale.

    Returns:
        How many there are of either.

    Raises:
        UserError: `out` is not an empty folder.
    """
    refuse_occupied(out)
    generator, count = np.random.default_rng(seed), round(seconds * SAMPLE_RATE)
    noises = {name: draw_coloured(count, power, generator) for name, power in COLOURS.items()}
    noises |= {f"hum-{frequency:.0f}": draw_hum(count, frequency, generator) for frequency in HUMS}
    noises |= {f"babble-{talkers}": draw_babble(count, talkers, generator) for talkers in TALKERS}
    rooms = {f"room-{1000 * time:.0f}ms": draw_room(time, generator) for time in REVERBERATION_TIMES}
    for folder, sounds in (("noise", noises), ("rir", rooms)):
        for name, samples in sounds.items():
            write_wav(out / folder / f"{name}.wav", 0.5 * samples / np.abs(samples).max())
    return len(noises), len(rooms)


def draw_coloured(count: int, power: float, generator: np.random.Generator) -> np.ndarray:
    """Noise (count,) whose magnitude falls with frequency to this power; nothing below 20 Hz."""
    frequencies = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    spectrum = np.fft.rfft(generator.standard_normal(count))
    return np.fft.irfft(np.where(frequencies < 20, 0, spectrum / np.maximum(frequencies, 20) ** power), count)


def draw_hum(count: int, frequency: float, generator: np.random.Generator) -> np.ndarray:
    """Mains hum (count,): ten harmonics, ever weaker, and a little noise."""
    hum = 0.02 * generator.standard_normal(count)
    for harmonic in range(1, 11):
        hum += draw_sine(count, harmonic * frequency, generator) / harmonic
    return hum


def draw_babble(count: int, talkers: int, generator: np.random.Generator) -> np.ndarray:
    """Babble (count,): noise in the band of a voice for each talker, as loud as its syllables, 2 to 6 a second."""
    babble = np.zeros(count)
    for _ in range(talkers):
        low = generator.uniform(150, 500)
        high = low * generator.uniform(4, 8)
        syllables = draw_sine(count, generator.uniform(2, 6), generator)
        babble += np.maximum(syllables, 0) * band_pass(generator.standard_normal(count), low, high)
    return babble


def draw_sine(count: int, frequency: float, generator: np.random.Generator) -> np.ndarray:
    """A tone (count,) that begins anywhere in its period."""
    seconds = np.arange(count) / SAMPLE_RATE
    return np.sin(2 * np.pi * frequency * seconds + generator.uniform(0, 2 * np.pi))


def draw_room(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """An impulse response of a reverberation time: a direct path after up to 10 ms, and noise that decays behind it."""
    count = round(seconds * SAMPLE_RATE)
    decay = generator.standard_normal(count) * 10 ** (-3 * np.arange(count) / count)  # 60 dB
    decay /= np.sqrt(np.square(decay).sum()) * 10 ** (generator.uniform(*DIRECT_TO_REVERBERANT) / 20)
    return np.concatenate([np.zeros(generator.integers(1, 160)), [1.0], decay])
