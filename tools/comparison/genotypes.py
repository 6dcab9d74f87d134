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
from data_objects.lists import TRIALS
from models import build_model, build_network, count_parameters
from models.genotypes import PAPER_GENOTYPE, SEARCH_SPACES, Genotype, random_genotype, read_genotype
from tools.comparison.chance import RANDOM, against_chance, group_of
from tools.comparison.engine import FREE, Comparison, Job, Record, settings_of
from tools.comparison.report import RESULTS, figure, make_table, plain, plot_spread, summarise, write_comparison
from utils.evaluation.lists import open_lists
from utils.recognition.network import identify, verify
from utils.records.checkpoint import load_last
from utils.records.guard import check_training
from utils.reports.html import Section, Table
from utils.reports.provenance import Pictures
from utils.system.cli import split_name
from utils.system.device import prepare
from utils.system.errors import UserError
from utils.system.logger import get_logger
from utils.training.loop import check_options

KEY = "rings: one seed; dots: mean ± deviation over the seeds; grey: the same of the random ones' means"
LABELS = {"top1": "Top-1, %", "loss": "cross-entropy", "eer": "EER, %", "min_dcf": "minDCF"}
DIGITS = {"top1": 2, "loss": 4, "eer": 2, "min_dcf": 3}
# What is compared, and whether more of it is better: of networks for identification, and of those for verification.
FIGURES = {"merged": {"top1": 1, "loss": -1}, "dev": {"eer": -1, "min_dcf": -1}}


@dataclass
class Genotypes(Comparison):
    """A job trains a genotype's network and tests its last epoch on a part of the corpus, whose index is given.

    Attributes:
        part: of `merged`, what is identified; empty for `dev`, whose networks are tested by the corpus's trials.
    """

    script, records, recorded, free = "compare_genotypes", "trainings.jsonl", ("parameters",), FREE
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
        figures = ", ".join(f"{LABELS[name]} {record[name]:.4g}" for name in FIGURES[own.DATASET.SUB_DIR])
        get_logger().info(f"{job}: {figures}")
        seconds = round(time.perf_counter() - began, 3)
        return record | {"seconds": seconds, "run_dir": str(run_dir), "index": Corpus(own).index.fingerprint}

    def train_all(self, seeds: Sequence[int]) -> DataFrame:
        """Do what is not finished yet; returns a row a training, with its name and record."""
        jobs = [Job(name, seed) for seed in seeds for name in self.genotypes]
        self.run_missing(jobs)
        return DataFrame([{"name": job.name} | self.finished[job] for job in jobs])


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
    part, tested, warnings = choose_test(corpus)
    work = Genotypes(cfg, config_file, out, genotypes, part, corpus.index.fingerprint)
    records = work.train_all(seeds)
    figures = FIGURES[corpus.sub_dir]
    summary = summarise(records, list(figures))
    comparison: dict[str, Any] = {"part": part or "trials", **tested} | compare(summary, seeds, figures)
    texts = {name: str(genotype) for name, genotype in genotypes.items()}
    picture = Pictures(work.folder)(RESULTS, plot(records, summary, comparison), f"Every genotype; {KEY}.")
    tables = [tabulate(comparison, figures), *tabulate_chance(comparison["against_chance"])]
    sections = [
        Section("The comparison", "", tables, [picture]),
        Section("The genotypes", "", [Table("What was compared", ("name", "genotype"), list(texts.items()))]),
    ]
    write_comparison(work.folder, "Genotypes under one recipe", comparison | {"genotypes": texts}, warnings, sections)
    print(json.dumps(comparison))


def choose_genotypes(given: Sequence[str], count: int, draw_seed: int, space: str) -> dict[str, Genotype]:
    """By name: as given, or found, found-2, ...; paper; random-1, ... A greater count leaves the first as they are."""
    found: dict[str, Genotype] = {}
    for number, text in enumerate(given, 1):
        name, text = split_name(text)
        name = name or (f"found-{number}" if number > 1 else "found")
        if name in found or name == "paper" or group_of(name) == RANDOM:
            raise UserError(f"--genotype: the name {name} is taken; give another, as in --genotype NAME=GENOTYPE")
        found[name] = read_genotype(text)
    generator = np.random.default_rng(draw_seed)
    drawn = [random_genotype(SEARCH_SPACES[space], generator) for _ in range(count)]
    return found | {"paper": PAPER_GENOTYPE} | {f"random-{number}": one for number, one in enumerate(drawn, 1)}


def choose_test(corpus: Corpus) -> tuple[str, dict[str, int], list[str]]:
    """The part that is identified, empty where trials are scored; how much is tested on; what to warn of.

    Raises:
        UserError: there is nothing to test on, which is said before hours have gone.
    """
    if corpus.sub_dir == "dev":
        path = corpus.list_path(TRIALS)
        (trials,) = open_lists([path], corpus.index, allow_missing=False)
        return "", {"trials": len(trials.trials)}, []
    warnings, part = [], "test"
    if not len(corpus.index.rows(corpus.sub_dir, part)):
        warnings, part = [f"SUB_DIR {corpus.sub_dir} has no test part: the val part is evaluated instead"], "val"
        get_logger().warning(warnings[0])
    return part, {"utterances": len(corpus.rows(part))}, warnings


