"""VoxCeleb1's size without VoxCeleb1: the simulated corpus, and the index at that size."""

import csv
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from config import default_config
from data_objects.corpus import Corpus
from data_objects.datasets import read_frames
from data_objects.frontend import span
from data_objects.index import Index, load_index, load_statistics
from data_objects.lists import Lists, read_lists, speaker_of
from data_objects.parts import parts_of
from data_objects.sources import find_utterances
from tests.helpers import ROOT, call_script, environment, preprocess, snapshot
from tools.corpora.simulated import make_corpus
from tools.corpora.sizes import scale_sizes
from utils.system.errors import UserError

SCRIPT = "tools/make_simulated_corpus.py"
SMALL = scale_sizes(utterances=600, speakers=30)

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated corpus without files; tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("simulated") / "small"
    make_corpus(folder, SMALL)
    return folder


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated corpus of VoxCeleb1's size without files; tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("simulated") / "full"
    make_corpus(folder, scale_sizes())
    return folder


@pytest.fixture(scope="module")
def lists(full: Path) -> Lists:
    """Its lists."""
    return read_lists(full)


@pytest.fixture(scope="module")
def index(full: Path) -> Index:
    """Its index."""
    return load_index(full, full / "feature")


def load_corpus(data_dir: Path, sub_dir: str = "merged") -> Corpus:
    """A corpus as a run loads it."""
    cfg = default_config()
    cfg.DATASET.DATA_DIR, cfg.DATASET.SUB_DIR, cfg.DEVICE = str(data_dir), sub_dir, "cpu"
    return Corpus(cfg)


# ------------------------------------------------------------------------------------------------------------------
# A small one
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("sub_dir", "speakers"), [("merged", 30), ("dev", 21)])
def test_small_corpus_loads(small: Path, sub_dir: str, speakers: int) -> None:
    """As many of everything as were asked for; parts as the project's own rules say, without the speakers held out."""
    corpus = load_corpus(small, sub_dir)
    assert len(corpus.index) == 600
    assert len(corpus.speakers) == speakers
    lists = read_lists(small)
    expected = parts_of(list(corpus.index.utterances), lists)
    for part in ("train", "val"):
        wanted = [
            name
            for name, parts in expected.items()
            if parts[sub_dir == "dev"] == part and speaker_of(name) in corpus.speakers
        ]
        assert [corpus.index.utterances[row] for row in corpus.rows(part)] == wanted
    assert corpus.build_front_end().mean.isfinite().all()


def test_small_lists(small: Path) -> None:
    """In VoxCeleb1's proportions; the trials are of the test speakers, half of them of the same speaker."""
    lists = read_lists(small)
    assert list(Counter(lists.split.values()).items()) == [("train", 541), ("val", 27), ("test", 32)]
    assert [name for name, speaker in lists.speakers.items() if speaker.set == "test"] == ["id10007", "id10008"]
    assert (len(lists.trials), len(lists.trial_utterances)) == (152, 19)
    check_trials(lists, 19 * [8])


def check_trials(lists: Lists, enrolments: list[int]) -> None:
    """Labels say whether the speakers are the same; no two trials are; each utterance is enrolled so often."""
    for label, enrolment, test in lists.trials:
        assert (speaker_of(enrolment) == speaker_of(test)) is bool(label)
        assert enrolment != test
    assert sum(trial.label for trial in lists.trials) * 2 == len(lists.trials)
    assert list(Counter(trial.enrolment for trial in lists.trials).values()) == enrolments
    assert {lists.speakers[speaker_of(name)].set for name in lists.trial_utterances} == {"test"}


