"""What speech there is: folders of speakers, manifests, Kaldi data folders."""

import os
from pathlib import Path
from unittest import mock

import pytest

from data_objects.lists import Speaker
from data_objects.sources import find_corpus, find_utterances, read_kaldi, read_manifest
from utils.system.errors import UserError

UTTERANCE = "id10001/video/00001.wav"


def touch(folder: Path, *names: str) -> None:
    """Make empty files, and indexes' tables with their head."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"utterance,root,file,offset" if path.name == "utterances.csv" else b"")


# ------------------------------------------------------------------------------------------------------------------
# Folders of speakers
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("layout", ["wav", "dev/wav", "test/wav", "aac", "dev/aac", "."])
def test_utterances_are_found_in_every_layout(tmp_path: Path, layout: str) -> None:
    """Named by speaker, folders between and file, wherever they lie."""
    touch(tmp_path, f"{layout}/{UTTERANCE}")
    assert find_utterances(tmp_path).files == {UTTERANCE: [tmp_path / layout / UTTERANCE]}


def test_archives_apart(tmp_path: Path) -> None:
    """dev/wav and test/wav together are one corpus."""
    other = "id10270/video/00001.wav"
    touch(tmp_path, f"dev/wav/{UTTERANCE}", f"test/wav/{other}")
    assert set(find_utterances(tmp_path).files) == {UTTERANCE, other}


def test_folders_of_any_depth_and_name(tmp_path: Path) -> None:
    """What lies between the speaker and the file is the session; names are encoded."""
    touch(tmp_path, "Zoë Müller/1.WAV", "Zoë Müller/a/b/2.flac", "p2/x y/3.wav")
    touch(tmp_path, os.fsdecode(b"\xe9/4.wav"))
    assert set(find_utterances(tmp_path).files) == {
        "Zoë%20Müller/1.wav",
        "Zoë%20Müller/a/b/2.wav",
        "p2/x%20y/3.wav",
        "%E9/4.wav",
    }


def test_other_audio_formats_bear_the_name_of_the_list(tmp_path: Path) -> None:
    """The lists say .wav whatever the file is."""
    touch(tmp_path, "wav/id10001/video/00001.flac", "wav/id10001/video/00002.M4A")
    assert set(find_utterances(tmp_path).files) == {UTTERANCE, UTTERANCE.replace("00001", "00002")}


def test_what_can_be_read_as_it_lies_comes_first(tmp_path: Path) -> None:
    """Of one utterance's files, the wav; of two wavs, that of the first layout."""
    stem = UTTERANCE.removesuffix(".wav")
    touch(tmp_path, f"wav/{stem}.m4a", f"wav/{stem}.flac", f"dev/wav/{UTTERANCE}", f"wav/{UTTERANCE}")
    wanted = [f"wav/{UTTERANCE}", f"dev/wav/{UTTERANCE}", f"wav/{stem}.flac", f"wav/{stem}.m4a"]
    assert find_utterances(tmp_path).files[UTTERANCE] == [tmp_path / name for name in wanted]


def test_nothing_on_disk_is_passed_over_in_silence(tmp_path: Path) -> None:
    """Audio outside of speakers' folders is listed, other files counted, folders beside named."""
    touch(tmp_path, f"wav/{UTTERANCE}", "wav/00001.wav", "other/speaker/1.wav", "feature/utterances.csv")
    touch(tmp_path, "wav/id10001/video/notes.txt", "wav/.DS_Store", "wav/id10001/video/._00001.wav")
    found = find_utterances(tmp_path)
    assert set(found.files) == {UTTERANCE}
    assert found.unusable == [(tmp_path / "wav/00001.wav", "not in a speaker's folder")]
    assert found.ignored == 3
    assert [remark for remark in found.remarks if remark.endswith(": other")]


def test_index_and_junk_are_no_speakers(tmp_path: Path) -> None:
    """Neither converted copies of an index, nor what macOS and storage devices leave."""
    touch(tmp_path, "p1/1.wav", "feature/utterances.csv", "feature/wav/p1/1.wav", "__MACOSX/p1/1.wav", "@eaDir/p/1.wav")
    found = find_utterances(tmp_path)
    assert set(found.files) == {"p1/1.wav"}
    assert found.ignored == 2


