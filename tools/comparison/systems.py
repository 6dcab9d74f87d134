"""VGG-M, both ResNets and a genotype's network under one recipe: two trainings and three evaluations of each."""

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from pandas import DataFrame
from yacs.config import CfgNode

from config import flatten
from data_objects.corpus import Corpus
from data_objects.lists import TRIALS
from models import DERIVED, build_baseline, build_network
from models.genotypes import Genotype, read_genotype
from tools.comparison.folder import FREE, Job, Record, open_folder, read_records
from tools.comparison.jobs import call, run_missing, settings_of, train
from tools.comparison.report import spread, write_comparison
from tools.comparison.system_report import FIGURES, IDENTIFICATION, VERIFICATION, Figure, draw, make_tables
from utils.evaluation.lists import open_lists
from utils.records.checkpoint import load_last
from utils.reports.html import Section, Table
from utils.system.errors import UserError
from utils.system.files import hash_file, write_atomically
from utils.system.logger import get_logger

METHODS = {"vggm": "VGG-M", "resnet18": "ResNet-18", "resnet34": "ResNet-34", DERIVED: "AutoSpeech"}
TRAINING = "training"
KINDS = {"merged": (TRAINING, IDENTIFICATION, VERIFICATION), "dev": (TRAINING, VERIFICATION)}  # of jobs, by SUB_DIR
FINISHED, GENOTYPE = "finished.jsonl", "genotype.txt"
RECORDED = ("genotype", "index", "trials", "run_dir", "sha256", "seconds")
SOURCES = {"genotype": "--genotype", "index": "index of DATASET.DATA_DIR", "trials": "veri_test.txt"}
SAID = ("epoch", "val_top1", "val_eer", "top1", "top5", "eer", "min_dcf")  # of a finished job, where it has them
# How often it is validated decides which epoch is the best, and here this one is evaluated.
FREE_HERE = tuple(FREE - {"VAL_FREQ", "EVAL"} | {"DATASET.SUB_DIR", "EVAL.KEEP_EMBEDDINGS"})


@dataclass(frozen=True)
class SystemJob(Job):
    """One call of one of the project's scripts."""

    kind: str
    system: str
    sub_dir: str
    seed: int

    def __str__(self) -> str:
        return f"{self.kind} of {METHODS[self.system]}, SUB_DIR {self.sub_dir}, seed {self.seed}"

    @property
    def training(self) -> "SystemJob":
        """The training that this job needs, or is."""
        return replace(self, kind=TRAINING)

    @property
    def file(self) -> str:
        """What it leaves in the run folder."""
        return "results.json" if self.kind == TRAINING else f"results-{self.kind}.json"


@dataclass
class Work:
    """A comparison under way.

    Attributes:
        origin: what figures depend on besides the settings: the genotype, the sha256 of the index and of the trials.
        finished: what is recorded of every finished job.
    """

    cfg: CfgNode
    folder: Path
    origin: dict[str, str]
    finished: dict[SystemJob, Record] = field(default_factory=dict)

    def run_dir(self, job: SystemJob) -> Path:
        """The run folder that a finished job left its results in."""
        return self.folder / self.finished[job]["run_dir"]

    def results(self, job: SystemJob) -> dict[str, Any]:
        """What a finished job wrote."""
        return json.loads((self.run_dir(job) / job.file).read_text(encoding="utf-8"))

    def origin_of(self, job: SystemJob) -> dict[str, str]:
        """A baseline does not depend on the genotype."""
        return self.origin if job.system == DERIVED else self.origin | {"genotype": ""}

    def find_objection(self, job: SystemJob, record: Record) -> str:
        """Why a record cannot be taken over; empty where it can."""
        differing = [key for key, value in self.origin_of(job).items() if record[key] != value]
        return f"the {job} is of another {SOURCES[differing[0]]} than now: give another --out" if differing else ""

    def is_intact(self, job: SystemJob) -> bool:
        """Whether a job is of the training recorded, and its results are still those that it wrote."""
        record, training = self.finished[job], self.finished.get(job.training, {})
        file = self.run_dir(job) / job.file
        return record["run_dir"] == training.get("run_dir") and file.is_file() and hash_file(file) == record["sha256"]

    def run(self, job: SystemJob) -> Record:
        """Run a job; returns what is recorded of it."""
        own = settings_of(self.cfg, job.system, job.sub_dir, job.seed)
        name, began = f"{job.system}-{job.sub_dir}-seed{job.seed}", time.perf_counter()
        if job.kind == TRAINING:
            genotype = ["--text_arch", str(self.folder / GENOTYPE)] if job.system == DERIVED else []
            run_dir = train(self.folder, own, name, genotype, f"the {job}")
        else:
            run_dir = self.run_dir(job.training)
            call(self.folder, f"evaluate_{job.kind}.py", own, name, ["--load_path", str(run_dir)], f"the {job}")
        place = {"run_dir": str(run_dir.relative_to(self.folder))}  # so that the folder may move
        seconds = {"seconds": round(time.perf_counter() - began, 3)}
        minutes = {"minutes": training_minutes(run_dir, own.TRAIN.BATCH_SIZE)} if job.kind == TRAINING else {}
        said = json.loads((run_dir / job.file).read_text(encoding="utf-8"))
        figures = ", ".join(f"{key} {said[key]:.4g}" for key in SAID if key in said)
        get_logger().info(f"{job}: {figures} ({seconds['seconds']:.0f} s)")
        return self.origin_of(job) | place | {"sha256": hash_file(run_dir / job.file)} | seconds | minutes


