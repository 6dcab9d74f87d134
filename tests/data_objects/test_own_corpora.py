"""A corpus of one's own, from its files to the index: lists that are made, what is added, what is taken over."""

import csv
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_objects.audio import AudioError
from data_objects.corpus import Corpus
from data_objects.datasets import read_frames
from data_objects.index import Index, load_index
from data_objects.lists import find_list, read_lists, read_meta, speaker_of, video_of
from data_objects.preprocessing import preprocess
from tests.helpers import SPEAKERS, SPLIT, index_of, noise, write_audio, write_small_corpus
from tests.networks import settings
from utils.system.errors import UserError

NAMES = ("Zoë Müller", "<script>alert(1)", "=1+1", "new\nline", "\x1b[31mred", os.fsdecode(b"caf\xe9"))


def index(data_dir: Path, **options: object) -> tuple[str, Index]:
    """Index a corpus in this process as data_preprocess.py does; its summary, and the index."""
    arguments = {"out_dir": None, "num_workers": 0, "skip_existing": False} | options
    summary = preprocess(data_dir, **arguments)
    return summary, load_index(data_dir, arguments["out_dir"] or data_dir / "feature")


def speak(folder: Path, speakers: Iterable[str], sessions: int = 3, each: int = 2, seed: int = 0) -> Path:
    """Noise by speakers, in sessions of so many utterances each."""
    for number, speaker in enumerate(speakers):
        for session in range(sessions):
            for place in range(each):
                samples = noise(4_000, seed + 100 * number + 10 * session + place)
                write_audio(folder / speaker / f"s{session}" / f"{place}.wav", samples)
    return folder


def rejected(out_dir: Path) -> dict[str, str]:
    """What was rejected, and why."""
    with open(out_dir / "rejected.csv", newline="") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


def test_index_that_was_begun_is_no_speaker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was killed leaves copies behind; they are not heard as a speaker called `feature`."""
    corpus = speak(tmp_path / "corpus", "abcd")
    write_audio(corpus / "a" / "s0" / "0.wav", noise(8_000, 1), rate=8_000)

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("data_objects.building.write_index", end)
        index(corpus)
    assert list((corpus / "feature" / "wav").rglob("*.wav"))
    assert index(corpus)[1].speakers("merged") == list("abcd")


def test_copies_never_come_over_recordings(tmp_path: Path) -> None:
    """The index's folder is neither the corpus nor above it, and no manifest names a file in it."""
    corpus = speak(tmp_path / "corpus" / "wav", "abcd").parent
    before = write_audio(corpus / "wav" / "a" / "s0" / "0.wav", noise(8_000, 1), rate=8_000).read_bytes()
    for out_dir in (corpus, tmp_path, tmp_path / "corpus" / ".." / "corpus"):
        with pytest.raises(UserError, match=r"--out_dir .* holds the corpus .*a folder of its own"):
            index(corpus, out_dir=out_dir)
    with pytest.raises(UserError, match="holds the corpus"):
        index(speak(tmp_path / "other", "abcd"), out_dir=corpus, added_dirs=[corpus / "wav"])
    (tmp_path / "files.csv").write_text(
        "path,speaker\n" + "".join(f"wav/{x}/s0/{y}.wav,{x}\n" for x in "abcd" for y in "01")
    )
    with pytest.raises(UserError, match=r"0.wav lies in the index's folder"):
        index(corpus, out_dir=corpus / "wav", manifest=tmp_path / "files.csv")
    assert (corpus / "wav" / "a" / "s0" / "0.wav").read_bytes() == before
    assert len(list(tmp_path.rglob("*.wav"))) == 48


