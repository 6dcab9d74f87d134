"""Evaluating a network by verification: figures of its scores, and breakdowns.

What a figure is of: the scores of a *system*, a way of scoring (cosine, centred, snorm), on a *list* of trials.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from yacs.config import CfgNode

from config import backends
from data_objects.corpus import Corpus
from data_objects.index import Index
from data_objects.lists import META, Speaker, TrialList
from utils.evaluation.groups import Breakdowns, break_down, group_trials, in_per_cent
from utils.evaluation.lists import ListOfTrials
from utils.evaluation.systems import Scores, choose_cohort, score_systems, validation_trials
from utils.metrics.bootstrap import verification_intervals
from utils.metrics.rates import act_dcf, cllr, equal_error_rate, error_threshold, min_cllr, min_dcf
from utils.metrics.scoring import Calibration
from utils.recognition.embeddings import embed_kept
from utils.recognition.network import TrainedNetwork
from utils.records.checkpoint import Checkpoint
from utils.records.guard import (
    TEST,
    UNKNOWN_PRETRAINING,
    VERIFICATION,
    Protocol,
    is_pretraining_known,
    is_training_known,
    role_of_utterances,
    roles_of_checkpoint,
)
from utils.system.logger import get_logger

PRIORS = (0.01, 0.05)  # of target trials, for detection costs
ALL = ""  # among protocols: of all lists together


def measure(
    scores: np.ndarray, trials: TrialList, calibration: Calibration | None, *, replicates: int
) -> dict[str, Any]:
    """The figures of a system on a list: rates in per cent, costs normalised, Cllr in bits.

    Without a calibration there is no actDCF and no Cllr: a cosine is no likelihood ratio.

    Args:
        replicates: of the bootstrap over speakers that the 95 % intervals come from; 0: no intervals.
    """
    labels = trials.labels
    llrs = None if calibration is None else calibration.llrs(scores)
    figures: dict[str, Any] = {
        "eer": 100 * equal_error_rate(scores, labels),
        "eer_threshold": error_threshold(scores, labels),
    }
    figures |= {f"min_dcf_{prior}": min_dcf(scores, labels, prior) for prior in PRIORS}
    figures["min_cllr"] = min_cllr(scores, labels)
    figures |= {f"act_dcf_{prior}": None if llrs is None else act_dcf(llrs, labels, prior) for prior in PRIORS}
    figures["cllr"] = None if llrs is None else cllr(llrs, labels)
    if replicates:
        intervals = verification_intervals(
            scores, labels, trials.speaker_pairs, llrs=llrs, target_priors=PRIORS, replicates=replicates
        )
        listed = {name: None if interval is None else list(interval) for name, interval in intervals.items()}
        figures["intervals"] = listed | {"eer": in_per_cent(intervals["eer"])}
    return figures


def measure_part(scores: np.ndarray, trials: TrialList, replicates: int, chosen: np.ndarray) -> dict[str, Any]:
    """Numbers of the trials that chosen (N,) bool says, their EER and its interval; none without both kinds."""
    labels, pairs = trials.labels[chosen], trials.speaker_pairs[chosen]
    eer, interval = None, None
    if len(np.unique(labels)) == 2:
        eer = 100 * equal_error_rate(scores[chosen], labels)
        if replicates:
            intervals = verification_intervals(scores[chosen], labels, pairs, target_priors=(), replicates=replicates)
            interval = intervals["eer"]
    return {
        "trials": len(labels),
        "targets": int((labels == 1).sum()),
        "speakers": len(np.unique(pairs)),
        "eer": eer,
        "eer_interval": in_per_cent(interval),
    }


@dataclass
class Verification:
    """An evaluation: lists, scores, figures.

    Attributes:
        scores: of every system, those of each list.
        calibrations: by system; None where there is none.
        figures: of every list, by its name, what `measure` says of each system; breakdowns of the first system.
        protocols: of every list, by its name.
    """

    lists: Sequence[ListOfTrials]
    systems: Sequence[str]
    scores: Scores
    calibrations: dict[str, Calibration | None]
    protocols: dict[str, Protocol]
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    breakdowns: dict[str, Breakdowns] = field(default_factory=dict)


def protocols_of(checkpoint: Checkpoint, index: Index, lists: Sequence[ListOfTrials]) -> dict[str, Protocol]:
    """Of every list, by name, who was trained on, chosen on and is tested on; by the name ALL, of all together."""
    roles = roles_of_checkpoint(checkpoint, index)
    tested = {entry.name: set(entry.trials.utterances) for entry in lists}
    tested[ALL] = set().union(*tested.values())
    return {
        name: Protocol(VERIFICATION, roles | {TEST: role_of_utterances(TEST, index, utterances)})
        for name, utterances in tested.items()
    }


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
        evaluation.breakdowns[entry.name] = break_down(groups, partial(measure_part, head, entry.trials, replicates))


def results_of(evaluation: Verification) -> dict[str, Any]:
    """Plain values, headed by the first system on the first list."""
    lists = {entry.name: _results_of_list(evaluation, entry) for entry in evaluation.lists}
    first = lists[evaluation.lists[0].name]
    head = first["systems"][evaluation.systems[0]]
    counts = ("trials", "skipped_trials", "utterances", "speaker_overlap", "speaker_disjoint")
    return {
        "eer": head["eer"],
        "min_dcf": head["min_dcf_0.01"],
        **{name: first[name] for name in counts},
        "system": evaluation.systems[0],
        "lists": lists,
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
        get_logger().warning(UNKNOWN_PRETRAINING)
    if not is_training_known(checkpoint, protocols[ALL]):
        get_logger().warning(
            "the index has not the utterances that the network was trained on, or the network is of before "
            "this was checked: overlaps with them are those of the index of now; its speakers are its own"
        )
    remedy = "train with SUB_DIR dev" if checkpoint.sub_dir == "merged" else "take trials of other speakers"
    for entry in lists:
        protocol = protocols[entry.name]
        get_logger().info(f"{entry.file.name}: {protocol}")
        for overlap in protocol.forbidden + protocol.doubtful:
            get_logger().warning(f"{entry.file.name}: {overlap}")
        if not protocol.is_speaker_disjoint:
            get_logger().warning(
                f"{entry.file.name}: {len(protocol.seen_speakers)} of the trials' "
                f"{len(entry.trials.speakers)} speakers were trained on or chosen on: this is not a verification "
                f"result; {remedy} for one"
            )


def evaluate_lists(
    cfg: CfgNode, trained: TrainedNetwork, corpus: Corpus, lists: Sequence[ListOfTrials]
) -> Verification | None:
    """Embed, score, calibrate and measure; None on other processes than the main one.

    Raises:
        UserError: no cohort for a system that needs one; embeddings that are not finite.
    """
    checkpoint = trained.checkpoint
    protocols = protocols_of(checkpoint, corpus.index, lists)
    warn_of_overlap(checkpoint, lists, protocols)
    speakers = corpus.speaker_details()
    if not speakers:
        get_logger().warning(f"{corpus.data_dir / META} is missing: nothing is known of gender and nationality")
    systems = backends(cfg)
    trials = validation_trials(checkpoint, corpus.index) if cfg.EVAL.CALIBRATION else None
    of_cohort: list[str] = []
    if set(systems) != {"cosine"}:
        of_cohort = choose_cohort(checkpoint, corpus.index, cfg.EVAL.COHORT_UTTERANCES, lists)
    used = [entry.trials.utterances for entry in lists] + [of_cohort, [] if trials is None else trials.utterances]
    embeddings = embed_kept(cfg, trained, corpus, sorted(set().union(*used)))
    if embeddings is None:
        return None
    scores, calibrations = score_systems(embeddings, lists, systems, trials, of_cohort, cfg.EVAL.COHORT_TOP_N)
    del embeddings  # what follows needs the room: 1.2 GB for the utterances of Vox1-E
    evaluation = Verification(lists, systems, scores, calibrations, protocols)
    measure_all(evaluation, corpus.index, speakers, cfg.EVAL.BOOTSTRAP)
    return evaluation
