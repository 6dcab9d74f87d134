"""Systems: ways of scoring (see config.BACKENDS), what they are normalised, fitted and calibrated by."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from yacs.config import CfgNode

from config import default_config
from data_objects.index import Index
from data_objects.lists import TrialList, speaker_of
from data_objects.trials import build_validation_trials
from utils.evaluation.lists import ListOfTrials
from utils.metrics.backends import FEWEST_SPEAKERS, Discriminants, Plda, fit_discriminants, fit_plda
from utils.metrics.scoring import (
    Calibration,
    adaptive_s_norm,
    centre,
    cohort_statistics,
    cosine_scores,
    fit_calibration,
    row_norms,
)
from utils.recognition.embeddings import Embeddings
from utils.records.checkpoint import Checkpoint
from utils.records.guard import hash_text
from utils.system.errors import UserError
from utils.system.logger import get_logger

FITTED = {"lda", "plda"}  # systems that are fitted to the speakers trained on
EVEN = 0.5  # the prior at which calibration is fitted and decisions are shown


def validation_trials(checkpoint: Checkpoint, index: Index) -> TrialList | None:
    """The trials that a network's best epoch was chosen on, made again; None where it has none."""
    speakers = checkpoint.protocol.get("validation_speakers", [])
    expected = checkpoint.protocol.get("validation_trials", "")
    if not speakers or not expected:
        return None
    dataset = yaml.safe_load(checkpoint.config)["DATASET"]
    kinds = checkpoint.protocol.get("validation_kinds") or None
    trials = build_validation_trials(index, speakers, dataset["VAL_TRIALS"], dataset["VAL_SEED"], kinds)
    if hash_text(trials.text()) != expected:
        get_logger().warning("the validation trials cannot be made again from this index: no calibration")
        return None
    return trials


class Background(NamedTuple):
    """What the speakers trained on give to all ways of scoring but cosine.

    Attributes:
        cohort: utterances that centred and snorm take.
        top_n: how many speakers of these count in an utterance's s-norm.
        fitted_to: utterances that lda and plda take.
        dimensions: that these reduce embeddings to, at most.
    """

    cohort: Sequence[str] = ()
    top_n: int = 0
    fitted_to: Sequence[str] = ()
    dimensions: int = 0

    @property
    def utterances(self) -> list[str]:
        """All of them, sorted, each once."""
        return sorted({*self.cohort, *self.fitted_to})


NOTHING = Background()


def choose_background(
    cfg: CfgNode, checkpoint: Checkpoint, index: Index, systems: Iterable[str], lists: Sequence[ListOfTrials]
) -> Background:
    """What ways of scoring need: EVAL.COHORT_UTTERANCES and EVAL.LDA_UTTERANCES at most of each speaker trained on.

    Raises:
        UserError: too few speakers have some, or are in no trial of one of the lists.
    """
    cohort: list[str] = []
    fitted_to: list[str] = []
    if {"centred", "snorm"} & set(systems):
        cohort = choose_cohort(checkpoint, index, cfg.EVAL.COHORT_UTTERANCES, lists)
    if FITTED & set(systems):
        fitted_to = choose_to_fit(checkpoint, index, cfg.EVAL.LDA_UTTERANCES, lists)
    return Background(cohort, cfg.EVAL.COHORT_TOP_N, fitted_to, cfg.EVAL.LDA_DIM)


def warn_of_unused(cfg: CfgNode, systems: Iterable[str]) -> None:
    """Say which settings of lda and plda were changed in vain."""
    for key in ("LDA_DIM", "LDA_UTTERANCES"):
        if not FITTED & set(systems) and cfg.EVAL[key] != default_config().EVAL[key]:
            get_logger().warning(f"EVAL.{key} does nothing here: it is for scores by lda or plda")


def choose_cohort(checkpoint: Checkpoint, index: Index, most: int, lists: Sequence[ListOfTrials]) -> list[str]:
    """Utterances of the speakers trained on, at most so many of each: the same ones every time.

    Raises:
        UserError: fewer than two speakers have some, or are in no trial of one of the lists.
    """
    chosen = draw_utterances(checkpoint, index, most)
    _check_speakers("centring and s-norm need utterances of two speakers or more", 2, chosen, index, lists)
    return chosen


def choose_to_fit(checkpoint: Checkpoint, index: Index, most: int, lists: Sequence[ListOfTrials]) -> list[str]:
    """The same of the speakers with two utterances or more: one by itself says nothing of how a speaker's differ.

    Raises:
        UserError: fewer than three speakers have so many, or are in no trial of one of the lists.
    """
    names = pd.Series(draw_utterances(checkpoint, index, most))
    chosen = names[names.groupby(names.map(speaker_of)).transform("size") > 1].tolist()
    what = "lda and plda need two utterances or more each of three speakers or more"
    _check_speakers(what, FEWEST_SPEAKERS, chosen, index, lists)
    return chosen


def draw_utterances(checkpoint: Checkpoint, index: Index, most: int) -> list[str]:
    """Utterances of the train part of the speakers trained on, sorted, at most so many of each."""
    rows = index.rows(checkpoint.sub_dir, "train")
    classes = index.labels(checkpoint.speakers)[rows]
    rows, classes = rows[classes >= 0], classes[classes >= 0]
    order = np.random.default_rng(0).permutation(len(rows))
    chosen = pd.Series(rows[order]).groupby(classes[order]).head(most)
    return sorted(index.utterances[row] for row in chosen)


