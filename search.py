"""Step 2: search for a genotype.

    python search.py --cfg exps/search.yaml
    python search.py --cfg exps/search.yaml --load_path runs/search/...      # go on with a search
    torchrun --standalone --nproc_per_node 8 search.py --cfg exps/search.yaml            # on 8 GPUs

A supernet holds every candidate operation on every edge, weighted by the architecture parameters alpha. Alpha learns on
the val part (or on half of the train part: SEARCH.DATA_SPLIT), the other weights on the train part, in turn (first-
order DARTS: Liu et al., ICLR 2019, algorithm 1 with xi = 0; with sampled paths: Ding et al., AutoSpeech, Interspeech
2020). Every epoch leaves genotype.txt and pictures in the run folder; at the end the genotype is printed, with the
command that trains it.
"""

import argparse
import shlex
from contextlib import closing
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
    from utils.distributed import is_main, processes, rank
    from utils.optim import build_alpha_optimizer, build_weight_optimizer
    from utils.run import TrainingState, open_run
    from utils.runtime import prepare

    device = prepare(cfg)
    corpus = Corpus(cfg)
    halves = cfg.SEARCH.DATA_SPLIT == "halves"
    crops = corpus.halves() if halves else (corpus.crops("train"), corpus.crops("val"))
    supernet = build_supernet(cfg, corpus.check_num_classes(cfg.MODEL.NUM_CLASSES)).to(device)
    supernet.shares = (rank(), processes())
    front_end = corpus.build_front_end().to(device)
    optimizers = {
        "weights": build_weight_optimizer(cfg, supernet.weight_parameters()),
        "alpha": build_alpha_optimizer(cfg, supernet.arch_parameters()),
    }
    state = TrainingState(cfg, "search", supernet, front_end, optimizers, corpus)
    log = open_run(state, args.cfg, args.load_path)
    start_gradients_at_zero(supernet)
    with closing(log):
        genotype = search(cfg, supernet, front_end, corpus, crops, optimizers, state=state, device=device, log=log)
    if is_main():
        print(genotype)
        print(training_command(cfg, args.cfg, genotype, len(corpus.speakers)))


def search(cfg, supernet, front_end, corpus, crops, optimizers, *, state, device, log):
    """Search to TRAIN.END_EPOCH, or until SEARCH.MAX_HOURS or SEARCH.COLLAPSE_PATIENCE ends it.

    Every epoch leaves its figures, genotype.txt, pictures and a checkpoint in the run folder.

    Returns:
        The genotype.
    """
    from utils.checkpoint import LAST
    from utils.distributed import check_alike
    from utils.engine import validate
    from utils.interruption import Watch
    from utils.monitor import SearchClock, SearchHistory
    from utils.optim import cosine_lr, learning_rates, linear, set_lr
    from utils.run import format_figures

    epochs, steps = cfg.TRAIN.END_EPOCH, len(crops[0])
    history = SearchHistory(log.run_dir, state.epoch, cfg.SEARCH.COLLAPSE_PATIENCE)
    hours = state.notes.get("hours", history.hours)
    clock = SearchClock((epochs - state.epoch) * steps - state.batch, hours, cfg.SEARCH.MAX_HOURS)
    ended_within = state.batch > 0 and is_out_of_time(clock)  # it ended there, with the genotype of then
    genotype = history.genotype() if history.records and not ended_within else supernet.genotype()
    if not history.has_kept(genotype):
        history.keep(genotype, supernet.operation_names)

    def save() -> None:
        state.notes["hours"] = clock.hours
        state.save(log.run_dir / LAST)

    with Watch(save, cfg.TRAIN.CHECKPOINT_MINUTES, lambda: state.where(log.run_dir, steps)) as watch:
        while state.epoch < epochs and not is_out_of_time(clock) and not history.is_over():
            before = state.notes.setdefault("before", str(supernet.genotype()))
            set_lr(optimizers["weights"], cosine_lr(state.epoch, epochs, cfg.TRAIN.LR, cfg.TRAIN.LR_MIN))
            supernet.drop_path_probability = linear(state.epoch, epochs, 0.0, cfg.TRAIN.DROPPATH_PROB)
            supernet.temperature = linear(state.epoch, epochs, cfg.SEARCH.TEMPERATURE, cfg.SEARCH.TEMPERATURE_END)
            figures = search_epoch(
                cfg, supernet, front_end, crops, optimizers, clock, watch, state=state, device=device, log=log
            )
            check_alike(supernet.arch_parameters(), "alpha")
            if figures is None:  # out of time within the epoch
                genotype = supernet.genotype()
                history.keep(genotype, supernet.operation_names)
                break
            watch.before_validation()
            argmax = validate(state, front_end, device)
            figures |= {f"argmax_{name}": argmax[name] for name in ("top1", "loss") if argmax}
            state.advance()
            figures |= history.add(state.epoch, clock.hours, supernet, before) | learning_rates(optimizers)
            log.metrics(state.epoch, figures)
            log.info(f"epoch {state.epoch}/{epochs}: {format_figures(figures)}")
            if history.warning():
                log.warning(history.warning())
            genotype = history.genotype()
            history.keep(genotype, supernet.operation_names)
            state.save(log.run_dir / LAST)
            watch.after_epoch()
    ended = history.is_over() or (clock.is_over() if state.epoch < epochs else "")
    log.info(
        f"{ended or 'all epochs are done'}; searched for {clock.hours:.3g} h; genotype and pictures: {log.run_dir}"
    )
    return genotype


