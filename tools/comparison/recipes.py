"""An ablation: the settings as they are, with every option alone, with all, and with all but one, under many seeds."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure
from pandas import DataFrame
from yacs.config import CfgNode

from config import override
from data_objects.corpus import Corpus
from data_objects.lists import TRIALS, TrialList
from models import DERIVED, STATISTICS, build_baseline, build_network, network_kind
from models.genotypes import PAPER_GENOTYPE, Genotype, read_genotype
from tools.comparison.calls import (
    GENOTYPE,
    SCORES,
    VERIFICATION,
    Calls,
    describe_origin,
    scored,
    warn_of_mixture,
    with_intervals,
)
from tools.comparison.engine import TRAINING, Job, settings_of
from tools.comparison.options import NONE, Recipe, choose_names, describe_clashes, make_recipes, read_options
from tools.comparison.report import RESULTS, figure, make_table, plain, plot_spread, summarise, write_comparison
from utils.evaluation.lists import open_lists
from utils.metrics.bootstrap import Interval, middle, verification_replicates
from utils.records.guard import check_training
from utils.reports.html import DASH, Section, Table
from utils.reports.provenance import Pictures
from utils.reports.verification import SYSTEMS
from utils.system.errors import UserError
from utils.system.files import hash_file, write_atomically
from utils.system.logger import get_logger
from utils.training.loop import check_options
from utils.training.losses import build_criterion
from utils.training.optim import build_weight_optimizer

SUB_DIR = "dev"  # of all trainings
KEYS = {"eer": "eer", "min_dcf": "min_dcf_0.01"}  # figure -> its key in an evaluation
FIGURES = [*KEYS, "val_eer", "minutes"]
LABELS = {"eer": "EER, %", "min_dcf": "minDCF 0.01"}
KEY = f"rings: one seed; dots: mean ± deviation over the seeds; grey: the same of {NONE}"


@dataclass
class Recipes(Calls):
    """Jobs are named after recipes; recipes whose trainings are the same share that of the first one.

    Attributes:
        recipes: by the names of their jobs.
    """

    script = "compare_recipes"
    free = Calls.free - {"MODEL.NAME", "MODEL.NUM_CLASSES", "MODEL.PRETRAINED"}
    keys: ClassVar = {"kind": "kind", "recipe": "name", "sub_dir": "sub_dir", "seed": "seed"}
    sources: ClassVar = {"settings": "option of this name in --recipes", **Calls.sources}

    recipes: Mapping[str, Recipe]

    def origin(self, job: Job) -> dict[str, str]:
        """Names that are not in --recipes now may mean any settings; a baseline does not depend on the genotype."""
        if job.name not in self.recipes:
            return {key: self.common[key] for key in ("index", "trials")}
        recipe = self.recipes[job.name]
        genotype = {} if network_kind(recipe.cfg) == DERIVED else {"genotype": ""}
        return {"settings": recipe.origin} | self.common | genotype

    def settings(self, job: Job) -> CfgNode:
        cfg = self.recipes[job.name].cfg
        return settings_of(cfg, cfg.MODEL.NAME, job.sub_dir, job.seed)

    def training_of(self, job: Job) -> Job:
        return replace(job, name=self.trained_as(job.name), kind=TRAINING)

    def trained_as(self, name: str) -> str:
        """The first job name whose recipe is trained as this one's is."""
        if name not in self.recipes:
            return name
        training = self.recipes[name].training
        return next(other for other, recipe in self.recipes.items() if recipe.training == training)

    def is_intact(self, job: Job) -> bool:
        """An evaluation's scores are needed, too."""
        if not super().is_intact(job):
            return False
        return job.kind == TRAINING or (self.results_dir(job, self.run_dir(job)) / SCORES).is_file()

    def jobs(self, chosen: Sequence[Recipe], seeds: Sequence[int]) -> list[Job]:
        """Trainings and evaluations, seed by seed: stopped early, a comparison has all recipes."""
        evaluations = [Job(recipe.job_name, seed, SUB_DIR, VERIFICATION) for seed in seeds for recipe in chosen]
        return list(dict.fromkeys(job for own in evaluations for job in (self.training_of(own), own)))

    def read_figures(self, recipe: Recipe, seed: int) -> Iterator[dict[str, Any]]:
        """The figures of a recipe and a seed, a row a back end, the heading one first."""
        job = Job(recipe.job_name, seed, SUB_DIR, VERIFICATION)
        training = self.training_of(job)
        trained, minutes = self.results(training), self.finished[training]["minutes"]
        row = {"name": recipe.name, "seed": seed, "epoch": trained["epoch"], "parameters": trained["parameters"]}
        row |= {"val_eer": trained.get("val_eer"), "val_eer_interval": None, "minutes": minutes}
        for backend, figures in scored(self.results(job)).items():
            yield row | {"backend": backend} | with_intervals(figures, KEYS)

    def read_scores(self, recipe: Recipe, seed: int, trials: TrialList) -> np.ndarray:
        """The scores (N,) of the trials by a recipe's heading back end.

        Raises:
            UserError: the file holds others.
        """
        job = Job(recipe.job_name, seed, SUB_DIR, VERIFICATION)
        file = self.results_dir(job, self.run_dir(job)) / SCORES
        scores, labels = np.loadtxt(file, usecols=(0, 1), unpack=True, ndmin=2)
        if not np.array_equal(labels, trials.labels):
            raise UserError(f"{file} does not hold the scores of {TRIALS}: delete it, and it is made again")
        return scores


