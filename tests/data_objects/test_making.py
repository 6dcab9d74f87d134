"""The lists that a corpus lacks: made of names alone, fair, and in the official form."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_objects.lists import Speaker, read_meta, read_split, read_trials, speaker_of, video_of
from data_objects.making import (
    MOST_TRIALS,
    choose_test_speakers,
    make_meta,
    make_split,
    make_trials,
    text_of_meta,
    text_of_split,
)
from utils.system.errors import UserError


def utterances(speakers: int, sessions: int, each: int) -> list[str]:
    """Names of as many utterances."""
    return [
        f"p{speaker}/s{session}/{number}.wav"
        for speaker in range(speakers)
        for session in range(sessions)
        for number in range(each)
    ]


def people(names: list[str], test: set[str], genders: str = " ") -> dict[str, Speaker]:
    """Their speakers, with these genders in turn."""
    speakers = sorted({speaker_of(name) for name in names})
    details = {name: Speaker(genders[i % len(genders)].strip(), "", "") for i, name in enumerate(speakers)}
    return make_meta(speakers, details, test)


# ------------------------------------------------------------------------------------------------------------------
# Who is tested on
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("speakers", "count", "chosen"), [(4, None, 2), (20, None, 4), (20, 7, 7)])
def test_test_speakers(speakers: int, count: int | None, chosen: int) -> None:
    """A fifth, two at least, or as many as are asked for; the order of the files does not matter."""
    names = utterances(speakers, 1, 2)
    once = choose_test_speakers(names, count)
    assert len(once) == chosen
    assert choose_test_speakers(names[::-1], count) == once


def test_speakers_of_one_utterance_are_not_tested_on() -> None:
    """They have no target trial."""
    names = [*utterances(10, 1, 1), "a/1.wav", "a/2.wav", "b/1.wav", "b/2.wav"]
    assert choose_test_speakers(names, None) == {"a", "b"}


@pytest.mark.parametrize(("speakers", "each", "count"), [(3, 2, None), (10, 1, None), (10, 2, 9), (10, 2, 1)])
def test_too_few_speakers(speakers: int, each: int, count: int | None) -> None:
    """Two at least are tested on and two trained on; who did not ask for any gets none."""
    names = utterances(speakers, 1, each)
    if count is None:
        assert choose_test_speakers(names, count) == set()
        return
    with pytest.raises(UserError, match=f"of {speakers} speakers"):
        choose_test_speakers(names, count)


# ------------------------------------------------------------------------------------------------------------------
# Parts
# ------------------------------------------------------------------------------------------------------------------
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12), st.integers(0, 30)), min_size=1, unique=True))
def test_split(numbers: list[tuple[int, int, int]]) -> None:
    """Nobody is tested on who is not trained on; sessions are whole where there are three."""
    names = [f"p{speaker}/s{session}/{number}.wav" for speaker, session, number in numbers]
    parts, shared = make_split(names)
    assert set(parts) == set(names)
    assert make_split(names[::-1]) == (parts, shared)
    few = 0
    for speaker in {speaker_of(name) for name in names}:
        own = {name: part for name, part in parts.items() if speaker_of(name) == speaker}
        sessions = {video_of(name) for name in own}
        assert "train" in own.values()
        if len(sessions) >= 3:
            assert set(own.values()) == {"train", "val", "test"}
            assert len({(video_of(name), part) for name, part in own.items()}) == len(sessions)
        else:
            few += len(own) > 1
            assert len(set(own.values())) == min(len(own), 3)
    assert shared == few


def test_shares_of_the_parts() -> None:
    """A tenth of the sessions to validate on, and one to test on."""
    counts = Counter(make_split(utterances(1, 100, 1))[0].values())
    assert counts == {"train": 80, "val": 10, "test": 10}


# ------------------------------------------------------------------------------------------------------------------
# Trials
# ------------------------------------------------------------------------------------------------------------------
def test_trials() -> None:
    """As many of one speaker as of two, of test speakers alone, across sessions, of one gender, none twice."""
    names = utterances(8, 3, 3)
    test = {f"p{number}" for number in range(6)}
    speakers = people(names, test, "mf")
    trials = make_trials(names, speakers)
    assert set(trials.speakers) == test
    assert 2 * sum(trial.label for trial in trials) == len(trials) > 100
    for label, enrolment, other in trials:
        assert label == (speaker_of(enrolment) == speaker_of(other))
        assert video_of(enrolment) != video_of(other)
        assert speakers[speaker_of(enrolment)].gender == speakers[speaker_of(other)].gender
    assert len({frozenset(trial[1:]) for trial in trials}) == len(trials)
    assert make_trials(names[::-1], speakers).text() == trials.text()


def test_trials_where_no_two_speakers_are_of_one_gender() -> None:
    """Then of two genders; within a session, where a speaker has but one."""
    names = utterances(4, 1, 4)
    trials = make_trials(names, people(names, {"p0", "p1"}, "mf"))
    assert Counter(trial.label for trial in trials) == {1: 12, 0: 12}


def test_many_trials() -> None:
    """They are 20,000 at most, even of speakers with thousands of utterances."""
    names = utterances(4, 2, 1500)
    assert len(make_trials(names, people(names, {"p0", "p1"}))) == MOST_TRIALS


def test_no_trials() -> None:
    """Where nobody is tested on."""
    names = utterances(4, 1, 4)
    with pytest.raises(UserError, match="no trials can be made of 0 test speakers"):
        make_trials(names, people(names, set()))


def test_official_form(tmp_path: Path) -> None:
    """What is made is read as the official lists are."""
    names = utterances(5, 3, 2)
    speakers = people(names, {"p0", "p1"}, "mf")
    parts, _ = make_split(names)
    trials = make_trials(names, speakers)
    for name, text in (("meta", text_of_meta(speakers)), ("split", text_of_split(parts)), ("trials", trials.text())):
        (tmp_path / name).write_text(text)
    assert read_meta(tmp_path / "meta") == speakers
    assert read_split(tmp_path / "split") == parts
    assert list(read_trials(tmp_path / "trials")) == list(trials)
