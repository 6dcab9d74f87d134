"""Training a network: what train.py and train_baseline.py do, from the settings to the best epoch's figures.

Where several processes share the job (see utils/system/distributed.py), all of them call these functions.
"""

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from yacs.config import CfgNode

from config import doubtful_settings, last_epoch
from data_objects.corpus import Corpus
from data_objects.datasets import CropBatch, CropLoader, to_device
from data_objects.frontend import FrontEnd, count_bins, reverse_time
from data_objects.spectral import mask_features
from models import build_baseline, build_network, count_parameters
from models.base import SpeakerNetwork
from models.genotypes import parse_genotype, read_genotype
from models.network import Network
from models.statistics import Statistics
from utils.recognition.network import identify, load_trained
from utils.records.checkpoint import BEST, KEPT, LAST, load_last
from utils.records.guard import check_training
from utils.records.pretraining import load_pretrained
from utils.records.provenance import build_provenance, write_results
from utils.system.commands import call_of
from utils.system.device import autocast, prepare
from utils.system.distributed import agree, apart, unwrap, wrap
from utils.system.errors import UserError
from utils.system.interruption import Watch
from utils.system.logger import get_logger, progress_bar
from utils.system.processes import processes, rank
from utils.training.averaging import MovingAverage
from utils.training.finetuning import freeze, split_parameters
from utils.training.fitting import fit_statistics
from utils.training.losses import AdditiveAngularMargin, build_criterion, check_top_k
from utils.training.optim import build_weight_optimizer, count_steps, learning_rate, margin_share, set_lr
from utils.training.run_log import RunLog
from utils.training.state import TrainingState, check_finite, format_figures, open_run
from utils.training.tuning import draw_noise
from utils.training.validation import validate

Features = tuple[Tensor, Tensor]  # (B, T, F), and labels (B,)
T = TypeVar("T")
Outcome = tuple[Tensor, Tensor, Tensor]  # loss, logits (B, K), labels (B,)


def to_features(batch: CropBatch, front_end: FrontEnd, device: torch.device) -> Features:
    """Features (B, T, F) and labels (B,) of a batch of crops, on the device."""
    batch = batch.to(device)
    features = reverse_time(front_end(batch.waveforms, batch.gains, batch.curves), batch.reverse)
    return mask_features(features, batch.time_masks, batch.frequency_masks), batch.labels


def take_gradients(model: nn.Module, batch: Features, criterion: nn.Module, precision: str, count: int = 1) -> Outcome:
    """Loss, logits and labels of a batch of features (B, T, F) and labels (B,).

    Its gradients, those of the mean of `count` batches, are added to those of the parameters that learn.
    """
    features, labels = batch
    with autocast(features.device, precision):
        logits = model(features)
    loss = criterion(logits.float(), labels)
    (loss / count if count > 1 else loss).backward()
    return loss, logits, labels


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Features,
    criterion: nn.Module,
    precision: str,
    frozen: Sequence[nn.Parameter] = (),
) -> Outcome:
    """A step on one batch: see `accumulated_step`."""
    (outcome,) = accumulated_step(model, optimizer, [batch], 1, criterion, precision, frozen)
    return outcome


def accumulated_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Features],
    count: int,
    criterion: nn.Module,
    precision: str,
    frozen: Sequence[nn.Parameter] = (),
    clip: float = 0.0,
) -> list[Outcome]:
    """A step on the mean of the gradients of `count` batches of one size; returns what `take_gradients` does of each.

    Args:
        frozen: parameters that take no step.
        clip: the greatest length of the gradient of all others together; 0: any length.
    """
    optimizer.zero_grad(set_to_none=True)
    outcomes = []
    for number, batch in enumerate(batches, start=1):
        with apart(model, number < count):
            outcome = take_gradients(model, batch, criterion, precision, count)
        outcomes.append((outcome[0].detach(), outcome[1].detach(), outcome[2]))
        if number == 1 < count:
            _keep_gradients(unwrap(model))
    for parameter in frozen:
        parameter.grad = None
    if clip:  # of gradients that all processes have the same of
        clip_grad_norm_([parameter for group in optimizer.param_groups for parameter in group["params"]], clip)
    optimizer.step()
    return outcomes


def _keep_gradients(network: nn.Module) -> None:
    """Copy the gradients where CUDA graphs have given them: the next replay may write over its own."""
    if isinstance(network, Network) and network.replays:
        for parameter in network.parameters():
            parameter.grad = None if parameter.grad is None else parameter.grad.clone()


