"""Fusion: one score of several systems' scores and of what recordings are like, fitted on held-out speakers' trials."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from yacs.config import CfgNode

from config import BACKENDS, load_config
from data_objects.audio import SAMPLE_RATE
from data_objects.corpus import Corpus
from data_objects.lists import TRIALS, TrialList
from utils.evaluation.lists import ListOfTrials, open_lists
from utils.evaluation.systems import EVEN, calibrate, choose_background, score_lists, validation_trials, warn_of_unused
from utils.evaluation.verification import measure, protocols_of, warn_of_overlap
from utils.metrics.scoring import Calibration, Fusion, fit_fusion, log_sides, row_norms
from utils.recognition.embeddings import embed_kept
from utils.recognition.network import TrainedNetwork, load_trained
from utils.records.guard import check_index
from utils.system.device import prepare
from utils.system.errors import UserError
from utils.system.files import hash_file
from utils.system.logger import get_logger
from utils.system.processes import processes

FUSED = "fused"
FEW = 10  # speakers to fit weights on
ALREADY = Calibration(1.0, 0.0, EVEN)  # of log-likelihood ratios
DURATION, NORM = "duration", "norm"  # what may tell how far a score is to be trusted
SIDES = ("smaller", "greater")  # of the two utterances' measures


class Scored(NamedTuple):
    """What a network says of several lists' trials.

    Attributes:
        scores: (N,) of every list of trials.
        norms: (N, 2) of every one: the logarithms of both embeddings' lengths.
    """

    scores: list[np.ndarray]
    norms: list[np.ndarray]


class Source(NamedTuple):
    """A trained network, the corpus as its settings have it, and a way of scoring."""

    name: str
    cfg: CfgNode
    trained: TrainedNetwork
    corpus: Corpus
    system: str

    def score(self, every: Sequence[TrialList], tested: Sequence[ListOfTrials]) -> Scored:
        """What is said of trials; whoever is tested teaches a way of scoring nothing.

        Raises:
            UserError: embeddings that are not finite; too few speakers trained on for the way of scoring.
        """
        background = choose_background(self.cfg, self.trained.checkpoint, self.corpus.index, [self.system], tested)
        used = sorted(set(background.utterances).union(*(own.utterances for own in every)))
        embeddings = embed_kept(self.cfg, self.trained, self.corpus, used)
        assert embeddings is not None  # there is one process
        lengths = row_norms(embeddings.vectors)  # before centring, which changes them; kept as the network gives them
        norms = [_both(lengths[embeddings.places(own.utterances)], own) for own in every]
        return Scored(score_lists(embeddings, every, [self.system], background)[self.system], norms)


def _both(values: np.ndarray, trials: TrialList) -> np.ndarray:
    """Logarithms (N, 2) of a measure (M,) of a list's utterances, the smaller and the greater of each trial."""
    return log_sides(values, trials.enrolment, trials.test)


def open_sources(runs: Mapping[str, tuple[Path, str]], options: Sequence[str]) -> list[Source]:
    """The networks of run folders, by names for them, with the settings that they were trained with.

    Args:
        runs: folders, and the ways of scoring.
        options: KEY VALUE pairs over the settings of every run.

    Raises:
        UserError: a folder without a trained network; networks that were trained on other indexes; several processes.
    """
    if processes() > 1:
        raise UserError("a fusion is a job for one process: run tools/fuse.py without torchrun")
    sources = [open_source(name, run, run, options, system) for name, (run, system) in runs.items()]
    for source in sources:
        warn_of_unused(source.cfg, [source.system])
    return sources


def open_source(name: str, run: Path, load_path: Path, options: Sequence[str], system: str = BACKENDS[0]) -> Source:
    """A network of a run folder, its best or that of a checkpoint, under a name.

    Raises:
        UserError: see `open_sources`.
    """
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} is no run folder of train.py or train_baseline.py: it has no config.yaml")
    cfg = load_config(run / "config.yaml", options)
    trained, corpus = load_trained(cfg, str(load_path), prepare(cfg)), Corpus(cfg)
    check_index(trained.checkpoint, corpus.index, trained.path, False)
    return Source(name, cfg, trained, corpus, system)


def warn_of_weights(fusion: Fusion, names: Sequence[str], speakers: int) -> None:
    """Say where the weights of the systems, which come first, are not to be trusted."""
    against = [name for name, weight in zip(names, fusion.weights[: len(names)], strict=True) if weight < 0]
    if against:
        get_logger().warning(f"{', '.join(against)}: a weight below 0; what it says for one speaker counts for two")
    if speakers < FEW:
        get_logger().warning(f"the weights are fitted to trials of {speakers} speakers: others would give other ones")


