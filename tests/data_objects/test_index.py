"""The index: what it says of an utterance, and what loading it refuses."""

import csv
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_objects.audio import read_samples
from data_objects.building import write_index
from data_objects.frontend import BINS
from data_objects.index import CHUNK, COLUMNS, Row, load_index, load_statistics
from data_objects.lists import speaker_of
from data_objects.speaker_tasks import SpeakerResult
from tests.helpers import (
    SPEAKERS,
    SPLIT,
    index_of,
    noise,
    preprocess,
    snapshot,
    write_audio,
    write_corpus,
    write_small_corpus,
)
from utils.system.errors import UserError


# ------------------------------------------------------------------------------------------------------------------
# What it says
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


def test_index_is_small(toy: Path) -> None:
    """Less than 2 % of the corpus, all that preprocessing writes together."""
    written = sum(map(len, snapshot(toy / "feature").values()))
    assert written < 0.02 * sum(map(len, snapshot(toy / "wav").values()))


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


def test_fingerprint_of_an_index_without_hashes(tmp_path: Path) -> None:
    """What a network was trained with before samples were hashed is known again."""
    index = index_of(write_small_corpus(tmp_path))
    table = (tmp_path / "feature" / "utterances.csv").read_text()
    before = "".join(f"{line.rpartition(',')[0]}\n" for line in table.splitlines())
    assert before.splitlines()[0] == "utterance,root,file,offset,samples,gain,merged,dev"
    assert index.fingerprints() == tuple(hashlib.sha256(text.encode()).hexdigest() for text in (table, before))
    assert index.fingerprints()[0] == index.fingerprint


# ------------------------------------------------------------------------------------------------------------------
# Statistics
# ------------------------------------------------------------------------------------------------------------------
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