def train_network(
    cfg: CfgNode,
    network: SpeakerNetwork,
    corpus: Corpus,
    *,
    script: str,
    config_file: str,
    load_path: str | None,
    device: torch.device,
) -> Path:
    """Train to TRAIN.END_EPOCH, or TRAIN.STOP_EPOCH; the best epoch is kept as best.pt, the last one as last.pt.

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
    check_options(cfg, network, corpus)
    crops, front_end = corpus.crops("train"), corpus.build_front_end().to(device)
    network.to(device)
    network.share_batches(rank(), processes())
    groups = [network.parameters()] if cfg.TRAIN.LR_PRETRAINED == 1 else split_parameters(network)
    optimizers: dict[str, torch.optim.Optimizer] = {"weights": build_weight_optimizer(cfg, *groups)}
    state = TrainingState(cfg, script, network, front_end, optimizers, corpus)
    log = open_run(state, config_file, load_path, partial(make_step, cfg))
    for line in doubtful_settings(cfg):
        log.warning(line)
    if cfg.TRAIN.EMA:
        log.info(f"TRAIN.EMA {cfg.TRAIN.EMA}: what is validated, and kept as {BEST}, is the average of the weights")
    model = wrap(network, device, uses_all=not isinstance(network, Network) or network.uses_all)
    began = time.perf_counter()
    where = partial(state.where, log.run_dir, len(crops))
    with closing(log), Watch(partial(state.save, log.run_dir / LAST), cfg.TRAIN.CHECKPOINT_MINUTES, where) as watch:
        while state.epoch < last_epoch(cfg):
            set_epoch(state, len(crops))
            figures = train_epoch(state, model, crops, watch, log)
            state.check_sound()
            watch.before_validation()
            end_epoch(state, figures, validate(state), log)
            watch.after_epoch()
        log.info(f"trained in {time.perf_counter() - began:.1f} s")
        if state.epoch < cfg.TRAIN.END_EPOCH:
            log.info(f"{where()} TRAIN.STOP_EPOCH 0")
    return log.run_dir


def check_options(cfg: CfgNode, network: SpeakerNetwork, corpus: Corpus) -> None:
    """Refuse what does not go with this network and corpus.

    Raises:
        UserError: TRAIN.TOP_K is no less than there are classes; a mask over frequency may cover all bins.
    """
    check_top_k(cfg, network.classifier.out_features)
    check_masks(cfg, count_bins(corpus.front_end_settings))


def check_masks(cfg: CfgNode, bins: int) -> None:
    """Refuse masks over frequency of which one may cover all of the features' bins."""
    if cfg.AUGMENT.FREQUENCY_MASKS and bins <= cfg.AUGMENT.FREQUENCY_MASK_BINS:
        raise UserError(
            f"AUGMENT.FREQUENCY_MASK_BINS {cfg.AUGMENT.FREQUENCY_MASK_BINS} must be less than the features' {bins} "
            "bins, of which nothing may be left otherwise"
        )


def make_step(cfg: CfgNode, network: SpeakerNetwork) -> Callable[[], object]:
    """What takes a step of a network, on noise."""
    if isinstance(network, Network):
        network.drop_path_probability = cfg.MODEL.DROP_PATH_PROB
    optimizer, criterion = build_weight_optimizer(cfg, network.parameters()), build_criterion(cfg)
    batches = [draw_noise(cfg, next(network.parameters()).device)] * cfg.TRAIN.ACCUMULATE
    average = MovingAverage(network, cfg.TRAIN.EMA) if cfg.TRAIN.EMA else None
    network.train()

    def step() -> None:
        how = criterion, cfg.TRAIN.PRECISION, (), cfg.TRAIN.CLIP
        accumulated_step(network, optimizer, batches, len(batches), *how)
        if average is not None:
            average.update(network, 0)

    return step


def set_epoch(state: TrainingState[SpeakerNetwork], batches: int) -> None:
    """Set the learning rate and drop-path of the epoch of so many batches that begins, or is gone on with."""
    cfg, epochs = state.cfg, state.cfg.TRAIN.END_EPOCH
    steps = count_steps(batches, cfg.TRAIN.ACCUMULATE)
    step = min(count_steps(state.batch, cfg.TRAIN.ACCUMULATE), steps - 1)
    set_lr(state.optimizers["weights"], learning_rate(cfg, state.epoch, step, steps))
    if isinstance(state.network, Network):
        probability = cfg.MODEL.DROP_PATH_PROB * state.epoch / epochs
        state.network.drop_path_probability = 0.0 if is_frozen(state) else probability