def warn_of_certainty(llrs: np.ndarray, labels: np.ndarray) -> None:
    """Say where the trials (N,) that a fusion is fitted to do not tell how large its scores may be."""
    if llrs[labels == 1].min() > llrs[labels == 0].max():
        get_logger().warning(
            "the fusion makes no error on the validation trials, so that nothing tells how certain it may be: do not "
            "trust Cllr, actDCF and decisions by it"
        )


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
            held_out = [one.trained.checkpoint.protocol["validation_speakers"] for one in (source, sources[0])]
            differ = "held out other speakers, and each has learnt from some of the other's"
            if held_out[0] == held_out[1]:
                differ = "held out the same speakers, but have other trials of them"
            raise UserError(
                f"{source.name} and {sources[0].name} {differ}: train them with the same DATASET.VAL_SPEAKERS, "
                "VAL_TRIALS, VAL_SEED and VAL_CHOICE"
            )
    return found[0]


def read_qualities(text: str) -> list[str]:
    """The measures of quality that a text names, with commas between them.

    Raises:
        UserError: one that there is not, none, or one twice.
    """
    names = text.replace(",", " ").split()
    if not names or len(set(names)) < len(names) or set(names) - {DURATION, NORM}:
        raise UserError(f"--quality must be some of {DURATION}, {NORM}, each once, not {text!r}")
    return names


Columns = dict[str, list[np.ndarray]]  # by name, the values (N,) of every list, and last of the validation trials


def measure_quality(
    qualities: Sequence[str], scored: Sequence[tuple[Source, Scored]], every: Sequence[TrialList]
) -> Columns:
    """What else than scores goes into a fusion: two columns a measure, the smaller and the greater of the logarithms.

    `duration`: seconds of the utterances as they are indexed. `norm`: lengths of the embeddings, each network's, before
    anything is done to them.

    Raises:
        UserError: a measure that is the same in all validation trials.
    """
    measures: Columns = {}
    if DURATION in qualities:
        index = scored[0][0].corpus.index
        seconds = [index.samples[index.rows_of(own.utterances)] / SAMPLE_RATE for own in every]
        measures[f"log {DURATION}"] = [_both(values, own) for values, own in zip(seconds, every, strict=True)]
    if NORM in qualities:
        of_networks = {source.trained.path: (source.name, said.norms) for source, said in reversed(scored)}
        measures |= {f"log {NORM} {name}": norms for name, norms in reversed(of_networks.values())}
    columns = {
        f"{name}, {side}": [both[:, place] for both in of_lists]
        for name, of_lists in measures.items()
        for place, side in enumerate(SIDES)
    }
    for name, (*_, last) in columns.items():
        if last.min() == last.max():
            raise UserError(f"--quality: {name}, is the same in all validation trials, which say nothing of it")
    return columns


Fused = list[tuple[ListOfTrials, np.ndarray]]  # of every list, the log-likelihood ratios (N,)


def fuse(
    sources: Sequence[Source], files: Sequence[Path], qualities: Sequence[str] = ()
) -> tuple[dict[str, Any], Fused]:
    """Fit a fusion on the validation trials, and measure it, and each system alone, on lists of trials.

    Args:
        files: the lists; none: the corpus's veri_test.txt.
        qualities: measures that go into the fusion beside the scores: see `measure_quality`.

    Returns:
        The figures, plain values, and what was fused.

    Raises:
        UserError: networks that cannot be fused (see `common_trials`), or a list that will not do.
    """
    validation, first = common_trials(sources), sources[0]
    lists = open_lists(list(files) or [first.corpus.list_path(TRIALS)], first.corpus.index, allow_missing=False)
    every = [*(entry.trials for entry in lists), validation]
    scored: list[tuple[Source, Scored]] = []
    for source in sources:
        checkpoint = source.trained.checkpoint
        get_logger().info(f"{source.name}: {source.trained.path}")
        warn_of_overlap(checkpoint, lists, protocols_of(checkpoint, source.corpus.index, lists))
        scored.append((source, source.score(every, lists)))
    scores = {source.name: said.scores for source, said in scored}
    quality = measure_quality(qualities, scored, every)
    inputs = [*scores.values(), *quality.values()]
    together = [np.stack(of_list, axis=1) for of_list in zip(*inputs, strict=True)]  # (N, S) each
    try:
        fusion = fit_fusion(together[-1], validation.labels, EVEN)
        warn_of_weights(fusion, list(scores), len(validation.speakers))
        warn_of_certainty(fusion.llrs(together[-1]), validation.labels)
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
    results |= {"fusion": _describe(fusion, sources, list(quality), validation), "lists": figures}
    return results, list(zip(lists, fused[:-1], strict=True))


def _describe(
    fusion: Fusion, sources: Sequence[Source], quality: Sequence[str], validation: TrialList
) -> dict[str, Any]:
    weights = iter(fusion.weights)
    systems = {
        source.name: {
            "weight": next(weights),
            "system": source.system,
            "checkpoint": str(source.trained.path),
            "sha256": hash_file(source.trained.path),
            "window_frames": source.corpus.window_frames,
        }
        for source in sources
    }
    return {
        "systems": systems,
        **({"quality": dict(zip(quality, weights, strict=True))} if quality else {}),
        "offset": fusion.offset,
        "target_prior": fusion.target_prior,
        "validation_trials": len(validation),
    }
