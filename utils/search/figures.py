"""The figures of a search's epochs, as a table that says what they mean and as curves."""

import math
from collections.abc import Mapping

import pandas as pd

from utils.pictures.epochs import Curve, plot_curves
from utils.reports.html import Picture, Section, Table
from utils.search.folder import SearchFolder
from utils.search.monitor import CELLS, COLLAPSE, KINDS

MEANINGS = {
    "warmup": "1 where alpha rests and only the weights learn.",
    "argmax_top1": "Top-1, per cent, on the val part, by one path: each edge's heaviest operation.",
    "argmax_loss": "Cross-entropy on the val part by that path.",
    "paths_top1": "Top-1, per cent, on the val part by random paths, their mean: what the weights know, whatever alpha "
    "prefers.",
    "paths_top1_std": "Standard deviation of these paths' Top-1: how much it matters which operations a path takes.",
    "paths_loss": "Cross-entropy on the val part by random paths, their mean.",
    "paths_loss_std": "Standard deviation of these paths' cross-entropy.",
    "train_top1": "Top-1, per cent, in the weights' step: of crops that the weights learn from.",
    "train_loss": "Cross-entropy in the weights' step, with TRAIN.LABEL_SMOOTHING.",
    "val_top1": "Top-1, per cent, in alpha's step: of crops that only alpha learns from.",
    "val_loss": "Cross-entropy in alpha's step, with TRAIN.LABEL_SMOOTHING.",
    "entropy_normal": "How undecided alpha is on an edge of the normal cell, mean, nats; 0 where all is decided.",
    "entropy_reduce": "The same of the reduction cell.",
    "changed_edges_normal": "Of the normal cell's 8 edges, those that the epoch before did not have.",
    "changed_edges_reduce": "The same of the reduction cell.",
    "skip_share_normal": "Share of skip connections among the normal cell's 8 edges.",
    "skip_share_reduce": "The same of the reduction cell.",
    "parameter_free_share_normal": "Share of operations without weights among the normal cell's 8 edges.",
    "parameter_free_share_reduce": "The same of the reduction cell.",
    "cost_expected": "Multiply-accumulates, G, of the network to expect by alpha's probabilities.",
    "cost_derived": "Multiply-accumulates, G, of the network of the epoch's genotype.",
    "lr_weights": "Learning rate of the weights' step.",
    "lr_alpha": "Learning rate of alpha's step.",
    "train_utterances_per_second": "Speed of the weights' step.",
    "val_utterances_per_second": "Speed of alpha's step.",
}
WHOLE_CELL = (0, 8.2)  # an axis of edges


def figures_sections(folder: SearchFolder) -> list[Section]:
    """The curves of the figures that there are, and every figure's last value with its meaning."""
    if folder.figures.empty:
        return [Section("The epochs", "No epoch is done yet.")]
    makers = (_accuracy, _entropy, _changes, _skips, _losses, _val_losses, _cost)
    pictures = [picture for make in makers for picture in make(folder)]
    return [Section("The epochs", "", pictures=pictures), Section("The last epoch", "", [_last_table(folder)])]


def _last_table(folder: SearchFolder) -> Table:
    """Every figure's last value, with what it means."""
    others = [name for name in folder.figures if name not in (*MEANINGS, "epoch", "time")]
    values = {name: folder.of(name) for name in (*MEANINGS, *others)}
    rows = [
        (name, of_name.iloc[-1], of_name.index[-1], MEANINGS.get(name, ""))
        for name, of_name in values.items()
        if len(of_name)
    ]
    note = "By their names in metrics.jsonl. Not every epoch has all of them: here are the newest."
    return Table("The last epoch's figures", ("figure", "value", "epoch", "what it means"), rows, note)


def _picture(
    folder: SearchFolder,
    names: Mapping[str, str],
    ylabel: str,
    caption: str,
    *,
    levels: Mapping[str, float] | None = None,
    bands: Mapping[str, pd.DataFrame] | None = None,
    limits: tuple[float | None, float | None] = (0, None),
    scale: float = 1,
) -> list[Picture]:
    """A picture of the figures that there are; none where there is none of them.

    Args:
        names: of the figures, by their labels.
        levels: values to compare with, by their labels.
        bands: by the figures' names, lower and upper ends by epoch; a figure NAME with a NAME_std has its own.
        limits: of the vertical axis; None: as the curves need.
        scale: the figures are multiplied by it.
    """
    curves = [_curve(folder, label, name, scale, (bands or {}).get(name)) for label, name in names.items()]
    drawn = [curve for curve in curves if len(curve.epochs)]
    if not drawn:
        return []
    return [Picture(caption, plot_curves(drawn, ylabel, levels=levels, rest=folder.warm_up(), limits=limits))]


