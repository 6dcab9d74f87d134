"""Ways of scoring, against their definitions."""

from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

from config import default_config
from data_objects.index import Index
from data_objects.lists import speaker_of
from tests.utils.evaluation.corpus import NAMES, all_trials
from utils.evaluation.systems import Background, choose_cohort, choose_to_fit, score_lists, warn_of_unused
from utils.metrics.backends import fit_discriminants, fit_plda
from utils.recognition.embeddings import Embeddings
from utils.system.errors import UserError

COHORT = [f"id1000{speaker}/a/0000{number}.wav" for speaker in (5, 6, 7) for number in range(4)]  # in no trial


def draw_embeddings(dimensions: int = 6) -> Embeddings:
    """Speakers that are alike, far from the origin."""
    generator, names = np.random.default_rng(0), NAMES + COHORT
    means = {speaker: generator.normal(0, 1, dimensions) for speaker in sorted({*map(speaker_of, names)})}
    vectors = [3 + means[speaker_of(name)] + generator.normal(0, 0.7, dimensions) for name in names]
    return Embeddings(np.array([name.encode() for name in names]), np.array(vectors, dtype=np.float32))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_scores_by_definition() -> None:
    """Each trial by itself; the order they are asked for in does not matter."""
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

    whose = np.array([speaker_of(name) for name in COHORT])
    discriminants = fit_discriminants(np.array([vector[name] for name in COHORT]), whose, 2)
    reduced = discriminants.project(np.array(list(vector.values())), np.arange(len(vector)))
    plda = fit_plda(reduced[len(NAMES) :], whose)
    place = {name: np.array([number]) for number, name in enumerate(vector)}

    expected = {
        "lda": [cosine(*(reduced[place[name][0]] for name in (a, b))) for _, a, b in trials],
        "plda": [plda.llrs(reduced, place[a], place[b])[0] for _, a, b in trials],
        "cosine": [cosine(vector[a], vector[b]) for _, a, b in trials],
        "snorm": [normalised(a, b) for _, a, b in trials],
        "centred": [cosine(vector[a] - mean, vector[b] - mean) for _, a, b in trials],
    }
    for systems in (["cosine", "centred", "snorm", "lda", "plda"], ["plda", "centred", "snorm"], ["snorm"], ["lda"]):
        some = trials.select(trials.labels == 1)
        scores = score_lists(draw_embeddings(), [trials, some, trials], systems, Background(COHORT, 2, COHORT, 2))
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
    for system in ("snorm", "centred", "lda", "plda"):
        alone, beside, last = (
            score_lists(draw_embeddings(), lists, [system], Background(NAMES + COHORT, 3, NAMES + COHORT, 2))[system][
                place
            ]
            for lists, place in (([few], 0), ([few, trials], 0), ([trials, few], 1))
        )
        np.testing.assert_allclose(alone, beside, rtol=1e-5)
        np.testing.assert_allclose(alone, last, rtol=1e-3, atol=1e-5)
        own = score_lists(draw_embeddings(), [few], [system], Background(NAMES[8:] + COHORT, 3, NAMES[8:] + COHORT, 2))[
            system
        ][0]
        np.testing.assert_allclose(alone, own, rtol=1e-6)
        other = score_lists(draw_embeddings(), [few], [system], Background(COHORT, 3, COHORT, 2))[system][0]
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
    with pytest.raises(UserError, match=r"for trials\.txt the index of .* has those of 1: score by cosine"):
        choose_cohort(trained, index, most=3, lists=lists)


def test_what_lda_and_plda_are_fitted_to(index: Index) -> None:
    """Speakers trained on who have two utterances or more; three of them in no trial of any list."""
    speakers = ["id10001", "id10002", "id10003", "id10004"]
    trained = SimpleNamespace(sub_dir="merged", speakers=speakers)
    assert choose_to_fit(trained, index, most=2, lists=[]) == choose_cohort(trained, index, most=2, lists=[])
    with mock.patch("utils.evaluation.systems.draw_utterances", return_value=["a/b/1.wav", "c/b/1.wav", "c/b/2.wav"]):
        assert choose_to_fit(trained, index, most=2, lists=[]) == ["c/b/1.wav", "c/b/2.wav"]
    lists = [SimpleNamespace(file="trials.txt", trials=SimpleNamespace(speakers=speakers[2:]))]
    with pytest.raises(UserError, match=r"three speakers or more .* has those of 2: score by cosine"):
        choose_to_fit(trained, index, most=4, lists=lists)


def test_what_cannot_be_fitted_is_said_in_a_line() -> None:
    """Embeddings that are the same for all utterances of a speaker."""
    alike = draw_embeddings()
    for first in range(len(NAMES), len(NAMES + COHORT), 4):
        alike.vectors[first : first + 4] = alike.vectors[first]
    with pytest.raises(UserError, match=r"no lda and plda .*: the utterances of each .* alike; score by cosine"):
        score_lists(alike, [all_trials()], ["plda"], Background((), 0, COHORT, 2))


def test_settings_in_vain_are_warned_of() -> None:
    """Where nothing is scored by lda or plda."""
    cfg = default_config()
    cfg.EVAL.LDA_DIM = 50
    with mock.patch("utils.evaluation.systems.get_logger") as logger:
        warn_of_unused(cfg, ["cosine", "lda"])
        logger.return_value.warning.assert_not_called()
        warn_of_unused(cfg, ["cosine", "snorm"])
    logger.return_value.warning.assert_called_once_with(
        "EVAL.LDA_DIM does nothing here: it is for scores by lda or plda"
    )
