"""The lists: their three forms, what is wrong with a line, and trials in arrays."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_objects.lists import Speaker, Trial, TrialList, read_meta, read_split, read_trials, speaker_of, video_of
from utils.system.errors import UserError

UTTERANCE = "id10001/video/00001.wav"


def test_names() -> None:
    """Speaker and video of an utterance."""
    assert speaker_of(UTTERANCE) == "id10001"
    assert video_of(UTTERANCE) == "id10001/video"


# ------------------------------------------------------------------------------------------------------------------
# The three forms
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lists_as_they_should_be(tmp_path: Path, newline: str) -> None:
    """The three official forms, with either line end and blank lines."""

    def write(*lines: str) -> Path:
        path = tmp_path / "list"
        path.write_bytes(newline.join([*lines, "", ""]).encode())
        return path

    other = UTTERANCE.replace("video", "other")
    assert read_split(write(f"1 {UTTERANCE}", f"3 {other}")) == {UTTERANCE: "train", other: "test"}
    trials = read_trials(write(f"1 {UTTERANCE} {other}", f"0 {other} {UTTERANCE}"))
    assert list(trials) == [Trial(1, UTTERANCE, other), Trial(0, other, UTTERANCE)]
    header = "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet"
    speakers = read_meta(write(header, "id10001\tA.J._Buckley\tm\tIreland\tdev", "id10270\tEartha_Kitt\tf\tUSA\ttest"))
    assert speakers == {"id10001": Speaker("m", "Ireland", "dev"), "id10270": Speaker("f", "USA", "test")}


def test_lists_that_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As some editors write them: it is no part of the first word."""

    def write(text: str) -> Path:
        (tmp_path / "list").write_text(text, encoding="utf-8-sig")
        return tmp_path / "list"

    other = UTTERANCE.replace("video", "other")
    assert read_split(write(f"1 {UTTERANCE}\n")) == {UTTERANCE: "train"}
    assert len(read_trials(write(f"1 {UTTERANCE} {other}\n0 {other} {UTTERANCE}\n"))) == 2
    header = "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet"
    assert list(read_meta(write(f"{header}\nid10001\tname\tm\tUK\tdev\n"))) == ["id10001"]


@pytest.mark.parametrize("read", [read_split, read_trials, read_meta])
def test_folder_in_place_of_a_list(tmp_path: Path, read) -> None:
    """It is there, so it is not called missing."""
    with pytest.raises(UserError, match=rf"^{tmp_path} is a folder; expected is a list, one line each: "):
        read(tmp_path)


BAD_LISTS = [
    (read_split, f"1 {UTTERANCE}\n\n2 {UTTERANCE}", r"list, line 3: .*twice"),
    (read_split, f"train {UTTERANCE}", r"list, line 1: expected '1\|2\|3 SPEAKER/SESSION/FILE.wav', found 'train id1"),
    (read_split, f"1 {UTTERANCE}\n1 /etc/passwd", r"list, line 2: expected '1\|2\|3 "),
    (read_trials, f"1 {UTTERANCE} {UTTERANCE}\nyes {UTTERANCE} {UTTERANCE}", r"list, line 2: expected '1\|0 "),
    (read_trials, f"1 {UTTERANCE}", r"list, line 1: expected '1\|0 "),
    (read_trials, f"0 {UTTERANCE} {UTTERANCE}", r"list: all trials have label 0"),
    (read_meta, "id10001\tname\tm\tUK\tdev", r"list, line 1: expected 'the header VoxCeleb1 ID<TAB>VGGFace1 ID<TAB>"),
]


@pytest.mark.parametrize(("read", "content", "complaint"), BAD_LISTS)
def test_malformed_list(tmp_path: Path, read, content: str, complaint: str) -> None:
    """File, line, what was expected and what is there."""
    (tmp_path / "list").write_text(content)
    with pytest.raises(UserError, match=complaint):
        read(tmp_path / "list")


@pytest.mark.parametrize("read", [read_meta, read_split, read_trials])
@given(content=st.binary(max_size=200))
def test_garbage_raises_nothing_but_user_errors(tmp_path_factory: pytest.TempPathFactory, read, content: bytes) -> None:
    """And what it raises is one line."""
    path = tmp_path_factory.getbasetemp() / "list"
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        read(path)
    assert len(str(raised.value).splitlines()) == 1


# ------------------------------------------------------------------------------------------------------------------
# Trials in arrays
# ------------------------------------------------------------------------------------------------------------------
NAMES = [
    f"id1000{speaker}/video{video}/0000{number}.wav" for speaker in (1, 2, 3) for video in (1, 2) for number in (1, 2)
]


@st.composite
def trial_lines(draw: st.DrawFn) -> list[Trial]:
    """Trials of both kinds, in any order, some twice."""
    pair = st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES))
    drawn = draw(st.lists(pair, min_size=0, max_size=20))
    trials = [Trial(int(speaker_of(a) == speaker_of(b)), a, b) for a, b in drawn]
    return [Trial(1, NAMES[0], NAMES[1]), *trials, Trial(0, NAMES[0], NAMES[-1])]


@given(trials=trial_lines(), data=st.data())
def test_arrays_hold_what_the_lines_say(
    trials: list[Trial], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Read and written, one by one, and chosen among."""
    path = tmp_path_factory.getbasetemp() / "trials.txt"
    path.write_text("".join(f"{label} {a} {b}\n" for label, a, b in trials))
    arrays = read_trials(path)
    assert list(arrays) == trials
    assert arrays.text() == path.read_text()
    assert arrays.utterances == sorted({name for trial in trials for name in trial[1:]})
    assert arrays.speakers == sorted({speaker_of(name) for name in arrays.utterances})
    pairs = [(arrays.speakers[a], arrays.speakers[b]) for a, b in arrays.speaker_pairs]
    assert pairs == [(speaker_of(a), speaker_of(b)) for _, a, b in trials]
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=len(trials), max_size=len(trials))))
    some = arrays.select(chosen)
    assert list(some) == [trial for trial, wanted in zip(trials, chosen, strict=True) if wanted]
    assert some.utterances == sorted({name for trial in some for name in trial[1:]})


def test_an_empty_choice() -> None:
    """Of no trials at all the arrays are empty, not missing."""
    trials = TrialList.of([(1, NAMES[0], NAMES[1])]).select(np.zeros(1, dtype=bool))
    assert (len(trials), trials.utterances, trials.text()) == (0, [], "")