def _curve(folder: SearchFolder, label: str, name: str, scale: float, band: pd.DataFrame | None) -> Curve:
    values, deviations = scale * folder.of(name), folder.of(f"{name}_std")
    if len(deviations):
        band = pd.DataFrame({"lower": values - deviations, "upper": values + deviations})
    ends = None if band is None else band.reindex(values.index).to_numpy()
    return Curve(label, values.index.to_numpy(dtype=int), values.to_numpy(), ends)


def _guessing(folder: SearchFolder) -> dict[str, float]:
    """The cross-entropy of guessing, by its label; with smoothed labels it is the same."""
    if not folder.classes:
        return {}
    return {f"guessing: log({folder.classes:,}) = {math.log(folder.classes):.3g}": math.log(folder.classes)}


def _accuracy(folder: SearchFolder) -> list[Picture]:
    names = {
        "val part: alpha's argmax": "argmax_top1",
        "val part: random paths": "paths_top1",
        "weights' step": "train_top1",
        "alpha's step": "val_top1",
    }
    chance = {f"chance: 100/{folder.classes:,} = {folder.chance:.3g} %": folder.chance} if folder.classes else {}
    caption = "What the supernet gets right. While it is near chance, alpha learns from a supernet that knows nothing."
    if len(folder.of("paths_top1")):
        caption += " Around random paths: their standard deviation."
    return _picture(folder, names, "Top-1, %", caption, levels=chance)


def _entropy(folder: SearchFolder) -> list[Picture]:
    start = math.log(len(folder.operations))
    names = {name: f"entropy_{kind}" for kind, name in CELLS.items()}
    bands = {f"entropy_{kind}": _range_of_entropies(folder, kind) for kind in KINDS}
    caption = (
        "How undecided alpha is: mean over the edges, from the most decided to the least. At first all operations are "
        "alike; at 0 all is decided."
    )
    level = {f"at first: log({len(folder.operations)}) = {start:.3g}": start}
    limits = (0, 1.05 * start)
    return _picture(folder, names, "entropy, nats", caption, levels=level, bands=bands, limits=limits)


def _range_of_entropies(folder: SearchFolder, kind: str) -> pd.DataFrame:
    """The least and the greatest of a cell's edges, by epoch."""
    edges = {record["epoch"]: record[kind]["entropies"] for record in folder.history.records}
    ends = {epoch: (min(entropies), max(entropies)) for epoch, entropies in edges.items()}
    return pd.DataFrame.from_dict(ends, orient="index", columns=["lower", "upper"])


def _changes(folder: SearchFolder) -> list[Picture]:
    names = {name: f"changed_edges_{kind}" for kind, name in CELLS.items()}
    caption = "Of each cell's 8 edges, those that the epoch before did not have. It should fall."
    return _picture(folder, names, "edges changed, of 8", caption, limits=WHOLE_CELL)


def _losses(folder: SearchFolder) -> list[Picture]:
    names = {"weights' step": "train_loss", "alpha's step": "val_loss"}
    caption = "Losses of both steps, with TRAIN.LABEL_SMOOTHING: mean over an epoch."
    return _picture(folder, names, "cross-entropy", caption, levels=_guessing(folder), limits=(None, None))


def _val_losses(folder: SearchFolder) -> list[Picture]:
    names = {"alpha's argmax": "argmax_loss", "random paths": "paths_loss"}
    caption = "Losses on the val part, after an epoch. Above guessing, a path is sure of what is wrong."
    return _picture(folder, names, "cross-entropy", caption, levels=_guessing(folder), limits=(None, None))


def _skips(folder: SearchFolder) -> list[Picture]:
    names = {name: f"skip_share_{kind}" for kind, name in CELLS.items()}
    caption = "Skip connections in the derived cells. A normal cell that stays at the line or above has collapsed."
    level = {"collapse of the normal cell": COLLAPSE}
    return _picture(folder, names, "skip connections, of 8 edges", caption, levels=level, limits=WHOLE_CELL, scale=8)


def _cost(folder: SearchFolder) -> list[Picture]:
    names = {"expected by alpha": "cost_expected", "derived": "cost_derived"}
    target = {f"SEARCH.COST_TARGET {folder.cost_target:.3g}": folder.cost_target} if folder.cost_target > 0 else {}
    caption = "What the network of the epoch's genotype costs, and what alpha's probabilities lead one to expect."
    return _picture(folder, names, "multiply-accumulates, G", caption, levels=target)
