"""What the corpora that are made have in common on disk: a folder of their own, names, lists, sounds."""

import string
from collections.abc import Container, Iterable
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import butter, sosfilt

from data_objects.audio import SAMPLE_RATE
from data_objects.lists import META, META_COLUMNS, SPLIT, TRIALS
from utils.system.errors import UserError

LETTERS = list(string.ascii_letters + string.digits + "-_")  # of a video's name


def refuse_occupied(out: Path) -> None:
    """Let nothing be overwritten.

    Raises:
        UserError: `out` is there, and not an empty folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder: remove it, or name another")


def draw_videos(count: int, generator: np.random.Generator) -> list[str]:
    """Names as YouTube gives them."""
    return ["".join(letters) for letters in generator.choice(LETTERS, (count, 11))]


def write_lists(
    out: Path,
    speakers: dict[str, tuple[str, str]],
    test_speakers: Container[str],
    split: dict[str, int],
    trials: Iterable[str],
) -> None:
    """vox1_meta.csv, iden_split.txt and, at last, veri_test.txt, in the official form.

    Args:
        speakers: speaker -> name and gender.
        split: utterance -> 1 (train), 2 (val) or 3 (test).
        trials: lines.
    """
    meta = ["\t".join(META_COLUMNS)]
    for speaker, name_and_gender in speakers.items():
        meta.append("\t".join([speaker, *name_and_gender, "UK", "test" if speaker in test_speakers else "dev"]))
    parts = [f"{part} {utterance}" for utterance, part in split.items()]
    for file, lines in ((META, meta), (SPLIT, parts), (TRIALS, trials)):
        (out / file).write_text("".join(f"{line}\n" for line in lines))


def band_pass(samples: np.ndarray, low: float, high: float) -> np.ndarray:
    """Samples (N,) between two frequencies in Hz."""
    return sosfilt(butter(2, (low, high), "bandpass", fs=SAMPLE_RATE, output="sos"), samples)


def write_wav(path: Path, samples: np.ndarray) -> None:
    """Samples (N,) in [-1, 1] as 16-bit wav."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
