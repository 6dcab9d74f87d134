"""Step 2: search for a genotype.

    python search.py --cfg exps/search.yaml
    python search.py --cfg exps/search.yaml --load_path runs/search/...      # go on with a search

A supernet holds every candidate operation on every edge, weighted by the architecture parameters alpha. Alpha learns on
the val part, the other weights on the train part, in turn (first-order DARTS: Liu et al., ICLR 2019, algorithm 1 with
xi = 0; with sampled paths: Ding et al., AutoSpeech, Interspeech 2020). The run folder gets genotype.txt
after every epoch; at the end the genotype is printed, with the command that trains it.
"""

import argparse
import shlex
import time
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
    from torch import nn

    from data_objects.datasets import Corpus
    from models import build_supernet
    from utils.checkpoint import LAST
    from utils.engine import TrainingState, format_figures, open_run
    from utils.files import write_atomically
    from utils.optim import build_alpha_optimizer, build_weight_optimizer, cosine_lr, learning_rates, set_lr
    from utils.runtime import prepare

    device = prepare(cfg)
    corpus = Corpus(cfg)
    train_crops, val_crops = corpus.crops("train"), corpus.crops("val")
    supernet = build_supernet(cfg, corpus.check_num_classes(cfg.MODEL.NUM_CLASSES)).to(device)
    front_end = corpus.build_front_end().to(device)
    criterion = nn.CrossEntropyLoss(label_smoothing=cfg.TRAIN.LABEL_SMOOTHING)
    optimizers = {
        "weights": build_weight_optimizer(cfg, supernet.weight_parameters()),
        "alpha": build_alpha_optimizer(cfg, supernet.arch_parameters()),
    }
    state = TrainingState(cfg, "search", supernet, front_end, optimizers, corpus)
    log = open_run(state, args.cfg, args.load_path)
    start_gradients_at_zero(supernet)

    epochs, began = cfg.TRAIN.END_EPOCH, time.perf_counter()
    for epoch in range(state.epoch, epochs):
        set_lr(optimizers["weights"], cosine_lr(epoch, epochs, cfg.TRAIN.LR, cfg.TRAIN.LR_MIN))
        supernet.drop_path_probability = cfg.TRAIN.DROPPATH_PROB * epoch / max(epochs - 1, 1)
        figures = search_epoch(
            supernet,
            front_end,
            train_crops,
            val_crops,
            optimizers,
            criterion,
            state=state,
            device=device,
            log=log,
            every=cfg.PRINT_FREQ,
        )
        state.advance(len(train_crops))
        figures |= supernet.alpha_entropies() | learning_rates(optimizers)
        log.metrics(epoch + 1, figures)
        log.info(f"epoch {epoch + 1}/{epochs}: {format_figures(figures)}")
        write_atomically(log.run_dir / "genotype.txt", f"{supernet.genotype()}\n")
        state.save(log.run_dir / LAST)

    log.info(f"searched in {time.perf_counter() - began:.1f} s; the genotype is in {log.run_dir / 'genotype.txt'}")
    log.close()
    print(supernet.genotype())
    print(training_command(cfg, args.cfg, supernet.genotype(), len(corpus.speakers)))


def search_epoch(
    supernet, front_end, train_crops, val_crops, optimizers, criterion, *, state, device, log, every
) -> dict[str, float]:
    """One pass over the train part: for every batch of it, an alpha step on a val batch, then a weight step.

    Returns:
        Losses and Top-1 in per cent of either step, and utterances_per_second, over the epoch.
    """
    from utils.engine import check_finite, format_figures, to_features
    from utils.logger import progress_bar
    from utils.meters import TrainingMeter

    supernet.train()
    steps = len(train_crops)
    batches = zip(train_crops.epoch(state.epoch), val_crops.endless(state.step), strict=False)
    train_meter, val_meter = TrainingMeter(), TrainingMeter()
    for step, (train_batch, val_batch) in enumerate(progress_bar(batches, steps, f"epoch {state.epoch + 1}"), start=1):
        supernet.learn_alpha()
        optimizers["alpha"].zero_grad()
        loss, logits, labels = take_gradients(supernet, *to_features(val_batch, front_end, device), criterion)
        optimizers["alpha"].step()
        val_meter.update(loss, logits, labels)

        supernet.learn_weights()
        optimizers["weights"].zero_grad(set_to_none=False)
        loss, logits, labels = take_gradients(supernet, *to_features(train_batch, front_end, device), criterion)
        optimizers["weights"].step()
        train_meter.update(loss, logits, labels)

        if step % every == 0 or step == steps:
            figures = {f"train_{name}": value for name, value in train_meter.read().items()}
            figures |= {f"val_{name}": value for name, value in val_meter.read().items()}
            check_finite(figures["train_loss"] + figures["val_loss"], state.epoch, step)
            if step < steps:
                log.info(f"epoch {state.epoch + 1}, step {step}/{steps}: {format_figures(figures)}")
    return figures


def take_gradients(supernet, features, labels, criterion):
    """Loss and logits of a batch; its gradients are added to those of the parameters that learn."""
    logits = supernet(features)
    loss = criterion(logits, labels)
    loss.backward()
    return loss, logits, labels


def start_gradients_at_zero(supernet) -> None:
    """Give every weight a gradient of 0.

    Adam passes over weights without a gradient, but lets those with a gradient of 0 drift on by their momentum. In the
    original every operation has a gradient in every step, 0 where it was not sampled; so it is here.
    """
    for weight in supernet.weight_parameters():
        weight.grad = weight.detach() * 0


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
