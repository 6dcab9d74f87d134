"""Lists of trials that are known, and the trials of held-out speakers."""

import hashlib
import shutil
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_objects.index import Index
from data_objects.lists import META, META_COLUMNS, Speaker, TrialList, speaker_of, video_of
from data_objects.trials import (
    OFFICIAL,
    VOXCELEB1,
    NumberedPairs,
    build_validation_trials,
    choose_validation_speakers,
    claims_to_be_voxceleb1,
    count_sessions,
    draw_alike,
    draw_targets,
    even_shares,
    find_doubtful,
    identify_list,
    kinds_of,
    pairs_of_one,
)
from tests.helpers import index_of, write_audio, write_corpus


# ------------------------------------------------------------------------------------------------------------------
# Lists that are known
# ------------------------------------------------------------------------------------------------------------------
def test_official_numbers() -> None:
    """Of the lists' authors."""
    expected = [37_720, 37_611, 581_480, 579_818, 552_536, 550_894]
    assert [number for _, number in OFFICIAL.values()] == expected


@pytest.mark.parametrize(
    ("name", "trials", "title"),
    [
        ("veri_test.txt", 37_720, "Vox1-O"),
        ("veri_test2.txt", 37_611, "Vox1-O, cleaned"),
        ("list_test_all.txt", 581_480, "Vox1-E"),
        ("list_test_all2.txt", 579_818, "Vox1-E, cleaned"),
        ("list_test_hard.txt", 552_536, "Vox1-H"),
        ("list_test_hard2.txt", 550_894, "Vox1-H, cleaned"),
        ("vox1_O_cleaned.txt", 37_611, "Vox1-O, cleaned"),
        ("Vox1-E.txt", 581_480, "Vox1-E"),
        ("VoxCeleb1-H-clean.txt", 550_894, "Vox1-H, cleaned"),
    ],
)
def test_official_lists_by_name(name: str, trials: int, title: str) -> None:
    """With the right number no warning; with another one, it is named and both numbers are told."""
    assert identify_list(name, trials) == (title, "")
    same, warning = identify_list(name, trials - 1)
    assert same == title
    for part in (name, title, f"{trials:,}", f"{trials - 1:,}"):
        assert part in warning


@pytest.mark.parametrize("name", ["trials.txt", "validation_trials.txt", "veri_test3.txt", "vox2_test.txt", "veri"])
def test_other_lists(name: str) -> None:
    """Nothing is known of them."""
    assert identify_list(name, 100) == ("", "")


META_HEADER = "\t".join(META_COLUMNS)


def test_corpus_that_claims_to_be_voxceleb1(tmp_path: Path) -> None:
    """By the speakers of its vox1_meta.csv, whatever audio there is; by its own, where there is no such file."""

    def claims(listed: Sequence[int] | None, own: Sequence[int]) -> bool:
        meta = tmp_path / META
        meta.unlink(missing_ok=True)
        if listed is not None:
            lines = [f"id{number}\tname\tf\tUK\tdev" for number in listed]
            meta.write_text("\n".join([META_HEADER, *lines]))
        utterances = [f"id{number}/a/00001.wav" for number in own]
        return claims_to_be_voxceleb1(SimpleNamespace(data_dir=tmp_path, utterances=utterances))

    every = range(10_001, 11_252)
    assert len(VOXCELEB1) == 1_251
    assert claims(every, [10_270])
    assert claims([*every, 20_000], [10_270])
    assert claims(None, every)
    assert not claims(every[:-1], every)
    assert not claims(None, every[1:])
    assert not claims([10_001, 10_002, 10_003], [10_001])


# ------------------------------------------------------------------------------------------------------------------
# Trials that say less than they seem to
# ------------------------------------------------------------------------------------------------------------------
def doubtful_places(trials: TrialList, index: Index) -> dict[str, list[int]]:
    """The places of the doubtful trials, by kind."""
    found = find_doubtful(trials, index, index.rows_of(trials.utterances))
    return {kind: np.flatnonzero(which).tolist() for kind, which in found.items()}


