"""The guard: leaks planted on purpose, each of which it must find and name."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from config import default_config
from data_objects.corpus import Corpus
from data_objects.index import Index, load_statistics
from tests.helpers import noise, preprocess, write_audio, write_corpus, write_lists
from utils.records.guard import (
    FORBIDDEN,
    HELD_OUT,
    IDENTIFICATION,
    PRECHOSEN,
    PRETRAINED,
    TEST,
    TRAIN,
    VAL,
    VERIFICATION,
    Protocol,
    Role,
    check_training,
    find_overlaps,
    roles_of_checkpoint,
)
from utils.system.errors import UserError

DEV = [f"id1000{speaker}" for speaker in range(1, 9)]
TESTED = ["id10011", "id10012"]
VIDEOS = ("one", "two", "three")  # of a speaker, an utterance each: to train on, to validate on, to test on
SPLIT = {f"{speaker}/{video}/00001.wav": part for speaker in DEV + TESTED for part, video in enumerate(VIDEOS, 1)}


def make_corpus(folder: Path) -> Path:
    """Eight dev speakers and two test speakers, not indexed yet."""
    return write_corpus(folder, dict.fromkeys(SPLIT, 4_000), SPLIT, test_speakers=TESTED)


def open_corpus(data_dir: Path, sub_dir: str, **settings: object) -> Corpus:
    """The corpus as a training opens it."""
    cfg = default_config()
    cfg.DATASET.DATA_DIR, cfg.DATASET.SUB_DIR, cfg.DEVICE = str(data_dir), sub_dir, "cpu"
    for key, value in settings.items():
        cfg.DATASET[key] = value
    return Corpus(cfg)


def edit(data_dir: Path, change: Callable[[str], str]) -> None:
    """Change the lines of the index."""
    path = data_dir / "feature" / "utterances.csv"
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line}\n" for line in (change(line) for line in lines) if line))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """One to plant leaks in, indexed."""
    folder = make_corpus(tmp_path / "corpus")
    preprocess(folder)
    return folder


# ------------------------------------------------------------------------------------------------------------------
# Without a leak
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("sub_dir", "roles"), [("merged", {TRAIN, VAL, TEST}), ("dev", {TRAIN, VAL, HELD_OUT, TEST})])
def test_sound_protocol(corpus: Path, sub_dir: str, roles: set[str]) -> None:
    """Nothing overlaps, and the numbers are those of the lists."""
    protocol = check_training(open_corpus(corpus, sub_dir))
    assert set(protocol.roles) == roles
    assert (protocol.forbidden, protocol.doubtful) == ([], [])
    counts = {name: (len(role.speakers), len(role.audio)) for name, role in protocol.roles.items()}
    if sub_dir == "merged":
        assert counts == {TRAIN: (10, 10), VAL: (10, 10), TEST: (10, 10)}
    else:  # a video of each speaker is validated on
        assert counts == {TRAIN: (6, 12), VAL: (6, 6), HELD_OUT: (2, 6), TEST: (2, 6)}
    summary = protocol.summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["roles"][TEST]["utterances"] == counts[TEST][1]


def test_held_out_speakers_are_in_no_other_role(corpus: Path) -> None:
    """Neither classes, nor in a part, nor in the feature statistics."""
    data = open_corpus(corpus, "dev", VAL_SPEAKERS=3)
    held_out = set(data.validation_speakers)
    assert len(held_out) == 3
    assert not held_out & set(data.speakers)
    for part in ("train", "val"):
        assert not held_out & {data.index.utterances[row].split("/")[0] for row in data.rows(part)}
    assert set(data.validation_trials().speakers) == held_out
    own = data.build_front_end().mean.numpy()
    every = load_statistics(corpus / "feature", "dev")[0]
    assert np.abs(own - every).max() > 0
    for speaker in held_out:  # what they sound like does not matter
        for video in VIDEOS:
            write_audio(corpus / "wav" / f"{speaker}/{video}/00001.wav", noise(4_000, seed=99, level=0.3))
    preprocess(corpus)
    again = open_corpus(corpus, "dev", VAL_SPEAKERS=3)
    assert again.validation_speakers == data.validation_speakers
    np.testing.assert_array_equal(again.build_front_end().mean.numpy(), own)
    assert np.abs(load_statistics(corpus / "feature", "dev")[0] - every).max() > 0


# ------------------------------------------------------------------------------------------------------------------
# Leaks
# ------------------------------------------------------------------------------------------------------------------
def assert_named(data: Corpus, *parts: str) -> None:
    """Training is refused in one line that holds all parts."""
    with pytest.raises(UserError) as error:
        check_training(data)
    for part in parts:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_test_speaker_that_is_called_dev(corpus: Path) -> None:
    """vox1_meta.csv says dev of a speaker of veri_test.txt, so he would be trained on."""
    write_lists(corpus, SPLIT, [(1, f"{TESTED[0]}/one/00001.wav", f"{TESTED[0]}/two/00001.wav"), *other_trials()], ())
    preprocess(corpus)
    assert_named(open_corpus(corpus, "dev", VAL_SPEAKERS=0), "2 speakers are both trained on and tested on", *TESTED)


def other_trials() -> list[tuple[int, str, str]]:
    return [(0, f"{TESTED[0]}/one/00001.wav", f"{TESTED[1]}/one/00001.wav")]


def test_dev_speaker_in_the_trials(corpus: Path) -> None:
    """A list that tests on a speaker trained on; and on one held out."""
    data = open_corpus(corpus, "dev", VAL_SPEAKERS=2)
    for speaker, role in ((data.speakers[0], TRAIN), (data.validation_speakers[0], HELD_OUT)):
        trials = [(1, f"{speaker}/one/00001.wav", f"{speaker}/two/00001.wav"), *other_trials()]
        write_lists(corpus, SPLIT, trials, TESTED)
        assert_named(open_corpus(corpus, "dev", VAL_SPEAKERS=2), f"1 speaker is both {role} and {TEST}", speaker)


@pytest.mark.parametrize(("video", "part", "role"), [("one", "test", TEST), ("one", "val", VAL), ("two", "test", TEST)])
def test_utterance_in_two_parts(corpus: Path, video: str, part: str, role: str) -> None:
    """An index with a line too many: the same utterance in another part too."""
    utterance = f"id10003/{video}/00001.wav"
    path = corpus / "feature" / "utterances.csv"
    line = next(line for line in path.read_text().splitlines() if line.startswith(utterance))
    cells = line.split(",")
    before, cells[6] = cells[6], part
    with open(path, "a") as file:
        file.write(",".join(cells) + "\n")
    first = {"train": TRAIN, "val": VAL}[before]
    assert_named(open_corpus(corpus, "merged"), f"1 utterance is both {first} and {role}", utterance)


def test_held_out_video_that_is_trained_on(corpus: Path) -> None:
    """An utterance of the dev val part that is in its train part too."""
    data = open_corpus(corpus, "dev")
    utterance = data.index.utterances[data.rows("val")[0]]
    path = corpus / "feature" / "utterances.csv"
    line = next(line for line in path.read_text().splitlines() if line.startswith(utterance))
    cells = line.split(",")
    cells[7] = "train"
    with open(path, "a") as file:
        file.write(",".join(cells) + "\n")
    assert_named(open_corpus(corpus, "dev"), "1 utterance is both trained on and validated on", utterance)


def test_test_recording_under_another_name(corpus: Path) -> None:
    """A copy of a test utterance among those trained on: warned of by both names."""
    copied, original = "id10001/one/00001.wav", f"{TESTED[1]}/three/00001.wav"
    (corpus / "wav" / copied).write_bytes((corpus / "wav" / original).read_bytes())
    preprocess(corpus)
    for sub_dir in ("merged", "dev"):
        protocol = check_training(open_corpus(corpus, sub_dir, VAL_SPEAKERS=0))
        (found,) = protocol.doubtful
        assert str(found) == f"1 recording is both trained on and tested on ({copied} = {original})"


def test_video_in_two_parts(corpus: Path) -> None:
    """Another utterance of a test video is trained on: the same session, the same microphone."""
    split = SPLIT | {"id10005/three/00002.wav": 1}
    write_audio(corpus / "wav" / "id10005/three/00002.wav", noise(4_000, seed=123))
    write_lists(corpus, split, (), TESTED)
    preprocess(corpus)
    (found,) = check_training(open_corpus(corpus, "merged")).doubtful
    assert str(found) == "1 video is both trained on and tested on (id10005/three)"


# ------------------------------------------------------------------------------------------------------------------
# Speakers who were never trained on
# ------------------------------------------------------------------------------------------------------------------
UNKNOWN = ["id10007", "id10008"]  # one who is validated on and tested on, and one who is only tested on


@pytest.fixture
def odd_split(tmp_path: Path) -> Path:
    """A corpus two of whose ten speakers have no training utterance."""
    split = {name: part for name, part in SPLIT.items() if name not in (f"{UNKNOWN[1]}/two/00001.wav",)}
    split |= {f"{UNKNOWN[0]}/one/00001.wav": 2, f"{UNKNOWN[1]}/one/00001.wav": 3}
    folder = write_corpus(tmp_path / "odd", dict.fromkeys(split, 4_000), split, test_speakers=TESTED)
    preprocess(folder)
    return folder


def test_speakers_that_nothing_was_learnt_of(odd_split: Path) -> None:
    """They are classes, but not trained on; they are named, and how many utterances can only be wrong."""
    data = open_corpus(odd_split, "merged")
    assert data.speakers == DEV + TESTED
    protocol = check_training(data)
    assert protocol.roles[TRAIN].speakers == set(DEV + TESTED) - set(UNKNOWN)
    assert [str(untrained) for untrained in protocol.untrained] == protocol.doubts
    validated, tested = protocol.doubts
    assert validated.startswith("1 of the 9 speakers validated on was never trained on (id10007), for want of an utter")
    assert tested.startswith("2 of the 10 speakers tested on were never trained on (id10007, id10008), for want of an")
    assert "can only be wrong on their 2 utterances" in validated
    assert "can only be wrong on their 3 utterances" in tested
    assert "no overlap that matters" not in str(protocol)
    assert "trained on 8 / 8" in str(protocol)
    summary = protocol.summary()
    assert summary["roles"][TRAIN]["speakers"] == 8
    assert [entry["speakers"] for entry in summary["untrained"]] == [["id10007"], UNKNOWN]


def test_untrained_speakers_of_a_checkpoint(odd_split: Path, corpus: Path) -> None:
    """It tells who they are; one of before does not, and its index does; with another index, all its classes count."""
    index = open_corpus(odd_split, "merged").index
    trained = set(DEV + TESTED) - set(UNKNOWN)

    def roles(other: Index, **protocol: object) -> dict[str, Role]:
        known = SimpleNamespace(
            protocol=protocol, index=index.fingerprint, speakers=DEV + TESTED, sub_dir="merged", config=""
        )
        return roles_of_checkpoint(known, other)

    other = open_corpus(corpus, "merged").index
    others = other.rows("merged", "train")
    assert len({other.utterances[row].split("/")[0] for row in others}) == 10
    assert roles(index, untrained_speakers=UNKNOWN)[TRAIN].speakers == trained
    assert roles(index)[TRAIN].speakers == trained
    edit(corpus, lambda line: "" if line.startswith(DEV[0]) else line)
    gone = open_corpus(corpus, "merged").index
    assert DEV[0] in roles(gone)[TRAIN].speakers
    assert DEV[0] in roles(gone, untrained_speakers=UNKNOWN)[TRAIN].speakers
    protocol = Protocol(VERIFICATION, roles(index) | {TEST: Role(TEST, {f"{UNKNOWN[1]}/one/00001.wav": b""})})
    assert (protocol.seen_speakers, protocol.forbidden) == (set(), [])


def test_speakers_chosen_on_are_seen(odd_split: Path) -> None:
    """Whoever is validated on is no stranger, but was not trained on either."""
    data = open_corpus(odd_split, "merged")
    roles = check_training(data).roles | {TEST: Role(TEST, {f"{name}/four/00001.wav": b"" for name in UNKNOWN})}
    protocol = Protocol(VERIFICATION, roles)
    assert protocol.seen_speakers == {UNKNOWN[0]}
    assert protocol.doubts == []


def network(sub_dir: str, speakers: list[str], chosen_on: list[str] = ()) -> dict[str, object]:
    """What is recorded of a network that another one was started from."""
    return {"sub_dir": sub_dir, "speakers": list(speakers), "chosen_on": list(chosen_on)}


def test_network_that_knew_the_test_speakers(corpus: Path) -> None:
    """Training goes on from a network, or from one that started from one, that knows who is tested on."""
    data = open_corpus(corpus, "dev", VAL_SPEAKERS=2)
    clean = network("dev", data.speakers, data.validation_speakers)  # held out there too: nothing has leaked
    assert not check_training(data, [clean]).forbidden
    for known in (network("merged", [data.speakers[0], TESTED[0]]), network("merged", [*TESTED[:1], "id99999"])):
        complaint = rf"1 speaker is both pretrained on and tested on \({TESTED[0]}\).*PRETRAINED"
        for pretraining in ([known], [clean, known]):
            with pytest.raises(UserError, match=complaint):
                check_training(data, pretraining)
    with pytest.raises(UserError, match="1 speaker is both chosen on in pretraining and tested on"):
        check_training(data, [network("dev", data.speakers, TESTED[:1])])
    with pytest.raises(UserError, match="1 speaker is both pretrained on and held out"):
        check_training(data, [network("dev", data.validation_speakers[:1])])


def test_network_that_knew_the_test_utterances(corpus: Path) -> None:
    """A `dev` network is trained on utterances that `merged` tests on: it must not be where that begins."""
    data = open_corpus(corpus, "merged")
    assert not check_training(data, [network("merged", DEV + TESTED)]).forbidden
    with pytest.raises(UserError, match="utterances are both pretrained on and tested on"):
        check_training(data, [network("dev", DEV)])


def test_speakers_whose_utterances_the_index_has_not() -> None:
    """A network knows the speakers of its class list, whatever the index of today holds."""
    trained = Role(TRAIN, {}, frozenset({"id10001", "id10002"}))
    protocol = Protocol(VERIFICATION, {TRAIN: trained, TEST: Role(TEST, {"id10001/a/00001.wav": b""})})
    assert protocol.seen_speakers == {"id10001"}
    assert not protocol.is_speaker_disjoint
    assert protocol.forbidden


def test_speakers_held_out_and_trained_on() -> None:
    """The rule itself, since no setting can bring it about."""
    roles = {name: Role(name, {"id10001/a/00001.wav": b""}) for name in (TRAIN, HELD_OUT)}
    (found,) = Protocol(VERIFICATION, roles).forbidden
    assert str(found) == "1 speaker is both trained on and held out (id10001)"


@pytest.mark.parametrize("purpose", [IDENTIFICATION, VERIFICATION])
def test_every_forbidden_overlap_is_found(purpose: str) -> None:
    """Each rule alone: two roles that share just this, and others that share nothing."""
    names = (TRAIN, VAL, HELD_OUT, PRETRAINED, PRECHOSEN, TEST)
    for kind, first, second in FORBIDDEN[purpose]:
        roles = {name: Role(name, {f"id1000{number}/a/00001.wav": b""}) for number, name in enumerate(names)}
        assert find_overlaps(roles, FORBIDDEN[purpose]) == []
        shared = f"{next(iter(roles[first].speakers))}/{'b' if kind == 'speakers' else 'a'}/00001.wav"
        roles[second] = Role(second, {**roles[second].audio, shared: b""})
        found = find_overlaps(roles, FORBIDDEN[purpose])
        assert [(overlap.kind, overlap.first, overlap.second) for overlap in found] == [(kind, first, second)]


def test_one_utterance_shared_is_no_shared_recording() -> None:
    """The same name has the same samples: that is told as an utterance, once."""
    one, two = Role(TRAIN, {"id10001/a/00001.wav": b"x"}), Role(TEST, {"id10001/a/00001.wav": b"x"})
    assert find_overlaps({TRAIN: one, TEST: two}, [("recordings", TRAIN, TEST)]) == []
    unheard = Role(TEST, {"id10002/a/00001.wav": b""})
    assert (
        find_overlaps({TRAIN: Role(TRAIN, {"id10001/a/00001.wav": b""}), TEST: unheard}, [("recordings", TRAIN, TEST)])
        == []
    )
