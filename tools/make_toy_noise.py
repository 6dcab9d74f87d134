"""Make a few synthetic noises and room impulse responses: to see that augmentation runs, in seconds.

    python tools/make_toy_noise.py OUT
    python train.py --cfg ... --text_arch ... AUGMENT.NOISE_DIR OUT/noise AUGMENT.RIR_DIR OUT/rir

OUT/noise gets white, pink and brown noise, hum, and babble (noise that comes and goes at the rate of syllables);
OUT/rir impulse responses: a direct path, then noise that decays exponentially, for several reverberation times. The
same arguments give the same samples. They are no substitute for MUSAN (OpenSLR 17) and recorded or simulated rooms
(OpenSLR 28): use them for tests and a first look, never to compare systems.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_objects.audio import SAMPLE_RATE, write_wav
from tools.corpora.folder import corpus_parser, make_folder
from utils.system.script import run_script

COLOURS = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # the magnitude falls with frequency to this power
HUMS = (50, 60)  # Hz
TALKERS = (3, 6)
REVERBERATION_TIMES = (0.2, 0.4, 0.6, 0.9, 1.3)  # seconds in which the energy falls by 60 dB
DIRECT_TO_REVERBERANT = (0.0, 10.0)  # dB, evenly drawn


def parse_args() -> argparse.Namespace:
    parser = corpus_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a noise (default: 10)")
    args = parser.parse_args()
    if not 0.1 <= args.seconds <= 3600:
        parser.error(f"--seconds must be from 0.1 to 3600, not {args.seconds}")
    return args


def main() -> None:
    args = parse_args()
    make_folder(args.out)
    generator, time = np.random.default_rng(args.seed), np.arange(round(args.seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noises = {name: draw_noise(len(time), generator, power=power) for name, power in COLOURS.items()}
    for frequency in HUMS:  # a sawtooth has all harmonics, ever weaker
        noises[f"hum-{frequency}"] = frequency * time % 1 - 0.5 + draw_noise(len(time), generator) / 100
    noises |= {f"babble-{talkers}": draw_babble(time, talkers, generator) for talkers in TALKERS}
    rooms = {f"room-{1000 * fall:.0f}ms": draw_room(fall, generator) for fall in REVERBERATION_TIMES}
    for folder, sounds in (("noise", noises), ("rir", rooms)):
        for name, samples in sounds.items():  # their peaks at half of full scale
            write_wav(args.out / folder / f"{name}.wav", 0.5 * samples / np.abs(samples).max())
    print(f"{len(noises)} noises and {len(rooms)} room impulse responses in {args.out}")


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


if __name__ == "__main__":
    run_script(main)