def test_index_that_was_begun_is_no_speaker(tmp_path: Path) -> None:
    """And a speaker's folder is none because of a table that somebody keeps there."""
    touch(tmp_path, "p1/1.wav", "feature/.autospeech-index", "feature/wav/p1/1.wav", "p2/1.wav")
    (tmp_path / "p2" / "utterances.csv").write_text("file,text\n1.wav,hello\n")
    assert set(find_utterances(tmp_path).files) == {"p1/1.wav", "p2/1.wav"}


def test_links_that_lead_back_up(tmp_path: Path) -> None:
    """They end, directly or by way of each other, and are listed."""
    touch(tmp_path, "p1/a/1.wav", "p2/b/1.wav")
    (tmp_path / "p1/a/up").symlink_to(tmp_path)
    (tmp_path / "p1/a/other").symlink_to(tmp_path / "p2/b")
    (tmp_path / "p2/b/other").symlink_to(tmp_path / "p1/a")
    found = find_utterances(tmp_path)
    assert {"p1/a/1.wav", "p2/b/1.wav", "p1/a/other/1.wav"} <= set(found.files)
    assert len(found.unusable) >= 3
    assert {reason for _, reason in found.unusable} == {"link to a folder that it is in"}


def test_folder_that_cannot_be_read(tmp_path: Path) -> None:
    """It is listed with its reason; the others are found."""
    touch(tmp_path, "p1/1.wav", "p2/1.wav")
    real = os.scandir

    def scandir(folder: Path) -> object:
        if Path(folder).name == "p1":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    with mock.patch.object(os, "scandir", scandir):
        found = find_utterances(tmp_path)
    assert set(found.files) == {"p2/1.wav"}
    assert found.unusable == [(tmp_path / "p1", "folder that cannot be read: Permission denied")]


def test_folder_that_cannot_be_entered(tmp_path: Path) -> None:
    """To ask what is in it is an error, too."""
    touch(tmp_path, "p1/1.wav", "p2/1.wav")
    real = Path.exists

    def exists(path: Path) -> bool:
        if path.parent.name == "p1":
            raise PermissionError(13, "Permission denied")
        return real(path)

    with mock.patch.object(Path, "exists", exists):
        assert set(find_utterances(tmp_path).files) == {"p1/1.wav", "p2/1.wav"}


def test_no_speech_at_all(tmp_path: Path) -> None:
    """One line says what was looked for, and where."""
    touch(tmp_path, "wav/notes.txt")
    with pytest.raises(UserError, match=r"SPEAKER/.../FILE.wav under .*wav"):
        find_corpus(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        find_corpus(tmp_path / "none")


# ------------------------------------------------------------------------------------------------------------------
# Manifests
# ------------------------------------------------------------------------------------------------------------------
def write(path: Path, text: str) -> Path:
    """A file of this text."""
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("mark", ["\t", ",", ";"])
@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["", "BOM"])
def test_manifest(tmp_path: Path, mark: str, start: str) -> None:
    """Columns in any order; what it says of speakers, and parts; paths with quotes, absolute ones."""
    lines = (
        ["Speaker", "path", "session", "gender", "nationality", "set", "part", "note"],
        ["Zoë M", f'"a{mark}b/1.wav"', "s 1", "Female", "UK", "dev", "train", "x"],
        ["Zoë M", "2.wav", "", "", "", "", "", ""],
        ["p2", "/abs/1.wav", "s", "m", "", "test", "test", ""],
    )
    file = write(tmp_path / "m.csv", start + "".join(mark.join(line) + "\r\n" for line in lines))
    found = find_corpus(tmp_path, file)
    assert found.files == {
        "Zoë%20M/s%201/1.wav": [tmp_path / f"a{mark}b/1.wav"],
        "Zoë%20M/2.wav": [tmp_path / "2.wav"],
        "p2/s/1.wav": [Path("/abs/1.wav")],
    }
    assert found.details == {"Zoë%20M": Speaker("f", "UK", "dev"), "p2": Speaker("m", "", "test")}
    assert found.parts == {"Zoë%20M/s%201/1.wav": "train", "Zoë%20M/2.wav": "", "p2/s/1.wav": "test"}
    assert found.remarks == ["columns of m.csv that are not used: note"]


