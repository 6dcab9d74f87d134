"""Training a network and using one: what train.py, train_baseline.py and both evaluations share."""

import json
import math
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from yacs.config import CfgNode

from data_objects.datasets import Corpus, CropBatch
from data_objects.frontend import SETTINGS, FrontEnd, reverse_time
from data_objects.voxceleb import Trial, speaker_of
from models import Network, build_model, count_parameters, describe, network_kind
from utils.checkpoint import (
    BEST,
    LAST,
    Checkpoint,
    check_architecture,
    check_settings,
    find_checkpoint,
    generator_states,
    load_checkpoint,
    load_pretrained,
    restore_generators,
    save_checkpoint,
)
from utils.errors import UserError
from utils.files import write_atomically
from utils.logger import RunLog, get_logger, progress_bar
from utils.meters import TrainingMeter
from utils.metrics import cosine_scores, top_k_accuracy
from utils.optim import build_weight_optimizer, cosine_lr, set_lr
from utils.runtime import autocast, create_run_dir, prepare


# ------------------------------------------------------------------------------------------------------------------
# Using a network
# ------------------------------------------------------------------------------------------------------------------
def embed_utterances(
    network: nn.Module, front_end: FrontEnd, corpus: Corpus, rows: Sequence[int], device: torch.device
) -> Tensor:
    """Embeddings (N, D) float32, on the CPU, of the utterances in `rows`: each the mean of its windows' embeddings."""
    network.eval()
    loader = corpus.windows(rows)
    embeddings = []
    with torch.inference_mode():
        for windows, counts, _ in progress_bar(loader, len(loader), "embedding"):
            embedded = torch.cat(
                [
                    network.embed(front_end(chunk.to(device, non_blocking=True)))
                    for chunk in windows.split(corpus.window_batch_size)
                ]
            )
            embeddings += [utterance.mean(dim=0) for utterance in embedded.split(counts)]
        return torch.stack(embeddings).float().cpu()


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
        top1 and top5 in per cent, and the mean cross-entropy as loss.
    """
    label_of = {speaker: label for label, speaker in enumerate(speakers)}
    labels = np.array([label_of[speaker_of(corpus.index.utterances[row])] for row in rows])
    embeddings = embed_utterances(network, front_end, corpus, rows, device)
    with torch.inference_mode():
        logits = network.classifier(embeddings.to(device)).float().cpu()
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels)).item()
    top1, top5 = (100 * top_k_accuracy(logits.numpy(), labels, k) for k in (1, 5))
    return {"top1": top1, "top5": top5, "loss": loss}


def score_trials(
    network: nn.Module, front_end: FrontEnd, corpus: Corpus, trials: Sequence[Trial], device: torch.device
) -> np.ndarray:
    """Cosine scores (N,) of trials whose utterances the index has. Every utterance is embedded once."""
    utterances = sorted({utterance for trial in trials for utterance in trial[1:]})
    rows = [corpus.index.row_of(utterance) for utterance in utterances]
    embeddings = embed_utterances(network, front_end, corpus, rows, device).numpy()
    place = {utterance: number for number, utterance in enumerate(utterances)}
    enrolment = np.array([place[trial.enrolment] for trial in trials])
    test = np.array([place[trial.test] for trial in trials])
    return cosine_scores(embeddings, enrolment, test)


def load_system(cfg: CfgNode, load_path: str, device: torch.device) -> tuple[nn.Module, FrontEnd, Checkpoint, Path]:
    """The trained network of a checkpoint or run folder (its best), with the front end it was trained with.

    Raises:
        UserError: no checkpoint, one of another kind, or of another network than the settings say.
    """
    path = find_checkpoint(load_path, BEST)
    checkpoint = load_checkpoint(path, ("train", "train_baseline"))
    expected = describe(cfg, network_kind(cfg))
    expected.pop("num_classes", None)  # the classes are the checkpoint's own
    check_architecture(expected, checkpoint, path)
    if checkpoint.front_end_settings != SETTINGS:
        raise UserError(f"{path}: its front end is {checkpoint.front_end_settings}, this code's is {SETTINGS}")
    network, front_end = build_model(checkpoint.architecture), FrontEnd()
    network.load_state_dict(checkpoint.model)
    front_end.load_state_dict(checkpoint.front_end)
    frames = yaml.safe_load(checkpoint.config)["DATASET"]["PARTIAL_N_FRAMES"]
    if frames != cfg.DATASET.PARTIAL_N_FRAMES:
        get_logger().warning(
            f"WARNING: the network was trained on crops of {frames} frames and is evaluated on windows of "
            f"{cfg.DATASET.PARTIAL_N_FRAMES} (DATASET.PARTIAL_N_FRAMES)"
        )
    return network.to(device).eval(), front_end.to(device), checkpoint, path


# ------------------------------------------------------------------------------------------------------------------
# Training a network
# ------------------------------------------------------------------------------------------------------------------
def to_features(batch: CropBatch, front_end: FrontEnd, device: torch.device) -> tuple[Tensor, Tensor]:
    """Features (B, T, 257) and labels (B,) of a batch of crops, on the device."""
    waveforms, labels, reverse = (part.to(device, non_blocking=True) for part in batch)
    return reverse_time(front_end(waveforms), reverse), labels


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
    """Train to TRAIN.END_EPOCH; the epoch that is best on the val part is kept as best.pt, the last as last.pt.

    Args:
        network: as built by `models.build_model`.
        load_path: the folder of a run to go on with; None begins a new run.

    Returns:
        The run folder.

    Raises:
        UserError: data missing or too few; a checkpoint of another network; a loss that is not finite.
    """
    crops, val_rows = corpus.crops("train"), corpus.rows("val")
    front_end = corpus.build_front_end().to(device)
    network.to(device)
    optimizer = build_weight_optimizer(cfg, network.parameters())
    state = TrainingState(cfg, script, network, front_end, {"weights": optimizer}, corpus)
    log = open_run(state, config_file, load_path)
    criterion = nn.CrossEntropyLoss(label_smoothing=cfg.TRAIN.LABEL_SMOOTHING)
    began = time.perf_counter()
    for epoch in range(state.epoch, cfg.TRAIN.END_EPOCH):
        lr = cosine_lr(epoch, cfg.TRAIN.END_EPOCH, cfg.TRAIN.LR, cfg.TRAIN.LR_MIN)
        set_lr(optimizer, lr)
        if isinstance(network, Network):
            network.drop_path_probability = cfg.MODEL.DROP_PATH_PROB * epoch / cfg.TRAIN.END_EPOCH
        figures = {"lr": lr} | train_epoch(
            network,
            front_end,
            crops,
            optimizer,
            criterion,
            epoch=epoch,
            device=device,
            log=log,
            every=cfg.PRINT_FREQ,
            precision=cfg.TRAIN.PRECISION,
        )
        is_best = False
        if (epoch + 1) % cfg.VAL_FREQ == 0 or epoch + 1 == cfg.TRAIN.END_EPOCH:
            val = identify(network, front_end, corpus, val_rows, corpus.speakers, device)
            figures |= {f"val_{name}": value for name, value in val.items()}
            is_best = state.is_better(val)
        state.advance(len(crops), {"epoch": epoch + 1, **val} if is_best else None)
        log.metrics(epoch + 1, figures)
        log.info(f"epoch {epoch + 1}/{cfg.TRAIN.END_EPOCH}: {format_figures(figures)}{' (best so far)' * is_best}")
        if is_best:  # before last.pt, so that a run stopped in between makes it again
            state.save(log.run_dir / BEST)
        state.save(log.run_dir / LAST)
    log.info(f"trained in {time.perf_counter() - began:.1f} s")
    log.close()
    return log.run_dir


def train_epoch(
    network: nn.Module,
    front_end: FrontEnd,
    crops,
    optimizer: torch.optim.Optimizer,
    criterion: nn.Module,
    *,
    epoch: int,
    device: torch.device,
    log: RunLog,
    every: int,
    precision: str,
) -> dict[str, float]:
    """One pass over the training crops; returns the mean train_loss, train_top1 in per cent, utterances_per_second."""
    network.train()
    meter = TrainingMeter()
    for step, batch in enumerate(progress_bar(crops.epoch(epoch), len(crops), f"epoch {epoch + 1}"), start=1):
        features, labels = to_features(batch, front_end, device)
        with autocast(device, precision):
            logits = network(features)
        loss = criterion(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        meter.update(loss, logits, labels)
        if step % every == 0 or step == len(crops):
            figures = meter.read()
            check_finite(figures["loss"], epoch, step)
            if step < len(crops):
                log.info(f"epoch {epoch + 1}, step {step}/{len(crops)}: {format_figures(figures)}")
    return {f"train_{name}" if name != "utterances_per_second" else name: value for name, value in figures.items()}


def check_finite(loss: float, epoch: int, step: int) -> None:
    """Stop a run whose loss is no number any more.

    Raises:
        UserError: the loss is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise UserError(
            f"the loss is {loss} in epoch {epoch + 1}, at or before step {step}: lower TRAIN.LR and begin anew, or go "
            "on from the last epoch with --load_path"
        )


