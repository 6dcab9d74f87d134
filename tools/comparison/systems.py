"""VGG-M, both ResNets and a genotype's network under one recipe: two trainings and three evaluations of each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from pandas import DataFrame
from yacs.config import CfgNode

from data_objects.corpus import Corpus
from data_objects.lists import TRIALS
from models import DERIVED, build_baseline, build_network
from models.genotypes import Genotype, read_genotype
from models.statistics import WINDOW
from tools.comparison.calls import (
    GENOTYPE,
    IDENTIFICATION,
    SCORES,
    VERIFICATION,
    Calls,
    describe_origin,
    scored,
    warn_of_mixture,
    with_intervals,
)
from tools.comparison.command_line import METHODS
from tools.comparison.engine import TRAINING, Job, settings_of
from tools.comparison.report import figure, make_table, plain, summarise, write_comparison
from utils.evaluation.lists import open_lists
from utils.pictures.det import plot_det
from utils.pictures.intervals import plot_intervals
from utils.reports.html import Picture, Section, Table
from utils.reports.provenance import Pictures
from utils.system.errors import UserError
from utils.system.files import hash_file, write_atomically

KINDS = {"merged": (TRAINING, IDENTIFICATION, VERIFICATION), "dev": (TRAINING, VERIFICATION)}  # of jobs, by SUB_DIR


class Figure(NamedTuple):
    """What is compared: `key` of what an evaluation of this kind says of the network trained on SUB_DIR."""

    kind: str
    sub_dir: str
    key: str
    title: str
    digits: int


FIGURES = {
    "top1": Figure(IDENTIFICATION, "merged", "top1", "Top-1 %", 2),
    "top5": Figure(IDENTIFICATION, "merged", "top5", "Top-5 %", 2),
    "eer_seen": Figure(VERIFICATION, "merged", "eer", "EER %, test speakers trained on", 2),
    "eer": Figure(VERIFICATION, "dev", "eer", "EER %, speaker-disjoint", 2),
    "min_dcf": Figure(VERIFICATION, "dev", "min_dcf_0.01", "minDCF 0.01", 3),
    "cllr": Figure(VERIFICATION, "dev", "cllr", "Cllr", 3),
    "min_cllr": Figure(VERIFICATION, "dev", "min_cllr", "min Cllr", 3),
}
PUBLISHED = {"top1": True, "eer_seen": False, "eer": True, "min_dcf": False}  # columns: whether with intervals
BESIDES = dict.fromkeys(("top5", "min_dcf", "cllr", "min_cllr"), True)
DRAWN = ("top1", "eer", "min_dcf")
NOTE = (
    "Top-1: {utterances:,} test utterances of {speakers:,} speakers, {speakers_trained_on} of them trained on (SUB_DIR "
    "merged). EER and minDCF: {trials:,} trials of {trial_speakers} speakers, of whom the merged network was trained "
    "on {trial_speakers_trained_on[merged]} and the other one (SUB_DIR dev) on {trial_speakers_trained_on[dev]}. In "
    "brackets: 95 % intervals of one trained network by bootstrap over the test speakers. Parameters: of the merged "
    "network. Minutes: in training steps, merged + dev. "
)
ONE = "One training each, seed {first}: what another seed would give is not in the intervals."
SEVERAL = (
    "Before the semicolon: the network of seed {first}; behind it: mean ± standard deviation over the seeds {all}. "
    "Minutes: their mean."
)
OF_RECIPE = (
    "MODEL.LAYERS, MODEL.INIT_CHANNELS and MODEL.DROP_PATH_PROB are of the genotype's network alone; cepstral "
    f"statistics are fitted, in windows of {WINDOW:,} frames, and know nothing of the recipe but the corpus."
)


@dataclass
class Systems(Calls):
    """Jobs are named by MODEL.NAME."""

    script = "compare_systems"
    keys: ClassVar = {"kind": "kind", "system": "name", "sub_dir": "sub_dir", "seed": "seed"}

    def origin(self, job: Job) -> dict[str, str]:
        """A baseline does not depend on the genotype."""
        return self.common if job.name == DERIVED else self.common | {"genotype": ""}

    def settings(self, job: Job) -> CfgNode:
        return settings_of(self.cfg, job.name, job.sub_dir, job.seed)

    def read_figures(self, system: str, seed: int) -> dict[str, Any]:
        """A system's figures of a seed, with their 95 % intervals; None for what an evaluation does not have."""
        row: dict[str, Any] = {"name": system}
        for sub_dir in KINDS:
            training = Job(system, seed, sub_dir)
            results = self.results(training)
            row |= {f"{key}_{sub_dir}": results[key] for key in ("parameters", "epoch")}
            row[f"minutes_{sub_dir}"] = self.finished[training]["minutes"]
        for name, of in FIGURES.items():
            results = self.results(Job(system, seed, of.sub_dir, of.kind))
            figures = scored(results)[results["system"]] if of.kind == VERIFICATION else results
            row |= with_intervals(figures, {name: of.key})
        return row


