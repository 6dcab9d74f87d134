"""Make an indexed corpus of VoxCeleb1's form and size without VoxCeleb1: to see what its size takes in time and memory.

    python tools/make_simulated_corpus.py OUT                                  # lists and index: seconds, 21 MB
    python tools/make_simulated_corpus.py OUT --files sparse                   # with wav files that take no room
    python tools/make_simulated_corpus.py OUT --utterances 2000 --speakers 40 --files full

Speakers, test speakers, parts, trials and hours are as many as in VoxCeleb1, or in proportion to --utterances and
--speakers; as in veri_test.txt, every trial utterance is enrolled as often as the others, against its own speaker and
another in turn. OUT/feature/utterances.csv is what preprocessing would write, without hashes of the samples; the
statistics beside it are invented.
With --files sparse all is silence, with --files full white noise. Otherwise than in VoxCeleb1, a video may be cut by
the border of two parts of iden_split.txt. The same arguments give the same bytes. There is nothing to learn here.
"""

import argparse
import shutil
import string
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.system.errors import UserError
from utils.system.script import run_script

if TYPE_CHECKING:  # NumPy is imported where it is used, so that --help answers at once
    import numpy as np

# VoxCeleb1's numbers
UTTERANCES, SPEAKERS, TRIALS = 153_516, 1_251, 37_720
PARTS = (138_361, 6_904, 8_251)  # utterances to train on, to validate on and to test on
TEST_SPEAKERS, BEFORE_THEM = 40, 269  # id10270 to id10309, and how many come before them
TEST_UTTERANCES, TRIAL_UTTERANCES = 4_874, 4_715
HOURS = 352
SHORTEST, LONGEST = 4.0, 145.0  # seconds
IN_A_VIDEO = 6.8  # utterances, on average

RATE, HEADER = 16_000, 44  # Hz; bytes of a wav file before its samples
LOUDEST = 5_676  # of uniform 16-bit noise of RMS 0.1, which needs no levelling