def compare_systems(
    cfg: CfgNode, config_file: str, out: Path | None, systems: Sequence[str], text: str, seeds: Sequence[int]
) -> None:
    """What tools/compare_systems.py does; `text` is the genotype, or a file that holds it."""
    genotype = read_genotype(text)
    origin = {"genotype": str(genotype)} | check_corpus(cfg, systems, genotype)
    work = Work(cfg, open_folder(cfg, "compare_systems", config_file, out, FINISHED, FREE_HERE), origin)
    work.finished = read_records(work.folder / FINISHED, SystemJob, RECORDED, work.find_objection)
    work.finished = {job: record for job, record in work.finished.items() if work.is_intact(job)}
    write_atomically(work.folder / GENOTYPE, f"{genotype}\n")  # for train.py
    jobs = plan(systems, seeds)
    run_missing(work.folder / FINISHED, jobs, work.finished, "job", work.run)
    comparison = compare(work, systems, seeds)
    runs = {system: work.run_dir(SystemJob(VERIFICATION, system, "dev", seeds[0])) for system in systems}
    shown = Section("The comparison", "", make_tables(comparison), draw(work.folder, comparison, runs))
    sections = [shown, describe_origin(work, jobs)]
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
    open_lists([corpus.data_dir / TRIALS], corpus.index, allow_missing=False)
    for system in systems:
        own = settings_of(cfg, system, "merged", cfg.SEED)
        _ = build_network(own, genotype, 2) if system == DERIVED else build_baseline(own, 2)
    return {"index": corpus.index.fingerprint, "trials": hash_file(corpus.data_dir / TRIALS)}


def plan(systems: Sequence[str], seeds: Sequence[int]) -> list[SystemJob]:
    """All jobs, seed by seed, so that a comparison stopped early has all systems."""
    kinds = [(sub_dir, kind) for sub_dir in KINDS for kind in KINDS[sub_dir]]
    return [SystemJob(kind, system, sub_dir, seed) for seed in seeds for system in systems for sub_dir, kind in kinds]


def training_minutes(run_dir: Path, batch_size: int) -> float:
    """Minutes in training steps, from metrics.jsonl: without validation, and whether it was interrupted or not."""
    checkpoint, _ = load_last(run_dir, ("train", "train_baseline"))
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    utterances = checkpoint.step * batch_size / len(lines)  # an epoch; none has a smaller batch
    return sum(utterances / json.loads(line)["utterances_per_second"] for line in lines) / 60


