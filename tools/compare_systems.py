"""The published table under one recipe: VGG-M, ResNet-18, ResNet-34 and a genotype's network, trained and tested alike.

    python tools/compare_systems.py --cfg exps/mini/compare.yaml DATASET.DATA_DIR /path/to/corpus
    python tools/compare_systems.py --cfg ... --systems resnet18 network --genotype GENOTYPE --seeds 3 4 5 --out FOLDER

Every system is trained twice with the same settings, by the project's own scripts: on all speakers (SUB_DIR merged) for
identification, and without the test speakers (SUB_DIR dev) for verification. The merged network is verified as well: of
speakers that it was trained on, as the first published EERs were, which is no verification result. MODEL.NAME,
DATASET.SUB_DIR and SEED are set here, whatever the settings say.

The folder gets comparison.json, comparison.md and comparison.html with pictures; the last line of standard output is
the comparison as JSON. Stopped and run again with the same --out, it takes over what is finished (finished.jsonl) and
goes on with the training that was interrupted; more --seeds or --systems add to it.
"""

import argparse
import contextlib
import json
import math
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import RANGES, flatten, load_config
from utils.system.cli import config_parser, take_options
from utils.system.script import run_script

if TYPE_CHECKING:
    from yacs.config import CfgNode

    from models.genotypes import Genotype
    from utils.reports.html import Picture, Section, Table

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = {"vggm": "VGG-M", "resnet18": "ResNet-18", "resnet34": "ResNet-34", "network": "AutoSpeech"}
NETWORK = "network"
PAPER = ROOT / "exps" / "genotypes" / "paper.txt"
FINISHED, GENOTYPE, RESULTS = "finished.jsonl", "genotype.txt", "comparison"
RECIPES, RUNS, PICTURES = "recipes", "runs", "pictures"  # folders
TRAINING, IDENTIFICATION, VERIFICATION = "training", "identification", "verification"
FILES = {  # what a job leaves in the run folder
    TRAINING: "results.json",
    IDENTIFICATION: "results-identification.json",
    VERIFICATION: "results-verification.json",
}
SCORES = "scores.txt"
SOURCES = {"genotype": "--genotype", "index": "index of DATASET.DATA_DIR", "trials": "veri_test.txt"}
# What says nothing of a figure, or is set here; as beginnings of keys.
FREE_SETTINGS = (
    "PRINT_FREQ",
    "SEED",
    "DEVICE",
    "OUT_DIR",
    "CUDNN",
    "MODEL.NAME",
    "DATASET.DATA_DIR",  # the index says what is in them
    "DATASET.FEATURE_DIR",
    "DATASET.SUB_DIR",
    "DATASET.NUM_WORKERS",
    "SEARCH",
    "TRAIN.ARCH_",
    "TRAIN.DROPPATH_PROB",
    "TRAIN.CHECKPOINT_MINUTES",
    "EVAL.KEEP_EMBEDDINGS",
)
RECIPE_SHOWN = ("TRAIN.", "DATASET.", "AUGMENT.", "EVAL.", "MODEL.", "VAL_FREQ")  # beginnings of keys


@dataclass(frozen=True)
class Figure:
    """What is compared: `key` of what a job of this kind on SUB_DIR says."""

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
DRAWN = ("top1", "eer", "min_dcf")