def format_figures(figures: dict[str, float]) -> str:
    """Figures for a line of the log."""
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


class TrainingState:
    """All that a run must save to go on later as if it had not stopped: see `Checkpoint`.

    Attributes:
        epoch: epochs done; step: iterations done; best: figures of the best epoch, empty before the first.
    """

    def __init__(
        self,
        cfg: CfgNode,
        script: str,
        network: nn.Module,
        front_end: FrontEnd,
        optimizers: dict[str, torch.optim.Optimizer],
        corpus: Corpus,
    ) -> None:
        self.epoch = cfg.TRAIN.BEGIN_EPOCH
        self.step = 0
        self.best: dict[str, float] = {}
        self.cfg = cfg
        self.script = script
        self.network = network
        self._front_end = front_end
        self._optimizers = optimizers
        self.corpus = corpus

    def is_better(self, figures: dict[str, float]) -> bool:
        """Whether these figures of the val part beat the best so far: a higher Top-1, or the same at a lower loss."""
        return not self.best or (figures["top1"], -figures["loss"]) > (self.best["top1"], -self.best["loss"])

    def advance(self, steps: int, best: dict[str, float] | None = None) -> None:
        """Count an epoch of so many steps, and its figures if they are the best."""
        self.epoch += 1
        self.step += steps
        self.best = best or self.best

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        checkpoint = Checkpoint(
            script=self.script,
            architecture=self.network.architecture,
            model=self.network.state_dict(),
            front_end=self._front_end.state_dict(),
            front_end_settings=SETTINGS,
            optimizers={name: optimizer.state_dict() for name, optimizer in self._optimizers.items()},
            generators=generator_states(),
            epoch=self.epoch,
            step=self.step,
            best=self.best,
            config=self.cfg.dump(),
            sub_dir=self.corpus.sub_dir,
            speakers=self.corpus.speakers,
            index=self.corpus.index.fingerprint,
        )
        save_checkpoint(checkpoint, path)

    def restore(self, run_dir: Path) -> None:
        """Go on from a run folder's last checkpoint.

        Raises:
            UserError: it is of another script, network, corpus or settings.
        """
        path = find_checkpoint(run_dir, LAST)
        checkpoint = load_checkpoint(path, (self.script,))
        check_architecture(self.network.architecture, checkpoint, path)
        check_settings(self.cfg.dump(), checkpoint, path)
        if checkpoint.front_end_settings != SETTINGS:
            raise UserError(f"{path}: its front end is {checkpoint.front_end_settings}, this code's is {SETTINGS}")
        if (checkpoint.speakers, checkpoint.sub_dir) != (self.corpus.speakers, self.corpus.sub_dir):
            raise UserError(
                f"{path} was trained on {len(checkpoint.speakers)} speakers of SUB_DIR {checkpoint.sub_dir}, the "
                f"settings give {len(self.corpus.speakers)} of {self.corpus.sub_dir}: a run goes on with its own data"
            )
        if checkpoint.index != self.corpus.index.fingerprint:
            raise UserError(f"{path} was trained with another index than {self.corpus.index.feature_dir} holds now")
        self.network.load_state_dict(checkpoint.model)
        self._front_end.load_state_dict(checkpoint.front_end)
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(checkpoint.optimizers[name])
        restore_generators(checkpoint.generators)
        self.epoch, self.step, self.best = checkpoint.epoch, checkpoint.step, checkpoint.best


