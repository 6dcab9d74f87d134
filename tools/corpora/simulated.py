"""An indexed corpus of VoxCeleb1's form, of any size: with files or without, nothing is spoken in it."""

import math
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from data_objects.audio import SAMPLE_RATE
from data_objects.building import write_index
from data_objects.frontend import BINS, count_frames
from data_objects.index import Row
from data_objects.lists import SUB_DIRS, TrialList, read_lists
from data_objects.parts import parts_of
from data_objects.speaker_tasks import SpeakerResult
from tools.corpora.folder import draw_videos, make_folder, write_lists
from tools.corpora.sizes import HOURS, UTTERANCES, Sizes
from utils.system.errors import UserError

SHORTEST, LONGEST = 4.0, 145.0  # seconds
IN_A_VIDEO = 6.8  # utterances, on average
HEADER = 44  # bytes of a wav file before its samples
LOUDEST = 5_676  # of uniform 16-bit noise of RMS 0.1, which needs no levelling
# Means of the magnitudes of white noise of RMS 0.1 and of their squares: the latter is the noise's power times the
# window's energy, 150; between the first and the last bin, magnitudes follow a Rayleigh distribution.
SQUARE = 0.1**2 * 150
MOMENTS = np.repeat([[math.sqrt(math.pi / 4 * SQUARE)], [SQUARE]], BINS, axis=1)  # (2, 257)


def make_corpus(out: Path, sizes: Sizes, files: str = "none", seed: int = 0) -> float:
    """Write lists, index and, with `files` sparse or full, the wav files; returns hours.

    Raises:
        UserError: `out` is not an empty folder, or the disk has less room than the files take.
    """
    generator = np.random.default_rng(seed)
    utterances = draw_utterances(sizes, generator)
    if files == "full":
        check_room(out, utterances.samples)
    make_folder(out)
    sets = utterances.groupby("speaker").set.first()
    meta = [(name, f"simulated_{row}", "fm"[row % 2], "UK", group) for row, (name, group) in enumerate(sets.items())]
    trials = draw_trials(utterances[utterances.set == "test"], sizes, generator)
    write_lists(out, meta, utterances[["part", "name"]].to_numpy(), trials)
    if files != "none":
        write_wavs(out / "wav", utterances, seed if files == "full" else None)
    write_features(out, utterances)
    return utterances.samples.sum() / SAMPLE_RATE / 3600


def draw_utterances(sizes: Sizes, generator: np.random.Generator) -> pd.DataFrame:
    """Every utterance, in order: speaker and set, name, part in iden_split.txt, length in samples."""
    dev = share_out(sizes.utterances - sizes.test_utterances, sizes.speakers - sizes.test_speakers, generator)
    test = share_out(sizes.test_utterances, sizes.test_speakers, generator)
    counts = np.insert(dev, sizes.before_them, test)
    speakers = [f"id{10_001 + number}" for number in range(sizes.speakers)]
    names = []
    for speaker, count in zip(speakers, counts, strict=True):
        videos = sorted(draw_videos(max(2, round(count / IN_A_VIDEO)), generator))
        for video, in_video in zip(videos, share_out(count, len(videos), generator), strict=True):
            names += [f"{speaker}/{video}/{number:05d}.wav" for number in range(1, in_video + 1)]
    utterances = pd.DataFrame({"name": names, "speaker": np.repeat(speakers, counts)})
    is_test = utterances.speaker.isin(speakers[sizes.before_them : sizes.before_them + sizes.test_speakers])
    utterances["set"] = np.where(is_test, "test", "dev")
    by_speaker = utterances.groupby("speaker").name
    shares = (by_speaker.cumcount() + 0.5) / by_speaker.transform("size")  # of all speakers as much is in each part
    utterances["part"] = np.repeat([1, 2, 3], sizes.parts)[shares.rank(method="first").astype(int) - 1]
    seconds = SHORTEST + generator.exponential(HOURS * 3600 / UTTERANCES - SHORTEST, len(names))
    utterances["samples"] = (seconds.clip(max=LONGEST) * SAMPLE_RATE).astype(int)
    return utterances


