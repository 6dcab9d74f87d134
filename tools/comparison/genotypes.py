"""Genotypes under one recipe: what a search found, the paper's and random ones, with the networks of the last epoch."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from pandas import DataFrame
from yacs.config import CfgNode

from config import last_epoch
from data_objects.corpus import Corpus
from models import build_model, build_network, count_parameters
from models.genotypes import PAPER_GENOTYPE, SEARCH_SPACES, Genotype, random_genotype, read_genotype
from tools.comparison.engine import FREE, Comparison, Job, Record, settings_of
from tools.comparison.report import RESULTS, figure, make_table, plain, summarise, write_comparison
from utils.pictures.figure import GREY, VERMILION, new_figure, styled
from utils.pictures.intervals import draw_intervals
from utils.recognition.network import identify
from utils.records.checkpoint import load_last
from utils.records.guard import check_training
from utils.reports.html import Section, Table
from utils.reports.provenance import Pictures
from utils.system.device import prepare
from utils.system.errors import UserError
from utils.system.logger import get_logger

KEY = "rings: one seed; dots: mean ± deviation over the seeds; grey: the same of the random ones' means"
FIGURES = {"top1": "Top-1, %", "loss": "cross-entropy"}


@dataclass
class Genotypes(Comparison):
    """A job trains a genotype's network and tests its last epoch on a part of the corpus, whose index is given."""

    script, records, recorded, free = "compare_genotypes", "trainings.jsonl", ("parameters", *FIGURES), FREE
    keys: ClassVar = {"name": "name", "seed": "seed"}
    sources: ClassVar = {"genotype": "--genotype, --draw_seed or --space", "index": "index of DATASET.DATA_DIR"}

    genotypes: Mapping[str, Genotype]
    part: str
    index: str

    def origin(self, job: Job) -> dict[str, str]:
        """Names that are not asked for now may mean any genotype."""
        genotype = {"genotype": str(self.genotypes[job.name])} if job.name in self.genotypes else {}
        return genotype | {"index": self.index}

    def run(self, job: Job) -> Record:
        own, began = settings_of(self.cfg, self.cfg.MODEL.NAME, self.cfg.DATASET.SUB_DIR, job.seed), time.perf_counter()
        genotype = str(self.genotypes[job.name])
        run_dir = self.train(job, own, ["--text_arch", genotype])
        record = {"genotype": genotype} | evaluate_last(own, run_dir, self.part)
        get_logger().info(f"{job}: {self.part} Top-1 {record['top1']:.2f} %, loss {record['loss']:.4f}")
        seconds = round(time.perf_counter() - began, 3)
        return record | {"seconds": seconds, "run_dir": str(run_dir), "index": Corpus(own).index.fingerprint}


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
    utterances = len(corpus.rows(part))  # refused here, before hours have gone, where there are none
    work = Genotypes(cfg, config_file, out, genotypes, part, corpus.index.fingerprint)
    jobs = [Job(name, seed) for seed in seeds for name in genotypes]
    work.run_missing(jobs)
    records = DataFrame([{"name": job.name} | work.finished[job] for job in jobs])
    summary = summarise(records, list(FIGURES))
    comparison = {"part": part, "utterances": utterances} | compare(summary, seeds)
    texts = {name: str(genotype) for name, genotype in genotypes.items()}
    picture = Pictures(work.folder)(RESULTS, plot(records, summary, comparison), f"Every genotype; {KEY}.")
    sections = [
        Section("The comparison", "", [tabulate(comparison)], [picture]),
        Section("The genotypes", "", [Table("What was compared", ("name", "genotype"), list(texts.items()))]),
    ]
    write_comparison(work.folder, "Genotypes under one recipe", comparison | {"genotypes": texts}, warnings, sections)
    print(json.dumps(comparison))


def choose_genotypes(given: Sequence[str], count: int, draw_seed: int, space: str) -> dict[str, Genotype]:
    """By name: found, found-2, ... as given; paper; random-1, ... A greater count leaves the first ones as they are."""
    found = {f"found-{number}" if number > 1 else "found": read_genotype(text) for number, text in enumerate(given, 1)}
    generator = np.random.default_rng(draw_seed)
    drawn = [random_genotype(SEARCH_SPACES[space], generator) for _ in range(count)]
    return found | {"paper": PAPER_GENOTYPE} | {f"random-{number}": one for number, one in enumerate(drawn, 1)}


