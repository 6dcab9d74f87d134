"""Run folders of searches that never ran: alpha decides, the supernet learns, and so on."""

import json
import math
from pathlib import Path

import numpy as np
import torch

from config import load_config
from models.genotypes import SEARCH_SPACES
from models.supernet import Supernet
from tests.helpers import ROOT, SEARCH
from utils.records.guard import TRAIN, UNTRAINED, VAL
from utils.search.monitor import SearchHistory

SPEAKERS = 294
# Figures that not every version of a search writes.
MORE = ("argmax", "paths", "warmup", "cost")


def write_made_up_run(
    run_dir: Path,
    epochs: int,
    *settings: object,
    more: tuple[str, ...] = MORE,
    decided: float = 3.0,
    learnt: float = 60.0,
) -> Path:
    """Write what a search of so many epochs leaves; returns its folder.

    Args:
        settings: KEY VALUE pairs.
        more: of `MORE`.
        decided: how far alpha comes.
        learnt: Top-1 of the supernet in the end, per cent.
    """
    run_dir.mkdir(parents=True)
    cfg = load_config(ROOT / SEARCH, list(map(str, settings)))
    (run_dir / "config.yaml").write_text(cfg.dump())
    roles = {TRAIN: {"speakers": SPEAKERS - 2, "utterances": 1460}, VAL: {"speakers": 80, "utterances": 272}}
    (run_dir / "protocol.json").write_text(json.dumps({"roles": roles, UNTRAINED: ["a", "b"]}))
    draw = np.random.default_rng(1)
    supernet, history = Supernet(SEARCH_SPACES[cfg.SEARCH.SPACE], 2, 3, 2), SearchHistory(run_dir)
    directions = [torch.from_numpy(draw.standard_normal(alpha.shape)).float() for alpha in supernet.arch_parameters()]
    lines, before = [], supernet.genotype()
    warm_up = epochs // 5 if "warmup" in more else 0
    for epoch in range(1, epochs + 1):
        progress = epoch / epochs
        for alpha, direction in zip(supernet.arch_parameters(), directions, strict=True):
            step = torch.from_numpy(draw.standard_normal(alpha.shape)).float() / epoch
            alpha.data = (direction * progress + 0.3 * step) * decided if epoch > warm_up else 0.001 * direction
        shape = history.add(epoch, 0.5 * epoch, supernet, str(before))
        before = supernet.genotype()
        lines.append({"epoch": epoch, "time": 1.6e9 + 1800 * epoch} | _figures(progress, learnt, draw) | shape)
        lines[-1] |= _more(progress, learnt, epoch, epoch <= warm_up, more, draw)
    history.keep(before)
    (run_dir / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return run_dir


def _figures(progress: float, learnt: float, draw: np.random.Generator) -> dict[str, float]:
    """What both steps tell."""
    loss = math.log(SPEAKERS) * (1 - 0.7 * progress * learnt / 100)
    return {
        "train_loss": loss + 0.05 * draw.standard_normal(),
        "train_top1": learnt * progress + draw.random(),
        "train_utterances_per_second": 5.0,
        "val_loss": loss + 0.2 + 0.05 * draw.standard_normal(),
        "val_top1": 0.8 * learnt * progress + draw.random(),
        "val_utterances_per_second": 5.0,
        "lr_weights": 0.004,
        "lr_alpha": 0.02,
    }


def _more(
    progress: float, learnt: float, epoch: int, rests: bool, more: tuple[str, ...], draw: np.random.Generator
) -> dict[str, float]:
    """Figures of `more`; random paths' are of every third epoch."""
    figures = {}
    if "argmax" in more:
        figures |= {"argmax_top1": 0.7 * learnt * progress, "argmax_loss": 6 - 2 * progress + 0.1 * draw.random()}
    if "paths" in more and epoch % 3 == 0:
        figures |= {"paths_top1": 0.5 * learnt * progress, "paths_top1_std": 0.1 * learnt}
        figures |= {"paths_loss": 6 - progress, "paths_loss_std": 0.4}
    if "warmup" in more:
        figures |= {"warmup": float(rests)}
    if "cost" in more:
        figures |= {"cost_expected": 0.9 - 0.3 * progress, "cost_derived": 0.8 + 0.1 * draw.standard_normal()}
    return figures