# ------------------------------------------------------------------------------------------------------------------
# Command line
# ------------------------------------------------------------------------------------------------------------------
def parse_args() -> argparse.Namespace:
    parser = config_parser(__doc__)
    parser.add_argument(
        "--systems", nargs="+", default=list(SYSTEMS), metavar="SYSTEM", help=f"default: {' '.join(SYSTEMS)}"
    )
    parser.add_argument(
        "--genotype",
        default=str(PAPER),
        metavar="GENOTYPE",
        help="of the network: itself, a file that holds it, or a search's folder (default: the paper's)",
    )
    parser.add_argument("--seeds", nargs="+", default=[], metavar="N", help="trains with each (default: SEED alone)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: a new one, OUT_DIR/compare_systems/...")
    args = parser.parse_intermixed_args()
    args.systems = list(dict.fromkeys(take_options(args.systems, args)))
    seeds = take_options(args.seeds, args)
    if unknown := [name for name in args.systems if name not in SYSTEMS]:
        parser.error(f"--systems: there is no {unknown[0]!r}; valid are {', '.join(SYSTEMS)}")
    if not all(word.isdecimal() and int(word) <= RANGES["SEED"][1] for word in seeds):
        parser.error(f"--seeds: whole numbers from {RANGES['SEED'][0]} to {RANGES['SEED'][1]} are needed")
    args.seeds = list(dict.fromkeys(map(int, seeds)))
    return args


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from models.genotypes import read_genotype
    from tools.comparison.folder import open_folder
    from utils.system.logger import get_logger

    genotype = read_genotype(args.genotype)
    data = check_corpus(cfg, args.systems, genotype)
    folder = open_folder(cfg, "compare_systems", args.cfg, args.out, RUNS, is_free)
    work = Work(cfg, folder, str(genotype), data, read_finished(folder / FINISHED, str(genotype), data))
    seeds = args.seeds or [cfg.SEED]
    run_missing(work, plan(args.systems, seeds))
    comparison = compare(work, args.systems, seeds)
    tables = make_tables(comparison)
    get_logger().info("".join(f"\n{to_text(table)}\n" for table in tables))
    write(work, comparison, tables)
    print(json.dumps(comparison))


def is_free(key: str) -> bool:
    """Whether a setting may be another when a comparison goes on."""
    return key.startswith(FREE_SETTINGS)


def check_corpus(cfg: "CfgNode", systems: Sequence[str], genotype: "Genotype") -> dict[str, str]:
    """Make sure that all systems can be trained and evaluated, before hours have gone; returns what the data are.

    Returns:
        The sha256 of the index and that of the list of trials.

    Raises:
        UserError: settings that do not suit all systems; a corpus without a test part or without trials.
    """
    from data_objects.corpus import Corpus
    from data_objects.lists import TRIALS
    from models import build_baseline, build_network
    from utils.evaluation.lists import open_lists
    from utils.system.errors import UserError
    from utils.system.files import hash_file

    if cfg.MODEL.PRETRAINED:
        raise UserError("MODEL.PRETRAINED must be empty: the systems are compared by training from scratch")
    if cfg.MODEL.NUM_CLASSES:
        raise UserError("MODEL.NUM_CLASSES must be 0: merged and dev have different numbers of speakers")
    for sub_dir in ("merged", "dev"):
        corpus = Corpus(settings_of(cfg, NETWORK, sub_dir, cfg.SEED))
        if not len(corpus.crops("train")) or not len(corpus.index.rows("merged", "test")):
            raise UserError(f"{corpus.data_dir} has nothing to train on or to test on; check its iden_split.txt")
    open_lists([corpus.data_dir / TRIALS], corpus.index, allow_missing=False)
    for system in systems:
        own = settings_of(cfg, system, "merged", cfg.SEED)
        _ = build_network(own, genotype, 2) if system == NETWORK else build_baseline(own, 2)
    return {"index": corpus.index.fingerprint, "trials": hash_file(corpus.data_dir / TRIALS)}


def settings_of(cfg: "CfgNode", system: str, sub_dir: str, seed: int) -> "CfgNode":
    """The recipe for one training: all but these three is the same for all systems."""
    own = cfg.clone()
    own.defrost()
    own.MODEL.NAME, own.DATASET.SUB_DIR, own.SEED = system, sub_dir, seed
    return own


# ------------------------------------------------------------------------------------------------------------------
# Jobs
# ------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Job:
    """One call of one of the project's scripts."""

    kind: str
    system: str
    sub_dir: str
    seed: int

    @property
    def name(self) -> str:
        """What the recipe of the training, and the run folder, are called."""
        return f"{self.system}-{self.sub_dir}-seed{self.seed}"

    @property
    def training(self) -> "Job":
        """The training that this job needs, or is."""
        return Job(TRAINING, self.system, self.sub_dir, self.seed)

    def __str__(self) -> str:
        return f"{self.kind} of {SYSTEMS[self.system]}, SUB_DIR {self.sub_dir}, seed {self.seed}"