def is_out_of_time(clock) -> bool:
    """Whether SEARCH.MAX_HOURS are over by the main process's clock, for all processes alike."""
    from utils.distributed import agree, is_main

    return bool(agree(is_main() and bool(clock.is_over()))[0])


def search_epoch(
    cfg, supernet, front_end, crops, optimizers, clock, watch, *, state, device, log
) -> dict[str, float] | None:
    """One pass over the weights' crops, or the rest of one; alpha's crops go on from where they were.

    Returns:
        Losses and Top-1 in per cent of either step, and utterances_per_second, over the epoch; None if the clock ended
        it before its last step.
    """
    from torch import nn

    from data_objects.datasets import to_device
    from utils.engine import to_features
    from utils.logger import progress_bar
    from utils.run import check_finite, format_figures

    supernet.train()
    criterion = nn.CrossEntropyLoss(label_smoothing=cfg.TRAIN.LABEL_SMOOTHING)
    epoch, steps = state.epoch, len(crops[0])
    streams = crops[0].epoch(epoch, state.batch), crops[1].endless(state.step)
    batches = zip(*(to_device(stream, device) for stream in streams), strict=False)
    meters = dict(zip(("train", "val"), state.begin_epoch("train", "val", device=device), strict=True))

    def read_meters() -> dict[str, float]:
        figures = {f"{name}_{key}": value for name, meter in meters.items() for key, value in meter.read().items()}
        check_finite(figures["train_loss"] + figures["val_loss"], epoch, state.batch)
        return figures

    clock.start_epoch()
    for pair in progress_bar(batches, steps, f"epoch {epoch + 1}", done=state.batch):
        train_batch, val_batch = (to_features(batch, front_end, device) for batch in pair)
        outcome = search_iteration(supernet, optimizers, criterion, train_batch, val_batch, cfg.TRAIN.PRECISION)
        for name, meter in meters.items():
            meter.update(*outcome[name])
        state.count_step()
        if state.batch % cfg.PRINT_FREQ == 0 and state.batch < steps:
            log.info(f"epoch {epoch + 1}, step {state.batch}/{steps}: {format_figures(read_meters())}")
        if time_left := clock.tick():
            log.info(time_left)
        if watch.after_iteration(over=state.batch < steps and bool(clock.is_over())):
            return None
    return read_meters()


def search_iteration(supernet, optimizers, criterion, train_batch, val_batch, precision: str = "fp32") -> dict:
    """A step of alpha on its batch of features (B, T, F) and labels (B,), then a step of the weights on theirs.

    Where several processes share a batch, they draw the same paths and average their gradients.

    Returns:
        (loss, logits, labels) of either step, as `val` and `train`.
    """
    from utils.distributed import average_gradients
    from utils.engine import take_gradients

    supernet.learn_alpha()
    optimizers["alpha"].zero_grad()
    val = take_gradients(supernet, val_batch, criterion, precision)
    average_gradients(supernet.arch_parameters())
    optimizers["alpha"].step()

    supernet.learn_weights()
    optimizers["weights"].zero_grad(set_to_none=False)  # see start_gradients_at_zero
    train = take_gradients(supernet, train_batch, criterion, precision)
    average_gradients(supernet.weight_parameters())
    optimizers["weights"].step()
    return {"train": train, "val": val}


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
    options |= {f"DATASET.{key}": str(cfg.DATASET[key]) for key in ("VAL_SPEAKERS", "VAL_TRIALS", "VAL_SEED")}
    if training.MODEL.NUM_CLASSES not in (0, speakers):
        options["MODEL.NUM_CLASSES"] = str(speakers)
    settings = flatten(training)
    words = [word for key, value in options.items() if str(settings[key]) != value for word in (key, value)]
    return f'python train.py --cfg {shlex.quote(str(scratch))} --text_arch "{genotype}" {shlex.join(words)}'


if __name__ == "__main__":
    run_script(main)