def _check_speakers(what: str, least: int, chosen: Sequence[str], index: Index, lists: Sequence[ListOfTrials]) -> None:
    present = {speaker_of(name) for name in chosen}
    for entry in lists:
        if len(others := present - set(entry.trials.speakers)) < least:
            raise UserError(
                f"{what} who were trained on and are in no trial; for {entry.file} the index of "
                f"{index.data_dir} has those of {len(others)}: score by cosine"
            )


def average_cohort(
    embeddings: Embeddings, utterances: Sequence[str], without: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """What the speakers trained on say of scores, but for some speakers: those of the trials to be scored.

    Returns:
        The mean (D,) of their utterances' embeddings; of each speaker (K, D) that of the same brought to length 1.
    """
    left_out = set(without)
    utterances = [name for name in utterances if speaker_of(name) not in left_out]
    vectors = embeddings.vectors[embeddings.places(utterances)]
    mean = vectors.mean(axis=0)
    vectors /= row_norms(vectors)[:, None]
    names, places = np.unique([speaker_of(name) for name in utterances], return_inverse=True)
    return mean, np.stack([vectors[places == place].mean(axis=0) for place in range(len(names))])


Scores = dict[str, list[np.ndarray]]  # of every system, those of each list


def score_lists(
    embeddings: Embeddings,
    lists: Sequence[TrialList],
    systems: Sequence[str],
    background: Background = NOTHING,
) -> Scores:
    """Scores (N,) of several lists by several ways. The embeddings are changed where centring is asked for.

    Every list has a cohort of its own, without its own speakers: its scores do not depend on the other lists.

    Args:
        systems: some of config.BACKENDS.
        background: needed by all but cosine.

    Raises:
        UserError: utterances that lda or plda cannot be fitted to.
    """
    places = [embeddings.places(trials.utterances) for trials in lists]
    pairs = [(place[trials.enrolment], place[trials.test]) for place, trials in zip(places, lists, strict=True)]
    cohorts = []
    if {"centred", "snorm"} & set(systems):
        cohorts = [average_cohort(embeddings, background.cohort, trials.speakers) for trials in lists]
    scores: Scores = {}
    if {"cosine", "snorm"} & set(systems):
        scores["cosine"] = [cosine_scores(embeddings.vectors, *pair) for pair in pairs]
    if "snorm" in systems:
        of_lists = zip(places, cohorts, strict=True)
        statistics = (
            _statistics(embeddings.vectors, used, speakers, background.top_n) for used, (_, speakers) in of_lists
        )
        every = zip(scores["cosine"], pairs, statistics, strict=True)
        scores["snorm"] = [adaptive_s_norm(own, *pair, *moments) for own, pair, moments in every]
    if FITTED & set(systems):
        scores |= _score_fitted(embeddings, lists, background)
    if "centred" in systems:  # last: there is not room for two sets of embeddings
        scores["centred"], before = [], np.zeros(embeddings.vectors.shape[1], dtype=np.float32)
        for pair, (mean, _) in zip(pairs, cohorts, strict=True):
            centre(embeddings.vectors, mean - before)
            before = mean
            scores["centred"].append(cosine_scores(embeddings.vectors, *pair))
    return {system: scores[system] for system in systems}


def _score_fitted(embeddings: Embeddings, lists: Sequence[TrialList], background: Background) -> Scores:
    """Scores (N,) of several lists by lda and plda. Lists that have none of the speakers fitted to share a fit."""
    speakers = {speaker_of(name) for name in background.fitted_to}
    fits: dict[frozenset[str], tuple[Discriminants, Plda]] = {}
    scores: Scores = {"lda": [], "plda": []}
    for trials in lists:
        left_out = frozenset(speakers.intersection(trials.speakers))
        if left_out not in fits:
            fits[left_out] = _fit(embeddings, background, left_out)
        discriminants, plda = fits[left_out]
        vectors = discriminants.project(embeddings.vectors, embeddings.places(trials.utterances))  # (M, d)
        scores["lda"].append(cosine_scores(vectors, trials.enrolment, trials.test))
        scores["plda"].append(plda.llrs(vectors, trials.enrolment, trials.test))
    return scores


def _fit(embeddings: Embeddings, background: Background, left_out: frozenset[str]) -> tuple[Discriminants, Plda]:
    """LDA, and PLDA of what it makes of embeddings, by the speakers trained on but for those to be left out."""
    utterances = [name for name in background.fitted_to if speaker_of(name) not in left_out]
    labels = np.array([speaker_of(name) for name in utterances])
    places = embeddings.places(utterances)
    try:
        discriminants = fit_discriminants(embeddings.vectors[places], labels, background.dimensions)
        return discriminants, fit_plda(discriminants.project(embeddings.vectors, places), labels)
    except ValueError as error:
        raise UserError(f"no lda and plda by the utterances trained on: {error}; score by cosine") from error


def _statistics(vectors: np.ndarray, used: np.ndarray, cohort: np.ndarray, top_n: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and deviations (M,) of the nearest cohort scores of the embeddings in use; 0 and 1 of the others."""
    means, deviations = np.zeros(len(vectors)), np.ones(len(vectors))
    for chunk in np.array_split(used, len(used) // 8192 + 1):
        means[chunk], deviations[chunk] = cohort_statistics(vectors[chunk], cohort, top_n)
    return means, deviations


def calibrate(scores: np.ndarray, trials: TrialList, system: str) -> Calibration | None:
    """The calibration that validation trials and their scores give; None, with a warning, where they give none."""
    try:
        return fit_calibration(scores, trials.labels, EVEN)
    except ValueError as error:
        get_logger().warning(f"no calibration of {system}: {error}")
        return None