def check_recipe(cfg: CfgNode, corpus: Corpus) -> None:
    """Refuse what no training could begin with."""
    if cfg.MODEL.PRETRAINED:
        raise UserError("MODEL.PRETRAINED must be empty: the genotypes are compared by training from scratch")
    network = build_network(cfg, PAPER_GENOTYPE, corpus.check_num_classes(cfg.MODEL.NUM_CLASSES))
    _ = corpus.crops("train")
    check_options(cfg, network, corpus)
    check_training(corpus)


def evaluate_last(cfg: CfgNode, run_dir: Path, part: str) -> Record:
    """The figures of a run's last epoch on a part of its corpus, or where that is empty on its trials."""
    device, corpus = prepare(cfg), Corpus(cfg)
    checkpoint, _ = load_last(run_dir, ("train",))
    network, front_end = build_model(checkpoint.architecture), corpus.build_front_end().to(device)
    network.load_state_dict(checkpoint.model)
    front_end.load_state_dict(checkpoint.front_end)
    embedder = network.to(device), front_end, corpus
    trials = None if part else corpus.test_trials()
    if trials is None:
        figures = identify(*embedder, corpus.rows(part), corpus.speakers, device)
    else:
        figures = verify(*embedder, trials, device)
    torch.cuda.empty_cache()  # the next training, in a process of its own, needs the room
    epochs = last_epoch(cfg) - cfg.TRAIN.BEGIN_EPOCH
    known = {name: figures[name] for name in FIGURES[corpus.sub_dir]}
    return {"parameters": count_parameters(network), "epochs": epochs} | known


def compare(summary: DataFrame, seeds: list[int], figures: Mapping[str, int]) -> dict[str, Any]:
    """Mean and deviation of every genotype, and of the random ones' means; how many of these beat each other one."""
    spreads = [f"{name}_{of}" for name in figures for of in ("mean", "std")]
    results = {name: row | {"seeds": seeds} for name, row in plain(summary[["parameters", *spreads]]).items()}
    by_chance = summary.index.map(group_of) == RANDOM
    drawn = summary[by_chance]
    chance = {f"{name}_{of}": drawn[f"{name}_mean"].agg(of) for name in figures for of in ("mean", "std")}
    beaten = {
        name: {of: int(sum(sign * drawn[f"{of}_mean"] > sign * own[f"{of}_mean"])) for of, sign in figures.items()}
        for name, own in summary[~by_chance].iterrows()
    }
    random = {"number": len(drawn)} | plain(DataFrame([chance]))[0]
    return {
        "results": results,
        "random": random,
        "beaten_by_random": beaten,
        "against_chance": against_chance(summary, figures),
    }


def tabulate(comparison: Mapping[str, Any], figures: Mapping[str, int]) -> Table:
    """A row a genotype, and one of the random ones' means."""
    chance, about = comparison["random"], f"{comparison.get('trials')} trials"
    if "utterances" in comparison:
        about = f"{comparison['utterances']} utterances of the {comparison['part']} part"
    notes = [f"Means ± standard deviations over the seeds, {about}, last epoch."]
    rows = [row | {"name": name, "seeds": len(row["seeds"])} for name, row in comparison["results"].items()]
    if count := chance["number"]:
        rows.append(chance | {"name": "random, means", "parameters": "", "seeds": f"over {count} genotypes"})
        notes += [
            f"{name}: of {count} random genotypes, "
            + " and ".join(f"{beaten[of]} have a better mean {LABELS[of].removesuffix(', %')}" for of in figures)
            for name, beaten in comparison["beaten_by_random"].items()
        ]
    columns: dict[str, Callable[..., object]] = {"genotype": itemgetter("name"), "parameters": itemgetter("parameters")}
    columns |= {LABELS[name]: figure(name, DIGITS[name]) for name in figures} | {"seeds": itemgetter("seeds")}
    return make_table("Genotypes under one recipe", rows, columns, "\n".join(notes))


def tabulate_chance(tests: Sequence[Mapping[str, Any]]) -> list[Table]:
    """A row a group and figure; nothing where there are too few random genotypes."""
    columns: dict[str, Callable[..., object]] = {
        "genotypes": lambda test: f"{test['group']} ({test['genotypes']})",
        "by": lambda test: LABELS[test["figure"]].removesuffix(", %"),
        "beat of the random ones, %": lambda test: ", ".join(f"{100 * share:.0f}" for share in test["beats"]),
        "p": lambda test: f"{test['p']:.3g}",
        "p, size taken out": lambda test: f"{test['p_size']:.3g}",
    }
    note = (
        "p: how often genotypes drawn from all of these by chance have a mean as good; one-sided, by permutation. Size "
        "is taken out by a line over the logarithm of the number of parameters."
    )
    return [make_table("Against chance", tests, columns, note)] if tests else []


def plot(records: DataFrame, summary: DataFrame, comparison: Mapping[str, Any]) -> Figure:
    """A panel a figure, a row a genotype: see KEY."""
    chance, figures = comparison["random"], [name for name in LABELS if f"{name}_mean" in summary]
    labels = {name: f"{LABELS[name]} ({comparison['part']})" for name in figures}
    bands = {name: (chance[f"{name}_mean"], chance[f"{name}_std"] or 0) for name in figures if chance["number"]}
    return plot_spread(records, summary, labels, bands, KEY)
