"""Evaluating a network by verification: lists of trials, ways to score them, calibration, figures, breakdowns.

What a figure is of: the scores of a *system*, a way of scoring (cosine, centred, snorm), on a *list* of trials.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from data_objects.audio import SAMPLE_RATE
from data_objects.index import Index
from data_objects.trials import build_validation_trials, identify_list
from data_objects.voxceleb import Speaker, TrialList, read_trials, speaker_of
from utils.bootstrap import verification_intervals
from utils.checkpoint import Checkpoint
from utils.embeddings import Embeddings
from utils.errors import UserError
from utils.logger import get_logger
from utils.metrics import act_dcf, cllr, cosine_scores, equal_error_rate, error_threshold, min_cllr, min_dcf, row_norms
from utils.protocol import (
    TEST,
    UNKNOWN_PRETRAINING,
    VERIFICATION,
    Protocol,
    hash_text,
    is_pretraining_known,
    is_training_known,
    role_of_utterances,
    roles_of_checkpoint,
)
from utils.results import hash_file
from utils.scoring import Calibration, adaptive_s_norm, centre, cohort_statistics, fit_calibration

PRIORS = (0.01, 0.05)  # of target trials, for detection costs
ALL = ""  # among protocols: of all lists together
EVEN = 0.5  # the prior at which calibration is fitted and decisions are shown
LENGTHS = (4.0, 6.0, 10.0)  # seconds, borders of the groups by the shorter utterance of a trial


# ------------------------------------------------------------------------------------------------------------------
# Lists of trials
# ------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class ListOfTrials:
    """A list as it is evaluated.

    Attributes:
        name: what the list is called: its file's name without suffix.
        title: what it is known as (Vox1-O, ...), or the name of the file.
        trials, skipped: those whose utterances the index has, and the others.
    """

    name: str
    title: str
    file: Path
    trials: TrialList
    skipped: TrialList

    def source(self) -> dict[str, Any]:
        """Where it comes from, for the provenance."""
        return {"file": str(self.file), "title": self.title, "sha256": hash_file(self.file)}


def open_lists(files: Sequence[Path], index: Index, allow_missing: bool) -> list[ListOfTrials]:
    """Read lists in the official form and look their utterances up.

    Raises:
        UserError: one is malformed or given twice; labels that contradict the speakers; utterances that the index does
            not have, unless `allow_missing`, or too few that it has.
    """
    lists = [_open_list(file, index, allow_missing) for file in files]
    names = [entry.name for entry in lists]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"--trials: several lists are called {min(twice)}: give them different file names")
    return lists


def _open_list(file: Path, index: Index, allow_missing: bool) -> ListOfTrials:
    trials = read_trials(file)
    _check_labels(file, trials)
    title, warning = identify_list(file.name, len(trials))
    if warning:
        get_logger().warning(f"WARNING: {warning}")
    is_there = index.rows_of(trials.utterances) >= 0
    usable = is_there[trials.enrolment] & is_there[trials.test]
    if not usable.all():
        _check_missing(file, trials, is_there, usable, allow_missing)
    kept = trials if usable.all() else trials.select(usable)
    return ListOfTrials(file.stem, title if not warning and title else file.name, file, kept, trials.select(~usable))


def _check_labels(file: Path, trials: TrialList) -> None:
    same = trials.speaker_pairs[:, 0] == trials.speaker_pairs[:, 1]
    if (wrong := same != (trials.labels == 1)).any():
        place, more = int(np.argmax(wrong)), int(wrong.sum()) - 1
        others = f", and so have {more:,} more" if more else ""
        raise UserError(
            f"{file}: trial {place + 1} ('{' '.join(map(str, trials[place]))}') has a label that contradicts its "
            f"speakers{others}: 1 is the same speaker, 0 another"
        )
    if own := int((trials.enrolment == trials.test).sum()):
        get_logger().warning(f"WARNING: {file}: {own:,} trials compare an utterance with itself")


def _check_missing(
    file: Path, trials: TrialList, is_there: np.ndarray, usable: np.ndarray, allow_missing: bool
) -> None:
    missing = [name for name, there in zip(trials.utterances, is_there, strict=True) if not there]
    message = (
        f"{file}: {int((~usable).sum()):,} of {len(trials):,} trials name {len(missing):,} utterances that are not in "
        f"the index ({missing[0]}, ...)"
    )
    if not allow_missing:
        raise UserError(
            f"{message}: are their wavs there? Run data_preprocess.py again, or give --allow_missing to evaluate on "
            "the others"
        )
    if len(np.unique(trials.labels[usable])) < 2:
        raise UserError(f"{message}, and the rest do not hold trials of both kinds")
    get_logger().warning(f"WARNING: {message}; they are skipped, and the figures are not those of the list")


# ------------------------------------------------------------------------------------------------------------------
# What scores are normalised and calibrated by
# ------------------------------------------------------------------------------------------------------------------
def validation_trials(checkpoint: Checkpoint, config: Mapping[str, Any], index: Index) -> TrialList | None:
    """The trials that a network's best epoch was chosen on, made again; None where it has none.

    Args:
        config: of the training.
    """
    speakers = checkpoint.protocol.get("validation_speakers", [])
    expected = checkpoint.protocol.get("validation_trials", "")
    if not speakers or not expected:
        return None
    dataset = config["DATASET"]
    trials = build_validation_trials(index, speakers, dataset["VAL_TRIALS"], dataset["VAL_SEED"])
    if hash_text(trials.text()) != expected:
        get_logger().warning("WARNING: the validation trials cannot be made again from this index: no calibration")
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
    rows, classes = rows[order], classes[order]
    by_class = np.argsort(classes, kind="stable")
    first = np.searchsorted(classes[by_class], classes[by_class], side="left")
    chosen = rows[by_class[np.arange(len(rows)) - first < most]]
    return sorted(index.utterances[row] for row in chosen)


@dataclass(frozen=True, eq=False)
class Cohort:
    """What the speakers trained on say of scores.

    Attributes:
        mean: (D,) of their utterances' embeddings.
        speakers: (K, D) of each the mean of its utterances' embeddings, which are brought to length 1 before.
    """

    mean: np.ndarray
    speakers: np.ndarray
    top_n: int

    @classmethod
    def of(cls, embeddings: Embeddings, utterances: Sequence[str], top_n: int, without: Sequence[str]) -> "Cohort":
        """The cohort of these utterances, but for those of some speakers: those of the trials to be scored."""
        left_out = set(without)
        utterances = [name for name in utterances if speaker_of(name) not in left_out]
        vectors = embeddings.vectors[embeddings.places(utterances)]
        mean = vectors.mean(axis=0)
        vectors /= row_norms(vectors)[:, None]
        names, places = np.unique([speaker_of(name) for name in utterances], return_inverse=True)
        speakers = np.stack([vectors[places == place].mean(axis=0) for place in range(len(names))])
        return cls(mean, speakers, top_n)


# ------------------------------------------------------------------------------------------------------------------
# Scoring
# ------------------------------------------------------------------------------------------------------------------
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
        cohorts = [Cohort.of(embeddings, cohort_utterances, top_n, trials.speakers) for trials in lists]
    scores: Scores = {}
    plain = [cosine_scores(embeddings.vectors, *pair) for pair in pairs] if {"cosine", "snorm"} & set(systems) else []
    if "cosine" in systems:
        scores["cosine"] = plain
    if "snorm" in systems:
        statistics = [_statistics(embeddings.vectors, *both) for both in zip(places, cohorts, strict=True)]
        every = zip(plain, pairs, statistics, strict=True)
        scores["snorm"] = [adaptive_s_norm(own, *pair, *moments) for own, pair, moments in every]
    if "centred" in systems:  # last: there is not room for two sets of embeddings
        scores["centred"], before = [], np.zeros(embeddings.vectors.shape[1], dtype=np.float32)
        for pair, cohort in zip(pairs, cohorts, strict=True):
            centre(embeddings.vectors, cohort.mean - before)
            before = cohort.mean
            scores["centred"].append(cosine_scores(embeddings.vectors, *pair))
    return {system: scores[system] for system in systems}


def _statistics(vectors: np.ndarray, used: np.ndarray, cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """Means and deviations (M,) of the nearest cohort scores of the embeddings in use; 0 and 1 of the others."""
    if len(used) == len(vectors):
        return cohort_statistics(vectors, cohort.speakers, cohort.top_n)
    means, deviations = np.zeros(len(vectors)), np.ones(len(vectors))
    for chunk in np.array_split(used, len(used) // 8192 + 1):
        means[chunk], deviations[chunk] = cohort_statistics(vectors[chunk], cohort.speakers, cohort.top_n)
    return means, deviations


def calibrate(scores: np.ndarray, trials: TrialList, system: str) -> Calibration | None:
    """The calibration that validation trials and their scores give; None, with a warning, where they give none."""
    try:
        return fit_calibration(scores, trials.labels, EVEN)
    except ValueError as error:
        get_logger().warning(f"WARNING: no calibration of {system}: {error}")
        return None


# ------------------------------------------------------------------------------------------------------------------
# Figures
# ------------------------------------------------------------------------------------------------------------------
def measure(
    scores: np.ndarray,
    trials: TrialList,
    calibration: Calibration | None,
    *,
    replicates: int,
    priors: Sequence[float] = PRIORS,
) -> dict[str, Any]:
    """The figures of a system on a list: rates in per cent, costs normalised, Cllr in bits.

    Without a calibration there is no actDCF and no Cllr: a cosine is no likelihood ratio.

    Args:
        replicates: of the bootstrap over speakers that the 95 % intervals come from; 0: no intervals.
    """
    labels = trials.labels
    figures: dict[str, Any] = {
        "eer": 100 * equal_error_rate(scores, labels),
        "eer_threshold": error_threshold(scores, labels),
    }
    figures |= {f"min_dcf_{prior}": min_dcf(scores, labels, prior) for prior in priors}
    figures |= {"min_cllr": min_cllr(scores, labels)}
    llrs = None if calibration is None else calibration.llrs(scores)
    for prior in priors:
        figures[f"act_dcf_{prior}"] = None if llrs is None else act_dcf(llrs, labels, prior)
    figures["cllr"] = None if llrs is None else cllr(llrs, labels)
    if replicates:
        intervals = verification_intervals(
            scores, labels, trials.speaker_pairs, llrs=llrs, target_priors=priors, replicates=replicates
        )
        figures["intervals"] = {name: _in_per_cent(name, interval) for name, interval in intervals.items()}
    return figures


def _in_per_cent(name: str, interval: tuple[float, float] | None) -> list[float] | None:
    if interval is None:
        return None
    return [100 * end for end in interval] if name == "eer" else list(interval)


def break_down(
    scores: np.ndarray, trials: TrialList, groups: Mapping[str, np.ndarray], replicates: int
) -> list[dict[str, Any]]:
    """Figures of parts of a list: of every group (name -> (N,) bool) its numbers of trials, its EER and interval.

    A group without trials of both kinds has no EER; it is listed all the same.
    """
    rows = []
    for name, chosen in groups.items():
        labels = trials.labels[chosen]
        row: dict[str, Any] = {
            "group": name,
            "trials": len(labels),
            "targets": int((labels == 1).sum()),
            "speakers": len(np.unique(trials.speaker_pairs[chosen])),
            "eer": None,
            "eer_interval": None,
        }
        if len(np.unique(labels)) == 2:
            row["eer"] = 100 * equal_error_rate(scores[chosen], labels)
            if replicates:
                pairs = trials.speaker_pairs[chosen]
                intervals = verification_intervals(
                    scores[chosen], labels, pairs, target_priors=(), replicates=replicates
                )
                row["eer_interval"] = _in_per_cent("eer", intervals["eer"])
        rows.append(row)
    return rows


def group_trials(trials: TrialList, index: Index, speakers: Mapping[str, Speaker]) -> dict[str, dict[str, np.ndarray]]:
    """Which trials (N,) bool belong to which group: by gender, nationality and length.

    By gender and nationality, a group has the trials both of whose speakers are of it; by length, those whose shorter
    utterance is. A speaker of whom vox1_meta.csv does not tell is `unknown`.
    """
    unknown = Speaker("unknown", "unknown", "")
    meta = [speakers.get(speaker, unknown) for speaker in trials.speakers]
    by_gender = _by_speaker(trials, [known(entry.gender) for entry in meta])
    by_nationality = _by_speaker(trials, [known(entry.nationality) for entry in meta])
    seconds = index.samples[index.rows_of(trials.utterances)] / SAMPLE_RATE
    shorter = np.minimum(seconds[trials.enrolment], seconds[trials.test])
    return {"gender": by_gender, "nationality": by_nationality, "length": group_lengths(shorter)}


def known(text: str) -> str:
    """What vox1_meta.csv says, or `unknown` for a dash."""
    return text if text.strip("-") else "unknown"


def _by_speaker(trials: TrialList, kinds: Sequence[str]) -> dict[str, np.ndarray]:
    names, codes = np.unique(kinds, return_inverse=True)
    pairs = codes[trials.speaker_pairs]
    groups = {f"both {name}": (pairs == code).all(axis=1) for code, name in enumerate(names)}
    mixed = pairs[:, 0] != pairs[:, 1]
    return groups | ({"of two": mixed} if mixed.any() else {})


def group_lengths(seconds: np.ndarray) -> dict[str, np.ndarray]:
    """By name, which of the lengths (N,) are in a group: those groups that have something in them."""
    borders = (0.0, *LENGTHS, np.inf)
    groups = {}
    for low, high in pairwise(borders):
        name = (
            f"{low:g} s and more" if np.isinf(high) else f"under {high:g} s" if low == 0 else f"{low:g} to {high:g} s"
        )
        chosen = (seconds >= low) & (seconds < high)
        if chosen.any():
            groups[name] = chosen
    return groups


# ------------------------------------------------------------------------------------------------------------------
# All of it
# ------------------------------------------------------------------------------------------------------------------
@dataclass
class Verification:
    """An evaluation: lists, scores, figures.

    Attributes:
        scores: of every system, those of each list.
        calibrations: by system; None where there is none.
        figures: of every list, by its name, what `measure` says of each system; breakdowns of the first system.
        protocols: of every list, by its name.
    """

    lists: list[ListOfTrials]
    systems: list[str]
    scores: Scores
    calibrations: dict[str, Calibration | None]
    protocols: dict[str, Protocol]
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    breakdowns: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)


def protocols_of(checkpoint: Checkpoint, index: Index, lists: Sequence[ListOfTrials]) -> dict[str, Protocol]:
    """Of every list, by name, who was trained on, chosen on and is tested on; by the name ALL, of all together."""
    roles = roles_of_checkpoint(checkpoint, index)
    tested = {entry.name: set(entry.trials.utterances) for entry in lists}
    tested[ALL] = set().union(*tested.values())
    return {
        name: Protocol(VERIFICATION, roles | {TEST: role_of_utterances(TEST, index, utterances)})
        for name, utterances in tested.items()
    }


def score_systems(
    embeddings: Embeddings,
    lists: Sequence[ListOfTrials],
    systems: Sequence[str],
    validation: TrialList | None,
    cohort_utterances: Sequence[str],
    top_n: int,
) -> tuple[Scores, dict[str, Calibration | None]]:
    """Scores of the lists by every system, and the systems' calibrations by the validation trials."""
    every = [entry.trials for entry in lists] + ([] if validation is None else [validation])
    scores = score_lists(embeddings, every, systems, cohort_utterances, top_n)
    calibrations = dict.fromkeys(systems)
    if validation is not None:
        calibrations = {system: calibrate(scores[system].pop(), validation, system) for system in systems}
    return scores, calibrations


