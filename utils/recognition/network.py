"""Using a trained network: loading it, embeddings of utterances, identification and verification by them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from yacs.config import CfgNode

from data_objects.corpus import Corpus
from data_objects.datasets import WindowBatch, move
from data_objects.frontend import FrontEnd, front_end_settings
from data_objects.index import Rows
from data_objects.lists import TrialList
from models import USUAL, build_model, describe, network_kind
from models.base import SpeakerNetwork
from models.folding import fold_norms
from models.genotypes import read_genotype
from models.vggm import SHORTEST
from utils.metrics.rates import equal_error_rate, min_dcf, top_k_accuracy
from utils.metrics.scoring import cosine_scores, row_norms
from utils.records.checkpoint import (
    BEST,
    Checkpoint,
    check_architecture,
    check_front_end,
    check_identity,
    find_checkpoint,
    load_checkpoint,
)
from utils.records.pretraining import CLASSIFIER
from utils.system.distributed import broadcast, gather_rows, share_statistics
from utils.system.errors import UserError
from utils.system.logger import get_logger, progress_bar
from utils.system.processes import processes


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network ready for evaluation, with the front end it was trained with, and the checkpoint at `path` they are
    from."""

    network: SpeakerNetwork
    front_end: FrontEnd
    checkpoint: Checkpoint
    path: Path
    device: torch.device


def embed_utterances(
    network: SpeakerNetwork,
    front_end: FrontEnd,
    corpus: Corpus,
    rows: Rows,
    device: torch.device,
    *,
    are_alone: bool = False,
) -> Tensor | None:
    """Embed the utterances in `rows`, each once: the mean of its windows' embeddings.

    Several processes share the batches, which are the same as one process alone would have.

    Args:
        are_alone: on a CPU, each utterance's windows go through the network by themselves, so that not a bit depends on
            which others are embedded: kernels round otherwise for batches of another size. Small networks take up to
            three times as long for it.

    Returns:
        (N, D) float32, on the CPU; None on other processes than the main one.

    Raises:
        UserError: they are not finite.
    """
    network.eval()
    groups = corpus.group_windows(rows)
    own = [row for group in groups for row in group]
    place_of = {row: place for place, row in enumerate(own)}
    embeddings = torch.empty(len(own), network.embedding_dim).float()  # filled in place: they can be all that fits
    with torch.inference_mode():
        for batch in progress_bar(corpus.windows(groups), len(groups), "embedding"):
            means = embed_windows(network, front_end, batch, corpus.window_batch_size, device, are_alone=are_alone)
            embeddings[[place_of[row] for row in batch.rows]] = means
    everybody = embeddings if processes() == 1 else _gather(own, embeddings, rows)
    if everybody is not None:
        _check_finite(everybody, corpus, rows)
    return everybody


def embed_windows(
    network: SpeakerNetwork,
    front_end: FrontEnd,
    batch: WindowBatch,
    batch_size: int,
    device: torch.device,
    *,
    are_alone: bool,
) -> Tensor:
    """Embeddings (N, D) float32, on the CPU, of utterances by their windows, `batch_size` of which go at a time.

    Args:
        are_alone: see `embed_utterances`.
    """
    groups = batch.counts if are_alone and device.type == "cpu" else [len(batch.windows)]
    embedded = []
    for part in zip(batch.windows.split(groups), batch.gains.split(groups), strict=True):
        chunks = zip(*(values.split(batch_size) for values in part), strict=True)
        embedded += [network.embed(front_end(*move(chunk, device))) for chunk in chunks]
    means = torch.stack([windows.mean(dim=0) for windows in torch.cat(embedded).split(batch.counts)])
    return means.float().cpu()


def _gather(own: list[int], embeddings: Tensor, rows: Rows) -> Tensor | None:
    """Everybody's embeddings, of their own rows each, in the order of all rows; None but on the main process."""
    every_row, gathered = gather_rows(torch.tensor(own, dtype=torch.int64)), gather_rows(embeddings)
    if every_row is None or gathered is None:
        return None
    place_of = {row: place for place, row in enumerate(every_row.tolist())}
    return gathered[[place_of[int(row)] for row in rows]]


def _check_finite(embeddings: Tensor, corpus: Corpus, rows: Rows) -> None:
    usable = np.isfinite(row_norms(embeddings.numpy()))
    if not usable.all():
        raise UserError(
            f"the embeddings of {int((~usable).sum()):,} utterances "
            f"({corpus.index.utterances[int(rows[int(np.argmin(usable))])]}, ...) are not finite: the network is "
            "broken; evaluate another epoch's, or train it again with a lower TRAIN.LR"
        )


def identify(
    network: SpeakerNetwork,
    front_end: FrontEnd,
    corpus: Corpus,
    rows: Rows,
    speakers: Sequence[str],
    device: torch.device,
) -> dict[str, float]:
    """Classify every utterance in `rows` as one of `speakers`, the network's classes (without those of other speeds).

    Returns:
        top1 and top5 in per cent, and the mean cross-entropy as loss; the same on all processes.
    """
    share_statistics(network)
    embeddings = embed_utterances(network, front_end, corpus, rows, device)
    figures = {}
    if embeddings is not None:
        labels = corpus.index.labels(speakers)[np.asarray(rows)]
        with torch.inference_mode():
            logits = network.classifier(embeddings.to(device))[:, : len(speakers)].float().cpu()
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels)).item()
        top1, top5 = (100 * top_k_accuracy(logits.numpy(), labels, k) for k in (1, 5))
        figures = {"top1": top1, "top5": top5, "loss": loss}
    return broadcast(figures)