def open_run(state: TrainingState, config_file: str, load_path: str | None) -> RunLog:
    """The log of a new run folder, or of the one that `load_path` names, with the state restored from it.

    Raises:
        UserError: see `TrainingState.restore`.
    """
    if load_path:
        path = find_checkpoint(load_path, LAST)
        if path.name != LAST:
            raise UserError(f"--load_path: a run goes on from its {LAST}: give its folder, {path.parent}")
        run_dir = path.parent
        state.restore(run_dir)
    else:
        run_dir = create_run_dir(state.cfg, state.script, config_file)
    log = RunLog(run_dir, state.epoch)
    count = f"{count_parameters(state.network):,} parameters, {len(state.corpus.speakers):,} speakers"
    done = f"; {state.epoch} epochs are done" if load_path else ""
    log.info(f"{count}; run in {run_dir}{done}")
    if state.epoch >= state.cfg.TRAIN.END_EPOCH:
        log.info(f"nothing to do: {state.epoch} epochs are done and TRAIN.END_EPOCH is {state.cfg.TRAIN.END_EPOCH}")
    return log


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
    results = {"run_dir": str(run_dir), "parameters": count_parameters(network)}
    results |= report_best(cfg, run_dir, corpus, device)
    write_results(run_dir / "results.json", results)
    step = "identification" if corpus.sub_dir == "merged" else "verification"
    command = ["python", f"evaluate_{step}.py", "--cfg", str(run_dir / "config.yaml"), "--load_path", str(run_dir)]
    get_logger().info(f"next: {shlex.join(command)}")


def report_best(cfg: CfgNode, run_dir: Path, corpus: Corpus, device: torch.device) -> dict[str, float]:
    """The figures of the best epoch: on the val part, which chose it, and on the test part, where there is one."""
    network, front_end, checkpoint, _ = load_system(cfg, str(run_dir), device)
    results = {"epoch": checkpoint.best["epoch"], "val_top1": checkpoint.best["top1"]}
    test_rows = corpus.index.rows(corpus.sub_dir, "test")
    if len(test_rows):
        test = identify(network, front_end, corpus, test_rows, checkpoint.speakers, device)
        results |= {"top1": test["top1"], "top5": test["top5"], "utterances": len(test_rows)}
    return results


def write_results(path: Path, results: dict, *, keys: Sequence[str] = ()) -> None:
    """Write results as JSON to a file, and `keys` of them (all, by default) on one line of standard output."""
    write_atomically(path, json.dumps(results, indent=2) + "\n")
    print(json.dumps({key: results[key] for key in keys or results}))