def is_frozen(state: TrainingState[SpeakerNetwork]) -> bool:
    """Whether all but classifier and pooling stands still in the epoch that begins: see MODEL.FREEZE."""
    return state.epoch < state.cfg.TRAIN.BEGIN_EPOCH + state.cfg.MODEL.FREEZE


def train_epoch(
    state: TrainingState[SpeakerNetwork], model: nn.Module, crops: CropLoader, watch: Watch, log: RunLog
) -> dict[str, float]:
    """One pass over the training crops, or the rest of one.

    Args:
        model: the state's network, as `utils.system.distributed.wrap` gives it.

    Returns:
        The epoch's mean train_loss, train_top1 in per cent, utterances_per_second.
    """
    model.train()
    freeze(state.network, is_frozen(state))
    frozen = split_parameters(state.network)[1] if is_frozen(state) else ()
    cfg, (meter,) = state.cfg, state.begin_epoch("train")
    criterion = build_criterion(cfg)
    epoch, steps, optimizer = f"epoch {state.epoch + 1}", len(crops), state.optimizers["weights"]
    of_step = cfg.TRAIN.ACCUMULATE
    batches = to_device(crops.epoch(state.epoch, state.batch), state.device)
    # Those of a step are waited for together, so that wherever a run stops, it is between two steps of the weights.
    groups = watch.waiting(in_groups(batches, of_step))
    bar = progress_bar(groups, count_steps(steps, of_step), epoch, done=count_steps(state.batch, of_step))
    for group in bar:
        of_group = (to_features(batch, state.front_end, state.device) for batch in group)
        step = set_step(state, criterion, steps)
        how = criterion, cfg.TRAIN.PRECISION, frozen, cfg.TRAIN.CLIP
        for outcome in accumulated_step(model, optimizer, of_group, len(group), *how):
            meter.update(*outcome)
        if state.average is not None:
            state.average.update(state.network, step)
        state.count_batches(len(group))
        if state.batch % cfg.PRINT_FREQ < len(group) and state.batch < steps:
            figures = meter.read()
            check_finite(figures["loss"], state.epoch, state.batch)
            log.info(f"{epoch}, batch {state.batch}/{steps}: {format_figures(figures)}")
        watch.after_iteration()
    figures = meter.read()
    check_finite(figures["loss"], state.epoch, steps)
    speed = figures.pop("utterances_per_second")
    return {f"train_{name}": value for name, value in figures.items()} | {"utterances_per_second": speed}


def in_groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Items in order, so many at a time; the last ones may be fewer."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


def set_step(state: TrainingState[SpeakerNetwork], criterion: nn.Module, batches: int) -> int:
    """Set the learning rate and the margin's share of the step that begins, in an epoch of so many batches.

    Returns:
        How many steps the weights have taken before, from TRAIN.BEGIN_EPOCH on.
    """
    cfg, steps = state.cfg, count_steps(batches, state.cfg.TRAIN.ACCUMULATE)
    step = state.batch // cfg.TRAIN.ACCUMULATE
    if cfg.TRAIN.LR_WARMUP:
        set_lr(state.optimizers["weights"], learning_rate(cfg, state.epoch, step, steps))
    if isinstance(criterion, AdditiveAngularMargin):
        criterion.share = margin_share(cfg, state.epoch, step, steps)
    return (state.epoch - cfg.TRAIN.BEGIN_EPOCH) * steps + step


def end_epoch(
    state: TrainingState[SpeakerNetwork], trained: dict[str, float], val: dict[str, float], log: RunLog
) -> None:
    """Record an epoch's figures, and write its checkpoints.

    Args:
        trained: from `train_epoch`.
        val: from `validate`; they decide whether this epoch is the best.
    """
    is_best = bool(val) and state.is_better(val)
    lr = state.optimizers["weights"].param_groups[0]["lr"]
    figures = {"lr": lr} | trained | {f"val_{name}": value for name, value in val.items()}
    state.advance({"epoch": state.epoch + 1, **val} if is_best else None)
    log.metrics(state.epoch, figures)
    of = state.cfg.TRAIN.END_EPOCH
    log.info(f"epoch {state.epoch}/{of}: {format_figures(figures)}{' (best so far)' * is_best}")
    if is_best:  # before last.pt, so that a run stopped in between makes it again
        state.save(log.run_dir / BEST)
    if keeps(state.cfg, state.epoch):
        state.save(log.run_dir / KEPT.format(state.epoch), can_go_on=False)
    state.save(log.run_dir / LAST)


