"""Fitting what is not trained by gradients: what train_baseline.py does where MODEL.NAME is statistics."""

import math
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from yacs.config import CfgNode

from config import last_epoch
from data_objects.corpus import Corpus
from models.statistics import Moments, Statistics
from utils.recognition.network import embed_utterances
from utils.records.checkpoint import BEST, LAST
from utils.system.distributed import broadcast
from utils.system.errors import UserError
from utils.training.state import TrainingState, format_figures, open_run
from utils.training.validation import validate


def fit_statistics(
    cfg: CfgNode,
    network: Statistics,
    corpus: Corpus,
    *,
    script: str,
    config_file: str,
    load_path: str | None,
    device: torch.device,
) -> Path:
    """Fit a network to the utterances of the train part, in one epoch; it is kept as best.pt and last.pt.

    Args:
        cfg: with TRAIN.END_EPOCH 1.
        load_path: the folder of a run, of which nothing is left to do; None begins a new run.

    Returns:
        The run folder.

    Raises:
        UserError: data missing or too few; a protocol that does not hold.
    """
    front_end = corpus.build_front_end().to(device)
    network.to(device).undo(front_end.mean, front_end.deviation)
    state = TrainingState(cfg, script, network, front_end, {}, corpus)
    log = open_run(state, config_file, load_path, _no_steps)
    with closing(log):
        if state.epoch < last_epoch(cfg):
            began, rows = time.perf_counter(), corpus.rows("train")
            moments = Moments().to(device)
            moments.undo(front_end.mean, front_end.deviation)
            of_rows = embed_utterances(moments, front_end, corpus, rows, device)
            if of_rows is not None:
                fit(network, of_rows.numpy(), corpus.index.labels(corpus.speakers)[np.asarray(rows)])
            network.load_state_dict(broadcast({name: value.cpu() for name, value in network.state_dict().items()}))
            seconds = time.perf_counter() - began
            state.step = math.ceil(len(rows) / cfg.TRAIN.BATCH_SIZE)
            val = validate(state)
            state.advance({"epoch": state.epoch + 1, **val})
            figures = {"utterances_per_second": len(rows) / seconds}
            figures |= {f"val_{name}": value for name, value in val.items()}
            log.metrics(state.epoch, figures)
            log.info(f"fitted to {len(rows):,} utterances in {seconds:.1f} s: {format_figures(figures)}")
            state.save(log.run_dir / BEST)
            state.save(log.run_dir / LAST)
    return log.run_dir


def fit(network: Statistics, moments: np.ndarray, labels: np.ndarray) -> None:
    """Fit to the moments (N, 464) of utterances and their labels (N,): linear discriminant analysis.

    Of moments of mean 0 and deviation 1 each, with the covariance within speakers shrunk as Ledoit and Wolf do (Journal
    of Multivariate Analysis, 2004). Where fewer speakers have utterances than there are classes, the last dimensions
    are 0, as are the directions of those without.

    Raises:
        UserError: there are not more utterances than speakers, or there is one speaker alone.
    """
    speakers = np.unique(labels)
    if len(speakers) < 2 or len(labels) <= len(speakers):
        raise UserError(
            f"MODEL.NAME statistics needs two speakers or more and several utterances of a speaker, and the train part "
            f"has {len(labels)} of {len(speakers)}"
        )
    mean, deviation = moments.mean(axis=0, dtype=np.float64), moments.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1
    standard = (moments - mean) / deviation
    dimensions = min(network.embedding_dim, len(speakers) - 1)
    analysis = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=dimensions)
    analysis.fit(standard, labels)
    projection = np.zeros((len(mean), network.embedding_dim))
    projection[:, :dimensions] = analysis.scalings_[:, :dimensions] / deviation[:, None]
    embeddings = (moments - mean) @ projection
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    directions = np.zeros((network.classifier.out_features, network.embedding_dim))
    for speaker in speakers:
        directions[speaker] = embeddings[labels == speaker].mean(axis=0)
    for parameter, value in (
        (network.mean, mean),
        (network.projection, projection),
        (network.classifier.weight, directions),
    ):
        parameter.copy_(torch.from_numpy(value))


def _no_steps(network: Statistics) -> Callable[[], object]:
    raise AssertionError("nothing of it is trained by steps")
