"""Training a network and using one: what train.py, train_baseline.py and both evaluations share.

Where several processes share the job (see utils/distributed.py), all of them call these functions.
"""

import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from yacs.config import CfgNode

from data_objects.datasets import Corpus, CropBatch, CropLoader, to_device
from data_objects.frontend import SETTINGS, FrontEnd, reverse_time
from data_objects.voxceleb import TrialList
from models import Network, build_model, count_parameters, describe, network_kind
from models.folding import fold_norms
from models.genotypes import read_genotype
from models.vggm import SHORTEST
from utils.checkpoint import (
    BEST,
    LAST,
    Checkpoint,
    check_architecture,
    check_front_end,
    check_identity,
    find_checkpoint,
    load_checkpoint,
    load_pretrained,
)
from utils.distributed import agree, broadcast, gather_rows, processes, rank, share_statistics, wrap
from utils.errors import UserError
from utils.interruption import Watch
from utils.logger import RunLog, get_logger, progress_bar
from utils.losses import build_criterion
from utils.metrics import cosine_scores, equal_error_rate, min_dcf, row_norms, top_k_accuracy
from utils.optim import build_weight_optimizer, cosine_lr, set_lr
from utils.protocol import check_training
from utils.results import build_provenance, write_results
from utils.run import TrainingState, check_finite, format_figures, open_run
from utils.runtime import autocast, prepare


# ------------------------------------------------------------------------------------------------------------------
# Using a network
# ------------------------------------------------------------------------------------------------------------------
def embed_utterances(
    network: nn.Module, front_end: FrontEnd, corpus: Corpus, rows: Sequence[int], device: torch.device
) -> Tensor | None:
    """Embed the utterances in `rows`, each once: the mean of its windows' embeddings.

    Several processes share the batches, which are the same as one process alone would have.

    Returns:
        (N, D) float32, on the CPU; None on other processes than the main one.

    Raises:
        UserError: they are not finite.
    """
    network.eval()
    loader = corpus.windows(rows)
    own = list(map(int, rows)) if processes() == 1 else [row for group in loader.batch_sampler for row in group]
    place_of = {row: place for place, row in enumerate(own)}
    embeddings = torch.empty(len(own), network.embedding_dim).float()  # filled in place: they can be all that fits
    with torch.inference_mode():
        for batch in progress_bar(loader, len(loader), "embedding"):
            chunks = zip(*(part.split(corpus.window_batch_size) for part in batch[:2]), strict=True)
            embedded = torch.cat([network.embed(front_end(*_move(chunk, device))) for chunk in chunks])
            means = torch.stack([windows.mean(dim=0) for windows in embedded.split(batch.counts)])
            embeddings[[place_of[row] for row in batch.rows]] = means.float().cpu()
    if processes() > 1:
        every_row, embeddings = gather_rows(torch.tensor(own, dtype=torch.int64)), gather_rows(embeddings)
        if every_row is None:
            return None
        place_of = {row: place for place, row in enumerate(every_row.tolist())}
        embeddings = embeddings[[place_of[int(row)] for row in rows]]
    _check_finite(embeddings, corpus, rows)
    return embeddings


def _check_finite(embeddings: Tensor, corpus: Corpus, rows: Sequence[int]) -> None:
    usable = np.isfinite(row_norms(embeddings.numpy()))
    if not usable.all():
        raise UserError(
            f"the embeddings of {int((~usable).sum()):,} utterances "
            f"({corpus.index.utterances[int(rows[int(np.argmin(usable))])]}, ...) are not finite: the network is "
            "broken; evaluate another epoch's, or train it again with a lower TRAIN.LR"
        )


def _move(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    return [tensor.to(device, non_blocking=True) for tensor in tensors]


def identify(
    network: nn.Module,
    front_end: FrontEnd,
    corpus: Corpus,
    rows: Sequence[int],
    speakers: Sequence[str],
    device: torch.device,
) -> dict[str, float]:
    """Classify every utterance in `rows` as one of `speakers`, the network's classes.

    Returns:
        top1 and top5 in per cent, and the mean cross-entropy as loss; the same on all processes.
    """
    share_statistics(network)
    embeddings = embed_utterances(network, front_end, corpus, rows, device)
    figures = {}
    if embeddings is not None:
        labels = corpus.index.labels(speakers)[np.asarray(rows)]
        with torch.inference_mode():
            logits = network.classifier(embeddings.to(device)).float().cpu()
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels)).item()
        top1, top5 = (100 * top_k_accuracy(logits.numpy(), labels, k) for k in (1, 5))
        figures = {"top1": top1, "top5": top5, "loss": loss}
    return broadcast(figures)


