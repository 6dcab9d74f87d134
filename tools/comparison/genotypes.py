"""Genotypes under one recipe: what a search found, the paper's and random ones, with the networks of the last epoch."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from yacs.config import CfgNode

from data_objects.corpus import Corpus
from models import build_model, build_network, count_parameters
from models.genotypes import PAPER_GENOTYPE, SEARCH_SPACES, Genotype, random_genotype, read_genotype
from tools.comparison.folder import FREE, Job, Record, open_folder, read_records
from tools.comparison.jobs import run_missing, settings_of, train
from tools.comparison.report import RESULTS, format_spread, spread, write_comparison
from utils.pictures.figure import BLUE, GREY, INK, VERMILION, new_figure, styled
from utils.recognition.network import identify
from utils.records.checkpoint import load_last
from utils.records.guard import check_training
from utils.reports.html import Section, Table
from utils.reports.provenance import Pictures
from utils.system.device import prepare
from utils.system.errors import UserError
from utils.system.logger import get_logger

TRAININGS = "trainings.jsonl"
KEY = "dots: one seed; diamonds: mean ± deviation over the seeds; grey: the same of the random ones' means"
FIGURES = {"top1": "Top-1, %", "loss": "cross-entropy"}


@dataclass(frozen=True)
class Training(Job):
    """The training of a genotype, by its name, and the test of its last epoch."""

    name: str
    seed: int

    def __str__(self) -> str:
        return f"{self.name}, seed {self.seed}"


Finished = Mapping[Training, Record]


def compare_genotypes(
    cfg: CfgNode,
    config_file: str,
    out: Path | None,
    given: Sequence[str],
    drawn: tuple[int, int, str],
    seeds: list[int],
) -> None:
    """What tools/compare_genotypes.py does.

    Args:
        given: genotypes, as `read_genotype` takes them.
        drawn: how many random ones, the seed that draws them, and the name of the space.
    """
    genotypes, corpus = choose_genotypes(given, *drawn), Corpus(cfg)
    check_recipe(cfg, corpus)
    warnings, part = [], "test"
    if not len(corpus.index.rows(corpus.sub_dir, part)):
        warnings, part = [f"SUB_DIR {corpus.sub_dir} has no test part: the val part is evaluated instead"], "val"
        get_logger().warning(warnings[0])
    comparison: dict[str, Any] = {"part": part, "utterances": len(corpus.rows(part))}
    folder = open_folder(cfg, "compare_genotypes", config_file, out, TRAININGS, tuple(FREE))
    finished = take_over(folder / TRAININGS, genotypes, corpus.index.fingerprint)
    jobs = [Training(name, seed) for seed in seeds for name in genotypes]
    run_missing(
        folder / TRAININGS, jobs, finished, "training", lambda job: run(cfg, folder, genotypes[job.name], part, job)
    )
    comparison |= compare(list(genotypes), seeds, finished)
    texts = {name: str(genotype) for name, genotype in genotypes.items()}
    picture = Pictures(folder)(RESULTS, plot(comparison, finished), f"Every genotype; {KEY}.")
    sections = [
        Section("The comparison", "", [make_table(comparison)], [picture]),
        Section("The genotypes", "", [Table("What was compared", ("name", "genotype"), list(texts.items()))]),
    ]
    write_comparison(folder, "Genotypes under one recipe", comparison | {"genotypes": texts}, warnings, sections)
    print(json.dumps(comparison))


def choose_genotypes(given: Sequence[str], count: int, draw_seed: int, space: str) -> dict[str, Genotype]:
    """By name: found, found-2, ... as given; paper; random-1, ... A greater count leaves the first ones as they are."""
    found = {f"found-{number}" if number > 1 else "found": read_genotype(text) for number, text in enumerate(given, 1)}
    generator = np.random.default_rng(draw_seed)
    drawn = [random_genotype(SEARCH_SPACES[space], generator) for _ in range(count)]
    return found | {"paper": PAPER_GENOTYPE} | {f"random-{number}": one for number, one in enumerate(drawn, 1)}


def is_random(name: str) -> bool:
    """Whether a genotype of this name was drawn by chance."""
    return name.startswith("random-")


def check_recipe(cfg: CfgNode, corpus: Corpus) -> None:
    """Refuse what no training could begin with."""
    if cfg.MODEL.PRETRAINED:
        raise UserError("MODEL.PRETRAINED must be empty: the genotypes are compared by training from scratch")
    _ = build_network(cfg, PAPER_GENOTYPE, corpus.check_num_classes(cfg.MODEL.NUM_CLASSES)), corpus.crops("train")
    check_training(corpus)


def take_over(path: Path, genotypes: Mapping[str, Genotype], index: str) -> dict[Training, Record]:
    """The finished trainings.

    Raises:
        UserError: one is of another genotype than its name means now, or of another index.
    """

    def find_objection(job: Training, record: Record) -> str:
        if job.name in genotypes and record["genotype"] != str(genotypes[job.name]):
            culprit = "--draw_seed or --space" if is_random(job.name) else "--genotype"
            return f"{job.name} is another genotype there, of another {culprit}: give the same, or another --out"
        if record["index"] != index:
            return f"{job.name} was trained with another index than DATASET.DATA_DIR has now: give another --out"
        return ""

    return read_records(path, Training, ("genotype", "index", "parameters", *FIGURES), find_objection)


def run(cfg: CfgNode, folder: Path, genotype: Genotype, part: str, job: Training) -> Record:
    """Train the network of a genotype and evaluate it as its last epoch leaves it; returns what is recorded of it."""
    own = settings_of(cfg, cfg.MODEL.NAME, cfg.DATASET.SUB_DIR, job.seed)
    began = time.perf_counter()
    option = ["--text_arch", str(genotype)]
    run_dir = train(folder, own, f"{job.name}-seed{job.seed}", option, f"the training of {job}")
    record = {"genotype": str(genotype)} | evaluate_last(own, run_dir, part)
    get_logger().info(f"{job}: {part} Top-1 {record['top1']:.2f} %, loss {record['loss']:.4f}")
    seconds = round(time.perf_counter() - began, 3)
    return record | {"seconds": seconds, "run_dir": str(run_dir), "index": Corpus(own).index.fingerprint}


def evaluate_last(cfg: CfgNode, run_dir: Path, part: str) -> Record:
    """The figures of a run's last epoch on a part of its corpus."""
    device, corpus = prepare(cfg), Corpus(cfg)
    checkpoint, _ = load_last(run_dir, ("train",))
    network, front_end = build_model(checkpoint.architecture), corpus.build_front_end().to(device)
    network.load_state_dict(checkpoint.model)
    figures = identify(network.to(device), front_end, corpus, corpus.rows(part), corpus.speakers, device)
    torch.cuda.empty_cache()  # the next training, in a process of its own, needs the room
    epochs = cfg.TRAIN.END_EPOCH - cfg.TRAIN.BEGIN_EPOCH
    return {"parameters": count_parameters(network), "epochs": epochs} | {name: figures[name] for name in FIGURES}


