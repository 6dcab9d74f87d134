"""What several test modules need: small corpora, their index, and the scripts run as a user runs them."""

import contextlib
import io
import os
import runpy
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import soundfile
import torch

from data_objects.audio import SAMPLE_RATE
from data_objects.building import BuildReport, build_index
from data_objects.index import Index, load_index
from data_objects.lists import META_COLUMNS, read_lists, speaker_of
from data_objects.preprocessing import plan_tasks
from data_objects.sources import find_utterances
from models.genotypes import PAPER_GENOTYPE

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = "exps/mini/scratch.yaml"
MODERN = "exps/mini/modern.yaml"
SEARCH = "exps/mini/search.yaml"
GENOTYPE = str(PAPER_GENOTYPE)
# A network and batches so small that an epoch over the toy corpus takes about a second.
TINY = {
    "MODEL.LAYERS": 3,
    "MODEL.INIT_CHANNELS": 4,
    "TRAIN.BATCH_SIZE": 4,
    "TRAIN.END_EPOCH": 1,
    "DATASET.PARTIAL_N_FRAMES": 64,
    "SEARCH.STEM": "network",  # the cheaper one
    "SEARCH.RANDOM_PATHS": 2,
    "SEARCH.REPORT": False,  # drawing takes longer than searching
    "EVAL.REPORT": False,  # and than evaluating
    "DEVICE": "cpu",
}


# ------------------------------------------------------------------------------------------------------------------
# Scripts
# ------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Outcome:
    """How a script ended, and what it said."""

    status: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        """The last line of standard output."""
        return self.stdout.strip().splitlines()[-1]


def options(**settings: object) -> list[str]:
    """KEY VALUE pairs: the tiny settings under the given ones, whose dots are written as double underscores."""
    chosen = TINY | {key.replace("__", "."): value for key, value in settings.items()}
    return [str(item) for pair in chosen.items() for item in pair]


def environment() -> dict[str, str]:
    """The environment of a subprocess: one thread, since tests run beside each other and the work is tiny."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


def run_script(script: str, *arguments: object, check: bool = False) -> Outcome:
    """Run a script in a process of its own, from the project's folder, as a user does."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)
    assert not (check and done.returncode), done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


def call_script(script: str, *arguments: object) -> Outcome:
    """Run a script within this process, which saves the seconds that importing torch takes."""
    stdout, stderr, status = io.StringIO(), io.StringIO(), 0
    argv = [script, *map(str, arguments)]
    streams = contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr)
    with mock.patch.object(sys, "argv", argv), project_folder(), streams[0], streams[1], same_threads():
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as stop:
            status = stop.code or 0
    return Outcome(status, stdout.getvalue(), stderr.getvalue())


@contextlib.contextmanager
def project_folder() -> Iterator[None]:
    """Work in the project's folder, and go back."""
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def same_threads() -> Iterator[None]:
    """Undo what indexing within this process does to the number of threads of torch."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# ------------------------------------------------------------------------------------------------------------------
# Corpora
# ------------------------------------------------------------------------------------------------------------------
def noise(samples: int, seed: int = 0, level: float = 0.1) -> np.ndarray:
    """White noise (N,) float32 of an RMS of `level`."""
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def magnitudes_by_definition(waveform: np.ndarray) -> np.ndarray:
    """Magnitudes (T, 257), frame by frame: centred, mirrored at the ends, periodic Hann window of 400 in 512."""
    window = np.zeros(512)
    window[56:456] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    mirrored = np.concatenate([waveform[256:0:-1], waveform, waveform[-2:-258:-1]]).astype(np.float64)
    starts = range(0, len(waveform) + 1, 160)
    return np.abs([np.fft.rfft(window * mirrored[start : start + 512]) for start in starts])


def write_audio(path: Path, samples: np.ndarray, rate: int = SAMPLE_RATE, subtype: str = "PCM_16") -> Path:
    """Write samples (N,) or (N, channels) in the format that the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(os.fsencode(path), samples, rate, subtype=subtype)
    return path


def write_lists(
    folder: Path,
    split: dict[str, int],
    trials: Iterable[tuple[int, str, str]] = (),
    test_speakers: Sequence[str] = (),
) -> None:
    """The three lists, for the speakers of `split`.

    Without `trials`, one of either kind: of the test speakers, where there are two.
    """
    of_test = [utterance for utterance in split if speaker_of(utterance) in test_speakers]
    tried = of_test if len({*map(speaker_of, of_test)}) > 1 else list(split)
    trials = list(trials) or [(1, tried[0], tried[0]), (0, tried[0], tried[-1])]
    speakers = sorted({speaker_of(utterance) for utterance in split})
    sets = {speaker: "test" if speaker in test_speakers else "dev" for speaker in speakers}
    meta = ["\t".join(META_COLUMNS), *(f"{name}\tname_{name}\tf\tUK\t{sets[name]}" for name in speakers)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vox1_meta.csv").write_text("".join(f"{line}\n" for line in meta))
    (folder / "iden_split.txt").write_text("".join(f"{part} {utterance}\n" for utterance, part in split.items()))
    (folder / "veri_test.txt").write_text("".join(f"{label} {a} {b}\n" for label, a, b in trials))


def write_corpus(
    folder: Path, lengths: dict[str, int], split: dict[str, int] | None = None, test_speakers: Sequence[str] = ()
) -> Path:
    """A corpus of noise: utterances of so many samples each, all of them trained on where `split` is not given."""
    for seed, (utterance, samples) in enumerate(lengths.items()):
        write_audio(folder / "wav" / utterance, noise(samples, seed))
    write_lists(folder, split or dict.fromkeys(lengths, 1), test_speakers=test_speakers)
    return folder


SPEAKERS = ("id10001", "id10002", "id10003", "id10004")  # of a small corpus; the last two are test speakers
VIDEOS = ("train", "val", "test")  # their videos, an utterance each
SPLIT = {f"{speaker}/{video}/00001.wav": part for speaker in SPEAKERS for part, video in enumerate(VIDEOS, start=1)}


def write_small_corpus(folder: Path, samples: int = 16_000) -> Path:
    """Noise by four speakers, with an utterance each to train on, to validate on and to test on."""
    return write_corpus(folder, dict.fromkeys(SPLIT, samples), SPLIT, test_speakers=SPEAKERS[-2:])


def preprocess(
    data_dir: Path, out_dir: Path | None = None, num_workers: int = 0, skip_existing: bool = False
) -> BuildReport:
    """Index a corpus by the functions that data_preprocess.py calls."""
    out_dir = out_dir or data_dir / "feature"
    found = find_utterances(data_dir)
    tasks, _ = plan_tasks(found, read_lists(data_dir), data_dir, out_dir, skip_existing)
    with same_threads():
        return build_index(tasks, [], out_dir, num_workers, lambda utterances: None)


def index_of(data_dir: Path) -> Index:
    """Index a corpus, and load the index."""
    preprocess(data_dir)
    return load_index(data_dir, data_dir / "feature")


def snapshot(folder: Path) -> dict[str, bytes]:
    """The files of a folder, by their names below it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
