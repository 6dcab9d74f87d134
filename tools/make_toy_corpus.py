"""Make a small synthetic corpus in VoxCeleb1's layout, with its lists: for the demo, the tests and a first look.

    python tools/make_toy_corpus.py OUT
    python tools/make_toy_corpus.py OUT --speakers 40 --videos 8 --layout split

Speech comes from the eSpeak synthesiser inside praat-parselmouth. Speakers differ in voice variant, formants, pitch and
rate; sentences are all different; the videos of a speaker differ in noise, channel and level. The same arguments give
the same bytes. It is no substitute for real speech: use it to see that everything runs, never to compare systems.
"""

import argparse
import string
import sys
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from utils.system.errors import UserError
from utils.system.script import run_script

RATE = 16_000  # Hz
SHORTEST = 4.0  # seconds, as in VoxCeleb1
VARIANTS = {
    "f": ("f1", "f2", "f3", "f4", "Female1", "Annie"),
    "m": ("m1", "m2", "m3", "m4", "Male1", "Andy", "max"),
}
# A sentence has one of each.
PHRASES = [
    ("the old farmer", "my sister", "a young doctor", "the music teacher", "our neighbour", "every student"),
    ("remembers", "has painted", "often describes", "never mentions", "will explain", "dreams about"),
    ("the quiet harbour", "a broken window", "seven green bottles", "the winter market", "her first journey"),
    ("near the river", "on a cold morning", "behind the theatre", "for the third time", "without a reason"),
]


@dataclass(frozen=True)
class Voice:
    """How a speaker sounds."""

    gender: str
    variant: str
    pitch: float  # factor
    formants: float  # factor
    words_per_minute: int


@dataclass(frozen=True)
class Channel:
    """How a video sounds."""

    noise: float  # dB below the speech
    low: float  # Hz, lower edge of the band
    high: float  # Hz, upper edge
    level: float  # RMS, dBFS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to make; must not exist or be empty")
    parser.add_argument("--speakers", type=int, default=24, help="at least 4 (default: 24)")
    parser.add_argument("--videos", type=int, default=5, help="a speaker, at least 3 (default: 5)")
    parser.add_argument("--utterances", type=int, default=2, help="a video (default: 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--layout", choices=("wav", "split"), default="wav", help="wav/, or dev/wav/ and test/wav/ as in the archives"
    )
    args = parser.parse_args()
    for name, least in (("speakers", 4), ("videos", 3), ("utterances", 1), ("seed", 0)):
        if getattr(args, name) < least:
            parser.error(f"--{name} must be at least {least}, not {getattr(args, name)}")
    return args