def test_same_arguments_same_bytes(tmp_path: Path, small: Path) -> None:
    """Another seed is another corpus."""
    options = ("--utterances", 600, "--speakers", 30)
    outcome = call_script(SCRIPT, tmp_path / "again", *options)
    assert outcome.stdout.startswith("600 utterances of 30 speakers, 1.")
    assert snapshot(tmp_path / "again") == snapshot(small)
    call_script(SCRIPT, tmp_path / "other", *options, "--seed", 1)
    assert not set(read_lists(tmp_path / "other").split) & set(read_lists(small).split)


@pytest.mark.parametrize(("trials", "fewest", "most"), [(40, 2, 4), (400, 20, 22)])
def test_number_of_trials(tmp_path: Path, trials: int, fewest: int, most: int) -> None:
    """As many as asked for, whether there are so many pairs or not, and every utterance in about as many."""
    make_corpus(tmp_path / "corpus", scale_sizes(600, 30, trials))
    lists = read_lists(tmp_path / "corpus")
    enrolments = Counter(trial.enrolment for trial in lists.trials)
    assert (len(lists.trials), len(enrolments)) == (trials, 19)
    assert (min(enrolments.values()), max(enrolments.values())) == (fewest, most)
    check_trials(lists, list(enrolments.values()))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--speakers", 3), "--speakers must be from 4"),
        (("--speakers", 30, "--utterances", 299), "at least 10 a speaker, 300, not 299"),
        (("--speakers", 30, "--utterances", 600, "--trials", 39), "--trials must be even, and at least 38"),
        (("--speakers", 30, "--utterances", 600, "--trials", 36), "--trials must be even, and at least 38"),
        (("--seed", -1), "--seed must be at least 0"),
    ],
)
def test_sizes_that_make_no_corpus(tmp_path: Path, options: tuple, complaint: str) -> None:
    """Refused in one line, with nothing written."""
    outcome = call_script(SCRIPT, tmp_path / "corpus", *options)
    assert outcome.status == 2
    assert complaint in outcome.stderr.splitlines()[-1]
    assert not (tmp_path / "corpus").exists()