def share_out(total: int, among: int, generator: np.random.Generator) -> np.ndarray:
    """Numbers (among,) that differ as speakers do (by a factor of 5 or so), with this total and none below 1."""
    weights = generator.uniform(0.4, 2, among)
    borders = np.round(np.cumsum(weights) / weights.sum() * (total - among)).astype(int)
    return 1 + np.diff(borders, prepend=0)


def draw_trials(utterances: pd.DataFrame, sizes: Sizes, generator: np.random.Generator) -> TrialList:
    """Trials of the test speakers: each utterance, as often as any other, with one of its speaker and one of another.

    Args:
        utterances: of the test speakers.
    """
    # Two of a speaker stay in any case, so that each has trials of both kinds.
    luck = generator.random(len(utterances)) + (utterances.groupby("speaker").cumcount() < 2)
    used = utterances[luck.rank(ascending=False) <= sizes.trial_utterances]
    speaker, number = used.groupby("speaker"), len(used)
    enrolled = np.sort(np.arange(sizes.trials // 2) % number)
    place = speaker.cumcount().to_numpy()[enrolled]  # among its speaker's
    count = speaker.transform("size").to_numpy()[enrolled]
    start = generator.integers(number, size=number)[enrolled]

    def draw(among: np.ndarray) -> np.ndarray:
        """A place each, far apart in successive turns, and not the same where there are as many."""
        step = np.maximum(1, among * number // len(enrolled))
        return (start + np.arange(len(enrolled)) * step) % among

    first = enrolled - place
    own = first + (place + 1 + draw(count - 1)) % count
    other = (first + count + draw(number - count)) % number
    test = np.stack([own, other], axis=1).reshape(-1)
    return TrialList(np.tile([1, 0], len(enrolled)), np.repeat(enrolled, 2), test, used.name.tolist())


def check_room(out: Path, lengths: pd.Series) -> None:
    """Say how much noise will be written, and refuse where it does not fit."""
    needed = 2 * lengths.sum() + 4096 * len(lengths)  # a file takes whole blocks
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{needed / 1e9:.1f} GB of wav files do not fit: {folder} has room for {free / 1e9:.1f} GB; "
            "give --files sparse, fewer --utterances or another folder"
        )
    print(f"writing {needed / 1e9:.1f} GB of wav files", file=sys.stderr)


def write_wavs(folder: Path, utterances: pd.DataFrame, seed: int | None) -> None:
    """A 16 kHz mono 16-bit file an utterance: noise by the seed, or without one a header and a hole."""
    generator = np.random.default_rng(seed)
    lengths = zip(utterances.name, utterances.samples, strict=True)
    for name, samples in tqdm(lengths, total=len(utterances), unit="file", desc="writing", disable=None):
        path, size = folder / name, 2 * samples
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.write(struct.pack("<4sI8sI", b"RIFF", HEADER - 8 + size, b"WAVEfmt ", 16))
            file.write(struct.pack("<HHIIHH4sI", 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16, b"data", size))
            if seed is None:
                file.truncate(HEADER + size)
            else:
                file.write(generator.integers(-LOUDEST, LOUDEST + 1, samples, dtype="<i2").tobytes())


def write_features(out: Path, utterances: pd.DataFrame) -> None:
    """The index and the statistics that preprocessing would write if all were white noise of RMS 0.1."""
    parts = parts_of(utterances.name.tolist(), read_lists(out))
    results = []
    for _, of_speaker in utterances.groupby("speaker"):
        lengths = zip(of_speaker.name, of_speaker.samples.tolist(), strict=True)
        rows = [Row(name, "data", f"wav/{name}", HEADER, samples, 1.0, *parts[name]) for name, samples in lengths]
        trained_on = [[row for row in rows if getattr(row, sub_dir) == "train"] for sub_dir in SUB_DIRS]
        frames = np.array([sum(count_frames(row.samples) for row in chosen) for chosen in trained_on])
        results.append(SpeakerResult(rows, sums=frames[:, None, None] * MOMENTS, frames=frames))
    (out / "feature").mkdir()
    write_index(out / "feature", results)