# ------------------------------------------------------------------------------------------------------------------
# Lists that are made
# ------------------------------------------------------------------------------------------------------------------
def test_folder_a_speaker_is_all_that_it_takes(tmp_path: Path) -> None:
    """Whatever the names: all three lists are made, agree with the index, and come out the same again."""
    corpus = speak(tmp_path / "corpus", NAMES)
    summary, loaded = index(corpus)
    assert "36 utterances of 6 speakers" in summary
    assert summary.count("made, since the corpus has none") == 3
    assert "VoxCeleb1" not in summary
    assert summary.isprintable() or "\x1b" not in summary
    lists = read_lists(corpus / "feature")
    assert set(lists.split) == set(loaded.utterances)
    assert set(lists.trials.speakers) == {name for name, speaker in lists.speakers.items() if speaker.set == "test"}
    assert len(lists.trials.speakers) == 2
    assert loaded.speakers("merged") == sorted(lists.speakers)
    assert set(loaded.speakers("dev")) == set(lists.speakers) - set(lists.trials.speakers)
    assert all(not set(name) & set("<>=\n\x1b ") for name in loaded.utterances)
    for row in range(len(loaded)):
        assert read_frames(loaded, row, 0, 5).any()
    before = {path.name: path.read_bytes() for path in (corpus / "feature").iterdir() if path.is_file()}
    index(corpus, num_workers=2)
    assert {path.name: path.read_bytes() for path in (corpus / "feature").iterdir() if path.is_file()} == before


def test_table_of_the_index_is_harmless(tmp_path: Path) -> None:
    """No cell of any file begins a formula, or holds a terminal sequence."""
    corpus = speak(tmp_path / "corpus", NAMES)
    (corpus / "=2+2" / "x").mkdir(parents=True)
    (corpus / "=2+2" / "x" / "\x1b[2J.wav").write_bytes(b"no audio")
    index(corpus)
    for name in ("utterances.csv", "rejected.csv", "vox1_meta.csv", "iden_split.txt", "veri_test.txt"):
        text = (corpus / "feature" / name).read_bytes().decode()
        assert "\x1b" not in text
        assert "<" not in text
        assert not any(cell.startswith(("=", "+", "@")) for row in csv.reader(text.splitlines()) for cell in row)


def test_manifest_and_folder_give_the_same_index(tmp_path: Path) -> None:
    """To the byte, lists too."""
    corpus = speak(tmp_path / "corpus", NAMES[:5])
    with open(tmp_path / "files.csv", "w", newline="") as file:
        rows = [(str(path.relative_to(corpus)), *path.parts[-3:-1]) for path in sorted(corpus.rglob("*.wav"))]
        csv.writer(file).writerows([("path", "speaker", "session"), *rows])
    index(corpus)
    index(corpus, out_dir=tmp_path / "other", manifest=tmp_path / "files.csv")
    for name in ("utterances.csv", "stats.npz", "vox1_meta.csv", "iden_split.txt", "veri_test.txt"):
        assert (tmp_path / "other" / name).read_bytes() == (corpus / "feature" / name).read_bytes()


def test_columns_of_a_manifest(tmp_path: Path) -> None:
    """Sets, parts and genders are taken from it."""
    corpus = speak(tmp_path / "corpus", "abcd", sessions=1, each=3)
    lines = [
        f"{name}/s0/{number}.wav,{name},{'f' if name in 'ac' else 'male'},{'test' if name in 'cd' else ''},{part}"
        for name in "abcd"
        for number, part in enumerate(("train", "val", ""))
    ]
    (tmp_path / "files.csv").write_text("\n".join(["path,speaker,gender,set,part", *lines]))
    _, loaded = index(corpus, manifest=tmp_path / "files.csv")
    speakers = read_meta(corpus / "feature" / "vox1_meta.csv")
    assert {name: (of_name.gender, of_name.set) for name, of_name in speakers.items()} == {
        "a": ("f", "dev"),
        "b": ("m", "dev"),
        "c": ("f", "test"),
        "d": ("m", "test"),
    }
    assert [loaded.utterances[row] for row in loaded.rows("merged", "val")] == [f"{name}/1.wav" for name in "abcd"]
    assert len(loaded.rows("merged", "test")) == 0