def compare_systems(
    cfg: CfgNode, config_file: str, out: Path | None, systems: Sequence[str], text: str, seeds: Sequence[int]
) -> None:
    """What tools/compare_systems.py does; `text` is the genotype, or a file that holds it."""
    genotype = read_genotype(text)
    work = Systems(cfg, config_file, out, {"genotype": str(genotype)} | check_corpus(cfg, systems, genotype))
    write_atomically(work.folder / GENOTYPE, f"{genotype}\n")  # for train.py
    kinds = [(sub_dir, kind) for sub_dir in KINDS for kind in KINDS[sub_dir]]
    jobs = [Job(system, seed, *kind) for seed in seeds for system in systems for kind in kinds]
    work.run_missing(jobs)  # seed by seed: stopped early, it has all systems
    comparison = describe(work, jobs) | compare(work, systems, seeds)
    shown = Section("The comparison", "", tabulate(comparison), draw(work, comparison))
    sections = [shown, describe_origin(work, jobs, OF_RECIPE)]
    write_comparison(work.folder, "Systems under one recipe", comparison, comparison["warnings"], sections)
    print(json.dumps(comparison))


def check_corpus(cfg: CfgNode, systems: Sequence[str], genotype: Genotype) -> dict[str, str]:
    """Make sure that all systems can be trained and evaluated, before hours have gone.

    Returns:
        The sha256 of the index and that of the list of trials.

    Raises:
        UserError: settings that do not suit all systems; a corpus without a test part or without trials.
    """
    if cfg.MODEL.PRETRAINED:
        raise UserError("MODEL.PRETRAINED must be empty: the systems are compared by training from scratch")
    if cfg.MODEL.NUM_CLASSES:
        raise UserError("MODEL.NUM_CLASSES must be 0: merged and dev have different numbers of speakers")
    for sub_dir in KINDS:
        corpus = Corpus(settings_of(cfg, DERIVED, sub_dir, cfg.SEED))
        if not len(corpus.crops("train")) or not len(corpus.index.rows("merged", "test")):
            raise UserError(f"{corpus.data_dir} has nothing to train on or to test on; check its iden_split.txt")
    open_lists([corpus.list_path(TRIALS)], corpus.index, allow_missing=False)
    for system in systems:
        own = settings_of(cfg, system, "merged", cfg.SEED)
        _ = build_network(own, genotype, 2) if system == DERIVED else build_baseline(own, 2)
    return {"index": corpus.index.fingerprint, "trials": hash_file(corpus.list_path(TRIALS))}


