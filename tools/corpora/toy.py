"""A small corpus in VoxCeleb1's layout whose speakers are voices of a synthesiser."""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from parselmouth.praat import call, run  # type: ignore[import-not-found]  # it is compiled

from data_objects.audio import SAMPLE_RATE
from data_objects.lists import speaker_of, video_of
from tools.corpora.folder import band_pass, draw_videos, refuse_occupied, write_lists, write_wav

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


@dataclass(frozen=True)
class Voice:
    """How a speaker sounds."""

    gender: str
    variant: str
    pitch: float  # factor
    formants: float  # factor
    words_per_minute: int


def make_corpus(out: Path, speakers: int, videos: int, utterances: int, seed: int, layout: str) -> int:
    """Write so many speakers, videos of each and utterances of each video, with their lists.

    Args:
        layout: wav, or split for the test speakers apart, as in the archives.

    Returns:
        The number of utterances.

    Raises:
        UserError: `out` is not an empty folder.
    """
    refuse_occupied(out)
    # What Praat draws too (moving formants, it reorders unvoiced sound at random) is to be the same every time.
    run(f"random_initializeWithSeedUnsafelyButPredictably ({seed + 1})")
    names = [f"id{10001 + number}" for number in range(speakers)]
    test_speakers = set(names[-max(2, speakers // 4) :])
    voices = {name: draw_voice(np.random.default_rng((seed, number))) for number, name in enumerate(names)}
    split: dict[str, int] = {}
    for number, name in enumerate(names):
        top = "wav" if layout == "wav" else f"{'test' if name in test_speakers else 'dev'}/wav"
        generator = np.random.default_rng((seed, number, 1))
        for video in range(videos):
            part = {0: 3, 1: 2}.get(video, 1)  # one video to test on, one to validate on, the rest to train on
            split |= dict.fromkeys(make_video(out / top, name, voices[name], utterances, generator), part)
    trials = draw_trials([name for name in split if speaker_of(name) in test_speakers], seed)
    meta = {name: (f"toy_{voice.variant}", voice.gender) for name, voice in voices.items()}
    write_lists(out, meta, test_speakers, split, trials)
    return len(split)


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
    (video,) = draw_videos(1, generator)
    channel = {name: generator.uniform(*limits) for name, limits in CHANNEL.items()}
    names = [f"{speaker}/{video}/{number:05d}.wav" for number in range(1, count + 1)]
    for name in names:
        write_wav(folder / name, apply_channel(synthesize(voice, generator), channel, generator))
    return names


def synthesize(voice: Voice, generator: np.random.Generator) -> np.ndarray:
    """Sentences in this voice, SHORTEST seconds or more: (N,) samples."""
    synthesizer = call("Create SpeechSynthesizer", "English (Great Britain)", voice.variant)
    call(synthesizer, "Speech output settings", SAMPLE_RATE, 0.01, voice.pitch, 1.0, voice.words_per_minute, "IPA")
    pieces: list[np.ndarray] = []
    while sum(map(len, pieces)) < SHORTEST * SAMPLE_RATE:
        words = [str(generator.choice(part)) for part in PHRASES]
        sound = call(synthesizer, "To Sound", f"{' '.join(words)}.", "no")[0]
        # Pitch stays (new median 0, range 1), duration too: only the formants move.
        sound = call(sound, "Change gender", 75, 600, voice.formants, 0, 1, 1)
        pieces.append(sound.values[0])
    return np.concatenate(pieces)


def apply_channel(samples: np.ndarray, channel: dict[str, float], generator: np.random.Generator) -> np.ndarray:
    """Noise, then a band-pass, then the level."""
    rms = np.sqrt(np.mean(samples**2))
    noisy = samples + generator.standard_normal(len(samples)) * rms * 10 ** (-channel["noise"] / 20)
    filtered = band_pass(noisy, channel["low"], channel["high"])
    filtered *= 10 ** (channel["level"] / 20) / np.sqrt(np.mean(filtered**2))
    return np.clip(filtered, -0.999, 0.999)


def draw_trials(utterances: list[str], seed: int) -> list[str]:
    """All pairs of one speaker's utterances from different videos, and as many of different speakers'."""
    pairs = list(combinations(utterances, 2))
    targets = [(a, b) for a, b in pairs if speaker_of(a) == speaker_of(b) and video_of(a) != video_of(b)]
    others = [(a, b) for a, b in pairs if speaker_of(a) != speaker_of(b)]
    generator = np.random.default_rng((seed, 10**6))
    chosen = sorted(generator.choice(len(others), size=min(len(targets), len(others)), replace=False))
    return [f"1 {a} {b}" for a, b in targets] + [f"0 {others[k][0]} {others[k][1]}" for k in chosen]