@dataclass
class Work:
    """A comparison under way.

    Attributes:
        genotype: of the network, as text.
        data: see `check_corpus`.
        finished: what is recorded of every finished job.
    """

    cfg: "CfgNode"
    folder: Path
    genotype: str
    data: dict[str, str]
    finished: dict[Job, dict[str, Any]]

    def run_dir(self, job: Job) -> Path:
        """The run folder that a finished job left its results in."""
        return self.folder / self.finished[job]["run_dir"]

    def results(self, job: Job) -> dict[str, Any]:
        """What a finished job wrote."""
        return json.loads((self.run_dir(job) / FILES[job.kind]).read_text(encoding="utf-8"))


def plan(systems: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """All jobs, seed by seed, so that a comparison stopped early has all systems."""
    kinds = {"merged": (TRAINING, IDENTIFICATION, VERIFICATION), "dev": (TRAINING, VERIFICATION)}
    return [
        Job(kind, system, sub_dir, seed)
        for seed in seeds
        for system in systems
        for sub_dir, of_sub_dir in kinds.items()
        for kind in of_sub_dir
    ]


def is_finished(work: Work, job: Job) -> bool:
    """Whether a job is recorded, of the training recorded, and its results are still those that it wrote."""
    from utils.system.files import hash_file

    record, training = work.finished.get(job), work.finished.get(job.training)
    if record is None or training is None or record["run_dir"] != training["run_dir"]:
        return False
    path = work.run_dir(job) / FILES[job.kind]
    return path.is_file() and hash_file(path) == record["sha256"]


def run_missing(work: Work, jobs: Sequence[Job]) -> None:
    """Run what is not finished, and record it in the folder.

    Raises:
        UserError: a script failed.
        RunStoppedError: a signal came.
    """
    from utils.system.logger import get_logger

    missing = [job for job in jobs if not is_finished(work, job)]
    taken = len(jobs) - len(missing)
    get_logger().info(f"{len(jobs)} jobs, of which {taken} are done; stopped, they go on with --out {work.folder}")
    for number, job in enumerate(missing, start=1):
        get_logger().info(f"job {number}/{len(missing)}: {job}")
        record = run_job(work, job)
        with open(work.folder / FINISHED, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(job) | record) + "\n")
        work.finished[job] = record
        figures = ", ".join(f"{name} {value:.4g}" for name, value in headline(work.results(job), job.kind).items())
        get_logger().info(f"{job}: {figures} ({record['seconds']:.0f} s)")


def headline(results: Mapping[str, Any], kind: str) -> dict[str, float]:
    """What to say of a job when it is finished."""
    names = {TRAINING: ("epoch", "val_top1", "val_eer"), IDENTIFICATION: ("top1", "top5")}
    return {name: results[name] for name in names.get(kind, ("eer", "min_dcf")) if name in results}


def run_job(work: Work, job: Job) -> dict[str, Any]:
    """Run a job as a user would; returns what is recorded of it."""
    from utils.system.files import hash_file, write_atomically

    own = settings_of(work.cfg, job.system, job.sub_dir, job.seed)
    own.OUT_DIR = str(work.folder / RUNS)
    recipe = work.folder / RECIPES / f"{job.name}.yaml"
    recipe.parent.mkdir(exist_ok=True)
    write_atomically(recipe, own.dump())
    script, options = command_of(work, job)
    began = time.perf_counter()
    last_line = call(script, ["--cfg", str(recipe), *options], job, work.folder)
    run_dir = Path(json.loads(last_line)["run_dir"]) if job.kind == TRAINING else work.run_dir(job.training)
    record = {
        "genotype": work.genotype if job.system == NETWORK else "",
        **work.data,
        "run_dir": str(run_dir.relative_to(work.folder)),  # so that the folder may move
        "sha256": hash_file(run_dir / FILES[job.kind]),
        "seconds": round(time.perf_counter() - began, 3),
    }
    if job.kind == TRAINING:
        record["minutes"] = training_minutes(run_dir, own.TRAIN.BATCH_SIZE)
    return record