def test_doubtful_trials(tmp_path: Path) -> None:
    """Repeated, also with the sides swapped or under another name; one recording on both sides; silence."""
    names = [f"id1000{speaker}/{video}/00001.wav" for speaker in (1, 2) for video in "abcd"]
    a, b, c, d, e, f, g, _ = names
    folder = write_corpus(tmp_path, dict.fromkeys(names, 800))
    for original, copy in ((a, b), (a, f)):  # under two names of one speaker, and under the name of another
        shutil.copy(folder / "wav" / original, folder / "wav" / copy)
    write_audio(folder / "wav" / g, np.zeros(800, dtype=np.float32))
    index = index_of(folder)
    lines = [(1, a, c), (1, c, a), (1, b, c), (1, a, a), (1, a, b), (0, a, f), (0, d, e), (0, d, g), (1, a, c)]
    assert doubtful_places(TrialList.of(lines), index) == {
        "repeated": [1, 2, 4, 5, 8],
        "same_utterance": [3],
        "same_recording": [4, 5],
        "contradicted": [5],
        "silent": [7],
    }
    assert not any(doubtful_places(TrialList.of([(1, a, c), (0, d, e), (0, a, e)]), index).values())
    (index.feature_dir / "silent.csv").unlink()  # of before there was one
    assert doubtful_places(TrialList.of(lines), index)["silent"] == []


def test_doubtful_trials_without_hashes() -> None:
    """Of recordings that nothing is known of, no two are the same."""
    trials = TrialList.of([(1, "a/a/1", "a/a/2"), (1, "a/a/2", "a/a/1"), (0, "a/a/1", "b/b/3")])
    index = SimpleNamespace(audio=np.array([b"", b"", b""]), feature_dir=Path("/nowhere"))
    found = find_doubtful(trials, index, np.arange(3))
    assert {kind: which.tolist() for kind, which in found.items() if which.any()} == {"repeated": [False, True, False]}


def test_doubtful_trials_of_a_long_list() -> None:
    """All repeats among Vox1-E's size are counted."""
    generator = np.random.default_rng(0)
    names = [f"id{number // 100:05d}/a/{number:06d}.wav" for number in range(145_000)]
    sides = generator.integers(len(names), size=(2, 581_480)).astype(np.int32)
    trials = TrialList(generator.integers(2, size=581_480).astype(np.int8), *sides, names)
    audio = np.array([f"{number:016x}".encode() for number in range(len(names))])
    index = SimpleNamespace(audio=audio, feature_dir=Path("/nowhere"))
    found = find_doubtful(trials, index, np.arange(len(names)))
    codes = sorted(zip(*np.sort(sides, axis=0).tolist(), strict=True))
    assert found["repeated"].sum() == len(codes) - len(set(codes))


# ------------------------------------------------------------------------------------------------------------------
# Held-out speakers
# ------------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Ten speakers, the last two of them test speakers, with 1 to 10 utterances in videos of two."""
    lengths = {
        f"id100{speaker:02d}/video{number // 2}/{number % 2:05d}.wav": 800
        for speaker in range(1, 11)
        for number in range(speaker)
    }
    return index_of(write_corpus(tmp_path_factory.mktemp("corpus"), lengths, test_speakers=["id10009", "id10010"]))


def test_held_out_speakers(index: Index) -> None:
    """Drawn by the seed from the dev speakers that have two utterances; a quarter of all, by default."""
    every = {tuple(choose_validation_speakers(index, -1, seed)) for seed in range(20)}
    assert {len(speakers) for speakers in every} == {2}
    assert len(every) > 5
    seen = {speaker for speakers in every for speaker in speakers}
    assert seen <= {f"id100{speaker:02d}" for speaker in range(2, 9)}
    assert choose_validation_speakers(index, 3, 1) == choose_validation_speakers(index, 3, 1)
    assert choose_validation_speakers(index, 0, 1) == []
    assert len(choose_validation_speakers(index, 6, 1)) == 6


def test_too_many_to_hold_out(index: Index) -> None:
    """Two at least stay to be trained on."""
    with pytest.raises(ValueError, match="8 dev speakers, 7 of them"):
        choose_validation_speakers(index, 7, 0)


