"""Evaluating a network by verification: figures of its scores, and breakdowns.

What a figure is of: the scores of a *system*, a way of scoring (cosine, centred, snorm, ...), on a *list* of trials.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from yacs.config import CfgNode

from config import backends
from data_objects.corpus import Corpus
from data_objects.index import Index
from data_objects.lists import META, Speaker, TrialList
from utils.evaluation.groups import break_down, group_trials, scaled
from utils.evaluation.lists import ListOfTrials
from utils.evaluation.systems import (
    Scores,
    calibrate,
    choose_background,
    score_lists,
    validation_trials,
    warn_of_unused,
)
from utils.metrics.bootstrap import verification_intervals
from utils.metrics.rates import act_dcf, cllr, equal_error_rate, error_threshold, min_cllr, min_dcf
from utils.metrics.scoring import Calibration
from utils.recognition.embeddings import embed_kept
from utils.recognition.network import TrainedNetwork
from utils.records.checkpoint import Checkpoint
from utils.records.guard import (
    TEST,
    VERIFICATION,
    Protocol,
    doubts_of,
    is_training_known,
    role_of_utterances,
    roles_of_checkpoint,
)
from utils.system.logger import get_logger

PRIORS = (0.01, 0.05)  # of target trials, for detection costs
DISCRIMINATION, CALIBRATION = "How well the scores tell speakers apart", "How well they are calibrated"  # tables
ALL = ""  # among protocols: of all lists together


@dataclass(frozen=True)
class Metric:
    """A figure of a system on a list.

    Attributes:
        compute: what it is, of scores and labels.
        title: of its column in tables; empty: it stands in the results alone.
        table: the report's that it stands in; on_console: it stands in the console's too.
        of_llrs: it is of log-likelihood ratios: none without a calibration, since a cosine is no such ratio.
        scale: what it is multiplied by: 100 for rates, which are in per cent.
    """

    compute: Callable[[np.ndarray, np.ndarray], float]
    title: str
    table: str = DISCRIMINATION
    of_llrs: bool = False
    scale: int = 1
    on_console: bool = True


METRICS = {  # by their keys in the results, in the order of the tables
    "eer": Metric(equal_error_rate, "EER %", scale=100),
    "eer_threshold": Metric(error_threshold, ""),
    "min_dcf_0.01": Metric(partial(min_dcf, target_prior=0.01), "minDCF 0.01"),
    "min_dcf_0.05": Metric(partial(min_dcf, target_prior=0.05), "minDCF 0.05"),
    "act_dcf_0.01": Metric(partial(act_dcf, target_prior=0.01), "actDCF 0.01", CALIBRATION, of_llrs=True),
    "act_dcf_0.05": Metric(
        partial(act_dcf, target_prior=0.05), "actDCF 0.05", CALIBRATION, of_llrs=True, on_console=False
    ),
    "cllr": Metric(cllr, "Cllr", CALIBRATION, of_llrs=True),
    "min_cllr": Metric(min_cllr, "min Cllr", CALIBRATION),
}


def measure(
    scores: np.ndarray, trials: TrialList, calibration: Calibration | None, *, replicates: int
) -> dict[str, Any]:
    """The figures of a system on a list: rates in per cent, costs normalised, Cllr in bits; None without calibration.

    Args:
        replicates: of the bootstrap over speakers that the 95 % intervals come from; 0: no intervals.
    """
    llrs = None if calibration is None else calibration.llrs(scores)
    figures: dict[str, Any] = dict.fromkeys(METRICS)
    for name, metric in METRICS.items():
        values = llrs if metric.of_llrs else scores
        if values is not None:
            figures[name] = metric.scale * metric.compute(values, trials.labels)
    if replicates:
        of = scores, trials.labels, trials.speaker_pairs
        intervals = verification_intervals(*of, llrs=llrs, target_priors=PRIORS, replicates=replicates)
        figures["intervals"] = {name: scaled(ends, METRICS[name].scale) for name, ends in intervals.items()}
    return figures


def measure_part(scores: np.ndarray, trials: TrialList, replicates: int, chosen: np.ndarray) -> dict[str, Any]:
    """Numbers of the trials that chosen (N,) bool says, their EER and its interval; none without both kinds."""
    scores, labels, pairs = scores[chosen], trials.labels[chosen], trials.speaker_pairs[chosen]
    eer, intervals = None, {}
    if len(np.unique(labels)) == 2:
        eer = 100 * equal_error_rate(scores, labels)
        if replicates:
            intervals = verification_intervals(scores, labels, pairs, target_priors=(), replicates=replicates)
    return {
        "trials": len(labels),
        "targets": int((labels == 1).sum()),
        "speakers": len(np.unique(pairs)),
        "eer": eer,
        "eer_interval": scaled(intervals.get("eer")),
    }


@dataclass(frozen=True)
class Verification:
    """An evaluation: lists and their scores.

    Attributes:
        scores: of every system, those of each list.
        calibrations: by system; None where there is none.
        protocols: of every list, by its name.
    """

    lists: Sequence[ListOfTrials]
    systems: Sequence[str]
    scores: Scores
    calibrations: dict[str, Calibration | None]
    protocols: dict[str, Protocol]


def protocols_of(checkpoint: Checkpoint, index: Index, lists: Sequence[ListOfTrials]) -> dict[str, Protocol]:
    """Of every list, by name, who was trained on, chosen on and is tested on; by the name ALL, of all together."""
    roles = roles_of_checkpoint(checkpoint, index)
    tested = {entry.name: set(entry.trials.utterances) for entry in lists}
    tested[ALL] = set().union(*tested.values())
    return {
        name: Protocol(VERIFICATION, roles | {TEST: role_of_utterances(TEST, index, utterances)})
        for name, utterances in tested.items()
    }


def results_of(
    evaluation: Verification, index: Index, speakers: Mapping[str, Speaker], replicates: int
) -> dict[str, Any]:
    """All figures, plain values, headed by those of the first system on the first list; breakdowns are of the first."""
    lists = {}
    for place, entry in enumerate(evaluation.lists):
        scores = {system: evaluation.scores[system][place] for system in evaluation.systems}
        measured = {
            system: measure(own, entry.trials, evaluation.calibrations[system], replicates=replicates)
            for system, own in scores.items()
        }
        groups = group_trials(entry.trials, index, speakers)
        measure_group = partial(measure_part, scores[evaluation.systems[0]], entry.trials, replicates)
        lists[entry.name] = {
            **_describe(entry, evaluation.protocols[entry.name]),
            "systems": measured,
            "breakdowns": break_down(groups, measure_group),
        }
    first = lists[evaluation.lists[0].name]
    head = first["systems"][evaluation.systems[0]]
    counts = ("trials", "skipped_trials", "utterances", "speaker_overlap", "speaker_disjoint")
    return {
        "eer": head["eer"],
        "min_dcf": head["min_dcf_0.01"],
        **{name: first[name] for name in counts},
        "system": evaluation.systems[0],
        "lists": lists,
        "calibration": {system: own and own.as_dict() for system, own in evaluation.calibrations.items()},
    }


def _describe(entry: ListOfTrials, protocol: Protocol) -> dict[str, Any]:
    return {
        "title": entry.title,
        "trials": len(entry.trials),
        "targets": int(entry.trials.labels.sum()),
        "skipped_trials": len(entry.skipped),
        "doubtful_trials": entry.doubtful,
        "utterances": len(entry.trials.utterances),
        "speakers": len(entry.trials.speakers),
        "speaker_overlap": len(protocol.seen_speakers),
        "speaker_disjoint": protocol.is_speaker_disjoint,
        "protocol": protocol.summary(),
    }


def warn_of_overlap(checkpoint: Checkpoint, lists: Iterable[ListOfTrials], protocols: Mapping[str, Protocol]) -> None:
    """Say who is trained on and tested on, and what keeps the figures from being what they seem."""
    for doubt in doubts_of(checkpoint):
        get_logger().warning(doubt)
    if not is_training_known(checkpoint, protocols[ALL]):
        get_logger().warning(
            "the index has not the utterances that the network was trained on, or the network is of before "
            "this was checked: overlaps with them are those of the index of now; its speakers are its own"
        )
    remedy = "train with SUB_DIR dev" if checkpoint.sub_dir == "merged" else "take trials of other speakers"
    for entry in lists:
        protocol = protocols[entry.name]
        get_logger().info(f"{entry.file.name}: {protocol}")
        for doubt in protocol.doubts:
            get_logger().warning(f"{entry.file.name}: {doubt}")
        if not protocol.is_speaker_disjoint:
            get_logger().warning(
                f"{entry.file.name}: {len(protocol.seen_speakers)} of the trials' "
                f"{len(entry.trials.speakers)} speakers were trained on or chosen on: this is not a verification "
                f"result; {remedy} for one"
            )


def evaluate_lists(
    cfg: CfgNode, trained: TrainedNetwork, corpus: Corpus, lists: Sequence[ListOfTrials]
) -> tuple[Verification, dict[str, Any]] | None:
    """Embed, score, calibrate and measure: the evaluation and its results; None on other processes than the main one.

    Raises:
        UserError: too few speakers trained on for a system that needs them; embeddings that are not finite.
    """
    checkpoint = trained.checkpoint
    protocols = protocols_of(checkpoint, corpus.index, lists)
    warn_of_overlap(checkpoint, lists, protocols)
    speakers = corpus.speaker_details()
    if not speakers:
        get_logger().warning(f"{corpus.list_path(META)} is missing: nothing is known of gender and nationality")
    systems = backends(cfg)
    trials = validation_trials(checkpoint, corpus.index) if cfg.EVAL.CALIBRATION else None
    warn_of_unused(cfg, systems)
    background = choose_background(cfg, checkpoint, corpus.index, systems, lists)
    used = [entry.trials.utterances for entry in lists]
    used += [background.utterances, [] if trials is None else trials.utterances]
    embeddings = embed_kept(cfg, trained, corpus, sorted(set().union(*used)))
    if embeddings is None:
        return None
    every = [entry.trials for entry in lists] + ([] if trials is None else [trials])
    scores = score_lists(embeddings, every, systems, background)
    del embeddings  # what follows needs the room: 1.2 GB for the utterances of Vox1-E
    calibrations: dict[str, Calibration | None] = dict.fromkeys(systems)
    if trials is not None:
        calibrations = {system: calibrate(scores[system].pop(), trials, system) for system in systems}
    evaluation = Verification(lists, systems, scores, calibrations, protocols)
    return evaluation, results_of(evaluation, corpus.index, speakers, cfg.EVAL.BOOTSTRAP)