def test_no_folder_is_overwritten(tmp_path: Path) -> None:
    """What is there stays."""
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        make_corpus(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


# ------------------------------------------------------------------------------------------------------------------
# With files
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("files", ["sparse", "full"])
def test_preprocessing_finds_what_the_index_says(tmp_path: Path, files: str) -> None:
    """The simulated index is the one of the files, but for hashes of samples; the statistics are those of the noise."""
    corpus = tmp_path / "corpus"
    make_corpus(corpus, scale_sizes(40, 4), files, seed=7)
    assert preprocess(corpus, tmp_path / "feature").rejected == []
    simulated, found = (folder / "feature" / "utterances.csv" for folder in (corpus, tmp_path))
    rows, expected = (list(csv.DictReader(path.read_text().splitlines())) for path in (simulated, found))
    assert {row.pop("audio") for row in rows} == {""}  # nothing is heard of a corpus that may have no files
    assert {len(row.pop("audio")) for row in expected} == {16 if files == "full" else 0}  # holes are silence
    assert rows == expected
    if files == "full":
        (mean, deviation), expected = (
            load_statistics(tmp_path / "feature", "merged"),
            load_statistics(corpus / "feature", "merged"),
        )
        assert mean[1:-1] == pytest.approx(expected[0][1:-1], rel=0.03)
        assert deviation[1:-1] == pytest.approx(expected[1][1:-1], rel=0.05)


def test_sparse_files(tmp_path: Path) -> None:
    """They are valid wav files of the right length, silent, and take next to no room."""
    make_corpus(tmp_path / "corpus", scale_sizes(40, 4), "sparse")
    index = load_index(tmp_path / "corpus", tmp_path / "corpus" / "feature")
    files = find_utterances(tmp_path / "corpus").files
    assert set(files) == set(index.utterances)
    for row, utterance in enumerate(index.utterances):
        sound = soundfile.info(*files[utterance])
        assert (sound.samplerate, sound.channels, sound.subtype) == (16_000, 1, "PCM_16")
        assert sound.frames == index.samples[row] >= 4 * 16_000
        crop = read_frames(index, row, 50, 300)
        assert crop.shape == (span(300),)
        assert not crop.any()
    assert sum(path.stat().st_blocks * 512 for (path,) in files.values()) < 40 * 20_000


def test_files_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before anything is written, with what they need and what there is."""
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**6))
    with pytest.raises(UserError, match=r"0\.2 GB of wav files do not fit: .* has room for 0\.0 GB; give --files"):
        make_corpus(tmp_path / "corpus", SMALL, "full")
    assert not (tmp_path / "corpus").exists()


# ------------------------------------------------------------------------------------------------------------------
# VoxCeleb1's size
# ------------------------------------------------------------------------------------------------------------------
def test_official_numbers(lists: Lists, index: Index) -> None:
    """Speakers, utterances, parts, trials and hours are VoxCeleb1's."""
    assert (len(index), len(lists.speakers), len(lists.split)) == (153_516, 1_251, 153_516)
    assert Counter(lists.split.values()) == {"train": 138_361, "val": 6_904, "test": 8_251}
    test_speakers = [name for name, speaker in lists.speakers.items() if speaker.set == "test"]
    assert test_speakers == [f"id{number}" for number in range(10_270, 10_310)]
    assert sum(speaker_of(utterance) in set(test_speakers) for utterance in index.utterances) == 4_874
    assert (len(lists.trials), len(set(lists.trials)), len(lists.trial_utterances)) == (37_720, 37_720, 4_715)
    check_trials(lists, 4_715 * [8])
    assert index.samples.sum() / 16_000 / 3600 == pytest.approx(352, rel=0.01)
    assert index.samples.min() >= 4 * 16_000


def test_index_of_official_size(lists: Lists, index: Index) -> None:
    """Speakers, rows, places and classes are those that the names say."""
    names = list(index.utterances)
    assert set(names) == set(lists.split)
    speakers = sorted(lists.speakers)
    assert index.speakers("merged") == speakers
    assert index.speakers("dev") == [name for name in speakers if lists.speakers[name].set == "dev"]
    for part, count in (("train", 138_361), ("val", 6_904), ("test", 8_251)):
        rows = index.rows("merged", part)
        assert len(rows) == count
        assert {lists.split[names[row]] for row in rows} == {part}
    dev = np.concatenate([index.rows("dev", part) for part in ("train", "val")])
    assert len(set(dev.tolist())) == len(dev) == 148_642
    assert [index.row_of(names[row]) for row in range(0, len(index), 997)] == list(range(0, len(index), 997))
    label_of = {speaker: label for label, speaker in enumerate(speakers)}
    assert index.labels(speakers).tolist() == [label_of[speaker_of(name)] for name in names]
    few = index.labels(speakers[7:3:-1])
    assert (few == -1).sum() == sum(speaker_of(name) not in speakers[4:8] for name in names)
    assert [speaker_of(names[np.flatnonzero(few == label)[0]]) for label in range(4)] == speakers[7:3:-1]


LOAD = """
import sys
from pathlib import Path
import torch
from data_objects.index import load_index
from tools.benchmarks.measure import Peak
peak = Peak(torch.device("cpu"))
peak.forget()
index = load_index(Path(sys.argv[1]), Path(sys.argv[1]) / "feature")
assert len(index) == 153_516
print(peak.read())
"""


@on_linux
def test_memory_of_the_index(full: Path) -> None:
    """As arrays it takes 30 MB at most while it loads; as Python objects it took 195 MB."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(full)], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 80


def test_help_imports_nothing_slow() -> None:
    """Neither PyTorch nor what takes about as long."""
    modules = "tools.make_simulated_corpus, tools.make_toy_corpus, tools.make_toy_noise"
    program = f"import sys, {modules}; sys.exit(str({{'torch', 'pandas', 'scipy', 'parselmouth'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == "set()"