@dataclass(frozen=True)
class Sizes:
    """How many there are of everything."""

    utterances: int
    speakers: int
    trials: int
    parts: tuple[int, int, int]
    test_speakers: int
    before_them: int
    test_utterances: int
    trial_utterances: int


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to make; must not exist or be empty")
    parser.add_argument("--utterances", type=int, default=UTTERANCES, help=f"default: {UTTERANCES:,}")
    parser.add_argument("--speakers", type=int, default=SPEAKERS, help=f"at least 4 (default: {SPEAKERS:,})")
    parser.add_argument("--trials", type=int, help=f"default: {TRIALS:,}, or in proportion to --utterances")
    parser.add_argument(
        "--files",
        choices=("none", "sparse", "full"),
        default="none",
        help="wav files: none; sparse: holes, which take no room; full: noise, about 115 MB an hour (default: none)",
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.speakers < 4 or args.speakers > 89_999:
        parser.error(f"--speakers must be from 4 to 89999, not {args.speakers}")
    if args.utterances < 10 * args.speakers:
        parser.error(f"--utterances must be at least 10 a speaker, {10 * args.speakers}, not {args.utterances}")
    if args.seed < 0:
        parser.error(f"--seed must be at least 0, not {args.seed}")
    return args


def main() -> None:
    args = parse_args()
    sizes = scale_sizes(args.utterances, args.speakers, args.trials)
    hours = make_corpus(args.out, sizes, args.files, args.seed)
    print(f"{sizes.utterances:,} utterances of {sizes.speakers:,} speakers, {hours:.1f} hours, in {args.out}")


def scale_sizes(utterances: int = UTTERANCES, speakers: int = SPEAKERS, trials: int | None = None) -> Sizes:
    """VoxCeleb1's numbers, in proportion to the number of utterances or speakers.

    Raises:
        UserError: a number of trials that cannot be half of the same speaker with every trial utterance enrolled.
    """
    train, val, _ = (round(count * utterances / UTTERANCES) for count in PARTS)
    test_speakers = max(2, round(TEST_SPEAKERS * speakers / SPEAKERS))
    test_utterances = max(10 * test_speakers, round(TEST_UTTERANCES * utterances / UTTERANCES))
    trial_utterances = max(2 * test_speakers, round(TRIAL_UTTERANCES * test_utterances / TEST_UTTERANCES))
    if trials is None:
        trials = trial_utterances * TRIALS // TRIAL_UTTERANCES
    if trials % 2 or trials < 2 * trial_utterances:
        raise UserError(
            f"--trials must be even, and at least {2 * trial_utterances}, two for each trial utterance, not {trials}"
        )
    return Sizes(
        utterances=utterances,
        speakers=speakers,
        trials=trials,
        parts=(train, val, utterances - train - val),
        test_speakers=test_speakers,
        before_them=min(round(BEFORE_THEM * speakers / SPEAKERS), speakers - test_speakers),
        test_utterances=test_utterances,
        trial_utterances=trial_utterances,
    )


def make_corpus(out: Path, sizes: Sizes, files: str = "none", seed: int = 0) -> float:
    """Write lists, index and, with `files` sparse or full, the wav files; returns hours.

    Raises:
        UserError: `out` is not an empty folder, or the disk has less room than the files take.
    """
    import numpy as np

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder: remove it, or name another")
    generator = np.random.default_rng(seed)
    speakers = [f"id{10_001 + number}" for number in range(sizes.speakers)]
    test_speakers = speakers[sizes.before_them : sizes.before_them + sizes.test_speakers]
    utterances = draw_utterances(speakers, test_speakers, sizes, generator)
    names = [name for of_speaker in utterances.values() for name in of_speaker]
    samples = draw_lengths(len(names), generator)
    if files == "full":
        check_room(out, samples)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {out} ({error.strerror}): name another folder") from error
    write_lists(out, utterances, test_speakers, sizes, generator)
    if files != "none":
        write_wavs(out / "wav", names, samples, files == "full", seed)
    write_features(out, dict(zip(names, samples.tolist(), strict=True)))
    return float(samples.sum()) / RATE / 3600


# ------------------------------------------------------------------------------------------------------------------
# Drawing
# ------------------------------------------------------------------------------------------------------------------
def draw_utterances(
    speakers: list[str], test_speakers: list[str], sizes: Sizes, generator: "np.random.Generator"
) -> dict[str, list[str]]:
    """The utterances' names, sorted, of each speaker."""
    others = [speaker for speaker in speakers if speaker not in set(test_speakers)]
    counts = share_out(sizes.test_utterances, test_speakers, generator)
    counts |= share_out(sizes.utterances - sizes.test_utterances, others, generator)
    letters = list(string.ascii_letters + string.digits + "-_")
    utterances = {}
    for speaker in speakers:
        videos = max(2, round(counts[speaker] / IN_A_VIDEO))
        names = ["".join(characters) for characters in generator.choice(letters, (videos, 11))]
        per_video = share_out(counts[speaker], sorted(names), generator)
        utterances[speaker] = [
            f"{speaker}/{video}/{number:05d}.wav"
            for video, count in per_video.items()
            for number in range(1, count + 1)
        ]
    return utterances


def share_out(total: int, names: list[str], generator: "np.random.Generator") -> dict[str, int]:
    """A count for each name, differing as speakers do (by a factor of 5 or so), with this total and none below 1."""
    import numpy as np

    weights = generator.uniform(0.4, 2, len(names))
    borders = np.round(np.cumsum(weights) / weights.sum() * (total - len(names))).astype(int)
    return dict(zip(names, (1 + np.diff(borders, prepend=0)).tolist(), strict=True))


def draw_lengths(count: int, generator: "np.random.Generator") -> "np.ndarray":
    """Lengths in samples (count,): SHORTEST seconds and more, on average as in VoxCeleb1."""
    import numpy as np

    mean = HOURS * 3600 / UTTERANCES
    seconds = np.minimum(SHORTEST + generator.exponential(mean - SHORTEST, count), LONGEST)
    return np.round(seconds * RATE).astype(np.int64)


def draw_parts(utterances: dict[str, list[str]], sizes: Sizes) -> dict[str, int]:
    """1 (train), 2 (val) or 3 (test) for each utterance: of every speaker about the same shares."""
    shares = {name: (place + 0.5) / len(names) for names in utterances.values() for place, name in enumerate(names)}
    ranked = sorted(shares, key=shares.get)
    train, val, test = sizes.parts
    parts = dict(zip(ranked, [1] * train + [2] * val + [3] * test, strict=True))
    return {name: parts[name] for name in shares}


def draw_trials(utterances: dict[str, list[str]], sizes: Sizes, generator: "np.random.Generator") -> list[str]:
    """The lines of veri_test.txt: each trial utterance with one of its speaker and one of another, in turn.

    Args:
        utterances: of the test speakers.
    """
    # Two of a speaker stay in any case, so that each has trials of both kinds.
    spare = [name for names in utterances.values() for name in names[2:]]
    left_out = generator.choice(spare, sizes.test_utterances - sizes.trial_utterances, replace=False)
    left_out = set(left_out.tolist())
    enrolled = {speaker: [name for name in names if name not in left_out] for speaker, names in utterances.items()}
    everyone = [name for names in enrolled.values() for name in names]
    pairs = [sizes.trials // 2 // len(everyone)] * len(everyone)
    for place in range(sizes.trials // 2 % len(everyone)):
        pairs[place] += 1
    lines, before = [], 0
    for names in enrolled.values():
        others = everyone[:before] + everyone[before + len(names) :]
        for place, name in enumerate(names):
            count = pairs[before + place]
            own = generator.permutation(len(names) - 1)[:count] + 1  # how much further on in the list
            other = generator.choice(len(others), count, replace=count > len(others))
            for step, number in zip(cycle_to(own.tolist(), count), other.tolist(), strict=True):
                lines += [f"1 {name} {names[(place + step) % len(names)]}", f"0 {name} {others[number]}"]
        before += len(names)
    return lines


def cycle_to(values: list[int], count: int) -> list[int]:
    """The values, begun anew until there are `count`."""
    return [values[place % len(values)] for place in range(count)]


# ------------------------------------------------------------------------------------------------------------------
# Writing
# ------------------------------------------------------------------------------------------------------------------
def write_lists(
    out: Path,
    utterances: dict[str, list[str]],
    test_speakers: list[str],
    sizes: Sizes,
    generator: "np.random.Generator",
) -> None:
    """vox1_meta.csv, iden_split.txt and veri_test.txt, in the official form."""
    from data_objects.lists import META, META_COLUMNS, SPLIT
    from data_objects.lists import TRIALS as TRIALS_FILE

    meta = ["\t".join(META_COLUMNS)]
    for number, speaker in enumerate(utterances):
        group = "test" if speaker in test_speakers else "dev"
        meta.append(f"{speaker}\tsimulated_{number}\t{'fm'[number % 2]}\tUK\t{group}")
    split = [f"{part} {name}" for name, part in draw_parts(utterances, sizes).items()]
    trials = draw_trials({speaker: utterances[speaker] for speaker in test_speakers}, sizes, generator)
    for file, lines in ((META, meta), (SPLIT, split), (TRIALS_FILE, trials)):
        (out / file).write_text("".join(f"{line}\n" for line in lines))


def check_room(out: Path, samples: "np.ndarray") -> None:
    """Say how much noise will be written, and refuse where it does not fit."""
    needed = 2 * int(samples.sum()) + 4096 * len(samples)  # a file takes whole blocks
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{needed / 1e9:.1f} GB of wav files do not fit: {folder} has room for {free / 1e9:.1f} GB; "
            "give --files sparse, fewer --utterances or another folder"
        )
    print(f"writing {needed / 1e9:.1f} GB of wav files", file=sys.stderr)


def write_wavs(folder: Path, names: list[str], samples: "np.ndarray", is_full: bool, seed: int) -> None:
    """A 16 kHz mono 16-bit file an utterance: noise, or a header and a hole."""
    import numpy as np
    from tqdm import tqdm

    for number, name in enumerate(tqdm(names, unit="file", desc="writing", disable=None)):
        path, size = folder / name, 2 * int(samples[number])
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            riff = struct.pack("<4sI4s", b"RIFF", HEADER - 8 + size, b"WAVE")
            format_chunk = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
            file.write(riff + format_chunk + struct.pack("<4sI", b"data", size))
            if is_full:
                noise = np.random.default_rng((seed, number)).integers(-LOUDEST, LOUDEST + 1, size // 2, dtype="<i2")
                file.write(noise)
            else:
                file.truncate(HEADER + size)


def write_features(out: Path, samples: dict[str, int]) -> None:
    """The index and the statistics, as preprocessing writes them.

    Args:
        samples: utterance -> its length.
    """
    from itertools import groupby

    from data_objects.index import Row
    from data_objects.lists import read_lists, speaker_of
    from data_objects.preprocessing import SpeakerResult, write_index
    from data_objects.voxceleb import parts_of

    names = sorted(samples)
    parts = parts_of(names, read_lists(out))
    feature_dir = out / "feature"
    feature_dir.mkdir()
    results = []
    for _, of_speaker in groupby(names, key=speaker_of):
        result = SpeakerResult()
        for name in of_speaker:
            merged, dev = parts[name]
            row = Row(name, "data", f"wav/{name}", HEADER, samples[name], gain=1.0, merged=merged, dev=dev)
            result.rows.append(row)
            add_noise_frames(result, row)
        results.append(result)
    write_index(feature_dir, results)


def add_noise_frames(result, row) -> None:
    """Count an utterance's frames in where they are trained on, as frames of white noise of RMS 0.1.

    In a bin between the first and the last one, their magnitudes follow a Rayleigh distribution; the mean of the
    squares is the noise's power times the window's energy, 150.
    """
    import math

    from data_objects.frontend import count_frames
    from data_objects.lists import SUB_DIRS

    square, frames = 0.1**2 * 150, count_frames(row.samples)
    for number, sub_dir in enumerate(SUB_DIRS):
        if getattr(row, sub_dir) == "train":
            result.frames[number] += frames
            result.sums[number, 0] += frames * math.sqrt(math.pi / 4 * square)
            result.sums[number, 1] += frames * square


if __name__ == "__main__":
    run_script(main)
