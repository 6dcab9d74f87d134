"""An indexed corpus of VoxCeleb1's form, of any size: with files or without, nothing is spoken in it."""

import math
import shutil
import struct
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_objects.audio import SAMPLE_RATE
from data_objects.frontend import count_frames
from data_objects.index import Row
from data_objects.lists import SUB_DIRS, read_lists, speaker_of
from data_objects.preprocessing import SpeakerResult, write_index
from data_objects.voxceleb import parts_of
from tools.corpora.folder import draw_videos, refuse_occupied, write_lists
from tools.corpora.sizes import HOURS, UTTERANCES, Sizes
from utils.system.errors import UserError

SHORTEST, LONGEST = 4.0, 145.0  # seconds
IN_A_VIDEO = 6.8  # utterances, on average
HEADER = 44  # bytes of a wav file before its samples
LOUDEST = 5_676  # of uniform 16-bit noise of RMS 0.1, which needs no levelling
# Means of the magnitudes of white noise of RMS 0.1 and of their squares: the latter is the noise's power times the
# window's energy, 150; between the first and the last bin, magnitudes follow a Rayleigh distribution.
SQUARE = 0.1**2 * 150
MOMENTS = np.array([[math.sqrt(math.pi / 4 * SQUARE)], [SQUARE]])  # (2, 1)


def make_corpus(out: Path, sizes: Sizes, files: str = "none", seed: int = 0) -> float:
    """Write lists, index and, with `files` sparse or full, the wav files; returns hours.

    Raises:
        UserError: `out` is not an empty folder, or the disk has less room than the files take.
    """
    refuse_occupied(out)
    generator = np.random.default_rng(seed)
    speakers = [f"id{10_001 + number}" for number in range(sizes.speakers)]
    test_speakers = speakers[sizes.before_them : sizes.before_them + sizes.test_speakers]
    utterances = draw_utterances(speakers, test_speakers, sizes, generator)
    names = [name for of_speaker in utterances.values() for name in of_speaker]
    lengths = dict(zip(names, draw_lengths(len(names), generator), strict=True))
    if files == "full":
        check_room(out, lengths)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {out} ({error.strerror}): name another folder") from error
    trials = draw_trials({speaker: utterances[speaker] for speaker in test_speakers}, sizes, generator)
    meta = {speaker: (f"simulated_{number}", "fm"[number % 2]) for number, speaker in enumerate(speakers)}
    write_lists(out, meta, test_speakers, draw_parts(utterances, sizes), trials)
    if files != "none":
        write_wavs(out / "wav", lengths, seed if files == "full" else None)
    write_features(out, lengths)
    return sum(lengths.values()) / SAMPLE_RATE / 3600


def draw_utterances(
    speakers: list[str], test_speakers: list[str], sizes: Sizes, generator: np.random.Generator
) -> dict[str, list[str]]:
    """The utterances' names, sorted, of each speaker."""
    others = [speaker for speaker in speakers if speaker not in set(test_speakers)]
    counts = share_out(sizes.test_utterances, test_speakers, generator)
    counts |= share_out(sizes.utterances - sizes.test_utterances, others, generator)
    utterances = {}
    for speaker in speakers:
        videos = draw_videos(max(2, round(counts[speaker] / IN_A_VIDEO)), generator)
        utterances[speaker] = [
            f"{speaker}/{video}/{number:05d}.wav"
            for video, count in share_out(counts[speaker], sorted(videos), generator).items()
            for number in range(1, count + 1)
        ]
    return utterances


def share_out(total: int, names: list[str], generator: np.random.Generator) -> dict[str, int]:
    """A count for each name, differing as speakers do (by a factor of 5 or so), with this total and none below 1."""
    weights = generator.uniform(0.4, 2, len(names))
    borders = np.round(np.cumsum(weights) / weights.sum() * (total - len(names))).astype(int)
    return dict(zip(names, (1 + np.diff(borders, prepend=0)).tolist(), strict=True))


def draw_lengths(count: int, generator: np.random.Generator) -> list[int]:
    """Lengths in samples: SHORTEST seconds and more, on average as in VoxCeleb1."""
    mean = HOURS * 3600 / UTTERANCES
    seconds = np.minimum(SHORTEST + generator.exponential(mean - SHORTEST, count), LONGEST)
    return np.round(seconds * SAMPLE_RATE).astype(np.int64).tolist()