def describe(work: Systems, jobs: Sequence[Job]) -> dict[str, Any]:
    """What the systems were trained and tested on, and what a reader must know of that."""
    system, seed = jobs[0].name, jobs[0].seed
    tested = {sub_dir: work.results(Job(system, seed, sub_dir, VERIFICATION)) for sub_dir in KINDS}
    identified = work.results(Job(system, seed, "merged", IDENTIFICATION))
    (trials,) = tested["dev"]["lists"].values()
    unknown = identified.get("test_speakers_never_trained_on", 0)
    overlap = {sub_dir: results["speaker_overlap"] for sub_dir, results in tested.items()}
    disjoint = {sub_dir: results["speaker_disjoint"] for sub_dir, results in tested.items()}
    warnings = [
        f"“{FIGURES[name].title}” is not speaker-disjoint: the networks were trained on {overlap[sub_dir]} of the "
        f"{trials['speakers']} speakers of the trials. It is no verification result."
        for sub_dir, name in (("merged", "eer_seen"), ("dev", "eer"))
        if not disjoint[sub_dir]
    ]
    return {
        "seeds": list(dict.fromkeys(job.seed for job in jobs)),
        "utterances": identified["utterances"],
        "speakers": identified["speakers"],
        "speakers_trained_on": f"{identified['speakers'] - unknown:,}" if unknown else "all",
        "trials": trials["trials"],
        "trial_speakers": trials["speakers"],
        "trial_speakers_trained_on": overlap,
        "speaker_disjoint": disjoint,
        "warnings": warnings + warn_of_mixture([work.results(job)["provenance"] for job in jobs]),
    }


def compare(work: Systems, systems: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """The figures of every system: of the first seed with their intervals, and mean and deviation over the seeds."""
    figures = DataFrame([work.read_figures(system, seed) for system in systems for seed in seeds])
    summary = summarise(figures, list(FIGURES))
    summary.update(figures.groupby("name")[[f"minutes_{sub_dir}" for sub_dir in KINDS]].mean())
    size = f" ({work.cfg.MODEL.LAYERS} cells, {work.cfg.MODEL.INIT_CHANNELS} channels)"
    methods = {system: METHODS[system] + size * (system == DERIVED) for system in systems}
    return {"results": {system: {"method": methods[system]} | row for system, row in plain(summary).items()}}


def tabulate(comparison: Mapping[str, Any]) -> list[Table]:
    """The columns of the published table, and what there is besides."""
    results, seeds = list(comparison["results"].values()), comparison["seeds"]
    published, besides = (
        {"Method": itemgetter("method")}
        | {
            FIGURES[name].title + " [95 %]" * shown: figure(name, FIGURES[name].digits, shown)
            for name, shown in columns
        }
        for columns in (PUBLISHED.items(), BESIDES.items())
    )
    published |= {"parameters": itemgetter("parameters_merged")}
    published |= {"training minutes": "{minutes_merged:.1f} + {minutes_dev:.1f}".format_map}
    besides |= {"best epoch, merged and dev": "{epoch_merged}, {epoch_dev}".format_map}
    caption = "Four systems under one recipe" if len(results) == 4 else "Systems under one recipe"
    of_seeds = (SEVERAL if len(seeds) > 1 else ONE).format(first=seeds[0], all=", ".join(map(str, seeds)))
    note = "Cllr is that of the calibrated scores; a dash: no held-out speakers to calibrate on."
    return [
        make_table(caption, results, published, NOTE.format_map(comparison) + of_seeds),
        make_table("Besides", results, besides, note),
    ]


def draw(work: Systems, comparison: Mapping[str, Any]) -> list[Picture]:
    """DET curves of the speaker-disjoint networks, and the figures with their intervals: of the first seed."""
    picture, seed, results = Pictures(work.folder / "pictures"), comparison["seeds"][0], comparison["results"]
    methods = [result["method"] for result in results.values()]
    runs = [work.run_dir(Job(system, seed, "dev", VERIFICATION)) for system in results]
    scores = [np.loadtxt(run / SCORES, usecols=(0, 1), unpack=True, ndmin=2) for run in runs]
    of_seed = f"SUB_DIR dev, seed {seed}" if comparison["speaker_disjoint"]["dev"] else f"NOT disjoint; seed {seed}"
    curves = {method: (own[0], own[1]) for method, own in zip(methods, scores, strict=True)}
    pictures = [picture("det", plot_det(curves), f"DET curves, {of_seed}.")]
    for name in DRAWN:
        estimates = np.array([result[name] for result in results.values()])
        intervals = np.array([result[f"{name}_interval"] or (np.nan, np.nan) for result in results.values()])
        chart = plot_intervals(methods, estimates, intervals, FIGURES[name].title)
        pictures.append(picture(name, chart, f"{FIGURES[name].title}, with 95 % intervals; seed {seed}."))
    return pictures
