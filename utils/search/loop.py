"""The search: what search.py does, from the settings to the genotype.

An iteration is a step of the architecture parameters alpha, then a step of all other weights: algorithm 1 of Liu et
al., DARTS, ICLR 2019, in first order (xi = 0), over sampled paths (Ding et al., AutoSpeech, Interspeech 2020). Where
alpha's gradient is computed: `models.supernet._WeightGradient`.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from config import flatten, load_config
from data_objects.corpus import Corpus
from data_objects.datasets import CropLoader, to_device
from models import build_supernet
from models.genotypes import Genotype
from models.supernet import Supernet
from utils.records.checkpoint import LAST
from utils.search.cost import CostTarget, build_cost_target
from utils.search.monitor import PictureClock, SearchClock, SearchHistory
from utils.search.paths import PathScorer
from utils.search.ranking import choose_ranked
from utils.search.report import write_search_report
from utils.system.commands import call_of
from utils.system.device import prepare
from utils.system.distributed import agree, average_gradients, check_alike
from utils.system.files import ROOT
from utils.system.interruption import Watch
from utils.system.logger import progress_bar
from utils.system.processes import is_main, processes, rank
from utils.system.text import printable
from utils.training.loop import Features, take_gradients, to_features
from utils.training.meters import TrainingMeter
from utils.training.optim import (
    build_alpha_optimizer,
    build_weight_optimizer,
    cosine_lr,
    learning_rates,
    linear,
    set_lr,
)
from utils.training.run_log import RunLog
from utils.training.state import TrainingState, check_finite, format_figures, open_run
from utils.training.tuning import draw_noise
from utils.training.validation import validates

Outcome = tuple[Tensor, Tensor, Tensor]  # loss, logits (B, K), labels (B,)


def run_search(cfg: CfgNode, config_file: str, load_path: str | None) -> None:
    """What search.py does: search, and print the genotype and the command that trains it.

    Args:
        load_path: the folder of a run to go on with; None begins a new run.

    Raises:
        UserError: data missing or too few; a checkpoint of another supernet; a loss that is not finite.
        RunStoppedError: a signal asked it to stop; the checkpoint is written.
    """
    device = prepare(cfg)
    corpus = Corpus(cfg)
    crops = corpus.halves() if cfg.SEARCH.DATA_SPLIT == "halves" else (corpus.crops("train"), corpus.crops("val"))
    supernet = build_supernet(cfg, corpus.check_num_classes(cfg.MODEL.NUM_CLASSES)).to(device)
    supernet.share_batches(rank(), processes())
    optimizers = build_optimizers(cfg, supernet)
    state = TrainingState(cfg, "search", supernet, corpus.build_front_end().to(device), optimizers, corpus)
    log = open_run(state, config_file, load_path, partial(make_step, cfg))
    start_gradients_at_zero(supernet)
    with closing(log):
        genotype = search(state, crops, log, config_file)
    if is_main():
        print(genotype)
        print(printable(training_command(cfg, config_file, genotype, len(corpus.speakers))))


def build_optimizers(cfg: CfgNode, supernet: Supernet) -> dict[str, torch.optim.Optimizer]:
    """Of the weights and of alpha."""
    return {
        "weights": build_weight_optimizer(cfg, supernet.weight_parameters()),
        "alpha": build_alpha_optimizer(cfg, supernet.arch_parameters()),
    }


def make_step(cfg: CfgNode, supernet: Supernet) -> Callable[[], object]:
    """What takes an iteration of a search, on noise."""
    optimizers, batch = build_optimizers(cfg, supernet.train()), draw_noise(cfg, supernet.alpha_normal.device)
    start_gradients_at_zero(supernet)
    supernet.drop_path_probability = cfg.TRAIN.DROPPATH_PROB
    criterion = nn.CrossEntropyLoss(label_smoothing=cfg.TRAIN.LABEL_SMOOTHING)
    return partial(search_iteration, supernet, optimizers, criterion, batch, batch, cfg.TRAIN.PRECISION)


def search(
    state: TrainingState[Supernet], crops: tuple[CropLoader, CropLoader], log: RunLog, config_file: str
) -> Genotype:
    """Search to TRAIN.END_EPOCH, or until SEARCH.MAX_HOURS or SEARCH.COLLAPSE_PATIENCE ends it.

    Every epoch leaves its figures, genotype.txt and a checkpoint in the run folder, and pictures and the report where
    the last ones are older than two minutes; the end leaves them in any case. (With SEARCH.REPORT False, neither does.)

    Args:
        crops: what the weights learn on, and what alpha does.
        config_file: the settings' file, for the command in the report.

    Returns:
        The genotype.
    """
    cfg, supernet = state.cfg, state.network
    epochs, steps = cfg.TRAIN.END_EPOCH, len(crops[0])
    history = SearchHistory(log.run_dir, state.epoch, cfg.SEARCH.COLLAPSE_PATIENCE)
    hours = state.notes.get("hours", history.hours)
    clock = SearchClock((epochs - state.epoch) * steps - state.batch, hours, cfg.SEARCH.MAX_HOURS)
    drawn = PictureClock()
    scorer = PathScorer(supernet, state.front_end, state.corpus, crops[0], state.device, cfg.SEED)
    ended_within = state.batch > 0 and is_out_of_time(clock)  # it ended there, with the genotype of then
    genotype = history.genotype() if history.records and not ended_within else supernet.genotype()
    if not history.has_kept(genotype):
        history.keep(genotype)
    cost_target = build_cost_target(cfg, supernet)
    tell_of_cost(cost_target, cfg, log)

    def save() -> None:
        state.notes["hours"] = clock.hours
        state.save(log.run_dir / LAST)

    with Watch(save, cfg.TRAIN.CHECKPOINT_MINUTES, lambda: state.where(log.run_dir, steps)) as watch:
        while state.epoch < epochs and not is_out_of_time(clock) and not history.is_over():
            before = state.notes.setdefault("before", str(supernet.genotype()))
            set_epoch(state)
            figures = search_epoch(state, crops, cost_target, clock, watch, log)
            state.check_sound()
            check_alike(supernet.arch_parameters(), "alpha")
            if figures is None:  # out of time within the epoch
                genotype = supernet.genotype()
                history.keep(genotype)
                break
            watch.before_validation()
            if validates(state):
                figures |= scorer.survey(cfg.SEARCH.RANDOM_PATHS)
            figures |= cost_target.figures(supernet)
            genotype = end_epoch(state, figures, history, clock, before, log)
            if cfg.SEARCH.REPORT and is_main() and drawn.is_due():
                with drawn.drawing():
                    report(state, history, genotype, log, config_file)
            watch.after_epoch()
    if cfg.SEARCH.CHOOSE == "ranked":
        genotype = choose_ranked(scorer, cfg.SEARCH.CANDIDATES, cfg.SEED, log.run_dir)
        history.keep(genotype)
    ended = history.is_over() or (clock.is_over() if state.epoch < epochs else "") or "all epochs are done"
    if cfg.SEARCH.REPORT and is_main():
        report(state, history, genotype, log, config_file, ended)
    found = "genotype, pictures and report" if cfg.SEARCH.REPORT else "genotype"
    log.info(f"{ended}; searched for {clock.hours:.3g} h; {found}: {log.run_dir}")
    return genotype


def tell_of_cost(cost_target: CostTarget, cfg: CfgNode, log: RunLog) -> None:
    """What can be found at all, and a doubt about the target."""
    log.info(f"the networks that can be found cost {cost_target.range()} for {cfg.SEARCH.COST_FRAMES} frames")
    if warning := cost_target.warning():
        log.warning(warning)


def report(
    state: TrainingState[Supernet],
    history: SearchHistory,
    genotype: Genotype,
    log: RunLog,
    config_file: str,
    ended: str = "",
) -> None:
    """Draw the pictures and write the report; of the main process.

    Args:
        ended: why the search is over, if it is.
    """
    command = training_command(state.cfg, config_file, genotype, len(state.corpus.speakers))
    pictures = history.draw(genotype, state.network.operation_names)
    write_search_report(log.run_dir, printable(command), ended=ended, pictures=pictures)


def is_out_of_time(clock: SearchClock) -> bool:
    """Whether SEARCH.MAX_HOURS are over by the main process's clock, for all processes alike."""
    return bool(agree(is_main() and bool(clock.is_over()))[0])


