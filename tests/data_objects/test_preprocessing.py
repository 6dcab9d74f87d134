"""Making the index: the same whatever the layout, the number of workers and the interruptions."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_objects.audio import read_samples
from data_objects.index import load_index, load_statistics
from data_objects.lists import SUB_DIRS, speaker_of
from tests.helpers import (
    SPEAKERS,
    SPLIT,
    index_of,
    magnitudes_by_definition,
    noise,
    preprocess,
    snapshot,
    write_audio,
    write_corpus,
    write_lists,
    write_small_corpus,
)
from utils.system.errors import UserError

RESULTS = ("utterances.csv", "stats.npz", "rejected.csv")


def results(out_dir: Path) -> dict[str, bytes]:
    """The three files that an index is."""
    return {name: (out_dir / name).read_bytes() for name in RESULTS}


def table(out_dir: Path) -> list[dict[str, str]]:
    """The rows of utterances.csv."""
    with open(out_dir / "utterances.csv", newline="") as file:
        return list(csv.DictReader(file))


# ------------------------------------------------------------------------------------------------------------------
# What is written
# ------------------------------------------------------------------------------------------------------------------
def test_statistics_by_definition(tmp_path: Path) -> None:
    """Mean and population deviation over the levelled frames of the training part alone, of either sub-directory."""
    lengths = {utterance: 4_000 + 500 * number for number, utterance in enumerate(SPLIT)}
    corpus = write_corpus(tmp_path, lengths, SPLIT, test_speakers=SPEAKERS[-1:])
    index = index_of(corpus)
    for sub_dir in SUB_DIRS:
        frames = []
        for row in index.rows(sub_dir, "train"):
            path, offset = index.location(row)
            samples = read_samples(path, offset, 0, int(index.samples[row])) / 32_768
            frames.append(magnitudes_by_definition(samples * index.gains[row]))
        mean, deviation = load_statistics(corpus / "feature", sub_dir)
        assert mean == pytest.approx(np.concatenate(frames).mean(axis=0), rel=1e-5)
        assert deviation == pytest.approx(np.concatenate(frames).std(axis=0), rel=1e-5)


def test_statistics_ignore_what_is_not_trained_on(tmp_path: Path) -> None:
    """Other test utterances, the same statistics; other training utterances, other statistics."""
    corpus = write_small_corpus(tmp_path)
    preprocess(corpus)
    before = results(corpus / "feature")["stats.npz"]
    for part, is_same in (("test", True), ("train", False)):
        write_audio(corpus / "wav" / f"{SPEAKERS[-1]}/{part}/00001.wav", noise(9_000, seed=99))
        preprocess(corpus)
        assert (results(corpus / "feature")["stats.npz"] == before) is is_same


def test_statistics_are_those_of_the_copy(tmp_path: Path) -> None:
    """A float file beyond full scale is clipped in its copy; gain and statistics are of what training reads."""
    one = write_corpus(tmp_path / "one", {"id10001/a/00001.wav": 16_000, "id10002/a/00001.wav": 16_000})
    samples = 0.5 * noise(16_000, level=1.0).clip(-3, 3)
    write_audio(one / "wav" / "id10001/a/00001.wav", samples, subtype="FLOAT")
    two = tmp_path / "two"
    shutil.copytree(one, two)
    write_audio(two / "wav" / "id10001/a/00001.wav", samples, subtype="PCM_16")  # clipped by the writer
    preprocess(one)
    preprocess(two)
    statistics = [np.concatenate(load_statistics(folder / "feature", "merged")) for folder in (one, two)]
    assert np.abs(samples).max() > 1
    np.testing.assert_allclose(*statistics, rtol=1e-4)


def test_quiet_utterances_are_levelled(tmp_path: Path) -> None:
    """The gain stands in the index; a silent utterance is told of and keeps gain 1."""
    corpus = write_small_corpus(tmp_path)
    quiet, silent = "id10001/train/00001.wav", "id10002/train/00001.wav"
    write_audio(corpus / "wav" / quiet, noise(16_000, level=0.001))
    write_audio(corpus / "wav" / silent, np.zeros(16_000, np.float32))
    report = preprocess(corpus)
    gains = {row.utterance: row.gain for row in report.rows}
    assert gains[quiet] == pytest.approx(10 ** (-30 / 20) / 0.001, rel=0.02)
    assert gains[silent] == 1
    assert report.silent == [silent]


def test_a_copy_that_cannot_be_written_is_no_bad_input(tmp_path: Path) -> None:
    """A full or blocked disk stops the run and names the folder; the utterance is not put among the rejected."""
    corpus = write_small_corpus(tmp_path)
    write_audio(corpus / "wav" / "id10003/train/00001.wav", noise(8_000), rate=8_000)
    blocked = corpus / "feature" / "wav"
    blocked.parent.mkdir()
    blocked.touch()
    with pytest.raises(UserError, match=r"cannot write .*feature/wav/id10003/train/00001\.wav.* -s"):
        preprocess(corpus)
    blocked.unlink()
    report = preprocess(corpus, skip_existing=True)
    assert (len(report.rows), report.rejected) == (len(SPLIT), [])


# ------------------------------------------------------------------------------------------------------------------
# The same result
# ------------------------------------------------------------------------------------------------------------------
def test_layouts_on_disk(tmp_path: Path, toy: Path) -> None:
    """wav/, or dev/wav/ and test/wav/: the same index, apart from the files' places."""
    for name in ("vox1_meta.csv", "iden_split.txt", "veri_test.txt"):
        shutil.copy(toy / name, tmp_path)
    for speaker in (toy / "wav").iterdir():
        archive = tmp_path / ("test" if speaker.name in ("id10005", "id10006") else "dev") / "wav"
        archive.mkdir(parents=True, exist_ok=True)
        (archive / speaker.name).symlink_to(speaker)
    preprocess(tmp_path)
    apart, together = table(tmp_path / "feature"), table(toy / "feature")
    assert {row.pop("file").split("/")[0] for row in apart} == {"dev", "test"}
    assert {row.pop("file").split("/")[0] for row in together} == {"wav"}
    assert apart == together
    assert results(tmp_path / "feature")["stats.npz"] == results(toy / "feature")["stats.npz"]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_number_of_workers(tmp_path: Path, toy: Path, num_workers: int) -> None:
    """Processes change nothing but the time."""
    preprocess(toy, tmp_path / "feature", num_workers)
    assert results(tmp_path / "feature") == results(toy / "feature")