def keeps(cfg: CfgNode, epoch: int) -> bool:
    """Whether TRAIN.KEEP_EPOCHS has the network of this epoch, counted from 1, kept.

    That does not depend on where a run was stopped: TRAIN.STOP_EPOCH has no part in it.
    """
    every = cfg.TRAIN.KEEP_EPOCHS
    return every > 0 and (epoch % (every * cfg.VAL_FREQ) == 0 or epoch == cfg.TRAIN.END_EPOCH)


def run_training(cfg: CfgNode, config_file: str, load_path: str | None, text_arch: str | None = None) -> None:
    """What train.py does: train the network of a genotype, and report the best epoch on the test part.

    Args:
        load_path: the folder of a run to go on with; None begins a new run.
        text_arch: the genotype, or a file that holds it; None: that of the run.

    Raises:
        UserError: see `train_network`.
    """
    if text_arch:
        genotype = read_genotype(text_arch)
    else:
        checkpoint, _ = load_last(load_path or "", ("train",))
        genotype = parse_genotype(checkpoint.architecture["genotype"])
    _run(cfg, config_file, load_path, "train", lambda classes: build_network(cfg, genotype, classes))


def run_baseline_training(cfg: CfgNode, config_file: str, load_path: str | None) -> None:
    """What train_baseline.py does, as `run_training` for a genotype's network."""
    _run(cfg, config_file, load_path, "train_baseline", lambda classes: build_baseline(cfg, classes))


def _run(
    cfg: CfgNode, config_file: str, load_path: str | None, script: str, build: Callable[[int], SpeakerNetwork]
) -> None:
    """Train what `build(num_classes)` builds, in a run folder; report the best epoch on the test part."""
    device = prepare(cfg)
    corpus = Corpus(cfg)
    network = build(corpus.check_num_classes(cfg.MODEL.NUM_CLASSES))
    if cfg.MODEL.PRETRAINED and not load_path:
        get_logger().info(load_pretrained(network, cfg.MODEL.PRETRAINED, corpus.speakers, corpus.front_end_settings))
    of_run: Any = {"script": script, "config_file": config_file, "load_path": load_path, "device": device}
    if isinstance(network, Statistics):
        cfg = cfg.clone()
        cfg.defrost()
        cfg.TRAIN.BEGIN_EPOCH, cfg.TRAIN.END_EPOCH, cfg.TRAIN.STOP_EPOCH = 0, 1, 0
        run_dir = fit_statistics(cfg, network, corpus, **of_run)
    else:
        run_dir = train_network(cfg, network, corpus, **of_run)
    agree()  # best.pt is written
    report_best(cfg, run_dir, corpus, count_parameters(network), script, device)
    if last_epoch(cfg) < cfg.TRAIN.END_EPOCH:
        return  # it goes on before it is evaluated
    step = "identification" if corpus.sub_dir == "merged" else "verification"
    options = ["--cfg", str(run_dir / "config.yaml"), "--load_path", str(run_dir)]
    get_logger().info(f"next: {call_of(f'evaluate_{step}.py')} {shlex.join(options)}")


def report_best(
    cfg: CfgNode, run_dir: Path, corpus: Corpus, parameters: int, script: str, device: torch.device
) -> None:
    """Write and print the figures of the best epoch: those that chose it, and on the test part, where there is one.

    A training that stops before its end is not tested: nothing that decides whether it goes on may know the test part.
    """
    trained = load_trained(cfg, str(run_dir), device)
    best = trained.checkpoint.best
    results = {"run_dir": str(run_dir), "parameters": parameters, "epoch": best["epoch"]}
    results |= {f"val_{name}": best[name] for name in ("top1", "eer", "min_dcf") if name in best}
    test_rows = corpus.index.rows(corpus.sub_dir, "test")
    if len(test_rows) and last_epoch(cfg) == cfg.TRAIN.END_EPOCH:
        network = trained.network, trained.front_end
        test = identify(*network, corpus, test_rows, trained.checkpoint.speakers, device)
        results |= {"top1": test["top1"], "top5": test["top5"], "utterances": len(test_rows)}
    protocol = check_training(corpus, trained.checkpoint.protocol.get("pretraining", ()))
    source = trained.checkpoint, trained.path
    provenance = build_provenance(cfg, *source, corpus.index, protocol, device, script=f"{script}.py")
    write_results(run_dir / "results.json", results, provenance)