def set_epoch(state: TrainingState[Supernet]) -> None:
    """Set the learning rate, drop-path and temperature of the epoch that begins."""
    cfg, epochs = state.cfg, state.cfg.TRAIN.END_EPOCH
    set_lr(state.optimizers["weights"], cosine_lr(state.epoch, epochs, cfg.TRAIN.LR, cfg.TRAIN.LR_MIN))
    state.network.drop_path_probability = linear(state.epoch, epochs, 0.0, cfg.TRAIN.DROPPATH_PROB)
    state.network.temperature = linear(state.epoch, epochs, cfg.SEARCH.TEMPERATURE, cfg.SEARCH.TEMPERATURE_END)


def alpha_rests(state: TrainingState[Supernet]) -> bool:
    """Whether the weights alone learn in the epoch under way: see SEARCH.WARMUP_EPOCHS."""
    return state.epoch < state.cfg.TRAIN.BEGIN_EPOCH + state.cfg.SEARCH.WARMUP_EPOCHS


def end_epoch(
    state: TrainingState[Supernet],
    figures: dict[str, float],
    history: SearchHistory,
    clock: SearchClock,
    before: str,
    log: RunLog,
) -> Genotype:
    """Record an epoch's figures and genotype, and write its checkpoint; returns the genotype.

    Args:
        before: the genotype at the epoch's begin, as text.
    """
    supernet = state.network
    figures |= {"warmup": 1} if alpha_rests(state) else {}
    state.advance()
    figures |= history.add(state.epoch, clock.hours, supernet, before) | learning_rates(state.optimizers)
    log.metrics(state.epoch, figures)
    log.info(f"epoch {state.epoch}/{state.cfg.TRAIN.END_EPOCH}: {format_figures(figures)}")
    if history.warning():
        log.warning(history.warning())
    genotype = history.genotype()
    history.keep(genotype)
    state.save(log.run_dir / LAST)
    return genotype