def draw_parts(utterances: dict[str, list[str]], sizes: Sizes) -> dict[str, int]:
    """1 (train), 2 (val) or 3 (test) for each utterance: of every speaker about the same shares."""
    shares = {name: (place + 0.5) / len(names) for names in utterances.values() for place, name in enumerate(names)}
    ranked = sorted(shares, key=shares.__getitem__)
    parts = dict(zip(ranked, np.repeat([1, 2, 3], sizes.parts).tolist(), strict=True))
    return {name: parts[name] for name in shares}


def draw_trials(utterances: dict[str, list[str]], sizes: Sizes, generator: np.random.Generator) -> list[str]:
    """The lines of veri_test.txt: each trial utterance with one of its speaker and one of another, in turn.

    Args:
        utterances: of the test speakers.
    """
    # Two of a speaker stay in any case, so that each has trials of both kinds.
    spare = [name for names in utterances.values() for name in names[2:]]
    left_out = set(generator.choice(spare, sizes.test_utterances - sizes.trial_utterances, replace=False).tolist())
    enrolled = [[name for name in names if name not in left_out] for names in utterances.values()]
    everyone = [name for names in enrolled for name in names]
    pairs, more = divmod(sizes.trials // 2, len(everyone))  # the first ones are in one pair more
    lines: list[str] = []
    before = 0
    for names in enrolled:
        others = everyone[:before] + everyone[before + len(names) :]
        for place, name in enumerate(names):
            count = pairs + (before + place < more)
            own = generator.permutation(len(names) - 1)[:count] + 1  # how much further on in the list
            other = generator.choice(len(others), count, replace=count > len(others))
            for step, number in zip(np.resize(own, count).tolist(), other.tolist(), strict=True):
                lines += [f"1 {name} {names[(place + step) % len(names)]}", f"0 {name} {others[number]}"]
        before += len(names)
    return lines


def check_room(out: Path, lengths: dict[str, int]) -> None:
    """Say how much noise will be written, and refuse where it does not fit."""
    needed = 2 * sum(lengths.values()) + 4096 * len(lengths)  # a file takes whole blocks
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{needed / 1e9:.1f} GB of wav files do not fit: {folder} has room for {free / 1e9:.1f} GB; "
            "give --files sparse, fewer --utterances or another folder"
        )
    print(f"writing {needed / 1e9:.1f} GB of wav files", file=sys.stderr)


def write_wavs(folder: Path, lengths: dict[str, int], seed: int | None) -> None:
    """A 16 kHz mono 16-bit file an utterance: noise by the seed, or without one a header and a hole."""
    for number, (name, samples) in enumerate(tqdm(lengths.items(), unit="file", desc="writing", disable=None)):
        path, size = folder / name, 2 * samples
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.write(struct.pack("<4sI4s", b"RIFF", HEADER - 8 + size, b"WAVE"))
            file.write(struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16))
            file.write(struct.pack("<4sI", b"data", size))
            if seed is None:
                file.truncate(HEADER + size)
            else:
                noise = np.random.default_rng((seed, number)).integers(-LOUDEST, LOUDEST + 1, samples, dtype="<i2")
                file.write(noise.tobytes())


def write_features(out: Path, lengths: dict[str, int]) -> None:
    """The index and the statistics, as preprocessing writes them."""
    names = sorted(lengths)
    parts = parts_of(names, read_lists(out))
    rows = [Row(name, "data", f"wav/{name}", HEADER, lengths[name], 1.0, *parts[name]) for name in names]
    (out / "feature").mkdir()
    by_speaker = groupby(rows, key=lambda row: speaker_of(row.utterance))
    write_index(out / "feature", (count_noise(list(of_speaker)) for _, of_speaker in by_speaker))


def count_noise(rows: list[Row]) -> SpeakerResult:
    """A speaker's rows, and their frames where they are trained on, as if all were white noise of RMS 0.1."""
    result = SpeakerResult(rows)
    for row in rows:
        for number, sub_dir in enumerate(SUB_DIRS):
            if getattr(row, sub_dir) == "train":
                result.frames[number] += count_frames(row.samples)
                result.sums[number] += count_frames(row.samples) * MOMENTS
    return result