def test_few_speakers_hold_none_out(tmp_path: Path) -> None:
    """Seven speakers: a quarter would be one, who has nobody to be told from."""
    lengths = {f"id1000{speaker}/video/0000{number}.wav": 800 for speaker in range(1, 8) for number in (1, 2)}
    assert choose_validation_speakers(index_of(write_corpus(tmp_path, lengths)), -1, 0) == []


def test_nobody_to_hold_out(tmp_path: Path) -> None:
    """A corpus of test speakers alone, to evaluate on; and one of speakers with one utterance each."""
    lengths = {f"id100{speaker:02d}/video/00001.wav": 800 for speaker in range(1, 13)}
    for name, test_speakers in (("one", [name.split("/")[0] for name in lengths]), ("two", [])):
        index = index_of(write_corpus(tmp_path / name, lengths, test_speakers=test_speakers))
        assert choose_validation_speakers(index, -1, 0) == choose_validation_speakers(index, 0, 0) == []


@pytest.mark.parametrize("count", [20, 40, 10_000])
def test_trials_of_held_out_speakers(index: Index, count: int) -> None:
    """Half of the same speaker and of two videos, half of different ones, each once, all by these speakers alone."""
    speakers = ["id10004", "id10007", "id10008"]
    trials = build_validation_trials(index, speakers, count, seed=0)
    kinds = Counter(trials.labels.tolist())
    assert kinds[1] == kinds[0] <= count // 2
    assert kinds[1] == min(count // 2, 4 + 18 + 24)  # the pairs of utterances in two videos
    assert len(set(trials)) == len(trials)
    assert len({frozenset(trial[1:]) for trial in trials}) == len(trials)
    assert set(trials.speakers) == set(speakers)
    for label, enrolment, test in trials:
        assert label == (speaker_of(enrolment) == speaker_of(test))
        assert video_of(enrolment) != video_of(test)
    of_speaker = Counter(speaker_of(trial.enrolment) for trial in trials if trial.label)
    assert max(of_speaker.values()) - min(of_speaker.values()) <= 1 or min(of_speaker.values()) == 4


def test_trials_depend_on_the_seed(index: Index) -> None:
    """And on nothing else."""
    speakers = ["id10004", "id10007", "id10008"]
    one, again, other = (build_validation_trials(index, speakers, 40, seed).text() for seed in (0, 0, 1))
    assert one == again != other


# ------------------------------------------------------------------------------------------------------------------
# Hard trials
# ------------------------------------------------------------------------------------------------------------------
def index_of_names(names: Sequence[str]) -> SimpleNamespace:
    """An index that has utterances of `dev` speakers to train on, and no audio."""
    rows = {"train": np.arange(len(names)), "val": np.zeros(0, dtype=np.int64)}
    return SimpleNamespace(utterances=names, rows=lambda sub_dir, part: rows[part])


MIXED = index_of_names(  # 12 speakers, every third of whom has three sessions; two utterances in each
    [
        f"s{speaker:02d}/v{session}/{number}.wav"
        for speaker in range(12)
        for session in range(3 if speaker % 3 == 0 else 1)
        for number in range(2)
    ]
)
SEVERAL = {"s00", "s03", "s06", "s09"}


def test_speakers_of_several_sessions_are_held_out_first() -> None:
    """In the order that the seed draws: those with several sessions, then the others."""
    assert {name for name, sessions in count_sessions(MIXED).items() if sessions > 1} == SEVERAL
    for seed in range(5):
        order = [f"s{place:02d}" for place in np.random.default_rng((seed, 12)).permutation(12)]
        hard_order = [name for name in order if name in SEVERAL] + [name for name in order if name not in SEVERAL]
        for count in (2, 4, 7, 10):
            assert choose_validation_speakers(MIXED, count, seed) == sorted(order[:count])
            chosen = choose_validation_speakers(MIXED, count, seed, several_first=True)
            assert chosen == sorted(hard_order[:count])


def test_kinds_of_speakers() -> None:
    """Gender and nationality where five share both, else gender; who would be alone is of his gender's commonest."""
    people = {f"a{number}": Speaker("m", "USA", "dev") for number in range(5)}
    people |= {f"b{number}": Speaker("f", "USA", "dev") for number in range(4)}  # too few for a nationality
    people |= {"c0": Speaker("m", "India", "dev"), "d0": Speaker("f", "India", "dev"), "e0": Speaker("-", "-", "dev")}
    kinds = kinds_of([*people, "nobody"], people)
    assert kinds == {
        **dict.fromkeys(["a0", "a1", "a2", "a3", "a4", "c0"], "m USA"),
        **dict.fromkeys(["b0", "b1", "b2", "b3", "d0"], "f"),
        **dict.fromkeys(["e0", "nobody"], ""),
    }
    assert kinds_of(["c0", "d0"], people) == {"c0": "m", "d0": "f"}


@given(st.lists(st.tuples(st.sampled_from(["m", "f", ""]), st.sampled_from(["USA", "UK", ""])), max_size=30))
def test_nobody_is_alone_who_need_not_be(pairs: list[tuple[str, str]]) -> None:
    """Whoever shares a gender is of a kind with somebody, and with nobody of another gender."""
    people = {f"s{number:02d}": Speaker(*pair, "dev") for number, pair in enumerate(pairs)}
    kinds = kinds_of(people, people)
    genders = Counter(person.gender for person in people.values())
    for name, kind in kinds.items():
        others = [other for other in people if other != name and kinds[other] == kind]
        assert all(people[other].gender == people[name].gender for other in others)
        assert bool(others) == (genders[people[name].gender] > 1)


def test_hard_trials() -> None:
    """Target trials as without, across sessions where there are several; non-targets of one kind, none twice."""
    speakers = [f"s{number:02d}" for number in range(6)]
    kinds = dict(zip(speakers, "mmmffx", strict=True))
    random, hard = (build_validation_trials(MIXED, speakers, 60, 3, own) for own in (None, kinds))
    targets = [[trial for trial in trials if trial.label] for trials in (random, hard)]
    assert targets[0] == targets[1]
    others = [trial for trial in hard if not trial.label]
    assert len({frozenset(trial[1:]) for trial in others}) == len(others) > 10
    pairs = {(speaker_of(trial.enrolment), speaker_of(trial.test)) for trial in others}
    assert {kinds[one] == kinds[other] for one, other in pairs} == {True}
    assert {speaker for pair in pairs for speaker in pair} == set(speakers) - {"s05"}  # who has nobody like him
    assert any(
        kinds[speaker_of(trial.enrolment)] != kinds[speaker_of(trial.test)] for trial in random if not trial.label
    )
    again, other = (build_validation_trials(MIXED, speakers, 60, seed, kinds).text() for seed in (3, 4))
    assert hard.text() == again != other


def test_hard_trials_where_no_two_speakers_are_alike() -> None:
    """Then of any two, as the others are."""
    speakers = ["s00", "s01", "s02"]
    apart = dict(zip(speakers, "mfx", strict=True))
    random, hard = (build_validation_trials(MIXED, speakers, 20, 0, kinds) for kinds in (None, apart))
    assert hard.text() == random.text()


def test_shares_of_the_kinds() -> None:
    """As many pairs of a kind as it has of the utterances of those kinds that can be paired."""
    utterances = {f"s{number}": [f"s{number}/a/{place}.wav" for place in range(20)] for number in range(6)}
    kinds = {f"s{number}": kind for number, kind in enumerate("mmmffx")}
    pairs = draw_alike(utterances, kinds, 100, np.random.default_rng(0))
    assert Counter(kinds[speaker_of(pair[0])] for pair in pairs) == {"m": 60, "f": 40}


# ------------------------------------------------------------------------------------------------------------------
# Speakers with many utterances
# ------------------------------------------------------------------------------------------------------------------
MANY = {  # videos and utterances of each; how many pairs are of two videos, or of one where there is but one
    "two long videos": ([300, 400], 120_000),
    "a long one and a short one": ([700, 2], 1_400),
    "many short ones": ([2] * 350, 700 * 699 // 2 - 350),
    "a single one": ([700], 700 * 699 // 2),
}


@pytest.mark.parametrize(("videos", "possible"), MANY.values(), ids=MANY)
@pytest.mark.parametrize("count", [1, 1_000, 10**6])
def test_pairs_of_a_speaker_with_many_utterances(videos: list[int], possible: int, count: int) -> None:
    """As many as are needed or possible, each once and of two videos; drawn by chance, from all."""
    names = [f"id10001/{video:03d}/{number:05d}.wav" for video, size in enumerate(videos) for number in range(size)]
    numbered = NumberedPairs(names)
    assert numbered.count == possible
    count = min(count, possible)
    pairs = numbered.draw(count, np.random.default_rng(0))
    assert len(pairs) == len(set(pairs)) == count
    assert all(first < second for first, second in pairs)
    assert all(video_of(first) != video_of(second) for first, second in pairs) == (len(videos) > 1)
    again, other = (NumberedPairs(names).draw(count, np.random.default_rng(seed)) for seed in (0, 1))
    assert pairs == again != other


@pytest.mark.parametrize("videos", [[5, 3, 1], [6]])
def test_pairs_are_the_same_set_either_way(videos: list[int]) -> None:
    """Whether all are listed or drawn by their numbers."""
    names = [f"id10001/{video}/{number}.wav" for video, size in enumerate(videos) for number in range(size)]
    listed = pairs_of_one(names, np.random.default_rng(0))
    numbered = NumberedPairs(names)
    assert sorted(numbered.draw(numbered.count, np.random.default_rng(0))) == sorted(listed)


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(0, 500))
def test_even_shares(sizes: list[int], count: int) -> None:
    """All that is asked for, if it is there; of nobody more than he has, and of nobody less without need."""
    shares = even_shares(np.array(sizes), count)
    assert shares.sum() == min(count, sum(sizes))
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    level = max(shares)
    assert all(share in (size, level, level - 1) for share, size in zip(shares, sizes, strict=True))


def test_targets_of_many_speakers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As even and as fair where they are drawn by number."""
    utterances = {
        f"s{speaker}": sorted(f"s{speaker}/v{number % 3}/{number}.wav" for number in range(2 + speaker))
        for speaker in range(20)
    }
    listed = draw_targets(utterances, 100, np.random.default_rng(0))
    monkeypatch.setattr("data_objects.trials.MOST_PAIRS", 0)
    drawn = draw_targets(utterances, 100, np.random.default_rng(0))
    for pairs in (listed, drawn):
        assert len(set(pairs)) == len(pairs) == 100
        assert all(video_of(one) != video_of(other) and one < other for one, other in pairs)
    counts = [sorted(Counter(speaker_of(one) for one, _ in pairs).values()) for pairs in (listed, drawn)]
    assert counts[0] == counts[1]


def test_drawing_takes_no_room() -> None:
    """A speaker of 10,000 utterances has 50 million pairs: none but those needed are made."""
    names = [f"id10001/{number // 10:04d}/{number % 10}.wav" for number in range(10_000)]
    tracemalloc.start()
    pairs = draw_targets({"id10001": names}, 1_000, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(pairs) == 1_000
    assert peak < 20e6


def test_trials_are_those_of_before(index: Index) -> None:
    """Networks are calibrated on validation trials that are made again: they must not change."""
    texts = (build_validation_trials(index, ["id10004", "id10007", "id10008"], count, 5).text() for count in (40, 1000))
    assert [hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts] == [
        "cf341b56171d6276",
        "8bfd65f5c5d53413",
    ]


def test_targets_of_a_speaker_with_one_video(tmp_path: Path) -> None:
    """Then both utterances are of it: better than none."""
    lengths = {f"id1000{speaker}/video/0000{number}.wav": 800 for speaker in (1, 2, 3) for number in (1, 2)}
    index = index_of(write_corpus(tmp_path, lengths))
    trials = build_validation_trials(index, ["id10001", "id10002"], 100, seed=0)
    assert Counter(trials.labels.tolist()) == {1: 2, 0: 2}