def measure_all(evaluation: Verification, index: Index, speakers: Mapping[str, Speaker], replicates: int) -> None:
    """Fill in an evaluation's figures and breakdowns."""
    for place, entry in enumerate(evaluation.lists):
        evaluation.figures[entry.name] = {
            system: measure(
                evaluation.scores[system][place],
                entry.trials,
                evaluation.calibrations[system],
                replicates=replicates,
            )
            for system in evaluation.systems
        }
        head = evaluation.scores[evaluation.systems[0]][place]
        groups = group_trials(entry.trials, index, speakers)
        evaluation.breakdowns[entry.name] = {
            kind: break_down(head, entry.trials, groups[kind], replicates) for kind in groups
        }


def results_of(evaluation: Verification) -> dict[str, Any]:
    """Plain values, headed by the first system on the first list."""
    first = evaluation.lists[0]
    head = evaluation.figures[first.name][evaluation.systems[0]]
    protocol = evaluation.protocols[first.name]
    return {
        "eer": head["eer"],
        "min_dcf": head["min_dcf_0.01"],
        "trials": len(first.trials),
        "skipped_trials": len(first.skipped),
        "utterances": len(first.trials.utterances),
        "speaker_overlap": len(protocol.seen_speakers),
        "speaker_disjoint": protocol.is_speaker_disjoint,
        "system": evaluation.systems[0],
        "lists": {entry.name: _results_of_list(evaluation, entry) for entry in evaluation.lists},
        "calibration": {
            system: None if calibration is None else calibration.as_dict()
            for system, calibration in evaluation.calibrations.items()
        },
    }


