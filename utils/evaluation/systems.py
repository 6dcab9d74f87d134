"""Systems: ways of scoring (cosine, centred, snorm), what they are normalised and calibrated by."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import yaml

from data_objects.index import Index
from data_objects.lists import TrialList, speaker_of
from data_objects.trials import build_validation_trials
from utils.evaluation.lists import ListOfTrials
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


def choose_cohort(checkpoint: Checkpoint, index: Index, most: int, lists: Sequence[ListOfTrials]) -> list[str]:
    """Utterances of the speakers trained on, at most so many of each: the same ones every time.

    Raises:
        UserError: fewer than two speakers have some, or are in no trial of one of the lists.
    """
    rows = index.rows(checkpoint.sub_dir, "train")
    classes = index.labels(checkpoint.speakers)[rows]
    rows, classes = rows[classes >= 0], classes[classes >= 0]
    present = {checkpoint.speakers[place] for place in np.unique(classes)}
    for entry in lists:
        if len(others := present - set(entry.trials.speakers)) < 2:
            raise UserError(
                "EVAL.BACKENDS: centring and s-norm need utterances of two speakers or more who were trained on and "
                f"are in no trial; for {entry.file} the index of {index.data_dir} has those of {len(others)}: set "
                "EVAL.BACKENDS cosine"
            )
    order = np.random.default_rng(0).permutation(len(rows))
    chosen = pd.Series(rows[order]).groupby(classes[order]).head(most)
    return sorted(index.utterances[row] for row in chosen)


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
    cohort_utterances: Sequence[str] = (),
    top_n: int = 0,
) -> Scores:
    """Scores (N,) of several lists by several ways. The embeddings are changed where centring is asked for.

    Every list has a cohort of its own, without its own speakers: its scores do not depend on the other lists.

    Args:
        systems: some of config.BACKENDS.
        cohort_utterances, top_n: needed by all but cosine.
    """
    places = [embeddings.places(trials.utterances) for trials in lists]
    pairs = [(place[trials.enrolment], place[trials.test]) for place, trials in zip(places, lists, strict=True)]
    cohorts = []
    if set(systems) != {"cosine"}:
        cohorts = [average_cohort(embeddings, cohort_utterances, trials.speakers) for trials in lists]
    scores: Scores = {}
    if {"cosine", "snorm"} & set(systems):
        scores["cosine"] = [cosine_scores(embeddings.vectors, *pair) for pair in pairs]
    if "snorm" in systems:
        of_lists = zip(places, cohorts, strict=True)
        statistics = (_statistics(embeddings.vectors, used, speakers, top_n) for used, (_, speakers) in of_lists)
        every = zip(scores["cosine"], pairs, statistics, strict=True)
        scores["snorm"] = [adaptive_s_norm(own, *pair, *moments) for own, pair, moments in every]
    if "centred" in systems:  # last: there is not room for two sets of embeddings
        scores["centred"], before = [], np.zeros(embeddings.vectors.shape[1], dtype=np.float32)
        for pair, (mean, _) in zip(pairs, cohorts, strict=True):
            centre(embeddings.vectors, mean - before)
            before = mean
            scores["centred"].append(cosine_scores(embeddings.vectors, *pair))
    return {system: scores[system] for system in systems}


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
