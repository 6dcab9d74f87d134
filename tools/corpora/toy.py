"""A small corpus in VoxCeleb1's layout whose speakers are voices of a synthesiser."""

from itertools import combinations
from pathlib import Path

import numpy as np
from parselmouth.praat import call, run
from scipy.signal import butter, sosfilt

from data_objects.audio import SAMPLE_RATE, write_wav
from data_objects.lists import speaker_of, video_of
from tools.corpora.folder import draw_videos, make_folder, write_lists

SHORTEST = 4.0  # seconds, as in VoxCeleb1
VARIANTS = {
    "f": ("f1", "f2", "f3", "f4", "Female1", "Annie"),
    "m": ("m1", "m2", "m3", "m4", "Male1", "Andy", "max"),
}
CHANNEL = {  # how a video sounds: between which limits it is drawn
    "noise": (15, 35),  # dB below the speech
    "low": (50, 250),  # Hz, lower edge of the band
    "high": (4500, 7600),  # Hz, upper edge
    "level": (-36, -16),  # RMS, dBFS
}
# A sentence has one of each.
PHRASES = [
    ("the old farmer", "my sister", "a young doctor", "the music teacher", "our neighbour", "every student"),
    ("remembers", "has painted", "often describes", "never mentions", "will explain", "dreams about"),
    ("the quiet harbour", "a broken window", "seven green bottles", "the winter market", "her first journey"),
    ("near the river", "on a cold morning", "behind the theatre", "for the third time", "without a reason"),
]


class Voice:
    """How a speaker sounds, drawn; pitch and formants are factors."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.gender = "fm"[generator.integers(2)]
        self.variant = str(generator.choice(VARIANTS[self.gender]))
        self.pitch, self.formants = generator.uniform((0.7, 0.85), (1.5, 1.2)).tolist()
        self.words_per_minute = int(generator.integers(120, 190))


def make_corpus(out: Path, speakers: int, videos: int, utterances: int, seed: int, layout: str) -> int:
    """Write so many speakers, videos of each and utterances of each video, with their lists.

    Args:
        layout: wav, or split for the test speakers apart, as in the archives.

    Returns:
        The number of utterances.

    Raises:
        UserError: `out` is not an empty folder.
    """
    make_folder(out)
    # What Praat draws too (moving formants, it reorders unvoiced sound at random) is to be the same every time.
    run(f"random_initializeWithSeedUnsafelyButPredictably ({seed + 1})")
    parts = (3, 2, *[1] * (videos - 2))  # one video to test on, one to validate on, the rest to train on
    meta, split = [], []
    for number in range(speakers):
        speaker, group = f"id{10001 + number}", "dev" if number < speakers - max(2, speakers // 4) else "test"
        voice = Voice(np.random.default_rng((seed, number)))
        meta.append((speaker, f"toy_{voice.variant}", voice.gender, "UK", group))
        folder = out / ("wav" if layout == "wav" else f"{group}/wav")
        generator = np.random.default_rng((seed, number, 1))
        for part in parts:
            (video,) = draw_videos(1, generator)
            channel = {name: generator.uniform(*limits) for name, limits in CHANNEL.items()}
            for name in (f"{speaker}/{video}/{place:05d}.wav" for place in range(1, utterances + 1)):
                write_wav(folder / name, apply_channel(synthesize(voice, generator), channel, generator))
                split.append((part, name))
    test_speakers = {speaker for speaker, *_, group in meta if group == "test"}
    write_lists(out, meta, split, draw_trials([name for _, name in split if speaker_of(name) in test_speakers], seed))
    return len(split)


def synthesize(voice: Voice, generator: np.random.Generator) -> np.ndarray:
    """Sentences in this voice, SHORTEST seconds or more: (N,) samples."""
    synthesizer = call("Create SpeechSynthesizer", "English (Great Britain)", voice.variant)
    call(synthesizer, "Speech output settings", SAMPLE_RATE, 0.01, voice.pitch, 1.0, voice.words_per_minute, "IPA")
    samples = np.array([])
    while len(samples) < SHORTEST * SAMPLE_RATE:
        sentence = " ".join(str(generator.choice(part)) for part in PHRASES)
        sound = call(synthesizer, "To Sound", f"{sentence}.", "no")[0]
        # Pitch stays (new median 0, range 1), duration too: only the formants move.
        sound = call(sound, "Change gender", 75, 600, voice.formants, 0, 1, 1)
        samples = np.append(samples, sound.values[0])
    return samples


def apply_channel(samples: np.ndarray, channel: dict[str, float], generator: np.random.Generator) -> np.ndarray:
    """Noise, then a band-pass, then the level."""
    rms = np.sqrt(np.mean(samples**2))
    noisy = samples + generator.standard_normal(len(samples)) * rms * 10 ** (-channel["noise"] / 20)
    band = butter(2, (channel["low"], channel["high"]), "bandpass", fs=SAMPLE_RATE, output="sos")
    filtered = sosfilt(band, noisy)
    filtered *= 10 ** (channel["level"] / 20) / np.sqrt(np.mean(filtered**2))
    return np.clip(filtered, -0.999, 0.999)


def draw_trials(utterances: list[str], seed: int) -> list[tuple[int, str, str]]:
    """All pairs of one speaker's utterances from different videos, and as many of different speakers'."""
    pairs = list(combinations(utterances, 2))
    targets = [(1, a, b) for a, b in pairs if speaker_of(a) == speaker_of(b) and video_of(a) != video_of(b)]
    others = [(0, a, b) for a, b in pairs if speaker_of(a) != speaker_of(b)]
    generator = np.random.default_rng((seed, 10**6))
    chosen = sorted(generator.choice(len(others), size=min(len(targets), len(others)), replace=False))
    return targets + [others[place] for place in chosen]
