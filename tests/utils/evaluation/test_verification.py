"""Verification from embeddings to figures, against its definition: lists, systems, cohort, breakdowns."""

from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data_objects.index import Index
from data_objects.lists import Speaker, TrialList, speaker_of
from tests.helpers import index_of, write_corpus
from utils.evaluation.groups import group_lengths, group_trials
from utils.evaluation.lists import open_lists
from utils.evaluation.systems import choose_cohort, score_lists
from utils.evaluation.verification import break_down, measure
from utils.metrics.rates import cllr, equal_error_rate, min_dcf
from utils.metrics.scoring import Calibration
from utils.recognition.embeddings import Embeddings
from utils.system.errors import UserError

SPEAKERS = ("id10001", "id10002", "id10003", "id10004")
LENGTHS = {
    f"{speaker}/{video}/0000{number}.wav": 16_000 * (2 + place + 2 * number)
    for place, speaker in enumerate(SPEAKERS)
    for video in ("a", "b")
    for number in (1, 2)
}
NAMES = sorted(LENGTHS)
COHORT = [f"id1000{speaker}/a/0000{number}.wav" for speaker in (5, 6, 7) for number in range(4)]  # in no trial


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Four speakers with utterances of 4 to 9 s."""
    return index_of(write_corpus(tmp_path_factory.mktemp("corpus"), LENGTHS))


def all_trials() -> TrialList:
    """Every pair of utterances."""
    pairs = [(a, b) for place, a in enumerate(NAMES) for b in NAMES[place + 1 :]]
    return TrialList.of((int(speaker_of(a) == speaker_of(b)), a, b) for a, b in pairs)


def draw_embeddings(dimensions: int = 6) -> Embeddings:
    """Speakers that are alike, far from the origin."""
    generator, names = np.random.default_rng(0), NAMES + COHORT
    means = {speaker: generator.normal(0, 1, dimensions) for speaker in sorted({*map(speaker_of, names)})}
    vectors = [3 + means[speaker_of(name)] + generator.normal(0, 0.7, dimensions) for name in names]
    return Embeddings(np.array([name.encode() for name in names]), np.array(vectors, dtype=np.float32))


# ------------------------------------------------------------------------------------------------------------------
# Lists
# ------------------------------------------------------------------------------------------------------------------
def write_trials(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


GOOD = (f"1 {NAMES[0]} {NAMES[1]}", f"0 {NAMES[0]} {NAMES[-1]}")
GONE = f"0 {NAMES[0]} id10009/a/00001.wav"


def test_missing_utterances_are_an_error(tmp_path: Path, index: Index) -> None:
    """Unless they are allowed; then those trials are kept apart."""
    path = write_trials(tmp_path / "trials.txt", *GOOD, GONE)
    with pytest.raises(UserError, match=r"trials\.txt: 1 of 3 trials name 1 utterances .*id10009.*--allow_missing"):
        open_lists([path], index, allow_missing=False)
    (entry,) = open_lists([path], index, allow_missing=True)
    assert entry.trials.text().splitlines() == list(GOOD)
    assert entry.skipped.text().splitlines() == [GONE]


def test_too_few_utterances(tmp_path: Path, index: Index) -> None:
    """Nothing is left to measure."""
    path = write_trials(tmp_path / "trials.txt", GOOD[0], GONE)
    with pytest.raises(UserError, match="do not hold trials of both kinds"):
        open_lists([path], index, allow_missing=True)


@pytest.mark.parametrize("line", [f"0 {NAMES[0]} {NAMES[1]}", f"1 {NAMES[0]} {NAMES[-1]}"])
def test_labels_that_contradict_the_speakers(tmp_path: Path, index: Index, line: str) -> None:
    """A list of another project, or a column mixed up: the first such trial is named."""
    path = write_trials(tmp_path / "trials.txt", *GOOD, line, line)
    with pytest.raises(UserError, match=rf"trial 3 \('{line}'\) .* 1 more"):
        open_lists([path], index, allow_missing=False)


def test_two_lists_of_one_name(tmp_path: Path, index: Index) -> None:
    """Their results could not be told apart."""
    (tmp_path / "a").mkdir()
    paths = [write_trials(folder / "trials.txt", *GOOD) for folder in (tmp_path, tmp_path / "a")]
    with pytest.raises(UserError, match="several lists are called trials"):
        open_lists(paths, index, allow_missing=False)


# ------------------------------------------------------------------------------------------------------------------
# Systems
# ------------------------------------------------------------------------------------------------------------------
def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_scores_by_definition() -> None:
    """Cosine, centred, adaptive s-norm, each trial by itself; the order they are asked for in does not matter."""
    trials, every = all_trials(), draw_embeddings()
    vector = dict(zip(NAMES + COHORT, every.vectors.astype(np.float64), strict=True))
    mean = np.mean([vector[name] for name in COHORT], axis=0)
    unit = {name: vector[name] / np.linalg.norm(vector[name]) for name in COHORT}
    speakers = [np.mean([unit[name] for name in COHORT[first : first + 4]], axis=0) for first in (0, 4, 8)]

    def normalised(a: str, b: str) -> float:
        sides = []
        for name in (a, b):
            nearest = sorted((cosine(vector[name], other) for other in speakers), reverse=True)[:2]
            sides.append((cosine(vector[a], vector[b]) - np.mean(nearest)) / np.std(nearest))
        return float(np.mean(sides))

    expected = {
        "cosine": [cosine(vector[a], vector[b]) for _, a, b in trials],
        "snorm": [normalised(a, b) for _, a, b in trials],
        "centred": [cosine(vector[a] - mean, vector[b] - mean) for _, a, b in trials],
    }
    for systems in (["cosine", "centred", "snorm"], ["centred", "snorm"], ["snorm"], ["cosine"]):
        some = trials.select(trials.labels == 1)
        scores = score_lists(draw_embeddings(), [trials, some, trials], systems, COHORT, 2)
        assert list(scores) == systems
        for system in systems:
            whole, targets, again = scores[system]
            np.testing.assert_allclose(again, whole, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(whole, expected[system], rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(targets, whole[trials.labels == 1], rtol=1e-5, atol=1e-6)


def test_scores_do_not_depend_on_the_other_lists() -> None:
    """Each list has a cohort without its own speakers, whoever is in the others."""
    trials = all_trials()
    few = trials.select(trials.speaker_pairs.max(axis=1) < 2)
    for system in ("snorm", "centred"):
        alone, beside, last = (
            score_lists(draw_embeddings(), lists, [system], NAMES + COHORT, 3)[system][place]
            for lists, place in (([few], 0), ([few, trials], 0), ([trials, few], 1))
        )
        np.testing.assert_allclose(alone, beside, rtol=1e-5)
        np.testing.assert_allclose(alone, last, rtol=1e-3, atol=1e-5)
        own = score_lists(draw_embeddings(), [few], [system], NAMES[8:] + COHORT, 3)[system][0]
        np.testing.assert_allclose(alone, own, rtol=1e-6)
        other = score_lists(draw_embeddings(), [few], [system], COHORT, 3)[system][0]
        assert np.abs(alone - other).max() > 1e-3


def test_cohort_of_speakers_trained_on(index: Index) -> None:
    """At most so many utterances of each, of the train part, the same ones every time."""
    trained = SimpleNamespace(sub_dir="merged", speakers=["id10001", "id10003", "id10004"])
    chosen = choose_cohort(trained, index, most=3, lists=[])
    assert [speaker_of(name) for name in chosen] == ["id10001"] * 3 + ["id10003"] * 3 + ["id10004"] * 3
    assert chosen == choose_cohort(trained, index, most=3, lists=[])
    assert len(choose_cohort(trained, index, most=100, lists=[])) == 12
    lists = [
        SimpleNamespace(file="trials.txt", trials=SimpleNamespace(speakers=speakers))
        for speakers in (["id10001", "id10002"], ["id10001", "id10003"])
    ]
    assert choose_cohort(trained, index, most=3, lists=lists[:1]) == chosen
    with pytest.raises(UserError, match=r"for trials\.txt the index of .* has those of 1: set EVAL\.BACKENDS cosine"):
        choose_cohort(trained, index, most=3, lists=lists)


# ------------------------------------------------------------------------------------------------------------------
# Figures
# ------------------------------------------------------------------------------------------------------------------
def test_figures_are_those_of_the_metrics() -> None:
    """Rates in per cent; without a calibration no actDCF and no Cllr."""
    names = [f"id1000{speaker}/a/0000{number}.wav" for speaker in range(1, 8) for number in range(3)]
    trials = TrialList.of((int(speaker_of(a) == speaker_of(b)), a, b) for a, b in combinations(names, 2))
    scores = np.random.default_rng(2).normal(trials.labels, 0.7)
    figures = measure(scores, trials, Calibration(3.0, -2.0, 0.5), replicates=200)
    assert figures["eer"] == pytest.approx(100 * equal_error_rate(scores, trials.labels))
    assert figures["min_dcf_0.05"] == pytest.approx(min_dcf(scores, trials.labels, 0.05))
    assert figures["cllr"] == pytest.approx(cllr(3 * scores - 2, trials.labels))
    for name, least in (("eer", 5), ("min_dcf_0.01", 0.3), ("act_dcf_0.05", 0.3), ("cllr", 0.3)):  # eer: per cent
        low, high = figures["intervals"][name]
        assert low < figures[name] < high
        assert low > least
    raw = measure(scores, trials, None, replicates=0)
    assert raw["cllr"] is raw["act_dcf_0.01"] is None
    assert "intervals" not in raw
    assert raw["eer"] == figures["eer"]


def test_groups_by_gender_nationality_and_length(index: Index) -> None:
    """Both speakers of a group; the shorter utterance; nothing is in no group or in two."""
    trials = all_trials()
    speakers = {
        "id10001": Speaker("f", "UK", "test"),
        "id10002": Speaker("f", "USA", "test"),
        "id10003": Speaker("m", "UK", "test"),
    }
    groups = group_trials(trials, index, speakers)
    assert set(groups["gender"]) == {"both f", "both m", "both unknown", "of two"}
    assert set(groups["nationality"]) == {"both UK", "both USA", "both unknown", "of two"}
    for of_kind in groups.values():
        assert (np.sum(list(of_kind.values()), axis=0) == 1).all()
    for kind, field in (("gender", "gender"), ("nationality", "nationality")):
        for name, chosen in groups[kind].items():
            for trial in trials.select(chosen):
                of_two = {getattr(speakers.get(speaker_of(part)), field, "unknown") for part in trial[1:]}
                assert (name == f"both {min(of_two)}") if len(of_two) == 1 else (name == "of two")
    for name, chosen in groups["length"].items():
        shortest = [min(LENGTHS[part] for part in trial[1:]) / 16_000 for trial in trials.select(chosen)]
        assert {"4 to 6 s": (4, 6), "6 to 10 s": (6, 10)}[name][0] <= min(shortest)
        assert max(shortest) < {"4 to 6 s": (4, 6), "6 to 10 s": (6, 10)}[name][1]


def test_lengths_at_the_borders() -> None:
    """A border belongs to the longer group."""
    groups = group_lengths(np.array([3.99, 4.0, 5.99, 6.0, 9.99, 10.0, 100.0]))
    assert {name: chosen.sum() for name, chosen in groups.items()} == {
        "under 4 s": 1,
        "4 to 6 s": 2,
        "6 to 10 s": 2,
        "10 s and more": 2,
    }


def test_breakdown_by_definition() -> None:
    """Every group's own EER; none where there is one kind of trials alone."""
    trials = all_trials()
    scores = np.random.default_rng(1).normal(trials.labels, 1.0)
    groups = {"some": trials.speaker_pairs.max(axis=1) < 2, "of two": trials.labels == 0}
    some, of_two = break_down(scores, trials, groups, replicates=100)
    chosen = groups["some"]
    assert some["eer"] == pytest.approx(100 * equal_error_rate(scores[chosen], trials.labels[chosen]))
    assert (some["trials"], some["targets"], some["speakers"]) == (28, 12, 2)
    assert (of_two["trials"], of_two["targets"], of_two["eer"], of_two["eer_interval"]) == (96, 0, None, None)
