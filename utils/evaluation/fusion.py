"""Fusion: one score of several trained networks' scores, fitted on the trials of the speakers held out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from yacs.config import CfgNode

from config import load_config
from data_objects.corpus import Corpus
from data_objects.lists import TRIALS, TrialList
from utils.evaluation.lists import ListOfTrials, open_lists
from utils.evaluation.systems import EVEN, calibrate, score_lists, validation_trials
from utils.evaluation.verification import measure, protocols_of, warn_of_overlap
from utils.metrics.scoring import Calibration, Fusion, fit_fusion
from utils.recognition.embeddings import embed_kept
from utils.recognition.network import TrainedNetwork, load_trained
from utils.records.guard import check_index
from utils.system.device import prepare
from utils.system.errors import UserError
from utils.system.files import hash_file
from utils.system.logger import get_logger
from utils.system.processes import processes

FUSED = "fused"
ALREADY = Calibration(1.0, 0.0, EVEN)  # of log-likelihood ratios


class Source(NamedTuple):
    """A trained network, and the corpus as its settings have it."""

    name: str
    cfg: CfgNode
    trained: TrainedNetwork
    corpus: Corpus

    def score(self, trials: Sequence[TrialList]) -> list[np.ndarray]:
        """Cosines (N,) of several lists' trials.

        Raises:
            UserError: embeddings that are not finite.
        """
        used = sorted(set().union(*(own.utterances for own in trials)))
        embeddings = embed_kept(self.cfg, self.trained, self.corpus, used)
        assert embeddings is not None  # there is one process
        return score_lists(embeddings, trials, ["cosine"])["cosine"]


def open_sources(runs: Mapping[str, Path], options: Sequence[str]) -> list[Source]:
    """The networks of run folders, by names for them, with the settings that they were trained with.

    Args:
        options: KEY VALUE pairs over the settings of every run.

    Raises:
        UserError: a folder without a trained network; networks that were trained on other indexes; several processes.
    """
    if processes() > 1:
        raise UserError("a fusion is a job for one process: run tools/fuse.py without torchrun")
    return [open_source(name, run, run, options) for name, run in runs.items()]


def open_source(name: str, run: Path, load_path: Path, options: Sequence[str]) -> Source:
    """A network of a run folder, its best or that of a checkpoint, under a name.

    Raises:
        UserError: see `open_sources`.
    """
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} is no run folder of train.py or train_baseline.py: it has no config.yaml")
    cfg = load_config(run / "config.yaml", options)
    trained, corpus = load_trained(cfg, str(load_path), prepare(cfg)), Corpus(cfg)
    check_index(trained.checkpoint, corpus.index, trained.path, False)
    return Source(name, cfg, trained, corpus)


def common_trials(sources: Sequence[Source]) -> TrialList:
    """The validation trials of all networks, which must be the same ones.

    Raises:
        UserError: a network has none, or others.
    """
    found: list[TrialList] = []
    for source in sources:
        trials = validation_trials(source.trained.checkpoint, source.corpus.index)
        if trials is None:
            raise UserError(
                f"{source.name}: no speakers were held out from its training, on whose trials a fusion could be "
                "fitted: train with SUB_DIR dev and DATASET.VAL_SPEAKERS"
            )
        found.append(trials)
        if trials.text() != found[0].text():
            raise UserError(
                f"{source.name} and {sources[0].name} held out other speakers, and each has learnt from some of the "
                "other's: train them with the same DATASET.VAL_SPEAKERS, VAL_TRIALS, VAL_SEED and VAL_CHOICE"
            )
    return found[0]


Fused = list[tuple[ListOfTrials, np.ndarray]]  # of every list, the log-likelihood ratios (N,)


def fuse(sources: Sequence[Source], files: Sequence[Path]) -> tuple[dict[str, Any], Fused]:
    """Fit a fusion on the validation trials, and measure it, and each network alone, on lists of trials.

    Args:
        files: the lists; none: the corpus's veri_test.txt.

    Returns:
        The figures, plain values, and what was fused.

    Raises:
        UserError: networks that cannot be fused (see `common_trials`), or a list that will not do.
    """
    validation, first = common_trials(sources), sources[0]
    lists = open_lists(list(files) or [first.corpus.list_path(TRIALS)], first.corpus.index, allow_missing=False)
    every = [*(entry.trials for entry in lists), validation]
    scores: dict[str, list[np.ndarray]] = {}
    for source in sources:
        checkpoint = source.trained.checkpoint
        get_logger().info(f"{source.name}: {source.trained.path}")
        warn_of_overlap(checkpoint, lists, protocols_of(checkpoint, source.corpus.index, lists))
        scores[source.name] = source.score(every)
    together = [np.stack(of_list, axis=1) for of_list in zip(*scores.values(), strict=True)]  # (N, S) each
    try:
        fusion = fit_fusion(together[-1], validation.labels, EVEN)
    except ValueError as error:
        raise UserError(f"no fusion by the validation trials: {error}") from error
    calibrations = {name: calibrate(own[-1], validation, name) for name, own in scores.items()}
    replicates, fused = first.cfg.EVAL.BOOTSTRAP, [fusion.llrs(of_list) for of_list in together]
    figures = {}
    for place, entry in enumerate(lists):
        figures[entry.name] = {
            name: measure(scores[name][place], entry.trials, calibrations[name], replicates=replicates)
            for name in scores
        } | {FUSED: measure(fused[place], entry.trials, ALREADY, replicates=replicates)}
    head = figures[lists[0].name][FUSED]
    results = {"eer": head["eer"], "min_dcf": head["min_dcf_0.01"], "trials": len(lists[0].trials)}
    results |= {"fusion": _describe(fusion, sources, validation), "lists": figures}
    return results, list(zip(lists, fused[:-1], strict=True))


def _describe(fusion: Fusion, sources: Sequence[Source], validation: TrialList) -> dict[str, Any]:
    systems = {
        source.name: {
            "weight": weight,
            "checkpoint": str(source.trained.path),
            "sha256": hash_file(source.trained.path),
            "window_frames": source.corpus.window_frames,
        }
        for source, weight in zip(sources, fusion.weights, strict=True)
    }
    return {
        "systems": systems,
        "offset": fusion.offset,
        "target_prior": fusion.target_prior,
        "validation_trials": len(validation),
    }