def command_of(work: Work, job: Job) -> tuple[str, list[str]]:
    """The script of a job, and its options beside --cfg."""
    if job.kind != TRAINING:
        return f"evaluate_{job.kind}.py", ["--load_path", str(work.run_dir(job.training))]
    script, options = "train_baseline", []
    if job.system == NETWORK:  # also where a run goes on: it is refused if it is another genotype's
        script, options = "train", ["--text_arch", str(work.folder / GENOTYPE)]
    if interrupted := find_interrupted(work.folder / RUNS / script, job.name):
        options += ["--load_path", str(interrupted)]
    return f"{script}.py", options


def find_interrupted(folder: Path, name: str) -> Path | None:
    """The newest run folder of a training that has something to go on from."""
    from utils.records.checkpoint import LAST, PREVIOUS

    runs = sorted(folder.glob(f"{name}-[0-9]*"), key=lambda run: run.stat().st_mtime)
    return next((run for run in reversed(runs) if (run / LAST).is_file() or (run / PREVIOUS).is_file()), None)


def training_minutes(run_dir: Path, batch_size: int) -> float:
    """Minutes in training steps, from metrics.jsonl: without validation, and whether it was interrupted or not."""
    from utils.records.checkpoint import load_last

    checkpoint, _ = load_last(run_dir, ("train", "train_baseline"))
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    utterances = checkpoint.step * batch_size / len(lines)  # an epoch; none has a smaller batch
    return sum(utterances / json.loads(line)["utterances_per_second"] for line in lines) / 60


def call(script: str, words: Sequence[str], job: Job, folder: Path) -> str:
    """Run a script in a process of its own; returns the last line of its standard output.

    Its standard error is ours. A signal to us is passed on to it, and a training then writes its checkpoint.

    Raises:
        UserError: it failed.
        RunStoppedError: a signal came.
    """
    from utils.system.errors import RunStoppedError, UserError
    from utils.system.logger import get_logger

    get_logger().info(f"$ python {script} {' '.join(words)}")
    command = [sys.executable, str(ROOT / script), *words]
    # In a session of its own: the terminal's Ctrl-C would reach it too, and a second one stops it without a checkpoint.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    with signals_to(process) as numbers:
        stdout, _ = process.communicate()
    if numbers:
        name = signal.Signals(numbers[0]).name
        raise RunStoppedError(f"stopped by {name} in the {job}; go on with --out {folder}", numbers[0])
    if process.returncode:
        raise UserError(
            f"{job}: {script} ended with status {process.returncode} and said why above; go on with --out {folder}"
        )
    return stdout.strip().splitlines()[-1]


@contextlib.contextmanager
def signals_to(process: subprocess.Popen) -> Iterator[list[int]]:
    """Within it, signals that would end us go to a process instead; gives the list of those that came."""
    came: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        came.append(number)
        process.send_signal(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]  # nohup has one ignored
    before = {number: signal.signal(number, pass_on) for number in heeded}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ------------------------------------------------------------------------------------------------------------------
# The folder
# ------------------------------------------------------------------------------------------------------------------
def read_finished(path: Path, genotype: str, data: Mapping[str, str]) -> dict[Job, dict[str, Any]]:
    """What is recorded of the finished jobs; a half line, which an interruption can leave, is taken out.

    The genotype is written beside them, for train.py.

    Raises:
        UserError: one is of another genotype, index or list of trials; a line cannot be read.
    """
    from tools.comparison.folder import read_records
    from utils.system.errors import UserError
    from utils.system.files import write_atomically

    finished = {}
    for number, line in enumerate(read_records(path), start=1):
        try:
            record = json.loads(line)
            job = Job(*(record.pop(key) for key in ("kind", "system", "sub_dir", "seed")))
            found = {key: record[key] for key in ("genotype", "index", "trials")}
            _ = record["run_dir"], record["sha256"], record["seconds"], FILES[job.kind], SYSTEMS[job.system]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}, line {number} is damaged: delete it, or give another --out") from error
        expected = {"genotype": genotype if job.system == NETWORK else "", **data}
        if differing := [key for key in expected if found[key] != expected[key]]:
            raise UserError(
                f"{path}, line {number}: the {job} is of another {SOURCES[differing[0]]} than now: give another --out"
            )
        finished[job] = record
    write_atomically(path.with_name(GENOTYPE), f"{genotype}\n")
    return finished


