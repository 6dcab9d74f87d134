"""Step 2: search for a genotype.

    python search.py --cfg exps/search.yaml
    python search.py --cfg exps/search.yaml --load_path runs/search/...      # go on with a search

A supernet holds every candidate operation on every edge, weighted by the architecture parameters alpha. Alpha learns on
the val part (or on half of the train part: SEARCH.DATA_SPLIT), the other weights on the train part, in turn (first-
order DARTS: Liu et al., ICLR 2019, algorithm 1 with xi = 0; with sampled paths: Ding et al., AutoSpeech, Interspeech
2020). Every epoch leaves genotype.txt and pictures in the run folder; at the end the genotype is printed, with the
command that trains it.
"""

import argparse
import shlex
from pathlib import Path

from config import flatten, load_config
from utils.cli import config_parser
from utils.runtime import run_script


def parse_args() -> argparse.Namespace:
    parser = config_parser(__doc__, load_path="folder of a run to go on with")
    return parser.parse_intermixed_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from data_objects.datasets import Corpus
    from models import build_supernet
    from models.genotypes import read_genotype
    from utils.engine import TrainingState, open_run
    from utils.optim import build_alpha_optimizer, build_weight_optimizer
    from utils.runtime import prepare

    device = prepare(cfg)
    corpus = Corpus(cfg)
    halves = cfg.SEARCH.DATA_SPLIT == "halves"
    crops = corpus.halves() if halves else (corpus.crops("train"), corpus.crops("val"))
    supernet = build_supernet(cfg, corpus.check_num_classes(cfg.MODEL.NUM_CLASSES)).to(device)
    front_end = corpus.build_front_end().to(device)
    optimizers = {
        "weights": build_weight_optimizer(cfg, supernet.weight_parameters()),
        "alpha": build_alpha_optimizer(cfg, supernet.arch_parameters()),
    }
    state = TrainingState(cfg, "search", supernet, front_end, optimizers, corpus)
    log = open_run(state, args.cfg, args.load_path)
    start_gradients_at_zero(supernet)
    search(cfg, supernet, front_end, corpus, crops, optimizers, state=state, device=device, log=log)
    log.close()
    genotype = read_genotype(str(log.run_dir / "genotype.txt"))
    print(genotype)
    print(training_command(cfg, args.cfg, genotype, len(corpus.speakers)))


def search(cfg, supernet, front_end, corpus, crops, optimizers, *, state, device, log) -> None:
    """Search to TRAIN.END_EPOCH, or until SEARCH.MAX_HOURS or SEARCH.COLLAPSE_PATIENCE ends it.

    Every epoch leaves its figures, genotype.txt, pictures and a checkpoint in the run folder.
    """
    from utils.checkpoint import LAST
    from utils.engine import format_figures, identify
    from utils.monitor import SearchClock, SearchHistory
    from utils.optim import cosine_lr, learning_rates, linear, set_lr

    epochs, steps, val_rows = cfg.TRAIN.END_EPOCH, len(crops[0]), corpus.rows("val")
    history = SearchHistory(log.run_dir, state.epoch, cfg.SEARCH.COLLAPSE_PATIENCE)
    clock = SearchClock((epochs - state.epoch) * steps, history.hours, cfg.SEARCH.MAX_HOURS)
    history.keep(history.genotype() if history.records else supernet.genotype(), supernet.operation_names)
    while state.epoch < epochs and not clock.is_over() and not history.is_over():
        epoch, before = state.epoch, supernet.genotype()
        set_lr(optimizers["weights"], cosine_lr(epoch, epochs, cfg.TRAIN.LR, cfg.TRAIN.LR_MIN))
        supernet.drop_path_probability = linear(epoch, epochs, 0.0, cfg.TRAIN.DROPPATH_PROB)
        supernet.temperature = linear(epoch, epochs, cfg.SEARCH.TEMPERATURE, cfg.SEARCH.TEMPERATURE_END)
        figures = search_epoch(cfg, supernet, front_end, crops, optimizers, clock, state=state, device=device, log=log)
        if figures is None:  # out of time within the epoch
            history.keep(supernet.genotype(), supernet.operation_names)
            break
        if (epoch + 1) % cfg.VAL_FREQ == 0 or epoch + 1 == epochs:
            argmax = identify(supernet, front_end, corpus, val_rows, corpus.speakers, device)
            figures |= {"argmax_top1": argmax["top1"], "argmax_loss": argmax["loss"]}
        state.advance(steps)
        figures |= history.add(epoch + 1, clock.hours, supernet, before) | learning_rates(optimizers)
        log.metrics(epoch + 1, figures)
        log.info(f"epoch {epoch + 1}/{epochs}: {format_figures(figures)}")
        if history.warning():
            log.warning(history.warning())
        history.keep(history.genotype(), supernet.operation_names)
        state.save(log.run_dir / LAST)
    ended = history.is_over() or (clock.is_over() if state.epoch < epochs else "")
    log.info(
        f"{ended or 'all epochs are done'}; searched for {clock.hours:.3g} h; genotype and pictures: {log.run_dir}"
    )