def main() -> None:
    args = parse_args()
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise UserError(f"{args.out} exists and is not an empty folder: remove it, or name another")
    seed_praat(args.seed)
    names = [f"id{10001 + number}" for number in range(args.speakers)]
    test_speakers = set(names[-max(2, args.speakers // 4) :])
    voices = {name: draw_voice(np.random.default_rng((args.seed, number))) for number, name in enumerate(names)}
    split: list[tuple[int, str]] = []
    for number, name in enumerate(names):
        top = "wav" if args.layout == "wav" else f"{'test' if name in test_speakers else 'dev'}/wav"
        generator = np.random.default_rng((args.seed, number, 1))
        for video in range(args.videos):
            part = {0: 3, 1: 2}.get(video, 1)  # one video to test on, one to validate on, the rest to train on
            for utterance in make_video(args.out / top, name, voices[name], args.utterances, generator):
                split.append((part, utterance))
    write_lists(args.out, voices, test_speakers, split, np.random.default_rng((args.seed, 10**6)))
    print(f"{len(split)} utterances of {args.speakers} speakers in {args.out}")


def seed_praat(seed: int) -> None:
    """Make what Praat draws (moving formants, it reorders unvoiced sound at random) the same every time."""
    from parselmouth.praat import run

    run(f"random_initializeWithSeedUnsafelyButPredictably ({seed + 1})")


def draw_voice(generator: np.random.Generator) -> Voice:
    """A speaker's voice."""
    gender = "fm"[generator.integers(2)]
    return Voice(
        gender=gender,
        variant=str(generator.choice(VARIANTS[gender])),
        pitch=float(generator.uniform(0.7, 1.5)),
        formants=float(generator.uniform(0.85, 1.2)),
        words_per_minute=int(generator.integers(120, 190)),
    )


def make_video(folder: Path, speaker: str, voice: Voice, count: int, generator: np.random.Generator) -> list[str]:
    """Write one video's utterances; returns their names in the lists."""
    import soundfile

    letters = list(string.ascii_letters + string.digits + "-_")
    video = "".join(generator.choice(letters, 11))
    channel = Channel(
        noise=generator.uniform(15, 35),
        low=generator.uniform(50, 250),
        high=generator.uniform(4500, 7600),
        level=generator.uniform(-36, -16),
    )
    names = []
    for number in range(1, count + 1):
        name = f"{speaker}/{video}/{number:05d}.wav"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = apply_channel(synthesize(voice, generator), channel, generator)
        soundfile.write(path, samples, RATE, subtype="PCM_16")
        names.append(name)
    return names


def synthesize(voice: Voice, generator: np.random.Generator) -> np.ndarray:
    """Sentences in this voice, SHORTEST seconds or more: (N,) samples."""
    from parselmouth.praat import call

    synthesizer = call("Create SpeechSynthesizer", "English (Great Britain)", voice.variant)
    call(synthesizer, "Speech output settings", RATE, 0.01, voice.pitch, 1.0, voice.words_per_minute, "IPA")
    pieces: list[np.ndarray] = []
    while sum(map(len, pieces)) < SHORTEST * RATE:
        words = [str(generator.choice(part)) for part in PHRASES]
        sound = call(synthesizer, "To Sound", f"{' '.join(words)}.", "no")[0]
        # Pitch stays (new median 0, range 1), duration too: only the formants move.
        sound = call(sound, "Change gender", 75, 600, voice.formants, 0, 1, 1)
        pieces.append(sound.values[0])
    return np.concatenate(pieces)


def apply_channel(samples: np.ndarray, channel: Channel, generator: np.random.Generator) -> np.ndarray:
    """Noise, then a band-pass, then the level."""
    from scipy.signal import butter, sosfilt

    rms = np.sqrt(np.mean(samples**2))
    noisy = samples + generator.standard_normal(len(samples)) * rms * 10 ** (-channel.noise / 20)
    filtered = sosfilt(butter(2, (channel.low, channel.high), "bandpass", fs=RATE, output="sos"), noisy)
    filtered *= 10 ** (channel.level / 20) / np.sqrt(np.mean(filtered**2))
    return np.clip(filtered, -0.999, 0.999)


def write_lists(
    out: Path,
    voices: dict[str, Voice],
    test_speakers: set[str],
    split: list[tuple[int, str]],
    generator: np.random.Generator,
) -> None:
    """vox1_meta.csv, iden_split.txt and veri_test.txt, in the official form."""
    meta = ["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet"]
    for name, voice in voices.items():
        meta.append(f"{name}\ttoy_{voice.variant}\t{voice.gender}\tUK\t{'test' if name in test_speakers else 'dev'}")
    (out / "vox1_meta.csv").write_text("\n".join(meta) + "\n")
    (out / "iden_split.txt").write_text("".join(f"{part} {utterance}\n" for part, utterance in split))
    utterances = [utterance for _, utterance in split if utterance.split("/")[0] in test_speakers]
    (out / "veri_test.txt").write_text("".join(f"{trial}\n" for trial in draw_trials(utterances, generator)))


def draw_trials(utterances: list[str], generator: np.random.Generator) -> list[str]:
    """All pairs of one speaker's utterances from different videos, and as many of different speakers'."""
    speaker, video = (lambda name: name.split("/")[0]), (lambda name: name.rsplit("/", 1)[0])
    pairs = list(combinations(utterances, 2))
    targets = [(a, b) for a, b in pairs if speaker(a) == speaker(b) and video(a) != video(b)]
    others = [(a, b) for a, b in pairs if speaker(a) != speaker(b)]
    chosen = sorted(generator.choice(len(others), size=min(len(targets), len(others)), replace=False))
    return [f"1 {a} {b}" for a, b in targets] + [f"0 {others[k][0]} {others[k][1]}" for k in chosen]


if __name__ == "__main__":
    run_script(main)