def check_recipe(cfg: CfgNode, corpus: Corpus) -> None:
    """Refuse what no training could begin with."""
    if cfg.MODEL.PRETRAINED:
        raise UserError("MODEL.PRETRAINED must be empty: the genotypes are compared by training from scratch")
    _ = build_network(cfg, PAPER_GENOTYPE, corpus.check_num_classes(cfg.MODEL.NUM_CLASSES)), corpus.crops("train")
    check_training(corpus)


def evaluate_last(cfg: CfgNode, run_dir: Path, part: str) -> Record:
    """The figures of a run's last epoch on a part of its corpus."""
    device, corpus = prepare(cfg), Corpus(cfg)
    checkpoint, _ = load_last(run_dir, ("train",))
    network, front_end = build_model(checkpoint.architecture), corpus.build_front_end().to(device)
    network.load_state_dict(checkpoint.model)
    figures = identify(network.to(device), front_end, corpus, corpus.rows(part), corpus.speakers, device)
    torch.cuda.empty_cache()  # the next training, in a process of its own, needs the room
    epochs = last_epoch(cfg) - cfg.TRAIN.BEGIN_EPOCH
    return {"parameters": count_parameters(network), "epochs": epochs} | {name: figures[name] for name in FIGURES}


def compare(summary: DataFrame, seeds: list[int]) -> dict[str, Any]:
    """Mean and deviation of every genotype, and of the random ones' means; how many of these beat each other one."""
    spreads = [f"{name}_{of}" for name in FIGURES for of in ("mean", "std")]
    results = {name: row | {"seeds": seeds} for name, row in plain(summary[["parameters", *spreads]]).items()}
    by_chance = summary.index.str.startswith("random-")
    drawn = summary[by_chance]
    chance = {f"{name}_{of}": drawn[f"{name}_mean"].agg(of) for name in FIGURES for of in ("mean", "std")}
    beaten = {
        name: {
            "loss": int(sum(drawn["loss_mean"] < own["loss_mean"])),
            "top1": int(sum(drawn["top1_mean"] > own["top1_mean"])),
        }
        for name, own in summary[~by_chance].iterrows()
    }
    random = {"number": len(drawn)} | plain(DataFrame([chance]))[0]
    return {"results": results, "random": random, "beaten_by_random": beaten}


def tabulate(comparison: Mapping[str, Any]) -> Table:
    """A row a genotype, and one of the random ones' means."""
    chance, about = comparison["random"], f"{comparison['utterances']} utterances of the {comparison['part']} part"
    notes = [f"Means ± standard deviations over the seeds, {about}, last epoch."]
    rows = [row | {"name": name, "seeds": len(row["seeds"])} for name, row in comparison["results"].items()]
    if count := chance["number"]:
        rows.append(chance | {"name": "random, means", "parameters": "", "seeds": f"over {count} genotypes"})
        notes += [
            f"{name}: of {count} random genotypes, {beaten['loss']} have a lower mean loss and "
            f"{beaten['top1']} a higher mean Top-1"
            for name, beaten in comparison["beaten_by_random"].items()
        ]
    columns: dict[str, Callable[..., object]] = {"genotype": itemgetter("name"), "parameters": itemgetter("parameters")}
    columns |= {FIGURES["top1"]: figure("top1", 2), FIGURES["loss"]: figure("loss", 4), "seeds": itemgetter("seeds")}
    return make_table("Genotypes under one recipe", rows, columns, "\n".join(notes))


@styled
def plot(records: DataFrame, summary: DataFrame, comparison: Mapping[str, Any]) -> Figure:
    """A panel for each of FIGURES, a row a genotype: see KEY."""
    chance, picture = comparison["random"], new_figure(8, 1.2 + 0.38 * len(summary))
    for axes, (name, label) in zip(picture.subplots(1, len(FIGURES), sharey=True), FIGURES.items(), strict=True):
        mean, deviation = summary[f"{name}_mean"].to_numpy(), summary[f"{name}_std"].fillna(0).to_numpy()
        ends = np.stack([mean - deviation, mean + deviation], axis=1)
        draw_intervals(axes, list(summary.index), mean, ends, f"{label} ({comparison['part']} part)")
        rows = summary.index.get_indexer(records["name"])
        axes.plot(records[name], rows, "o", markersize=7, markerfacecolor="none", color=VERMILION)
        if chance["number"]:
            mean, deviation = chance[f"{name}_mean"], chance[f"{name}_std"] or 0
            axes.axvspan(mean - deviation, mean + deviation, color=GREY, alpha=0.2, linewidth=0, zorder=0)
            axes.axvline(mean, color=GREY, linestyle="--", linewidth=1, zorder=1)
    picture.supxlabel(KEY, size="medium")
    return picture