def search_epoch(cfg, supernet, front_end, crops, optimizers, clock, *, state, device, log) -> dict[str, float] | None:
    """One pass over the weights' crops, an iteration a batch; alpha's crops go on from where the last epoch left them.

    Returns:
        Losses and Top-1 in per cent of either step, and utterances_per_second, over the epoch; None if the clock ended
        it before its last step.
    """
    from torch import nn

    from utils.engine import check_finite, format_figures, to_features
    from utils.logger import progress_bar
    from utils.meters import TrainingMeter

    supernet.train()
    criterion = nn.CrossEntropyLoss(label_smoothing=cfg.TRAIN.LABEL_SMOOTHING)
    steps = len(crops[0])
    batches = zip(crops[0].epoch(state.epoch), crops[1].endless(state.step), strict=False)
    meters = {"train": TrainingMeter(), "val": TrainingMeter()}
    clock.start_epoch()
    for step, pair in enumerate(progress_bar(batches, steps, f"epoch {state.epoch + 1}"), start=1):
        train_batch, val_batch = (to_features(batch, front_end, device) for batch in pair)
        outcome = search_iteration(supernet, optimizers, criterion, train_batch, val_batch, cfg.TRAIN.PRECISION)
        for name, meter in meters.items():
            meter.update(*outcome[name])
        if step % cfg.PRINT_FREQ == 0 or step == steps:
            figures = {f"{name}_{key}": value for name, meter in meters.items() for key, value in meter.read().items()}
            check_finite(figures["train_loss"] + figures["val_loss"], state.epoch, step)
            if step < steps:
                log.info(f"epoch {state.epoch + 1}, step {step}/{steps}: {format_figures(figures)}")
        if time_left := clock.tick():
            log.info(time_left)
        if step < steps and clock.is_over():
            return None
    return figures


def search_iteration(supernet, optimizers, criterion, train_batch, val_batch, precision: str = "fp32") -> dict:
    """A step of alpha on its batch of features (B, T, F) and labels (B,), then a step of the weights on theirs.

    Returns:
        (loss, logits, labels) of either step, as `val` and `train`.
    """
    supernet.learn_alpha()
    optimizers["alpha"].zero_grad()
    val = take_gradients(supernet, *val_batch, criterion, precision)
    optimizers["alpha"].step()

    supernet.learn_weights()
    optimizers["weights"].zero_grad(set_to_none=False)  # see start_gradients_at_zero
    train = take_gradients(supernet, *train_batch, criterion, precision)
    optimizers["weights"].step()
    return {"train": train, "val": val}


def take_gradients(supernet, features, labels, criterion, precision):
    """Loss, logits and labels of a batch; its gradients are added to those of the parameters that learn."""
    from utils.runtime import autocast

    with autocast(features.device, precision):
        logits = supernet(features)
    loss = criterion(logits.float(), labels)
    loss.backward()
    return loss, logits, labels


def start_gradients_at_zero(supernet) -> None:
    """Give every weight a gradient of 0.

    Adam passes over weights without a gradient, but lets those with a gradient of 0 drift on by their momentum. In the
    original every operation has a gradient in every step, 0 where it was not sampled; so it is here.
    """
    import torch

    for weight in supernet.weight_parameters():
        weight.grad = torch.zeros_like(weight)


def training_command(cfg, config_file, genotype, speakers) -> str:
    """The command that trains the genotype on the same data, by the scratch.yaml beside the search's or the paper's."""
    scratch = Path(config_file).parent / "scratch.yaml"
    if not scratch.is_file():
        scratch = Path(f"exps/scratch/scratch{'_veri' if cfg.DATASET.SUB_DIR == 'dev' else ''}.yaml")
    training = load_config(scratch if scratch.is_file() else Path(__file__).parent / scratch)
    options = {"DATASET.DATA_DIR": cfg.DATASET.DATA_DIR, "DATASET.FEATURE_DIR": cfg.DATASET.FEATURE_DIR}
    options |= {"DATASET.SUB_DIR": cfg.DATASET.SUB_DIR, "OUT_DIR": cfg.OUT_DIR, "DEVICE": cfg.DEVICE}
    if training.MODEL.NUM_CLASSES not in (0, speakers):
        options["MODEL.NUM_CLASSES"] = str(speakers)
    settings = flatten(training)
    words = [word for key, value in options.items() if str(settings[key]) != value for word in (key, value)]
    return f'python train.py --cfg {shlex.quote(str(scratch))} --text_arch "{genotype}" {shlex.join(words)}'


if __name__ == "__main__":
    run_script(main)
