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
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.system.errors import UserError
from utils.system.script import run_script

if TYPE_CHECKING:
    import numpy as np

RATE = 16_000  # Hz
COLOURS = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # the magnitude falls with frequency to this power
HUMS = (50.0, 60.0)  # Hz
TALKERS = (3, 6)
REVERBERATION_TIMES = (0.2, 0.4, 0.6, 0.9, 1.3)  # seconds in which the energy falls by 60 dB
DIRECT_TO_REVERBERANT = (0.0, 10.0)  # dB, evenly drawn


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to make; must not exist or be empty")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a noise (default: 10)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not 0.1 <= args.seconds <= 3600:
        parser.error(f"--seconds must be from 0.1 to 3600, not {args.seconds}")
    if args.seed < 0:
        parser.error(f"--seed must be at least 0, not {args.seed}")
    return args


def main() -> None:
    args = parse_args()
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise UserError(f"{args.out} exists and is not an empty folder: remove it, or name another")
    import numpy as np

    generator, count = np.random.default_rng(args.seed), round(args.seconds * RATE)
    noises = {name: draw_coloured(count, power, generator) for name, power in COLOURS.items()}
    noises |= {f"hum-{frequency:.0f}": draw_hum(count, frequency, generator) for frequency in HUMS}
    noises |= {f"babble-{talkers}": draw_babble(count, talkers, generator) for talkers in TALKERS}
    rooms = {f"room-{1000 * seconds:.0f}ms": draw_room(seconds, generator) for seconds in REVERBERATION_TIMES}
    for folder, sounds in (("noise", noises), ("rir", rooms)):
        for name, samples in sounds.items():
            write(args.out / folder / f"{name}.wav", samples)
    print(f"{len(noises)} noises and {len(rooms)} room impulse responses in {args.out}")


def draw_coloured(count: int, power: float, generator: "np.random.Generator") -> "np.ndarray":
    """Noise (count,) whose magnitude falls with frequency to this power; nothing below 20 Hz."""
    import numpy as np

    frequencies = np.fft.rfftfreq(count, 1 / RATE)
    spectrum = np.fft.rfft(generator.standard_normal(count))
    return np.fft.irfft(np.where(frequencies < 20, 0, spectrum / np.maximum(frequencies, 20) ** power), count)


def draw_hum(count: int, frequency: float, generator: "np.random.Generator") -> "np.ndarray":
    """Mains hum (count,): ten harmonics, ever weaker, and a little noise."""
    import numpy as np

    seconds, hum = np.arange(count) / RATE, 0.02 * generator.standard_normal(count)
    for harmonic in range(1, 11):
        hum += np.sin(2 * np.pi * harmonic * frequency * seconds + generator.uniform(0, 2 * np.pi)) / harmonic
    return hum


def draw_babble(count: int, talkers: int, generator: "np.random.Generator") -> "np.ndarray":
    """Babble (count,): noise in the band of a voice for each talker, as loud as its syllables, 2 to 6 a second."""
    import numpy as np
    from scipy.signal import butter, sosfilt

    seconds, babble = np.arange(count) / RATE, np.zeros(count)
    for _ in range(talkers):
        low = generator.uniform(150, 500)
        band = butter(2, (low, low * generator.uniform(4, 8)), "bandpass", fs=RATE, output="sos")
        syllables = np.sin(2 * np.pi * generator.uniform(2, 6) * seconds + generator.uniform(0, 2 * np.pi))
        babble += np.maximum(syllables, 0) * sosfilt(band, generator.standard_normal(count))
    return babble


def draw_room(seconds: float, generator: "np.random.Generator") -> "np.ndarray":
    """An impulse response of a reverberation time: a direct path after up to 10 ms, and noise that decays behind it."""
    import numpy as np

    count = round(seconds * RATE)
    decay = generator.standard_normal(count) * 10 ** (-3 * np.arange(count) / count)  # 60 dB
    decay /= np.sqrt(np.square(decay).sum()) * 10 ** (generator.uniform(*DIRECT_TO_REVERBERANT) / 20)
    return np.concatenate([np.zeros(generator.integers(1, 160)), [1.0], decay])


def write(path: Path, samples: "np.ndarray") -> None:
    """Write samples (N,) as 16-bit wav, their peak at half of full scale."""
    import numpy as np
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.5 * samples / np.abs(samples).max(), RATE, subtype="PCM_16")


if __name__ == "__main__":
    run_script(main)