def test_lists_that_are_there_are_used(tmp_path: Path) -> None:
    """And the missing ones made to fit them; once all are there, none is made any more."""
    corpus = write_small_corpus(tmp_path)
    for name in ("vox1_meta.csv", "iden_split.txt"):
        (corpus / name).rename(tmp_path / f"{name}.away")
    summary, loaded = index(corpus)
    assert summary.count("made, since the corpus has none") == summary.count("VoxCeleb1 comes with one") == 2
    assert set(loaded.speakers("merged")) - set(loaded.speakers("dev")) == set(SPEAKERS[-2:])
    assert find_list(corpus, corpus / "feature", "veri_test.txt") == corpus / "veri_test.txt"
    assert find_list(corpus, corpus / "feature", "iden_split.txt") == corpus / "feature" / "iden_split.txt"
    for name in ("vox1_meta.csv", "iden_split.txt"):
        (tmp_path / f"{name}.away").rename(corpus / name)
    assert "made" not in index(corpus)[0]
    assert [path.name for path in (corpus / "feature").glob("*.txt")] == ["used_lists.txt"]


def test_lists_that_are_made_replace_what_was_made(tmp_path: Path) -> None:
    """And nothing else: a file of a list's name that somebody wrote there, or changed, is never lost."""
    corpus, out_dir = speak(tmp_path / "corpus", "abcd"), tmp_path / "index"
    index(corpus, out_dir=out_dir)
    made = (out_dir / "veri_test.txt").read_bytes()
    speak(corpus, "e", seed=1_000)
    index(corpus, out_dir=out_dir)
    assert "e/s0/0.wav" in (out_dir / "iden_split.txt").read_text()
    for content in (made + b"\n", b"somebody's own"):
        (out_dir / "veri_test.txt").write_bytes(content)
        with pytest.raises(UserError, match=r"veri_test.txt is not as an earlier run made it.* put it into .*corpus"):
            index(corpus, out_dir=out_dir)
        assert (out_dir / "veri_test.txt").read_bytes() == content
    (out_dir / "veri_test.txt").rename(corpus / "veri_test.txt")
    (corpus / "veri_test.txt").write_bytes(made)
    (out_dir / "veri_test.txt").write_bytes(b"somebody's own")
    index(corpus, out_dir=out_dir)
    assert (out_dir / "veri_test.txt").read_bytes() == b"somebody's own"


def test_note_of_made_lists_that_is_damaged(tmp_path: Path) -> None:
    """What is not noted there is not touched."""
    corpus = speak(tmp_path / "corpus", "abcd")
    index(corpus)
    (corpus / "feature" / "made_lists.txt").write_bytes(b"\xff\xfe nothing")
    with pytest.raises(UserError, match=r"made_lists.txt"):
        index(corpus)
    (corpus / "feature" / "made_lists.txt").unlink()
    with pytest.raises(UserError, match="not as an earlier run made it"):
        index(corpus)


def test_lists_against_a_manifest(tmp_path: Path) -> None:
    """What a list says is used; that the manifest says something else is told, and so is who would be trained on."""
    corpus = speak(tmp_path / "corpus", "abcde")
    index(corpus, test_speakers=2)
    tested = read_lists(corpus / "feature").trials.speakers
    for name in ("veri_test.txt", "iden_split.txt"):
        (corpus / "feature" / name).rename(corpus / name)
    others = [name for name in "abcde" if name not in tested][:2]
    lines = [
        f"{name}/s{session}/0.wav,{name},{'test' if name in others else 'dev'},train"
        for name in "abcde"
        for session in "012"
    ]
    (tmp_path / "files.csv").write_text("path,speaker,set,part\n" + "\n".join(lines))
    summary, _ = index(corpus, manifest=tmp_path / "files.csv", out_dir=tmp_path / "index")
    assert f"2 speakers of veri_test.txt ({tested[0]}, ...) are not in the set test" in summary
    assert "iden_split.txt is there: what the manifest says of parts is not used" in summary


def test_test_speakers(tmp_path: Path) -> None:
    """As many as asked for, unless a list says who."""
    corpus = speak(tmp_path / "corpus", "abcdef")
    _, loaded = index(corpus, test_speakers=4)
    assert len(loaded.speakers("dev")) == 2
    (corpus / "feature" / "vox1_meta.csv").rename(corpus / "vox1_meta.csv")
    with pytest.raises(UserError, match=r"--test_speakers: .*vox1_meta.csv says who"):
        index(corpus, test_speakers=3)