def verify(
    network: nn.Module, front_end: FrontEnd, corpus: Corpus, trials: TrialList, device: torch.device
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
        scores = cosine_scores(embeddings.numpy(), trials.enrolment, trials.test)
        figures = {"eer": 100 * equal_error_rate(scores, trials.labels), "min_dcf": min_dcf(scores, trials.labels)}
    return broadcast(figures)


def load_system(cfg: CfgNode, load_path: str, device: torch.device) -> tuple[nn.Module, FrontEnd, Checkpoint, Path]:
    """The trained network of a checkpoint or run folder (its best), with the front end it was trained with.

    Raises:
        UserError: no checkpoint, one of another kind, or of another network or front end than the settings say; one in
            which the genotype, the class list or the front end was changed.
    """
    path = find_checkpoint(load_path, BEST)
    checkpoint = load_checkpoint(path, ("train", "train_baseline"))
    expected = describe(cfg, network_kind(cfg))
    expected.pop("num_classes", None)  # the classes are the checkpoint's own
    check_architecture(expected, checkpoint, path)
    check_front_end(SETTINGS, checkpoint, path)
    check_frames(cfg, checkpoint, path)
    check_identity(checkpoint, path)
    network, front_end = build_model(checkpoint.architecture), FrontEnd()
    network.load_state_dict(checkpoint.model)
    front_end.load_state_dict(checkpoint.front_end)
    network = fold_norms(network) if cfg.EVAL.FOLD_NORMS else network.eval()
    return network.to(device), front_end.to(device), checkpoint, path


def check_genotype(checkpoint: Checkpoint, text: str | None, path: Path) -> None:
    """Refuse a network of another genotype than the one given as text, file or search's folder; None: any will do.

    Raises:
        UserError: it is another's, or no genotype's at all.
    """
    if text is None:
        return
    found, expected = checkpoint.architecture.get("genotype"), str(read_genotype(text))
    if found != expected:
        raise UserError(f"{path} is not the network of this genotype: its own is {found}, --text_arch says {expected}")


def check_frames(cfg: CfgNode, checkpoint: Checkpoint, path: Path) -> None:
    """Refuse settings with crops of another length than a network was trained on; warn of other windows.

    Raises:
        UserError: naming both.
    """
    trained = yaml.safe_load(checkpoint.config)["DATASET"]["PARTIAL_N_FRAMES"]
    if trained != cfg.DATASET.PARTIAL_N_FRAMES:
        raise UserError(
            f"{path} was trained on crops of {trained} frames, the settings say DATASET.PARTIAL_N_FRAMES "
            f"{cfg.DATASET.PARTIAL_N_FRAMES}: set it to {trained}; to evaluate on other windows, set EVAL.WINDOW_FRAMES"
        )
    if checkpoint.architecture["kind"] == "vggm" and 0 < cfg.EVAL.WINDOW_FRAMES < SHORTEST:
        raise UserError(f"EVAL.WINDOW_FRAMES must be at least {SHORTEST} for vggm: its pooling needs as many")
    if cfg.EVAL.WINDOW_FRAMES not in (0, trained):
        get_logger().warning(
            f"WARNING: the network was trained on crops of {trained} frames and is evaluated on windows of "
            f"{cfg.EVAL.WINDOW_FRAMES} (EVAL.WINDOW_FRAMES)"
        )


# ------------------------------------------------------------------------------------------------------------------
# Training a network
# ------------------------------------------------------------------------------------------------------------------
def to_features(batch: CropBatch, front_end: FrontEnd, device: torch.device) -> tuple[Tensor, Tensor]:
    """Features (B, T, 257) and labels (B,) of a batch of crops, on the device."""
    waveforms, gains, labels, reverse = _move(batch, device)
    return reverse_time(front_end(waveforms, gains), reverse), labels


def take_gradients(
    model: nn.Module, batch: tuple[Tensor, Tensor], criterion: nn.Module, precision: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, logits and labels of a batch of features (B, T, F) and labels (B,).

    Its gradients are added to those of the parameters that learn.
    """
    features, labels = batch
    with autocast(features.device, precision):
        logits = model(features)
    loss = criterion(logits.float(), labels)
    loss.backward()
    return loss, logits, labels


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor],
    criterion: nn.Module,
    precision: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """A step on a batch's own gradients; returns what `take_gradients` does."""
    optimizer.zero_grad(set_to_none=True)
    outcome = take_gradients(model, batch, criterion, precision)
    optimizer.step()
    return outcome


def train_network(
    cfg: CfgNode,
    network: nn.Module,
    corpus: Corpus,
    *,
    script: str,
    config_file: str,
    load_path: str | None,
    device: torch.device,
) -> Path:
    """Train to TRAIN.END_EPOCH; the best epoch is kept as best.pt, the last one as last.pt.

    Best is the epoch with the lowest equal error rate on the trials of the speakers held out, or where there are none
    the one with the highest Top-1 on the val part.

    Args:
        network: as built by `models.build_model`.
        load_path: the folder of a run to go on with; None begins a new run.

    Returns:
        The run folder.

    Raises:
        UserError: data missing or too few; a protocol that does not hold (`check_training`); a checkpoint of another
            network; a loss that is not finite.
        RunStoppedError: a signal asked it to stop; the checkpoint is written.
    """
    crops, front_end = corpus.crops("train"), corpus.build_front_end().to(device)
    network.to(device)
    if isinstance(network, Network):
        network.shares = (rank(), processes())
    optimizer = build_weight_optimizer(cfg, network.parameters())
    state = TrainingState(cfg, script, network, front_end, {"weights": optimizer}, corpus)
    if cfg.TRAIN.COMPILE:
        compile_network(network)
    log = open_run(state, config_file, load_path)
    model = wrap(network, device, uses_all=not isinstance(network, Network) or network.uses_all)
    last, epochs = log.run_dir / LAST, cfg.TRAIN.END_EPOCH
    began = time.perf_counter()
    where = partial(state.where, log.run_dir, len(crops))
    with closing(log), Watch(partial(state.save, last), cfg.TRAIN.CHECKPOINT_MINUTES, where) as watch:
        while state.epoch < epochs:
            lr = cosine_lr(state.epoch, epochs, cfg.TRAIN.LR, cfg.TRAIN.LR_MIN)
            set_lr(optimizer, lr)
            if isinstance(network, Network):
                network.drop_path_probability = cfg.MODEL.DROP_PATH_PROB * state.epoch / epochs
            figures = {"lr": lr} | train_epoch(
                cfg, model, front_end, crops, optimizer, state=state, watch=watch, log=log, device=device
            )
            watch.before_validation()
            val = validate(state, front_end, device)
            is_best = bool(val) and state.is_better(val)
            state.advance({"epoch": state.epoch + 1, **val} if is_best else None)
            figures |= {f"val_{name}": value for name, value in val.items()}
            log.metrics(state.epoch, figures)
            log.info(f"epoch {state.epoch}/{epochs}: {format_figures(figures)}{' (best so far)' * is_best}")
            if is_best:  # before last.pt, so that a run stopped in between makes it again
                state.save(log.run_dir / BEST)
            state.save(last)
            watch.after_epoch()
        log.info(f"trained in {time.perf_counter() - began:.1f} s")
    return log.run_dir


def compile_network(network: nn.Module) -> None:
    """Switch TRAIN.COMPILE on.

    Raises:
        UserError: the network is not a genotype's.
    """
    if not isinstance(network, Network):
        raise UserError("TRAIN.COMPILE is for the network of a genotype, not for a baseline: set it to False")
    network.compile_for_training()


def validate(state: TrainingState, front_end: FrontEnd, device: torch.device) -> dict[str, float]:
    """The figures after the epoch under way: on the val part and, where there are such, on the trials of the speakers
    held out; none where VAL_FREQ says so."""
    cfg, done = state.cfg, state.epoch + 1
    if done % cfg.VAL_FREQ and done < cfg.TRAIN.END_EPOCH:
        return {}
    corpus, network = state.corpus, state.network
    figures = identify(network, front_end, corpus, corpus.rows("val"), corpus.speakers, device)
    if state.trials is not None:
        figures |= verify(network, front_end, corpus, state.trials, device)
    return figures


def train_epoch(
    cfg: CfgNode,
    model: nn.Module,
    front_end: FrontEnd,
    crops: CropLoader,
    optimizer: torch.optim.Optimizer,
    *,
    state: TrainingState,
    watch: Watch,
    log: RunLog,
    device: torch.device,
) -> dict[str, float]:
    """One pass over the training crops, or the rest of one.

    Returns:
        The epoch's mean train_loss, train_top1 in per cent, utterances_per_second.
    """
    model.train()
    criterion = build_criterion(cfg)
    (meter,) = state.begin_epoch("train", device=device)
    epoch, steps = f"epoch {state.epoch + 1}", len(crops)
    batches = to_device(crops.epoch(state.epoch, state.batch), device)
    for batch in progress_bar(batches, steps, epoch, done=state.batch):
        features = to_features(batch, front_end, device)
        meter.update(*train_step(model, optimizer, features, criterion, cfg.TRAIN.PRECISION))
        state.count_step()
        if state.batch % cfg.PRINT_FREQ == 0 and state.batch < steps:
            figures = meter.read()
            check_finite(figures["loss"], state.epoch, state.batch)
            log.info(f"{epoch}, step {state.batch}/{steps}: {format_figures(figures)}")
        watch.after_iteration()
    figures = meter.read()
    check_finite(figures["loss"], state.epoch, steps)
    speed = figures.pop("utterances_per_second")
    return {f"train_{name}": value for name, value in figures.items()} | {"utterances_per_second": speed}


# ------------------------------------------------------------------------------------------------------------------
# A whole run
# ------------------------------------------------------------------------------------------------------------------
def run_training(
    cfg: CfgNode, config_file: str, load_path: str | None, script: str, build: Callable[[int], nn.Module]
) -> None:
    """Train what `build(num_classes)` builds, in a run folder; report the best epoch on the test part.

    Args:
        load_path: the folder of a run to go on with; None begins a new run.
        script: the name of the calling script, which the run folder and the checkpoints bear.

    Raises:
        UserError: see `train_network`.
    """
    device = prepare(cfg)
    corpus = Corpus(cfg)
    network = build(corpus.check_num_classes(cfg.MODEL.NUM_CLASSES))
    if cfg.MODEL.PRETRAINED and not load_path:
        load_pretrained(network, cfg.MODEL.PRETRAINED)
    run_dir = train_network(
        cfg, network, corpus, script=script, config_file=config_file, load_path=load_path, device=device
    )
    agree()  # best.pt is written
    report_best(cfg, run_dir, corpus, count_parameters(network), device)
    step = "identification" if corpus.sub_dir == "merged" else "verification"
    command = ["python", f"evaluate_{step}.py", "--cfg", str(run_dir / "config.yaml"), "--load_path", str(run_dir)]
    get_logger().info(f"next: {shlex.join(command)}")


def report_best(cfg: CfgNode, run_dir: Path, corpus: Corpus, parameters: int, device: torch.device) -> None:
    """Write and print the figures of the best epoch: those that chose it, and on the test part, where there is one."""
    network, front_end, checkpoint, path = load_system(cfg, str(run_dir), device)
    best = checkpoint.best
    results = {"run_dir": str(run_dir), "parameters": parameters, "epoch": best["epoch"]}
    results |= {f"val_{name}": best[name] for name in ("top1", "eer", "min_dcf") if name in best}
    test_rows = corpus.index.rows(corpus.sub_dir, "test")
    if len(test_rows):
        test = identify(network, front_end, corpus, test_rows, checkpoint.speakers, device)
        results |= {"top1": test["top1"], "top5": test["top5"], "utterances": len(test_rows)}
    protocol = check_training(corpus, checkpoint.protocol.get("pretraining", ()))
    provenance = build_provenance(cfg, checkpoint, path, corpus.index, protocol, device)
    write_results(run_dir / "results.json", results, provenance)