def compare_recipes(
    cfg: CfgNode,
    config_file: str,
    out: Path | None,
    file: Path,
    chosen: tuple[Sequence[str], bool, bool],
    text: str | None,
    seeds: Sequence[int],
) -> None:
    """What tools/compare_recipes.py does.

    Args:
        file: of the options.
        chosen: of the recipes to compare, as `choose_names` takes them.
        text: the genotype, or a file that holds it; None: the paper's.

    Raises:
        UserError: options that will not do; settings that a training could not begin with; a job that failed.
    """
    genotype = PAPER_GENOTYPE if text is None else read_genotype(text)
    cfg = override(cfg, ["DATASET.SUB_DIR", SUB_DIR])
    options = read_options(file)
    names = choose_names(options, *chosen)
    recipes = make_recipes(cfg, file, options, names)
    own, notes = [recipes[name] for name in names], describe_clashes(options, names)
    for line in notes:
        get_logger().warning(line)
    if text and not any(network_kind(recipe.cfg) == DERIVED for recipe in own):
        raise UserError(
            f"--genotype is for the network of a genotype, and MODEL.NAME is {cfg.MODEL.NAME}: leave it out"
        )
    common, trials = check_recipes(own, file, genotype)
    by_job = {recipe.job_name: recipe for recipe in recipes.values()}
    work = Recipes(cfg, config_file, out, {"genotype": str(genotype)} | common, by_job)
    write_atomically(work.folder / GENOTYPE, f"{genotype}\n")  # for train.py
    jobs = work.jobs(own, seeds)
    work.run_missing(jobs)
    report(work, own, jobs, trials, notes)


# ------------------------------------------------------------------------------------------------------------------
# Checks
# ------------------------------------------------------------------------------------------------------------------
def check_recipes(recipes: Sequence[Recipe], file: Path, genotype: Genotype) -> tuple[dict[str, str], TrialList]:
    """Make sure that all recipes can be trained and evaluated, before hours have gone.

    Returns:
        The sha256 of the index and that of the list of trials; the trials.

    Raises:
        UserError: a recipe with which no training can begin; one of another corpus; a corpus without trials.
    """
    common: dict[str, str] = {}
    for recipe in recipes:
        try:
            corpus = check_recipe(recipe.cfg, genotype)
        except UserError as error:
            if recipe.name == NONE:
                raise
            raise UserError(f"{file}: {recipe.name}: {error}") from error
        path = corpus.list_path(TRIALS)
        if not common:
            (trials,) = open_lists([path], corpus.index, allow_missing=False)
        own = {"index": corpus.index.fingerprint, "trials": hash_file(path)}
        if common and own != common:
            raise UserError(f"{file}: {recipe.name} is of another corpus: recipes are compared on the same trials")
        common = own
    return common, trials.trials


def check_recipe(cfg: CfgNode, genotype: Genotype) -> Corpus:
    """Refuse what no training could begin with; returns its corpus."""
    if cfg.MODEL.PRETRAINED:
        raise UserError("MODEL.PRETRAINED must be empty: the recipes are compared by training from scratch")
    if cfg.MODEL.NAME == STATISTICS:
        raise UserError(f"MODEL.NAME must not be {STATISTICS}: they are fitted, and know nothing of a recipe")
    corpus, is_derived = Corpus(cfg), network_kind(cfg) == DERIVED
    classes = corpus.check_num_classes(cfg.MODEL.NUM_CLASSES)
    network = build_network(cfg, genotype, classes) if is_derived else build_baseline(cfg, classes)
    _ = corpus.crops("train"), build_criterion(cfg), build_weight_optimizer(cfg, network.parameters())
    check_options(cfg, network, corpus)
    check_training(corpus)
    return corpus