def test_few_speakers(tmp_path: Path) -> None:
    """Two are enough to identify; that nobody is tested on is said, and who has no usable file."""
    corpus = speak(tmp_path / "corpus", "ab")
    write_audio(corpus / "Broken" / "s0" / "0.wav", np.zeros(10))
    summary, loaded = index(corpus)
    assert "nobody is tested on: that takes two speakers with two utterances each, and two more" in summary
    assert "no file of 1 speakers can be used: Broken" in summary
    assert "in vox1_meta.csv but without an utterance: 0 of 2 speakers" in summary
    assert len(loaded.rows("merged", "test")) == 4
    assert loaded.speakers("dev") == ["a", "b"]


def test_lists_that_change_after_indexing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They say nothing any more, which is said; a list of trials is read when it is needed."""
    corpus = speak(tmp_path / "corpus", "abcdef")
    index(corpus)
    cfg = settings(corpus)
    Corpus(cfg)
    assert "WARNING" not in capsys.readouterr().err
    text = (corpus / "feature" / "vox1_meta.csv").read_text()
    (corpus / "vox1_meta.csv").write_text(text.replace("\tdev", "\ttest", 1))
    Corpus(cfg)
    assert "vox1_meta.csv is not the list that the index was made by" in capsys.readouterr().err
    index(corpus)
    capsys.readouterr()
    Corpus(cfg)
    assert "WARNING" not in capsys.readouterr().err


def test_two_sessions_a_speaker(tmp_path: Path) -> None:
    """Half of the speech is then set aside, which is said."""
    assert "6 of 6 speakers have two sessions: " in index(speak(tmp_path / "two", "abcdef", sessions=2))[0]
    assert "have two sessions" not in index(speak(tmp_path / "three", "abcdef", sessions=3))[0]


def test_run_that_can_use_nothing_leaves_the_index_of_before(tmp_path: Path) -> None:
    """Whole: what it rejected stands elsewhere, with an example in the line."""
    corpus = speak(tmp_path / "corpus", "abcd")
    index(corpus)
    before = {path.name: path.read_bytes() for path in (corpus / "feature").iterdir() if path.is_file()}
    (tmp_path / "files.csv").write_text("path,speaker\n" + "".join(f"gone/{n}.wav,{n % 5}\n" for n in range(20)))
    with pytest.raises(UserError, match=r"used \(gone/0.wav: cannot be read: .*failed-run.csv.*index of before stays"):
        index(corpus, manifest=tmp_path / "files.csv")
    after = {path.name: path.read_bytes() for path in (corpus / "feature").iterdir() if path.is_file()}
    assert len(after.pop("rejected-by-failed-run.csv").splitlines()) == 21
    assert after == before


def test_silence_is_no_recording(tmp_path: Path) -> None:
    """Two silent files are not one recording under two names; what is added is not held against them."""
    corpus, other = speak(tmp_path / "corpus", "abcdef"), speak(tmp_path / "other", "x", seed=1_000)
    for folder in (*(corpus / name for name in "abcdef"), other / "x"):
        write_audio(folder / "s0" / "0.wav", np.zeros(4_000, np.int16))
    _, loaded = index(corpus, added_dirs=[other])
    assert "x/s0/0.wav" in set(loaded.utterances)
    row = loaded.row_of("a/s0/0.wav")
    assert loaded.audio[row] == b""
    path = corpus / "a" / "s0" / "0.wav"
    change(path, path.read_bytes(), keep_time=False)
    assert not read_frames(loaded, row, 0, 5).any()
    change(path, path.read_bytes()[:-2] + b"\x01\x00", keep_time=False)
    with pytest.raises(UserError, match="other samples than there were"):
        read_frames(load_index(corpus, corpus / "feature"), row, 0, 5)


# ------------------------------------------------------------------------------------------------------------------
# Other corpora to train on
# ------------------------------------------------------------------------------------------------------------------
def test_added_corpus(tmp_path: Path) -> None:
    """All of it is dev; none of it is in merged or tested on."""
    corpus, other = write_small_corpus(tmp_path / "main"), speak(tmp_path / "other", ("x", "y z"), seed=1_000)
    alone = index_of(corpus)
    _, loaded = index(corpus, added_dirs=[other])
    assert loaded.speakers("merged") == alone.speakers("merged")
    assert set(loaded.speakers("dev")) == {*alone.speakers("dev"), "x", "y%20z"}
    names = [loaded.utterances[row] for part in ("train", "val") for row in loaded.rows("dev", part)]
    assert sum(speaker_of(name) == "y%20z" for name in names) == 6
    row = loaded.row_of("y%20z/s1/0.wav")
    assert row is not None
    assert loaded.location(row)[0] == other / "y z" / "s1" / "0.wav"
    assert read_frames(loaded, row, 0, 5).any()


def test_added_by_a_manifest(tmp_path: Path) -> None:
    """Its paths are relative to its own folder; how much of each is said."""
    corpus, other = write_small_corpus(tmp_path / "main"), speak(tmp_path / "other", "xy", seed=1_000)
    (other / "files.csv").write_text("path,speaker\nx/s0/0.wav,somebody\n")
    summary, loaded = index(corpus, added_dirs=[other / "files.csv", other])
    assert loaded.row_of("somebody/0.wav") is not None
    assert f"added from {other / 'files.csv'}: 1 utterances of 1 speakers" in summary
    assert f"added from {other}: 12 utterances of 2 speakers" in summary


def test_nothing_that_is_tested_on_is_added(tmp_path: Path) -> None:
    """A test speaker's name, a recording that is tested on, an utterance's name that is taken: left out by name."""
    corpus, other = write_small_corpus(tmp_path / "main"), speak(tmp_path / "other", ("x", SPEAKERS[-1]), seed=1_000)
    shutil.copy(corpus / "wav" / SPEAKERS[-1] / "train/00001.wav", other / "x" / "stolen.wav")
    shutil.copytree(corpus / "wav" / SPEAKERS[0] / "train", other / SPEAKERS[0] / "train")
    _, loaded = index(corpus, added_dirs=[other])
    reasons = rejected(corpus / "feature")
    assert reasons[str(other / "x" / "stolen.wav")] == "a recording that is tested on, under another name"
    assert reasons[str(other / SPEAKERS[-1] / "s0" / "0.wav")] == "speaker that is tested on"
    assert reasons[str(other / SPEAKERS[0] / "train" / "00001.wav")] == "a second file of an utterance"
    assert len(reasons) == 8
    assert SPEAKERS[-1] not in loaded.speakers("dev")
    again, _ = index(corpus, added_dirs=[other], skip_existing=True)
    assert "taken over from an earlier run: 5 speakers" in again


def test_speaker_in_both(tmp_path: Path) -> None:
    """More utterances of a dev speaker join the others, in the index and in the statistics."""
    corpus, other = write_small_corpus(tmp_path / "main"), speak(tmp_path / "other", SPEAKERS[:1], seed=1_000)
    _, loaded = index(corpus, added_dirs=[other])
    names = [loaded.utterances[row] for part in ("train", "val") for row in loaded.rows("dev", part)]
    assert sum(speaker_of(name) == SPEAKERS[0] for name in names) == 3 + 6
    with np.load(corpus / "feature" / "stats.npz") as file:
        assert file["dev_speaker_frames"].sum() == file["dev_frames"]
        assert len(set(file["dev_speakers"].tolist())) == len(file["dev_speakers"])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_speaker_in_two_added_corpora(tmp_path: Path, num_workers: int) -> None:
    """Each keeps its files; a session goes to one part as a whole; what could not be looked into is told of each."""
    corpus = write_small_corpus(tmp_path / "main")
    one, two = (
        speak(tmp_path / name / "wav", "x", sessions=3, each=1, seed=seed) for name, seed in (("1", 0), ("2", 50))
    )
    for path in sorted(two.rglob("*.wav")):
        path.rename(path.with_name("other.wav"))
    (one.parent / "beside" / "y").mkdir(parents=True)
    summary, loaded = index(corpus, added_dirs=[one.parent, two.parent], num_workers=num_workers)
    names = [name for name in loaded.utterances if name.startswith("x/")]
    assert sorted(names) == sorted(f"x/s{session}/{name}.wav" for session in range(3) for name in ("0", "other"))
    parts = {part: {video_of(loaded.utterances[row]) for row in loaded.rows("dev", part)} for part in ("train", "val")}
    assert [len({name for name in videos if name.startswith("x/")}) for videos in parts.values()] == [2, 1]
    assert not parts["train"] & parts["val"]
    assert f"{one.parent}: folders beside" in summary
    again, _ = index(corpus, added_dirs=[one.parent, two.parent], skip_existing=True)
    assert "taken over from an earlier run: 6 speakers" in again


def test_copy_of_what_is_tested_on_does_not_stay(tmp_path: Path) -> None:
    """It was made before anybody could know."""
    corpus, other = write_small_corpus(tmp_path / "main"), speak(tmp_path / "other", "x", seed=1_000)
    samples, _ = soundfile.read(corpus / "wav" / SPEAKERS[-1] / "train/00001.wav", dtype="int16")
    soundfile.write(other / "x" / "stolen.flac", samples, 16_000)
    index(corpus, added_dirs=[other])
    assert "recording that is tested on" in rejected(corpus / "feature")[str(other / "x" / "stolen.flac")]
    assert not list((corpus / "feature").rglob("stolen*"))


# ------------------------------------------------------------------------------------------------------------------
# Files that come in two, that fail, that change
# ------------------------------------------------------------------------------------------------------------------
def test_another_file_stands_in_for_a_broken_one(tmp_path: Path) -> None:
    """The wav is preferred; where it is broken, the flac beside it is read. Both are accounted for."""
    corpus = speak(tmp_path / "corpus", "abcd", sessions=1)
    for name in "ab":
        soundfile.write(corpus / name / "s0" / "0.flac", noise(4_000, 7), 16_000)
    (corpus / "b" / "s0" / "0.wav").write_bytes(b"RIFF")
    _, loaded = index(corpus)
    assert len(loaded) == 8
    assert rejected(corpus / "feature")["a/s0/0.flac"] == "a second file of an utterance"
    assert "a second file" not in rejected(corpus / "feature")["b/s0/0.wav"]
    row = loaded.row_of("b/s0/0.wav")
    assert row is not None
    assert loaded.location(row)[0].is_relative_to(corpus / "feature")


def test_one_broken_file_does_not_undo_the_others(tmp_path: Path) -> None:
    """What was rejected is tried again, the rest of the speaker taken over; once it can be read, all is done anew."""
    corpus = speak(tmp_path / "corpus", "abcd")
    sound = (corpus / "a" / "s0" / "0.wav").read_bytes()
    (corpus / "a" / "s0" / "0.wav").write_bytes(b"RIFF")
    (corpus / "a" / "s0" / "._0.wav").write_bytes(b"left by macOS")
    summary, _ = index(corpus)
    assert "rejected: 1" in summary
    summary, _ = index(corpus, skip_existing=True)
    assert "taken over from an earlier run: 4 speakers" in summary
    (corpus / "a" / "s0" / "0.wav").write_bytes(sound)
    summary, loaded = index(corpus, skip_existing=True)
    assert "taken over from an earlier run: 3 speakers" in summary
    assert len(loaded) == 24


def test_damaged_copy_is_made_again(tmp_path: Path) -> None:
    """By -s, too: a machine that lost power may leave a copy cut."""
    corpus = speak(tmp_path / "corpus", "abcd")
    write_audio(corpus / "a" / "s0" / "0.wav", noise(8_000), rate=8_000)
    index(corpus)
    copy = corpus / "feature" / "wav" / "a" / "s0" / "0.wav"
    whole = copy.read_bytes()
    copy.write_bytes(whole[:5_000])
    summary, loaded = index(corpus, skip_existing=True)
    assert "taken over from an earlier run: 3 speakers" in summary
    assert copy.read_bytes() == whole
    assert read_frames(loaded, loaded.row_of("a/s0/0.wav"), 0, 5).any()


def test_folder_that_is_called_like_a_file(tmp_path: Path) -> None:
    """Copies of both have their places."""
    corpus = speak(tmp_path / "corpus", "abcd")
    for name in ("b.wav", "b.wav/c.wav", "b.wav/b.wav/c.wav"):
        write_audio((corpus / "a" / name).with_suffix(".flac"), noise(4_000))
    _, loaded = index(corpus)
    rows = loaded.rows_of(["a/b.wav", "a/b.wav/c.wav", "a/b.wav/b.wav/c.wav"])
    assert len({loaded.location(row)[0] for row in rows}) == 3
    assert all(read_frames(loaded, row, 0, 5).any() for row in rows)


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    """To themselves or to nothing: each is listed, and the rest used."""
    corpus = speak(tmp_path / "corpus", "abcd")
    (corpus / "a" / "itself.wav").symlink_to(corpus / "a" / "itself.wav")
    (corpus / "b" / "nothing.wav").symlink_to(tmp_path / "nothing")
    _, loaded = index(corpus)
    assert len(loaded) == 24
    assert set(rejected(corpus / "feature")) == {"a/itself.wav", "b/nothing.wav"}


def change(path: Path, content: bytes, keep_time: bool) -> None:
    """Other content, and another time unless it is kept."""
    status = path.stat()
    path.write_bytes(content)
    later = 0 if keep_time else 10**9
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + later))


@pytest.mark.parametrize("keep_time", [False, True])
def test_file_that_has_grown(tmp_path: Path, keep_time: bool) -> None:
    """Samples at the end, or a chunk before them: it is no longer read at the place of before."""
    loaded = index_of(write_small_corpus(tmp_path))
    path, _ = loaded.location(0)
    content = path.read_bytes()
    assert read_frames(loaded, 0, 0, 5).any()
    chunk = b"LIST" + (26).to_bytes(4, "little") + b"INFO" + bytes(22)
    for grown in (content + bytes(2), content[:12] + chunk + content[12:]):
        change(path, grown, keep_time)
        with pytest.raises(UserError, match=r"is not as it was indexed \(\d+ bytes where \d+ were\).*again"):
            read_frames(loaded, 0, 0, 5)


def test_file_of_the_same_size(tmp_path: Path) -> None:
    """A copy with another time is read as before; other samples, or samples elsewhere in the file, are not."""
    loaded = index_of(write_small_corpus(tmp_path))
    path, offset = loaded.location(0)
    content = path.read_bytes()
    change(path, content, keep_time=False)
    assert read_frames(loaded, 0, 0, 5).any()
    change(path, content[:offset] + content[offset + 2 :] + content[:2], keep_time=False)
    with pytest.raises(UserError, match=r"is not as it was indexed \(other samples than there were\)"):
        read_frames(load_index(tmp_path, tmp_path / "feature"), 0, 0, 5)


def test_index_of_before_files_were_looked_at(tmp_path: Path) -> None:
    """Without files.npz, or with another index's, nothing is held against it; a damaged one is named."""
    corpus = write_small_corpus(tmp_path)
    index_of(corpus)
    states = corpus / "feature" / "files.npz"
    table = corpus / "feature" / "utterances.csv"
    table.write_text(table.read_text().replace("train", "val"))
    loaded = load_index(corpus, corpus / "feature")
    loaded.check(0, os.stat(tmp_path))
    states.unlink()
    load_index(corpus, corpus / "feature").check(0, os.stat(tmp_path))
    states.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"files\.npz is damaged"):
        load_index(corpus, corpus / "feature")


def test_check_names_what_is_wrong(tmp_path: Path) -> None:
    """The size is held against what was indexed."""
    loaded = index_of(write_small_corpus(tmp_path))
    assert len(loaded) == len(SPLIT)
    with pytest.raises(AudioError, match="bytes where"):
        loaded.check(0, os.stat(tmp_path))