def test_what_is_said_of_speakers_is_tidied(tmp_path: Path) -> None:
    """It goes into lists, tables and pages."""
    file = write(tmp_path / "m.csv", 'path,speaker,gender,nationality\n1.wav,p,=f,"<b>\t=New\n Zealand\x1b"\n')
    assert read_manifest(file, tmp_path).details == {"p": Speaker("f", "b New Zealand", "")}


def test_files_of_one_name(tmp_path: Path) -> None:
    """Where speaker, session and name are the same, the whole path tells them apart."""
    file = write(tmp_path / "m.csv", "path,speaker\na/1.wav,p\nb/1.wav,p\nb/2.wav,p\n")
    assert set(read_manifest(file, tmp_path).files) == {"p/a%2F1.wav", "p/b%2F1.wav", "p/2.wav"}


def test_files_of_one_utterance(tmp_path: Path) -> None:
    """As in folders: the wav before the FLAC beside it, of whose like there is one in another folder."""
    file = write(tmp_path / "m.csv", "path,speaker\na/1.flac,p\n./a/1.wav,p\nb/2.mp3,p\nb/2.WAV,p\nc/2.wav,p\n")
    assert read_manifest(file, tmp_path).files == {
        "p/1.wav": [tmp_path / "a/1.wav", tmp_path / "a/1.flac"],
        "p/b%2F2.wav": [tmp_path / "b/2.WAV", tmp_path / "b/2.mp3"],
        "p/c%2F2.wav": [tmp_path / "c/2.wav"],
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: expected a header"),
        ("file,speaker\n", "line 1: expected a header"),
        ("path,speaker,path\n", "line 1: expected a header"),
        ("path,speaker\n", "lists no file"),
        ("path,speaker\na.wav\n", "line 2: 1 cells where the header has 2"),
        ("path,speaker\na.wav,\n", "line 2: no speaker"),
        ("path,speaker\n ,p\n", "line 2: no path"),
        ("path,speaker\na.wav,p\na.wav,q\n", "line 3: a.wav stands in line 2 already"),
        ("path,speaker\na/b.wav,p\n./a//b.wav,p\n", "line 3: a/b.wav stands in line 2 already"),
        ("path,speaker\n.,p\n", "line 2: '.' is the path of no file"),
        ("path,speaker,part\na.wav,p,val\na.flac,p,test\n", "line 3: p/a.wav is of the part 'val' already"),
        ("path,speaker,set\na.wav,p,train\n", "line 2: set must be dev, test or empty"),
        ("path,speaker,part\na.wav,p,dev\n", "line 2: part must be train, val, test or empty"),
        ("path,speaker,gender\na.wav,p,m\nb.wav,p,f\n", "line 3: the gender of p is f, but was m"),
        ('path,speaker\n"a.wav,p\n', "line 2: "),
        ("path,speaker\na\0.wav,p\n", "line 2: "),
    ],
)
def test_malformed_manifest(tmp_path: Path, text: str, complaint: str) -> None:
    """File and line are named."""
    with pytest.raises(UserError, match=complaint) as caught:
        read_manifest(write(tmp_path / "m.csv", text), tmp_path)
    assert "m.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("path,speaker\na.wav,p\n".encode("utf-16"), "m.csv is text in UTF-16: save it as text in UTF-8"),
        (b"PK\x03\x04\x14\x00", "m.csv is a spreadsheet's own file: save it"),
        ("path,speaker\na.wav,p\nZo\u00eb.wav,p\n".encode("latin-1"), "m.csv, line 3: not UTF-8, and no file has"),
        (b"PATH,speaker\n" + 300 * b"\xeb" + b".wav,p\n", "m.csv, line 2: not UTF-8, and no file has"),
    ],
)
def test_manifest_that_is_no_utf8(tmp_path: Path, content: bytes, complaint: str) -> None:
    """As spreadsheets write them; names on disk may be no UTF-8, where there are such."""
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        read_manifest(tmp_path / "m.csv", tmp_path)
    if content.startswith(b"path"):
        (tmp_path / os.fsdecode(b"Zo\xeb.wav")).touch()
        assert len(read_manifest(tmp_path / "m.csv", tmp_path).files) == 2