# ------------------------------------------------------------------------------------------------------------------
# Results
# ------------------------------------------------------------------------------------------------------------------
def report(
    work: Recipes, recipes: Sequence[Recipe], jobs: Sequence[Job], trials: TrialList, notes: Sequence[str]
) -> None:
    """Write and print what came of the trainings."""
    seeds = list(dict.fromkeys(job.seed for job in jobs))
    rows = [row for recipe in recipes for seed in seeds for row in work.read_figures(recipe, seed)]
    intervals = difference_intervals(work, recipes, seeds, trials)
    comparison: dict[str, Any] = {
        "seeds": seeds,
        "trials": len(trials),
        "trial_speakers": len(trials.speakers),
        "recipes": {recipe.name: json.loads(recipe.origin) for recipe in recipes},
        **compare(DataFrame(rows), intervals),
        "warnings": [*notes, *warn(work, jobs)],
    }
    records = DataFrame(comparison["trainings"])
    picture = Pictures(work.folder)(RESULTS, plot(records), f"Every recipe; {KEY}.")
    overrides = {name: [f"{key} {value}" for key, value in own.items()] for name, own in comparison["recipes"].items()}
    described = [(name, ", ".join(own) or DASH) for name, own in overrides.items()]
    sections = [
        Section("The comparison", "", tabulate(comparison), [picture]),
        Section("The recipes", "", [Table("What each sets over the common settings", ("recipe", "sets"), described)]),
        describe_origin(work, jobs, "What a recipe sets over these settings stands above."),
    ]
    write_comparison(work.folder, "Recipes, one by one", comparison, comparison["warnings"], sections)
    print(json.dumps(comparison))


def warn(work: Recipes, jobs: Sequence[Job]) -> list[str]:
    """What a reader must know of the trainings and evaluations."""
    results = {job: work.results(job) for job in jobs}
    verified = [found for job, found in results.items() if job.kind == VERIFICATION]
    overlap = max(found["speaker_overlap"] for found in verified)
    seen = f"The EER is not speaker-disjoint: up to {overlap} speakers of the trials were trained on or chosen on."
    warnings = [] if all(found["speaker_disjoint"] for found in verified) else [seen]
    return warnings + warn_of_mixture([found["provenance"] for found in results.values()])


def difference_intervals(
    work: Recipes, recipes: Sequence[Recipe], seeds: Sequence[int], trials: TrialList
) -> dict[str, Interval | None]:
    """By name, the 95 % interval of how much more the mean EER over the seeds is than that of `none`, in per cent.

    Of a paired bootstrap over speakers; empty without `none` or EVAL.BOOTSTRAP, None for too few speakers.
    """
    count = work.cfg.EVAL.BOOTSTRAP
    if not count or NONE not in [recipe.name for recipe in recipes]:
        return {}

    def draw(scores: np.ndarray) -> np.ndarray | None:
        of = scores, trials.labels, trials.speaker_pairs
        return verification_replicates(*of, target_priors=(), replicates=count)["eer"]

    return paired_intervals(
        {recipe.name: [draw(work.read_scores(recipe, seed, trials)) for seed in seeds] for recipe in recipes}
    )


def paired_intervals(drawn: Mapping[str, Sequence[np.ndarray | None]]) -> dict[str, Interval | None]:
    """By name, the middle of the differences to `none`, in per cent, of means over the seeds.

    Args:
        drawn: by name, the replicates (R,) of every seed, fractions of 1; None where there are none.
    """
    usual = drawn[NONE]
    intervals: dict[str, Interval | None] = {}
    for name, own in drawn.items():
        paired = [a - b for a, b in zip(own, usual, strict=True) if a is not None and b is not None]
        if name != NONE:
            intervals[name] = middle(100 * np.mean(paired, axis=0)) if paired else None
    return intervals


def compare(rows: DataFrame, intervals: Mapping[str, Interval | None]) -> dict[str, Any]:
    """Figures of every recipe: of the first seed with their intervals, mean and deviation, differences to `none`.

    Args:
        rows: as `Recipes.read_figures` gives them.
        intervals: of the differences; see `difference_intervals`.

    Returns:
        results: by recipe, by its heading back end; backends: by back end and recipe, where there is more than one;
        trainings: the heading figures, a row a recipe and seed.
    """
    heading = rows.drop_duplicates(["name", "seed"])
    summary = summarise(heading, FIGURES)
    results = plain(summary.drop(columns=["seed", "epoch", "minutes", "minutes_std"]))
    for name, result in results.items():
        own = heading[heading["name"] == name]
        result |= {"epochs": own["epoch"].tolist()} | difference(heading, name)
        result["difference_interval"] = intervals.get(name)
    backends = {}
    if rows["backend"].nunique() > 1 or len(rows) > len(heading):
        shared = [column for column in rows if column.startswith(tuple(KEYS))]
        for backend in dict.fromkeys(rows["backend"]):
            own = summarise(rows[rows["backend"] == backend], list(KEYS))
            backends[backend] = plain(own[[*shared, *(f"{key}_{of}" for key in KEYS for of in ("mean", "std"))]])
    kept = heading.drop(columns=[column for column in heading if column.endswith("_interval")])
    return {"results": results, "backends": backends, "trainings": list(plain(kept.reset_index(drop=True)).values())}