# ------------------------------------------------------------------------------------------------------------------
# Comparing
# ------------------------------------------------------------------------------------------------------------------
def compare(work: Work, systems: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """The figures of every system: of the first seed with their intervals, and mean and deviation over the seeds."""
    first = {kind: work.results(Job(VERIFICATION, systems[0], kind, seeds[0])) for kind in ("merged", "dev")}
    identified = work.results(Job(IDENTIFICATION, systems[0], "merged", seeds[0]))
    (entry,) = first["dev"]["lists"].values()
    return {
        "seeds": list(seeds),
        "utterances": identified["utterances"],
        "speakers": identified["speakers"],
        "trials": entry["trials"],
        "trial_speakers": entry["speakers"],
        "trial_speakers_trained_on": {kind: results["speaker_overlap"] for kind, results in first.items()},
        "speaker_disjoint": {kind: results["speaker_disjoint"] for kind, results in first.items()},
        "warnings": warn(work, plan(systems, seeds), first),
        "results": {system: compare_system(work, system, seeds) for system in systems},
    }


def compare_system(work: Work, system: str, seeds: Sequence[int]) -> dict[str, Any]:
    """One system's figures, parameters and minutes."""
    trainings = {kind: Job(TRAINING, system, kind, seeds[0]) for kind in ("merged", "dev")}
    result: dict[str, Any] = {"method": SYSTEMS[system]}
    if system == NETWORK:
        result["method"] += f" ({work.cfg.MODEL.LAYERS} cells, {work.cfg.MODEL.INIT_CHANNELS} channels)"
    for kind, training in trainings.items():
        results = work.results(training)
        result |= {f"parameters_{kind}": results["parameters"], f"epoch_{kind}": results["epoch"]}
        minutes = [work.finished[Job(TRAINING, system, kind, seed)]["minutes"] for seed in seeds]
        result[f"minutes_{kind}"] = statistics.fmean(minutes)
    for name, figure in FIGURES.items():
        found = [read_figure(work.results(Job(figure.kind, system, figure.sub_dir, seed)), figure) for seed in seeds]
        result |= {name: found[0][0], f"{name}_interval": found[0][1]} | spread(name, [value for value, _ in found])
    return result


def read_figure(results: Mapping[str, Any], figure: Figure) -> tuple[float | None, list[float] | None]:
    """A figure and its 95 % interval as an evaluation wrote them; None for what it does not have."""
    if figure.kind == VERIFICATION:
        (entry,) = results["lists"].values()
        results = entry["systems"][results["system"]]
    return results[figure.key], results.get("intervals", {}).get(figure.key)


def spread(name: str, values: Sequence[float | None]) -> dict[str, float | None]:
    """The mean and the standard deviation of a sample; None where there are too few values for either."""
    known = [value for value in values if value is not None]
    return {
        f"{name}_mean": statistics.fmean(known) if known else None,
        f"{name}_std": statistics.stdev(known) if len(known) > 1 else None,
    }


def warn(work: Work, jobs: Sequence[Job], first: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a reader must know before anything else."""
    (entry,) = first["dev"]["lists"].values()
    warnings = []
    for kind, column in (("merged", FIGURES["eer_seen"].title), ("dev", FIGURES["eer"].title)):
        if not first[kind]["speaker_disjoint"]:
            warnings.append(
                f"“{column}” is not speaker-disjoint: the networks were trained on {first[kind]['speaker_overlap']} of "
                f"the {entry['speakers']} speakers of the trials. It is no verification result."
            )
    sources = [work.results(job)["provenance"] for job in jobs]
    for key, what in (("code", "versions of the code"), ("machine", "machines: the minutes are not comparable")):
        number = len({json.dumps(source[key], sort_keys=True) for source in sources})
        if number > 1:
            warnings.append(f"The results are of {number} {what}.")
    return warnings


# ------------------------------------------------------------------------------------------------------------------
# Tables
# ------------------------------------------------------------------------------------------------------------------
def make_tables(comparison: Mapping[str, Any]) -> "list[Table]":
    """The columns of the published table, and what there is besides."""
    from utils.reports.html import Table

    several = len(comparison["seeds"]) > 1
    published = ("top1", "eer_seen", "eer", "min_dcf")
    header = [FIGURES[name].title + (" [95 %]" if name in ("top1", "eer") else "") for name in published]
    rows, more = [], []
    for result in comparison["results"].values():
        minutes = f"{result['minutes_merged']:.1f} + {result['minutes_dev']:.1f}"
        cells = [format_figure(result, name, name in ("top1", "eer"), several) for name in published]
        rows.append((result["method"], *cells, f"{result['parameters_merged']:,}", minutes))
        epochs = f"{result['epoch_merged']}, {result['epoch_dev']}"
        others = [format_figure(result, name, True, several) for name in ("top5", "min_dcf", "cllr", "min_cllr")]
        more.append((result["method"], *others, epochs))
    others = [f"{FIGURES[name].title} [95 %]" for name in ("top5", "min_dcf", "cllr", "min_cllr")]
    return [
        Table(
            "Four systems under one recipe" if len(rows) == len(SYSTEMS) else "Systems under one recipe",
            ("Method", *header, "parameters", "training minutes"),
            rows,
            describe_columns(comparison),
        ),
        Table(
            "Besides",
            ("Method", *others, "best epoch, merged and dev"),
            more,
            "Cllr is that of the calibrated scores; a dash: no held-out speakers to calibrate on.",
        ),
    ]


def format_figure(result: Mapping[str, Any], name: str, with_interval: bool, several: bool) -> str:
    """The first seed's figure, with its interval; and the mean ± deviation over the seeds, if there are several."""
    from utils.reports.provenance import format_estimate

    digits = FIGURES[name].digits
    text = format_estimate(result[name], result[f"{name}_interval"] if with_interval else None, digits)
    mean, deviation = result[f"{name}_mean"], result[f"{name}_std"]
    return f"{text}; {mean:.{digits}f} ± {deviation:.{digits}f}" if several and deviation is not None else text


def describe_columns(comparison: Mapping[str, Any]) -> str:
    """What the numbers of the table are."""
    overlap = comparison["trial_speakers_trained_on"]
    seeds = comparison["seeds"]
    text = (
        f"Top-1: {comparison['utterances']:,} test utterances of {comparison['speakers']:,} speakers, all of them "
        f"trained on (SUB_DIR merged). EER and minDCF: {comparison['trials']:,} trials of "
        f"{comparison['trial_speakers']} speakers, of whom the merged network was trained on "
        f"{overlap['merged']} and the other one (SUB_DIR dev) on {overlap['dev']}. In brackets: 95 % intervals of one "
        "trained network by bootstrap over the test speakers. Parameters: of the merged network. Minutes: in training "
        "steps, merged + dev. "
    )
    if len(seeds) == 1:
        return text + f"One training each, seed {seeds[0]}: what another seed would give is not in the intervals."
    others = ", ".join(map(str, seeds))
    return text + (
        f"Before the semicolon: the network of seed {seeds[0]}; behind it: mean ± standard deviation over the seeds "
        f"{others}. Minutes: their mean."
    )


def to_text(table: "Table") -> str:
    """A table for the console."""
    rows = [tuple(map(str, row)) for row in (table.header, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, table.note])


def to_markdown(table: "Table") -> str:
    """A table in Markdown, its caption before it and its note behind."""
    rows = [table.header, ["---"] * len(table.header), *table.rows]
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([f"**{table.caption}**", "", *lines, "", table.note, ""])


# ------------------------------------------------------------------------------------------------------------------
# Report
# ------------------------------------------------------------------------------------------------------------------
def write(work: Work, comparison: Mapping[str, Any], tables: "Sequence[Table]") -> None:
    """comparison.json, comparison.md, comparison.html, and the pictures as files."""
    from utils.reports.html import Section, write_report
    from utils.system.files import write_atomically
    from utils.system.logger import get_logger

    path = work.folder / RESULTS
    write_atomically(path.with_suffix(".json"), json.dumps(comparison, indent=2) + "\n")
    warnings = "".join(f"- Warning: {warning}\n" for warning in comparison["warnings"])
    write_atomically(path.with_suffix(".md"), f"{warnings}\n" + "\n".join(map(to_markdown, tables)))
    sections = [Section("The comparison", "", tables, draw(work, comparison)), describe_origin(work, comparison)]
    page = path.with_suffix(".html")
    write_report(page, "Systems under one recipe", warnings=comparison["warnings"], sections=sections)
    get_logger().info(f"pictures and where everything comes from: {page}")


def draw(work: Work, comparison: Mapping[str, Any]) -> "list[Picture]":
    """DET curves of the speaker-disjoint networks, and the figures with their intervals: of the first seed."""
    import numpy as np

    from utils.pictures.det import plot_det
    from utils.pictures.intervals import plot_intervals
    from utils.records.provenance import prepare_folder
    from utils.reports.provenance import Pictures

    picture = Pictures(prepare_folder(work.folder / PICTURES))
    results, seed = comparison["results"], comparison["seeds"][0]
    of_seed = f"SUB_DIR dev, seed {seed}" if comparison["speaker_disjoint"]["dev"] else f"NOT disjoint; seed {seed}"
    curves = {}
    for system, result in results.items():
        file = work.run_dir(Job(VERIFICATION, system, "dev", seed)) / SCORES
        curves[result["method"]] = tuple(np.loadtxt(file, usecols=(0, 1), ndmin=2).T)
    pictures = [picture("det", plot_det(curves), f"DET curves, {of_seed}.")]
    methods = [result["method"] for result in results.values()]
    for name in DRAWN:
        unit = 100 if "%" in FIGURES[name].title else 1
        estimates = np.array([result[name] for result in results.values()]) / unit
        intervals = [result[f"{name}_interval"] or (math.nan, math.nan) for result in results.values()]
        title = FIGURES[name].title
        chart = plot_intervals(methods, estimates, np.array(intervals) / unit, title, percent=unit == 100)
        pictures.append(picture(name, chart, f"{title}, with 95 % intervals; seed {seed}."))
    return pictures


def describe_origin(work: Work, comparison: Mapping[str, Any]) -> "Section":
    """The recipe, and the run of every figure."""
    import yaml

    from utils.reports.html import Section, Table

    recipe = flatten(yaml.safe_load(work.cfg.dump()))
    set_here = ("MODEL.NAME", "DATASET.SUB_DIR")
    settings = [(k, str(v)) for k, v in recipe.items() if k.startswith(RECIPE_SHOWN) and k not in set_here]
    what = [("genotype of AutoSpeech", work.genotype)]
    what += [(f"sha256 of the {name}", value) for name, value in work.data.items()]
    runs = []
    for job in plan(list(comparison["results"]), comparison["seeds"]):
        source = work.results(job)["provenance"]
        checkpoint = f"epoch {source['checkpoint']['epoch']}, sha256 {source['checkpoint']['sha256'][:16]}…"
        runs.append((str(job), work.finished[job]["run_dir"], checkpoint, work.finished[job]["sha256"][:16] + "…"))
    return Section(
        "Where the figures come from",
        "MODEL.LAYERS, MODEL.INIT_CHANNELS and MODEL.DROP_PATH_PROB are of the genotype's network alone. Each run "
        "folder holds its settings, its log and, in the JSON files, the provenance of its results.",
        [
            Table("The recipe, the same for all", ("key", "value"), [*what, *settings]),
            Table("Runs", ("job", "run folder", "checkpoint", "sha256 of the results"), runs),
        ],
    )


if __name__ == "__main__":
    run_script(main)
