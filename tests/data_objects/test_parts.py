"""Which utterance belongs to which part."""

from hypothesis import given
from hypothesis import strategies as st

from data_objects.lists import Lists, Speaker, speaker_of, video_of
from data_objects.parts import held_out_videos, parts_of


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