def search_epoch(
    state: TrainingState[Supernet],
    crops: tuple[CropLoader, CropLoader],
    cost_target: CostTarget,
    clock: SearchClock,
    watch: Watch,
    log: RunLog,
) -> dict[str, float] | None:
    """One pass over the weights' crops, or the rest of one; alpha's crops go on from where they were.

    Returns:
        Losses and Top-1 in per cent of either step (of the weights' alone while alpha rests: SEARCH.WARMUP_EPOCHS), and
        utterances_per_second, over the epoch; None if the clock ended it before its last step.
    """
    cfg, supernet, steps = state.cfg, state.network, len(crops[0])
    supernet.train()
    criterion = nn.CrossEntropyLoss(label_smoothing=cfg.TRAIN.LABEL_SMOOTHING)
    names = ("train",) if alpha_rests(state) else ("train", "val")
    meters = dict(zip(names, state.begin_epoch(*names), strict=True))
    epoch = f"epoch {state.epoch + 1}"
    clock.start_epoch()
    pairs = watch.waiting(paired_batches(state, crops))
    for train_batch, val_batch in progress_bar(pairs, steps, epoch, done=state.batch):
        batches = train_batch, val_batch
        outcome = search_iteration(
            supernet, state.optimizers, criterion, *batches, cfg.TRAIN.PRECISION, cost_target=cost_target
        )
        for name, meter in meters.items():
            meter.update(*outcome[name])
        state.count_step()
        if state.batch % cfg.PRINT_FREQ == 0 and state.batch < steps:
            log.info(f"{epoch}, batch {state.batch}/{steps}: {format_figures(read_meters(state, meters))}")
        if time_left := clock.tick(watch.waited):
            log.info(time_left)
        if watch.after_iteration(over=state.batch < steps and bool(clock.is_over())):
            return None
    return read_meters(state, meters)


def paired_batches(
    state: TrainingState[Supernet], crops: tuple[CropLoader, CropLoader]
) -> Iterator[tuple[Features, Features | None]]:
    """Batches of features and labels on the device, one for the weights' step and one for alpha's, None if it rests."""
    weights, alpha = crops[0].epoch(state.epoch, state.batch), crops[1].endless(state.step)
    streams = [weights] if alpha_rests(state) else [weights, alpha]
    for batches in zip(*(to_device(stream, state.device) for stream in streams), strict=False):
        train, *val = (to_features(batch, state.front_end, state.device) for batch in batches)
        yield train, (val[0] if val else None)