# ------------------------------------------------------------------------------------------------------------------
# Comparing
# ------------------------------------------------------------------------------------------------------------------
def compare(names: Sequence[str], seeds: list[int], finished: Finished) -> dict[str, Any]:
    """Mean and deviation of every genotype, and of the random ones' means; how many of these beat each other one."""
    results: dict[str, Any] = {}
    for name in names:
        records = [finished[Training(name, seed)] for seed in seeds]
        results[name] = {"parameters": records[0]["parameters"]}
        for figure in FIGURES:
            results[name] |= spread(figure, [record[figure] for record in records])
        results[name]["seeds"] = seeds
    drawn = [result for name, result in results.items() if is_random(name)]
    chance: dict[str, Any] = {"number": len(drawn)}
    for figure in FIGURES:
        chance |= spread(figure, [result[f"{figure}_mean"] for result in drawn])
    beaten = {
        name: {
            "loss": sum(other["loss_mean"] < result["loss_mean"] for other in drawn),
            "top1": sum(other["top1_mean"] > result["top1_mean"] for other in drawn),
        }
        for name, result in results.items()
        if not is_random(name)
    }
    return {"results": results, "random": chance, "beaten_by_random": beaten}


def make_table(comparison: Mapping[str, Any]) -> Table:
    """A row a genotype, and one of the random ones' means."""
    chance, about = comparison["random"], f"{comparison['utterances']} utterances of the {comparison['part']} part"
    notes = [f"Means ± standard deviations over the seeds, {about}, last epoch."]
    rows = [
        (name, f"{result['parameters']:,}", *_cells(result), str(len(result["seeds"])))
        for name, result in comparison["results"].items()
    ]
    if chance["number"]:
        rows.append(("random, means", "", *_cells(chance), f"over {chance['number']} genotypes"))
        notes += [
            f"{name}: of {chance['number']} random genotypes, {beaten['loss']} have a lower mean loss and "
            f"{beaten['top1']} a higher mean Top-1"
            for name, beaten in comparison["beaten_by_random"].items()
        ]
    header = ("genotype", "parameters", *FIGURES.values(), "seeds")
    return Table("Genotypes under one recipe", header, rows, "\n".join(notes))


def _cells(result: Mapping[str, Any]) -> list[str]:
    return [format_spread(result, name, digits) for name, digits in (("top1", 2), ("loss", 4))]


@styled
def plot(comparison: Mapping[str, Any], finished: Finished) -> Figure:
    """A panel for each of FIGURES, a row a genotype: see KEY."""
    results, chance = comparison["results"], comparison["random"]
    figure = new_figure(8, 1.2 + 0.38 * len(results))
    for axes, (kind, label) in zip(figure.subplots(1, len(FIGURES), sharey=True), FIGURES.items(), strict=True):
        axes.set_xlabel(f"{label} ({comparison['part']} part)")
        axes.grid(axis="x")
        for row, (name, result) in enumerate(results.items()):
            style = {"color": INK if is_random(name) else VERMILION if name == "paper" else BLUE, "zorder": 3}
            values = [finished[Training(name, seed)][kind] for seed in result["seeds"]]
            axes.plot(values, [row - 0.1] * len(values), "o", markersize=4.5, alpha=0.6, **style)
            mean, deviation = result[f"{kind}_mean"], result[f"{kind}_std"]
            axes.errorbar(mean, row + 0.2, xerr=deviation, fmt="D", markersize=4, capsize=3, **style)
        if chance["number"]:
            mean, deviation = chance[f"{kind}_mean"], chance[f"{kind}_std"] or 0
            axes.axvspan(mean - deviation, mean + deviation, color=GREY, alpha=0.2, linewidth=0, zorder=0)
            axes.axvline(mean, color=GREY, linestyle="--", linewidth=1, zorder=1)
        axes.set_yticks(range(len(results)), list(results))
        axes.set_ylim(len(results) - 0.4, -0.6)
    figure.supxlabel(KEY, size="medium")
    return figure
