"""The index: the same whatever the layout, the number of workers and the interruptions; and what loading it refuses."""

import csv
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_objects.audio import read_samples
from data_objects.frontend import BINS
from data_objects.index import CHUNK, COLUMNS, Row, load_index, load_statistics
from data_objects.lists import SUB_DIRS, speaker_of
from data_objects.preprocessing import SpeakerResult, write_index
from tests.helpers import (
    ROOT,
    SPEAKERS,
    SPLIT,
    environment,
    index_of,
    magnitudes_by_definition,
    noise,
    preprocess,
    run_script,
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
# What it holds
# ------------------------------------------------------------------------------------------------------------------
def test_rows_tell_where_the_samples_lie(tmp_path: Path) -> None:
    """Native files are read in place, others from their copy; either way the samples are the utterance's."""
    corpus = write_small_corpus(tmp_path)
    native, converted = "id10001/train/00001.wav", "id10001/train/00002.wav"
    stereo = np.repeat(noise(16_000, seed=9)[:, None], 2, axis=1)
    write_audio(corpus / "wav" / converted, stereo)
    index = index_of(corpus)
    for utterance, root, seed in ((native, "wav", 0), (converted, "feature/wav", 9)):
        row = index.row_of(utterance)
        path, offset = index.location(row)
        assert path == corpus / root / utterance
        samples = read_samples(path, offset, 0, int(index.samples[row])) / 32_768
        assert np.abs(samples - noise(16_000, seed)).max() <= 2**-15


def test_index_in_memory(tmp_path: Path) -> None:
    """Parts by the lists, speakers in order, nothing for an utterance that is not there."""
    index = index_of(write_small_corpus(tmp_path))
    assert len(index) == len(SPLIT)
    for number, part in enumerate(("train", "val", "test"), start=1):
        chosen = [index.utterances[row] for row in index.rows("merged", part)]
        assert chosen == [utterance for utterance in sorted(SPLIT) if SPLIT[utterance] == number]
    assert index.speakers("merged") == list(SPEAKERS)
    assert index.speakers("dev") == list(SPEAKERS[:2])  # the others are test speakers
    assert {speaker_of(index.utterances[row]) for row in index.rows("dev", "train")} == set(SPEAKERS[:2])
    assert index.row_of("id10001/gone/00001.wav") is None


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


def test_index_is_small(toy: Path) -> None:
    """Less than 2 % of the corpus, all that preprocessing writes together."""
    written = sum(map(len, snapshot(toy / "feature").values()))
    assert written < 0.02 * sum(map(len, snapshot(toy / "wav").values()))


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


def test_killed_preprocessing_goes_on(tmp_path: Path) -> None:
    """Killed without warning, it leaves no index that looks whole; -s goes on to the same result."""
    corpus = write_small_corpus(tmp_path / "corpus")
    # The last speaker takes longest: resampling is slow to start.
    write_audio(corpus / "wav" / "id10003/train/00001.wav", noise(8_000), rate=8_000)
    preprocess(corpus)
    out_dir = tmp_path / "feature"
    arguments = ["data_preprocess.py", str(corpus), "--out_dir", str(out_dir), "--num_workers", "2"]
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(out_dir.glob("parts/*.npz")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)  # the workers too
    assert process.wait() == -signal.SIGKILL
    assert not (out_dir / "utterances.csv").exists()
    outcome = run_script(*arguments, "-s", check=True)
    assert "taken over from an earlier run" in outcome.stdout
    assert results(out_dir) == results(corpus / "feature")


# ------------------------------------------------------------------------------------------------------------------
# Loading
# ------------------------------------------------------------------------------------------------------------------
def test_index_of_another_version(tmp_path: Path) -> None:
    """It is not guessed at."""
    corpus = write_small_corpus(tmp_path)
    preprocess(corpus)
    path = corpus / "feature" / "utterances.csv"
    path.write_text(path.read_text().replace("gain", "level", 1))
    with pytest.raises(UserError, match=r"utterances\.csv is of another version: run 'python data_preprocess\.py"):
        load_index(corpus, corpus / "feature")


def test_malformed_row(tmp_path: Path) -> None:
    """The line is named."""
    corpus = write_small_corpus(tmp_path)
    preprocess(corpus)
    path = corpus / "feature" / "utterances.csv"
    path.write_text(f"{path.read_text()}id10001/train/00002.wav,data\n")
    with pytest.raises(UserError, match=rf"utterances\.csv, line {len(SPLIT) + 2}: expected utterance,root,file"):
        load_index(corpus, corpus / "feature")


@pytest.mark.parametrize("line", [CHUNK + 1, CHUNK + 2, CHUNK + 50])
@pytest.mark.parametrize(
    ("cell", "value"),
    [("root", "elsewhere"), ("offset", "x"), ("samples", "9" * 20), ("gain", ""), ("merged", "some"), ("dev", "some")],
)
def test_malformed_cell(tmp_path: Path, line: int, cell: str, value: str) -> None:
    """The line is named, wherever it is."""
    write_table(tmp_path, [f"id10001/a/{number:05d}.wav" for number in range(CHUNK + 100)], {(line, cell): value})
    with pytest.raises(UserError, match=rf"utterances\.csv, line {line}: expected utterance,root,file"):
        load_index(tmp_path, tmp_path / "feature")


def test_what_is_no_csv(tmp_path: Path) -> None:
    """A cell without end is no reason for a traceback."""
    write_table(tmp_path, ["id10001/a/00001.wav"])
    with open(tmp_path / "feature" / "utterances.csv", "a") as file:
        file.write("x" * 200_000)
    with pytest.raises(UserError, match=r"utterances\.csv, line 3: expected utterance,root,file"):
        load_index(tmp_path, tmp_path / "feature")


def write_table(folder: Path, utterances: list[str], spoilt: dict[tuple[int, str], str] | None = None) -> None:
    """utterances.csv of utterances that there are not, with other cells at some (line, column)."""
    (folder / "feature").mkdir()
    with open(folder / "feature" / "utterances.csv", "w", newline="", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for line, name in enumerate(utterances, start=2):
            cells = (name, "data", f"wav/{name}", 44, 16_000 + line, 1.5, "train", "", "0123456789abcdef")
            row = dict(zip(COLUMNS, cells, strict=True))
            writer.writerow(row | {cell: value for (number, cell), value in (spoilt or {}).items() if number == line})


ODD_NAMES = [f"id10001/{video}/00001.wav" for video in ('a,"b"', "é", os.fsdecode(b"\xe9\xff"), "long" * 50, "z")]


def test_odd_names(tmp_path: Path) -> None:
    """Commas, quotes, and names that are not valid Unicode: written, read, and found again."""
    rows = [Row(name, "data", f"wav/{name}", 44, 16_000, 1.0, "train", "train") for name in sorted(ODD_NAMES)]
    (tmp_path / "feature").mkdir()
    write_index(tmp_path / "feature", [SpeakerResult(rows=rows)])
    index = load_index(tmp_path, tmp_path / "feature")
    assert list(index.utterances) == sorted(ODD_NAMES)
    for row, name in enumerate(sorted(ODD_NAMES)):
        assert index.utterances[row] == name
        assert index.row_of(name) == row
        assert index.location(row) == (tmp_path / "wav" / name, 44)
    for name in ("", "id10001", "id99999/z/00001.wav", "x" * 1000, "id10001/a/00001.wav", "id10001/z/00001.wa"):
        assert index.row_of(name) is None


@given(order=st.permutations(range(6)), known=st.lists(st.sampled_from("abcdx"), unique=True))
def test_rows_in_any_order(tmp_path_factory: pytest.TempPathFactory, order: list[int], known: list[str]) -> None:
    """Rows are found, and have the classes of their speakers, whether the names are sorted or not."""
    folder = tmp_path_factory.mktemp("table")
    names = [("a/1", "b/1", "b/2", "c/1", "d/1", "d/3")[place] for place in order]
    write_table(folder, names)
    index = load_index(folder, folder / "feature")
    assert [index.row_of(name) for name in names] == list(range(6))
    assert index.row_of("d/2") is None
    assert index.labels(known).tolist() == [known.index(name[0]) if name[0] in known else -1 for name in names]
    assert index.labels(known).dtype == np.int64
    assert index.speakers("merged") == ["a", "b", "c", "d"]
    assert index.speakers("dev") == []


def test_empty_table(tmp_path: Path) -> None:
    """No rows are no error here."""
    write_table(tmp_path, [])
    index = load_index(tmp_path, tmp_path / "feature")
    assert (len(index), index.speakers("merged"), index.row_of("id10001/a/00001.wav")) == (0, [], None)
    assert index.labels(["id10001"]).shape == index.rows("merged", "train").shape == (0,)


def test_statistics_of_nothing(tmp_path: Path) -> None:
    """A sub-directory without a training part has no statistics to normalise by."""
    corpus = write_corpus(tmp_path, dict.fromkeys(SPLIT, 16_000), SPLIT, test_speakers=SPEAKERS)
    preprocess(corpus)
    assert load_statistics(corpus / "feature", "merged")[0].shape == (BINS,)
    with pytest.raises(UserError, match="SUB_DIR dev has no utterance to train on"):
        load_statistics(corpus / "feature", "dev")
    (corpus / "feature" / "stats.npz").unlink()
    with pytest.raises(UserError, match=r"stats\.npz is missing: run data_preprocess\.py again"):
        load_statistics(corpus / "feature", "merged")


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


def test_other_files_beside_the_parts_stay(tmp_path: Path) -> None:
    """Only parts of speakers that are gone are removed."""
    corpus = write_small_corpus(tmp_path)
    parts = corpus / "feature" / "parts"
    (parts / "folder").mkdir(parents=True)
    for name in ("notes.txt", "id10009.npz"):
        (parts / name).touch()
    preprocess(corpus)
    assert (parts / "notes.txt").exists()
    assert not (parts / "id10009.npz").exists()


def test_damaged_statistics(tmp_path: Path) -> None:
    """One line that says what to do."""
    corpus = write_small_corpus(tmp_path)
    preprocess(corpus)
    statistics = corpus / "feature" / "stats.npz"
    whole = statistics.read_bytes()
    for content in (whole[:100], b""):
        statistics.write_bytes(content)
        with pytest.raises(UserError, match=r"stats\.npz is damaged .*data_preprocess\.py"):
            load_statistics(corpus / "feature", "merged")


def test_fingerprint_of_an_index_without_hashes(tmp_path: Path) -> None:
    """What a network was trained with before samples were hashed is known again."""
    index = index_of(write_small_corpus(tmp_path))
    table = (tmp_path / "feature" / "utterances.csv").read_text()
    before = "".join(f"{line.rpartition(',')[0]}\n" for line in table.splitlines())
    assert before.splitlines()[0] == "utterance,root,file,offset,samples,gain,merged,dev"
    assert index.fingerprints() == tuple(hashlib.sha256(text.encode()).hexdigest() for text in (table, before))
    assert index.fingerprints()[0] == index.fingerprint