def _results_of_list(evaluation: Verification, entry: ListOfTrials) -> dict[str, Any]:
    protocol = evaluation.protocols[entry.name]
    return {
        "title": entry.title,
        "trials": len(entry.trials),
        "targets": int(entry.trials.labels.sum()),
        "skipped_trials": len(entry.skipped),
        "utterances": len(entry.trials.utterances),
        "speakers": len(entry.trials.speakers),
        "speaker_overlap": len(protocol.seen_speakers),
        "speaker_disjoint": protocol.is_speaker_disjoint,
        "protocol": protocol.summary(),
        "systems": evaluation.figures[entry.name],
        "breakdowns": evaluation.breakdowns[entry.name],
    }


def warn_of_overlap(checkpoint: Checkpoint, lists: Iterable[ListOfTrials], protocols: Mapping[str, Protocol]) -> None:
    """Say who is trained on and tested on, and what keeps the figures from being what they seem."""
    if not is_pretraining_known(checkpoint):
        get_logger().warning(f"WARNING: {UNKNOWN_PRETRAINING}")
    if not is_training_known(checkpoint, protocols[ALL]):
        get_logger().warning(
            "WARNING: the index has not the utterances that the network was trained on, or the network is of before "
            "this was checked: overlaps with them are those of the index of now; its speakers are its own"
        )
    remedy = "train with SUB_DIR dev" if checkpoint.sub_dir == "merged" else "take trials of other speakers"
    for entry in lists:
        protocol = protocols[entry.name]
        get_logger().info(f"{entry.file.name}: {protocol}")
        for overlap in protocol.forbidden + protocol.doubtful:
            get_logger().warning(f"WARNING: {entry.file.name}: {overlap}")
        if not protocol.is_speaker_disjoint:
            get_logger().warning(
                f"WARNING: {entry.file.name}: {len(protocol.seen_speakers)} of the trials' "
                f"{len(entry.trials.speakers)} speakers were trained on or chosen on: this is not a verification "
                f"result; {remedy} for one"
            )