def test_no_manifest(tmp_path: Path) -> None:
    """One line."""
    with pytest.raises(UserError, match="cannot be read: No such file"):
        find_corpus(tmp_path, tmp_path / "none.csv")


# ------------------------------------------------------------------------------------------------------------------
# Kaldi
# ------------------------------------------------------------------------------------------------------------------
def write_kaldi(folder: Path, **texts: str) -> Path:
    """A Kaldi data folder; a name's _ is a dot."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        write(folder / name.replace("_", "."), text)
    return folder


def test_kaldi(tmp_path: Path) -> None:
    """By itself, or as a manifest of another folder; paths may have spaces; genders are taken."""
    folder = write_kaldi(
        tmp_path / "data",
        wav_scp="u1 a b/1.wav\nu2 /abs/2.wav\nu3 3.wav\n",
        utt2spk="u1 p1\nu2 p2\n",
        spk2gender="p1 f\n",
    )
    found = find_corpus(folder)
    assert found.files == {"p1/u1.wav": [folder / "a b/1.wav"], "p2/u2.wav": [Path("/abs/2.wav")]}
    assert found.unusable == [(folder / "3.wav", "utterance not in utt2spk")]
    assert found.details == {"p1": Speaker("f", "", "")}
    assert find_corpus(tmp_path, folder).files["p1/u1.wav"] == [tmp_path / "a b/1.wav"]


@pytest.mark.parametrize("gone", ["wav.scp", "utt2spk"])
def test_half_a_kaldi_folder(tmp_path: Path, gone: str) -> None:
    """What is missing is named, and not taken for a folder of speakers."""
    write_kaldi(tmp_path, wav_scp="a 1.wav\n", utt2spk="a p\n")
    (tmp_path / gone).unlink()
    with pytest.raises(UserError, match=f"and no {gone}: a Kaldi data folder has both"):
        find_corpus(tmp_path)


def test_utterances_without_a_file(tmp_path: Path) -> None:
    """They are counted."""
    write_kaldi(tmp_path, wav_scp="a 1.wav\n", utt2spk="a p\nb p\nc p\n")
    assert find_corpus(tmp_path).remarks == ["2 utterances of utt2spk are not in wav.scp"]


def test_commands_are_never_run(tmp_path: Path) -> None:
    """An entry that is a command is refused by name."""
    done = tmp_path / "done"
    folder = write_kaldi(tmp_path / "data", wav_scp=f"u1 touch {done} |\n", utt2spk="u1 p1\n")
    with pytest.raises(UserError, match=r"wav.scp: u1 \(entry 1\) is a command"):
        find_corpus(folder)
    assert not done.exists()


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        ({"wav_scp": "u1\n", "utt2spk": "u1 p1\n"}, "wav.scp, line 1: expected"),
        ({"wav_scp": "u1 a\nu1 b\n", "utt2spk": "u1 p1\n"}, "wav.scp, line 2: u1 stands in the file twice"),
        ({"wav_scp": "u1 a\n", "utt2spk": "u2 p1\n"}, "no utterance of wav.scp is in utt2spk"),
        ({"wav_scp": "u1 a\n", "utt2spk": "u1 p\n", "segments": "s u1 0 1\n"}, "segments of recordings are not read"),
        ({"wav_scp": "u1 a\n"}, "is no Kaldi data folder"),
    ],
)
def test_malformed_kaldi_folder(tmp_path: Path, texts: dict[str, str], complaint: str) -> None:
    """File and line are named."""
    with pytest.raises(UserError, match=complaint):
        read_kaldi(write_kaldi(tmp_path / "data", **texts), tmp_path)