def test_interrupted_run_goes_on(tmp_path: Path, toy: Path) -> None:
    """What is done is taken over, what is missing done, and the result is the same to the byte."""
    out_dir = tmp_path / "feature"
    shutil.copytree(toy / "feature", out_dir)
    for name in (*RESULTS, "parts/id10002.npz", "parts/id10006.npz"):
        (out_dir / name).unlink()
    (out_dir / "parts" / "id10003.npz.partial").write_bytes(b"cut")
    report = preprocess(toy, out_dir, skip_existing=True)
    assert report.reused_speakers == 4
    assert snapshot(out_dir) == snapshot(toy / "feature")


# ------------------------------------------------------------------------------------------------------------------
# What is taken over
# ------------------------------------------------------------------------------------------------------------------
def test_nothing_is_taken_over_unasked(tmp_path: Path, toy: Path) -> None:
    """Without skip_existing everything is read again."""
    out_dir = tmp_path / "feature"
    shutil.copytree(toy / "feature", out_dir)
    assert preprocess(toy, out_dir).reused_speakers == 0


def test_changed_files_are_read_again(tmp_path: Path) -> None:
    """A speaker with another file, a converted copy that went, a damaged part: none of them is taken over."""
    corpus = write_small_corpus(tmp_path)
    write_audio(corpus / "wav" / "id10003/train/00001.wav", noise(8_000), rate=8_000)
    preprocess(corpus)
    before = results(corpus / "feature")
    (corpus / "feature" / "wav" / "id10003/train/00001.wav").unlink()
    assert preprocess(corpus, skip_existing=True).reused_speakers == len(SPEAKERS) - 1
    assert results(corpus / "feature") == before
    (corpus / "feature" / "parts" / "id10001.npz").write_bytes(b"damaged")
    assert preprocess(corpus, skip_existing=True).reused_speakers == len(SPEAKERS) - 1
    assert results(corpus / "feature") == before
    write_audio(corpus / "wav" / "id10002/train/00001.wav", noise(20_000))
    assert preprocess(corpus, skip_existing=True).reused_speakers == len(SPEAKERS) - 1
    assert results(corpus / "feature") != before


def test_other_lists_are_taken_up(tmp_path: Path) -> None:
    """A changed split changes the index, also where existing results are taken over."""
    corpus = write_small_corpus(tmp_path)
    preprocess(corpus)
    write_lists(corpus, SPLIT | {"id10001/train/00001.wav": 3}, test_speakers=SPEAKERS[-2:])
    assert preprocess(corpus, skip_existing=True).reused_speakers == len(SPEAKERS) - 1
    index = load_index(corpus, corpus / "feature")
    assert "id10001/train/00001.wav" in [index.utterances[row] for row in index.rows("merged", "test")]


def test_speakers_that_went(tmp_path: Path) -> None:
    """What is no longer on disk does not stay in the index."""
    corpus = write_small_corpus(tmp_path)
    preprocess(corpus)
    shutil.rmtree(corpus / "wav" / SPEAKERS[0])
    preprocess(corpus, skip_existing=True)
    assert {speaker_of(row["utterance"]) for row in table(corpus / "feature")} == set(SPEAKERS[1:])


def test_rejected_files_are_tried_again(tmp_path: Path) -> None:
    """What kept a file from being read may have gone, so skip_existing does not take a rejection over."""
    corpus = write_small_corpus(tmp_path)
    broken = corpus / "wav" / "id10002/val/00001.wav"
    whole, status = broken.read_bytes(), broken.stat()
    broken.write_bytes(b"\0" * len(whole))
    os.utime(broken, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(preprocess(corpus).rejected) == 1
    broken.write_bytes(whole)
    os.utime(broken, ns=(status.st_atime_ns, status.st_mtime_ns))
    report = preprocess(corpus, skip_existing=True)
    assert report.rejected == []
    assert report.reused_speakers == len(SPEAKERS) - 1


def test_other_files_beside_the_parts_stay(tmp_path: Path) -> None:
    """Only parts of speakers that are gone are removed."""
    corpus = write_small_corpus(tmp_path)
    parts = corpus / "feature" / "parts"
    (parts / "folder").mkdir(parents=True)
    for name in ("notes.txt", "id10009.npz"):
        (parts / name).touch()
    with pytest.raises(UserError, match="parts is of no index, and would be overwritten"):
        preprocess(corpus)
    assert (parts / "id10009.npz").exists()
    (corpus / "feature" / ".autospeech-index").touch()
    preprocess(corpus)
    assert (parts / "notes.txt").exists()
    assert not (parts / "id10009.npz").exists()