def read_meters(state: TrainingState[Supernet], meters: Mapping[str, TrainingMeter]) -> dict[str, float]:
    """The figures of the meters.

    Raises:
        UserError: a loss is no number any more.
    """
    figures = {f"{name}_{key}": value for name, meter in meters.items() for key, value in meter.read().items()}
    check_finite(sum(figures[f"{name}_loss"] for name in meters), state.epoch, state.batch)
    return figures


def search_iteration(
    supernet: Supernet,
    optimizers: Mapping[str, torch.optim.Optimizer],
    criterion: nn.Module,
    train_batch: Features,
    val_batch: Features | None,
    precision: str = "fp32",
    cost_target: CostTarget | None = None,
) -> dict[str, Outcome]:
    """A step of alpha on its batch of features (B, T, F) and labels (B,), then a step of the weights on theirs.

    Where several processes share a batch, they draw the same paths and average their gradients.

    Args:
        val_batch: alpha's; None: it rests.
        cost_target: of what alpha derives to; its share is not in alpha's loss as it is returned.

    Returns:
        (loss, logits, labels) of either step, as `val` and `train`.
    """
    outcome: dict[str, Outcome] = {}
    if val_batch is not None:
        supernet.learn_alpha()
        optimizers["alpha"].zero_grad()
        outcome["val"] = take_gradients(supernet, val_batch, criterion, precision)
        if cost_target is not None:
            cost_target.add_gradients(supernet)
        average_gradients(supernet.arch_parameters())
        optimizers["alpha"].step()

    supernet.learn_weights()
    optimizers["weights"].zero_grad(set_to_none=False)  # see start_gradients_at_zero
    supernet.path = supernet.draw_path()
    outcome["train"] = take_gradients(supernet, train_batch, criterion, precision)
    supernet.path = None
    average_gradients(supernet.weight_parameters())
    optimizers["weights"].step()
    return outcome


def start_gradients_at_zero(supernet: Supernet) -> None:
    """Give every weight a gradient of 0.

    Adam passes over weights without a gradient, but lets those with a gradient of 0 drift on by their momentum. In the
    original every operation has a gradient in every step, 0 where it was not sampled; so it is here.
    """
    for weight in supernet.weight_parameters():
        weight.grad = torch.zeros_like(weight)


def training_command(cfg: CfgNode, config_file: str, genotype: Genotype, speakers: int) -> str:
    """The command that trains the genotype on the same data, by the scratch.yaml beside the search's or the paper's."""
    scratch = Path(config_file).parent / "scratch.yaml"
    if not scratch.is_file():
        scratch = Path(f"exps/scratch/scratch{'_veri' if cfg.DATASET.SUB_DIR == 'dev' else ''}.yaml")
    training = load_config(scratch if scratch.is_file() else ROOT / scratch)
    options = {"DATASET.DATA_DIR": cfg.DATASET.DATA_DIR, "DATASET.FEATURE_DIR": cfg.DATASET.FEATURE_DIR}
    options |= {"DATASET.SUB_DIR": cfg.DATASET.SUB_DIR, "OUT_DIR": cfg.OUT_DIR, "DEVICE": cfg.DEVICE}
    held_out = ("VAL_SPEAKERS", "VAL_TRIALS", "VAL_SEED", "VAL_CHOICE")
    options |= {f"DATASET.{key}": str(cfg.DATASET[key]) for key in held_out}
    options |= {f"FRONTEND.{key}": str(value) for key, value in cfg.FRONTEND.items()}
    if training.MODEL.NUM_CLASSES not in (0, speakers):
        options["MODEL.NUM_CLASSES"] = str(speakers)
    settings = flatten(training)
    words = [word for key, value in options.items() if str(settings[key]) != value for word in (key, value)]
    call = call_of("train.py")
    return f'{call} --cfg {shlex.quote(str(scratch))} --text_arch "{genotype}" {shlex.join(words)}'