# ------------------------------------------------------------------------------------------------------------------
# Comparing
# ------------------------------------------------------------------------------------------------------------------
def compare(work: Work, systems: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """The figures of every system: of the first seed with their intervals, and mean and deviation over the seeds."""
    first = {sub_dir: work.results(SystemJob(VERIFICATION, systems[0], sub_dir, seeds[0])) for sub_dir in KINDS}
    identified = work.results(SystemJob(IDENTIFICATION, systems[0], "merged", seeds[0]))
    (entry,) = first["dev"]["lists"].values()
    comparison = {
        "seeds": list(seeds),
        "utterances": identified["utterances"],
        "speakers": identified["speakers"],
        "trials": entry["trials"],
        "trial_speakers": entry["speakers"],
        "trial_speakers_trained_on": {sub_dir: results["speaker_overlap"] for sub_dir, results in first.items()},
        "speaker_disjoint": {sub_dir: results["speaker_disjoint"] for sub_dir, results in first.items()},
    }
    warnings = warn_of_overlap(comparison)
    warnings += warn_of_mixture([work.results(job)["provenance"] for job in plan(systems, seeds)])
    results = {system: compare_system(work, system, seeds) for system in systems}
    return comparison | {"warnings": warnings, "results": results}


def compare_system(work: Work, system: str, seeds: Sequence[int]) -> dict[str, Any]:
    """One system's figures, parameters and minutes."""
    size = f" ({work.cfg.MODEL.LAYERS} cells, {work.cfg.MODEL.INIT_CHANNELS} channels)"
    result: dict[str, Any] = {"method": METHODS[system] + size * (system == DERIVED)}
    for sub_dir in KINDS:
        trainings = [SystemJob(TRAINING, system, sub_dir, seed) for seed in seeds]
        results = work.results(trainings[0])
        result |= {f"parameters_{sub_dir}": results["parameters"], f"epoch_{sub_dir}": results["epoch"]}
        result[f"minutes_{sub_dir}"] = statistics.fmean(work.finished[training]["minutes"] for training in trainings)
    for name, figure in FIGURES.items():
        jobs = [SystemJob(figure.kind, system, figure.sub_dir, seed) for seed in seeds]
        values, intervals = zip(*(read_figure(work.results(job), figure) for job in jobs), strict=True)
        result |= {name: values[0], f"{name}_interval": intervals[0]} | spread(name, values)
    return result


def read_figure(results: Mapping[str, Any], figure: Figure) -> tuple[float | None, list[float] | None]:
    """A figure and its 95 % interval as an evaluation wrote them; None for what it does not have."""
    if figure.kind == VERIFICATION:
        (entry,) = results["lists"].values()
        results = entry["systems"][results["system"]]
    return results[figure.key], results.get("intervals", {}).get(figure.key)


def warn_of_overlap(comparison: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the verifications of speakers that were trained on."""
    return [
        f"“{FIGURES[name].title}” is not speaker-disjoint: the networks were trained on "
        f"{comparison['trial_speakers_trained_on'][sub_dir]} of the {comparison['trial_speakers']} speakers of the "
        "trials. It is no verification result."
        for sub_dir, name in (("merged", "eer_seen"), ("dev", "eer"))
        if not comparison["speaker_disjoint"][sub_dir]
    ]


def warn_of_mixture(provenances: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader must know where not all jobs were done by the same code on the same machine.

    Two scripts depend on different files: there are two versions where a file that both name is not the same.
    """
    versions = DataFrame([source["code"] for source in provenances]).nunique().max()
    machines = len(DataFrame([source["machine"] for source in provenances]).drop_duplicates())
    counts = ((versions, "versions of the code"), (machines, "machines: the minutes are not comparable"))
    return [f"The results are of {number} {what}." for number, what in counts if number > 1]


def describe_origin(work: Work, jobs: Sequence[SystemJob]) -> Section:
    """The recipe, and the run of every figure."""
    recipe = {
        f"genotype of {METHODS[DERIVED]}" if key == "genotype" else f"sha256 of the {key}": value
        for key, value in work.origin.items()
    }
    settings = flatten(yaml.safe_load(work.cfg.dump()))
    recipe |= {key: str(value) for key, value in settings.items() if not key.startswith(FREE_HERE)}
    runs = []
    for job in jobs:
        checkpoint, record = work.results(job)["provenance"]["checkpoint"], work.finished[job]
        trained = f"epoch {checkpoint['epoch']}, sha256 {checkpoint['sha256'][:16]}…"
        runs.append((str(job), record["run_dir"], trained, f"{record['sha256'][:16]}…"))
    return Section(
        "Where the figures come from",
        "MODEL.LAYERS, MODEL.INIT_CHANNELS and MODEL.DROP_PATH_PROB are of the genotype's network alone. Each run "
        "folder holds its settings, its log and, in the JSON files, the provenance of its results.",
        [
            Table("The recipe, the same for all", ("key", "value"), list(recipe.items())),
            Table("Runs", ("job", "run folder", "checkpoint", "sha256 of the results"), runs),
        ],
    )