def difference(rows: DataFrame, name: str) -> dict[str, float | None]:
    """Mean and deviation over the seeds of how much more a recipe's EER is than that of `none` with the same seed."""
    found: dict[str, float | None] = {"difference_mean": None, "difference_std": None}
    eer = rows.pivot(index="seed", columns="name", values="eer")
    if NONE in eer and name != NONE:
        paired = eer[name] - eer[NONE]
        found["difference_mean"] = float(paired.mean())
        found["difference_std"] = float(paired.std()) if len(paired) > 1 else None
    return found


def tabulate(comparison: Mapping[str, Any]) -> list[Table]:
    """A row a recipe; where there are several back ends, another table with a row for each of them, too."""
    results = comparison["results"]
    columns: dict[str, Callable[..., object]] = {
        "recipe": itemgetter("name"),
        "EER % [95 %]": figure("eer", 2),
        "minDCF 0.01 [95 %]": figure("min_dcf", 3),
        f"EER less that of {NONE} [95 %]": show_difference,
        "validation EER %": figure("val_eer", 2),
        "best epoch": lambda row: ", ".join(map(str, row["epochs"])),
        "parameters": itemgetter("parameters"),
        "minutes": lambda row: f"{row['minutes_mean']:.1f}",
    }
    if NONE not in results:
        del columns[f"EER less that of {NONE} [95 %]"]
    rows = [{"name": name} | row for name, row in results.items()]
    tables = [make_table("Recipes, one by one", rows, columns, describe(comparison))]
    if comparison["backends"]:
        columns = {"recipe": itemgetter("name"), "back end": itemgetter("backend")}
        columns |= {"EER % [95 %]": figure("eer", 2), "minDCF 0.01 [95 %]": figure("min_dcf", 3)}
        rows = [
            {"name": name, "backend": SYSTEMS[backend]} | own[name]
            for name in results
            for backend, own in comparison["backends"].items()
            if name in own
        ]
        note = "As above; what is above is by the first back end of each recipe's EVAL.BACKENDS."
        tables.append(make_table("By back end", rows, columns, note))
    return tables


def show_difference(row: Mapping[str, Any]) -> str:
    """Mean ± deviation of the paired differences, with its interval; a dash for `none` itself."""
    mean, deviation, interval = (row[f"difference_{of}"] for of in ("mean", "std", "interval"))
    if mean is None:
        return DASH
    shown = f"{mean:+.2f}" if deviation is None else f"{mean:+.2f} ± {deviation:.2f}"
    return "{} [{:+.2f}, {:+.2f}]".format(shown, *interval) if interval else shown


def describe(comparison: Mapping[str, Any]) -> str:
    """What the table's cells are."""
    first, *more = map(str, comparison["seeds"])
    of_seeds = f"One training each, seed {first}: what another seed would give is in nothing here."
    if more:
        of_seeds = (
            f"Before the semicolon: the network of seed {first}; behind it: mean ± standard deviation over the seeds "
            f"{', '.join((first, *more))}. Differences: of networks of the same seed, mean ± standard deviation."
        )
    return (
        f"{comparison['trials']:,} trials of {comparison['trial_speakers']} speakers, by the network of the best epoch "
        f"of SUB_DIR {SUB_DIR}. In brackets: 95 % intervals by bootstrap over the test speakers, of a difference over "
        f"the same speakers for both, of its mean over the seeds. {of_seeds} Minutes: in training steps, their mean."
    )


def plot(records: DataFrame) -> Figure:
    """A panel a figure, a row a recipe: see KEY."""
    summary, bands = summarise(records, list(LABELS)), {}
    if NONE in summary.index:
        usual = summary.loc[NONE].fillna(0)
        bands = {name: (usual[f"{name}_mean"], usual[f"{name}_std"]) for name in LABELS}
    return plot_spread(records, summary, LABELS, bands, KEY)
