"""VoxCeleb's layout: what lies on disk, and which utterance belongs to which part."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_objects.lists import Lists, Speaker, speaker_of, video_of
from data_objects.voxceleb import find_utterances, held_out_videos, parts_of

UTTERANCE = "id10001/video/00001.wav"


# ------------------------------------------------------------------------------------------------------------------
# On disk
# ------------------------------------------------------------------------------------------------------------------
def touch(folder: Path, *names: str) -> None:
    """Make empty files."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("layout", ["wav", "dev/wav", "test/wav"])
def test_utterances_are_found_in_every_layout(tmp_path: Path, layout: str) -> None:
    """Named as in the lists, wherever they lie."""
    touch(tmp_path, f"{layout}/{UTTERANCE}")
    assert find_utterances(tmp_path).files == {UTTERANCE: tmp_path / layout / UTTERANCE}


def test_archives_apart(tmp_path: Path) -> None:
    """dev/wav and test/wav together are one corpus."""
    other = "id10270/video/00001.wav"
    touch(tmp_path, f"dev/wav/{UTTERANCE}", f"test/wav/{other}")
    assert set(find_utterances(tmp_path).files) == {UTTERANCE, other}


def test_other_audio_formats_bear_the_name_of_the_list(tmp_path: Path) -> None:
    """The lists say .wav whatever the file is."""
    touch(tmp_path, "wav/id10001/video/00001.flac", "wav/id10001/video/00002.M4A")
    assert set(find_utterances(tmp_path).files) == {UTTERANCE, UTTERANCE.replace("00001", "00002")}


def test_nothing_on_disk_is_passed_over_in_silence(tmp_path: Path) -> None:
    """Audio in the wrong place and second files of an utterance are listed, other files counted."""
    touch(tmp_path, f"wav/{UTTERANCE}", f"dev/wav/{UTTERANCE}", "wav/id10001/00001.wav", "wav/x/video/00001.wav")
    touch(tmp_path, "wav/id10001/video/notes.txt", "wav/.DS_Store")
    found = find_utterances(tmp_path)
    assert found.files == {UTTERANCE: tmp_path / "wav" / UTTERANCE}
    assert found.duplicates == [tmp_path / "dev/wav" / UTTERANCE]
    assert set(found.misplaced) == {tmp_path / "wav/id10001/00001.wav", tmp_path / "wav/x/video/00001.wav"}
    assert found.ignored == 2


# ------------------------------------------------------------------------------------------------------------------
# Parts
# ------------------------------------------------------------------------------------------------------------------
@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[str], Lists]:
    """Utterances of a few speakers, and lists over them that leave some out."""
    utterances = [
        f"id{10001 + speaker}/video{video}/{number:05d}.wav"
        for speaker in range(draw(st.integers(1, 4)))
        for video in range(draw(st.integers(1, 45)))
        for number in range(draw(st.integers(1, 3)))
    ]
    names = sorted({speaker_of(utterance) for utterance in utterances})
    sets = {name: draw(st.sampled_from(["dev", "test"])) for name in names}
    chosen = draw(st.sets(st.sampled_from(utterances)))
    split = {utterance: draw(st.sampled_from(["train", "val", "test"])) for utterance in sorted(chosen)}
    return utterances, Lists({name: Speaker("f", "UK", sets[name]) for name in names}, split, [])


@given(corpora())
def test_parts(corpus: tuple[list[str], Lists]) -> None:
    """`merged` follows the list; `dev` never holds a test speaker, and trains on no video that it chooses on."""
    utterances, lists = corpus
    parts = parts_of(utterances, lists)
    assert list(parts) == utterances
    assert {name: merged for name, (merged, _) in parts.items() if merged} == lists.split
    dev = {name: part for name, (_, part) in parts.items() if part}
    assert {name for name in utterances if lists.speakers[speaker_of(name)].set == "dev"} == set(dev)
    videos = {part: {video_of(name) for name in dev if dev[name] == part} for part in ("train", "val")}
    assert not videos["train"] & videos["val"]
    assert set(dev.values()) <= {"train", "val"}


@given(corpora(), st.randoms())
def test_held_out_videos(corpus: tuple[list[str], Lists], random) -> None:
    """5 % of a speaker's videos, one at least, none of a single one; the order of the files does not matter."""
    utterances, _ = corpus
    held_out = held_out_videos(utterances)
    for speaker in {speaker_of(utterance) for utterance in utterances}:
        videos = {video_of(utterance) for utterance in utterances if speaker_of(utterance) == speaker}
        expected = max(1, round(0.05 * len(videos))) if len(videos) > 1 else 0
        assert len(videos & held_out) == expected
    shuffled = list(utterances)
    random.shuffle(shuffled)
    assert held_out_videos(shuffled) == held_out
