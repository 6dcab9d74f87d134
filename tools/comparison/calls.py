"""Comparisons whose jobs are calls of the project's scripts: trainings, and evaluations of each one's best epoch."""

import json
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import yaml
from pandas import DataFrame
from yacs.config import CfgNode

from config import flatten
from data_objects.lists import TRIALS
from models import DERIVED, network_kind
from tools.comparison.engine import FREE, TRAINING, Comparison, Job, Record
from utils.records.checkpoint import load_last
from utils.reports.html import Section, Table
from utils.system.files import hash_file
from utils.system.logger import get_logger
from utils.training.state import format_figures

IDENTIFICATION, VERIFICATION = "identification", "verification"
GENOTYPE, SCORES, EVALUATIONS = "genotype.txt", "scores.txt", "evaluations"
SAID = ("epoch", "val_top1", "val_eer", "top1", "top5", "eer", "min_dcf")  # of a finished job, where it has them


@dataclass
class Calls(Comparison):
    """A job is a call of one of the project's scripts, which leaves its results in a run folder.

    Attributes:
        common: what the records of all jobs must hold: the genotype, and the sha256 of index and trials.
    """

    records, recorded = "finished.jsonl", ("run_dir", "sha256", "seconds")
    # How often it is validated decides which epoch is the best, and here this one is evaluated.
    free = FREE - {"VAL_FREQ", "EVAL"} | {"DATASET.SUB_DIR", "EVAL.KEEP_EMBEDDINGS"}
    sources: ClassVar = {"genotype": "--genotype", "index": "index of DATASET.DATA_DIR", "trials": TRIALS}

    common: dict[str, str]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.finished = {job: record for job, record in self.finished.items() if self.is_intact(job)}

    @abstractmethod
    def settings(self, job: Job) -> CfgNode:
        """What a job's script is called with."""

    def training_of(self, job: Job) -> Job:
        """The training of the network that a job trains or evaluates."""
        return replace(job, kind=TRAINING)

    def run_dir(self, job: Job) -> Path:
        """The run folder of a finished job's training."""
        return self.folder / self.finished[job]["run_dir"]

    def results_dir(self, job: Job, run_dir: Path) -> Path:
        """Where a job leaves its results: the run folder, or where that is of another name, a folder of its own."""
        is_own = self.training_of(job).name == job.name
        return run_dir if is_own else self.folder / EVALUATIONS / job.stem

    def results(self, job: Job) -> dict[str, Any]:
        """What a finished job wrote."""
        file = self.results_dir(job, self.run_dir(job)) / file_of(job)
        return json.loads(file.read_text(encoding="utf-8"))

    def is_intact(self, job: Job) -> bool:
        """Whether a job is of the training recorded, and its results are still those that it wrote."""
        record, training = self.finished[job], self.finished.get(self.training_of(job), {})
        file = self.results_dir(job, self.run_dir(job)) / file_of(job)
        return record["run_dir"] == training.get("run_dir") and file.is_file() and hash_file(file) == record["sha256"]

    def run(self, job: Job) -> Record:
        own, began, minutes = self.settings(job), time.perf_counter(), {}
        if job.kind == TRAINING:
            is_derived = network_kind(own) == DERIVED
            run_dir = self.train(job, own, ["--text_arch", str(self.folder / GENOTYPE)] if is_derived else [])
            minutes = {"minutes": training_minutes(run_dir, own.TRAIN.BATCH_SIZE)}
        else:
            run_dir = self.run_dir(self.training_of(job))
            self.call(f"evaluate_{job.kind}.py", job, own, self._where(job, run_dir))
        file, seconds = self.results_dir(job, run_dir) / file_of(job), round(time.perf_counter() - began, 3)
        said = json.loads(file.read_text(encoding="utf-8"))
        get_logger().info(f"{job}: {format_figures({key: said[key] for key in SAID if key in said})} ({seconds:.0f} s)")
        place = str(run_dir.relative_to(self.folder))  # so that the folder may move
        return self.origin(job) | {"run_dir": place, "sha256": hash_file(file), "seconds": seconds} | minutes

    def _where(self, job: Job, run_dir: Path) -> list[str]:
        """The options that tell an evaluation where the network is and where its results go."""
        folder = self.results_dir(job, run_dir)
        return ["--load_path", str(run_dir), *([] if folder == run_dir else ["--out_dir", str(folder)])]


def file_of(job: Job) -> str:
    """What a job leaves in the folder of its results."""
    return "results.json" if job.kind == TRAINING else f"results-{job.kind}.json"


def training_minutes(run_dir: Path, batch_size: int) -> float:
    """Minutes in training steps, from metrics.jsonl: without validation, and whether it was interrupted or not."""
    checkpoint, _ = load_last(run_dir, ("train", "train_baseline"))
    speeds = pd.read_json(run_dir / "metrics.jsonl", lines=True, precise_float=True)["utterances_per_second"]
    utterances = checkpoint.step * batch_size  # in all epochs; none has a smaller batch
    # 0: an epoch that an earlier version went on with at its end
    return float(utterances * (1 / speeds[speeds > 0]).mean() / 60)


def scored(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The figures of a verification by one list, by back end; those that its results are headed by stand first."""
    (entry,) = results["lists"].values()
    return {results["system"]: entry["systems"][results["system"]]} | entry["systems"]


def with_intervals(figures: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    """Figures by other names (name -> key) and, as NAME_interval, their 95 % intervals; None where there is none."""
    intervals = figures.get("intervals", {})
    values = {name: figures[key] for name, key in keys.items()}
    return values | {f"{name}_interval": intervals.get(key) for name, key in keys.items()}


def warn_of_mixture(provenances: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader must know where not all jobs were done by the same code on the same machine.

    Two scripts depend on different files: there are two versions where a file that both name is not the same.
    """
    versions = DataFrame([source["code"] for source in provenances]).nunique().max()
    machines = len(DataFrame([source["machine"] for source in provenances]).drop_duplicates())
    counts = ((versions, "versions of the code"), (machines, "machines: the minutes are not comparable"))
    return [f"The results are of {number} {what}." for number, what in counts if number > 1]


def describe_origin(work: Calls, jobs: Sequence[Job], text: str) -> Section:
    """The settings that all have in common, of which `text` says what is to be known, and the run of every figure."""
    settings = flatten(yaml.safe_load(work.cfg.dump()))
    recipe = work.common | {key: str(value) for key, value in settings.items() if not key.startswith(tuple(work.free))}
    runs = []
    for job in jobs:
        checkpoint, record = work.results(job)["provenance"]["checkpoint"], work.finished[job]
        trained = f"epoch {checkpoint['epoch']}, sha256 {checkpoint['sha256'][:16]}…"
        runs.append((str(job), record["run_dir"], trained, f"{record['sha256'][:16]}…"))
    return Section(
        "Where the figures come from",
        f"{text} Each run folder holds its settings, its log and, in the JSON files, the provenance of its results.",
        [
            Table(
                "The recipe, the same for all; of index and trials the sha256", ("key", "value"), list(recipe.items())
            ),
            Table("Runs", ("job", "run folder", "checkpoint", "sha256 of the results"), runs),
        ],
    )