def verify(
    network: SpeakerNetwork, front_end: FrontEnd, corpus: Corpus, trials: TrialList, device: torch.device
) -> dict[str, float]:
    """Score trials, whose utterances the index has, by cosine; every utterance is embedded once.

    Returns:
        eer in per cent, and min_dcf at a target prior of 0.01; the same on all processes.
    """
    share_statistics(network)
    rows = corpus.index.rows_of(trials.utterances)
    embeddings = embed_utterances(network, front_end, corpus, rows, device)
    figures = {}
    if embeddings is not None:
        figures = error_rates(cosine_scores(embeddings.numpy(), trials.enrolment, trials.test), trials.labels)
    return broadcast(figures)


def error_rates(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """What chooses an epoch: eer in per cent, and min_dcf at a target prior of 0.01, of scores (N,) and labels (N,)."""
    return {"eer": 100 * equal_error_rate(scores, labels), "min_dcf": min_dcf(scores, labels)}


def load_trained(cfg: CfgNode, load_path: str, device: torch.device) -> TrainedNetwork:
    """The trained network of a checkpoint or run folder (its best).

    Raises:
        UserError: no checkpoint, one of another kind, or of another network or front end than the settings say; one in
            which the genotype, the class list or the front end was changed.
    """
    path = find_checkpoint(load_path, BEST)
    checkpoint = load_checkpoint(path, ("train", "train_baseline"))
    expected = describe(cfg, network_kind(cfg))
    expected.pop("num_classes", None)  # the classes are the checkpoint's own
    expected["speeds"] = checkpoint.architecture.get("speeds", USUAL["speeds"])  # and so are those of training alone
    check_architecture(expected, checkpoint, path)
    check_front_end(checkpoint, path, front_end_settings(cfg))
    check_frames(cfg, checkpoint, path)
    check_identity(checkpoint, path)
    return build_trained(checkpoint, path, device, cfg.EVAL.FOLD_NORMS)


def build_trained(checkpoint: Checkpoint, path: Path, device: torch.device, folds_norms: bool) -> TrainedNetwork:
    """The network that a checkpoint, of the file `path`, holds; of its classes, the speakers at their own speed."""
    architecture, weights = checkpoint.architecture, checkpoint.model
    if "speeds" in architecture:
        count = architecture["num_classes"] * architecture.get("subcenters", USUAL["subcenters"])  # their rows
        weights = {name: value[:count] if name.startswith(CLASSIFIER) else value for name, value in weights.items()}
        architecture = {name: value for name, value in architecture.items() if name != "speeds"}
    network, front_end = build_model(architecture), FrontEnd(settings=checkpoint.front_end_settings)
    network.load_state_dict(weights)
    front_end.load_state_dict(checkpoint.front_end)
    network = fold_norms(network) if folds_norms else network.eval()
    return TrainedNetwork(network.to(device), front_end.to(device), checkpoint, path, device)


def check_genotype(trained: TrainedNetwork, text: str | None) -> None:
    """Refuse a network of another genotype than the one given as text, file or search's folder; None: any will do.

    Raises:
        UserError: it is another's, or no genotype's at all.
    """
    if text is None:
        return
    found, expected = trained.checkpoint.architecture.get("genotype"), str(read_genotype(text))
    if found != expected:
        raise UserError(
            f"{trained.path} is not the network of this genotype: its own is {found}, --text_arch says {expected}"
        )


def check_frames(cfg: CfgNode, checkpoint: Checkpoint, path: Path) -> None:
    """Refuse settings with crops of another length than a network was trained on; warn of other windows than its own.

    Raises:
        UserError: naming both.
    """
    own = yaml.safe_load(checkpoint.config)
    trained = own["DATASET"]["PARTIAL_N_FRAMES"]
    if trained != cfg.DATASET.PARTIAL_N_FRAMES:
        raise UserError(
            f"{path} was trained on crops of {trained} frames, the settings say DATASET.PARTIAL_N_FRAMES "
            f"{cfg.DATASET.PARTIAL_N_FRAMES}: set it to {trained}; to evaluate on other windows, set EVAL.WINDOW_FRAMES"
        )
    if checkpoint.architecture["kind"] == "vggm" and 0 < cfg.EVAL.WINDOW_FRAMES < SHORTEST:
        raise UserError(f"EVAL.WINDOW_FRAMES must be at least {SHORTEST} for vggm: its pooling needs as many")
    validated, windows = own["EVAL"].get("WINDOW_FRAMES") or trained, cfg.EVAL.WINDOW_FRAMES or trained
    if windows != validated:
        chosen = "" if validated == trained else f", validated on windows of {validated}"
        get_logger().warning(
            f"the network was trained on crops of {trained} frames{chosen} and is evaluated on windows of {windows} "
            "(EVAL.WINDOW_FRAMES)"
        )
