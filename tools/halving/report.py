"""What a search by training has come to: the winner, tables of rungs and candidates, and their learning curves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from optuna.trial import FrozenTrial, TrialState
from pandas import DataFrame
from yacs.config import CfgNode

from config import flatten
from models.genotypes import parse_genotype
from tools.comparison.engine import RUNS
from tools.comparison.genotypes import DIGITS, LABELS
from tools.comparison.report import write_comparison
from tools.halving.space import genotype_of
from tools.halving.study import RUN, SECONDS, Plan, Study
from utils.pictures.curves import draw_curves
from utils.pictures.genotype import draw_genotype
from utils.reports.html import Section, Table
from utils.reports.provenance import Pictures
from utils.system.files import write_atomically

REPORT, GENOTYPE, CANDIDATES, CURVES = "report", "genotype.txt", "candidates.csv", "curves"
PARTS = {"eer": "trials of the speakers held out"}  # the others: the val part
OUTCOMES = {
    TrialState.COMPLETE: "trained to the end",
    TrialState.PRUNED: "ended at a rung",
    TrialState.FAIL: "diverged",
    TrialState.RUNNING: "under way",
}
NOTE = (
    "A candidate went on from a rung where it was among the best 1 / {reduction} of those that had come to it by then; "
    "of fewer than {reduction}, where it was the best. Minutes are of the trainings' processes, all together."
)
TOO_GOOD = (
    "The winner is the best of {count} candidates by what chose it ({part}), and looks better there than it is. What "
    "it is worth, trainings of its own say, with other seeds and on the test part: see tools/compare_genotypes.py."
)


def write_results(folder: Path, cfg: CfgNode, study: Study) -> dict[str, Any]:
    """Write all files about a search whose candidates have come to a rung; returns what is printed."""
    candidates = describe(study, folder)
    rungs, results = count(candidates, study), summarise(candidates, study.plan)
    results |= {"rungs": json.loads(rungs.to_json(orient="records", double_precision=15))}
    winner = results["winner"]
    write_atomically(folder / GENOTYPE, f"{results['genotype']}\n")
    write_atomically(folder / CANDIDATES, candidates.to_csv(index=False))
    picture = Pictures(folder)
    curves = read_curves(study, folder)
    shown = draw_curves(curves, f"candidate {winner}", study.plan.rungs, label(study.plan))
    caption = "Every candidate: the objective after the epochs that were validated; a dot where it ended, or is now."
    cells = picture("genotype", draw_genotype(parse_genotype(results["genotype"])), f"The winner, candidate {winner}.")
    sections = [
        Section("The search", "", [tabulate_rungs(rungs, study.plan)], [picture(CURVES, shown, caption)]),
        Section("The winner", results["genotype"], [], [cells]),
        Section("The candidates", "", [tabulate_candidates(candidates, study.plan)]),
        describe_origin(cfg, study.plan),
    ]
    write_comparison(folder, "Random search by training", results, warn(results, study.plan), sections, REPORT)
    return results


def describe(study: Study, folder: Path) -> DataFrame:
    """A row a candidate; columns named by an epoch hold the objective there."""
    rows = []
    for candidate in study.candidates():
        values = candidate.intermediate_values
        row = {"candidate": candidate.number, "outcome": OUTCOMES[candidate.state], "epoch": max(values, default=0)}
        row |= {str(rung): values.get(rung, np.nan) for rung in study.plan.rungs}
        row["parameters"] = read_parameters(candidate, folder)
        row["minutes"] = sum(candidate.user_attrs.get(SECONDS, {}).values()) / 60
        rows.append(row | {"run": candidate.user_attrs.get(RUN, ""), "genotype": str(genotype_of(candidate.params))})
    return DataFrame(rows).astype({"parameters": "Int64"})


def count(candidates: DataFrame, study: Study) -> DataFrame:
    """A row a rung: how many have come to it, their best and median, and what the way from the rung before took."""
    plan, before, rows = study.plan, 0, []
    for rung in plan.rungs:
        values = candidates[str(rung)].dropna()
        seconds = (one.user_attrs.get(SECONDS, {}).get(str(rung), 0) for one in study.candidates())
        row = {
            "epoch": rung,
            "candidates": len(values),
            "best": values.max() if plan.is_higher_better else values.min(),
        }
        row |= {"median": values.median(), "epochs": (rung - before) * len(values), "minutes": sum(seconds) / 60}
        rows.append(row)
        before = rung
    return DataFrame(rows)


def summarise(candidates: DataFrame, plan: Plan) -> dict[str, Any]:
    """The winner: of those that have come to the highest rung, the best, and of equals the first; all outcomes."""
    sound = candidates[(candidates["outcome"] != OUTCOMES[TrialState.FAIL]) & (candidates["epoch"] > 0)]
    highest = sound[sound["epoch"] == sound["epoch"].max()]
    values = highest[str(highest["epoch"].iloc[0])]
    winner = highest.loc[values.idxmax() if plan.is_higher_better else values.idxmin()]
    outcomes = candidates["outcome"].value_counts()
    return {
        "winner": int(winner["candidate"]),
        "epoch": int(winner["epoch"]),
        "objective": plan.objective,
        "value": float(values[winner.name]),
        "genotype": winner["genotype"],
        "candidates": len(candidates),
        "outcomes": {name: int(outcomes.get(name, 0)) for name in OUTCOMES.values()},
        "hours": round(float(candidates["minutes"].sum() / 60), 4),
    }


def run_of(candidate: FrozenTrial, folder: Path) -> Path:
    """The run folder of a candidate that has come to a rung."""
    return folder / RUNS / "train" / candidate.user_attrs.get(RUN, "")


def read_parameters(candidate: FrozenTrial, folder: Path) -> int | None:
    """The size of a candidate's network, as its run says; None where that is gone, or has not come to a rung."""
    results = run_of(candidate, folder) / "results.json"
    return json.loads(results.read_text(encoding="utf-8"))["parameters"] if results.is_file() else None


def read_curves(study: Study, folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Epochs and objective of every candidate that has come to a rung."""
    return {
        f"candidate {candidate.number}": read_curve(candidate, folder, study.plan.objective)
        for candidate in study.candidates()
        if candidate.intermediate_values
    }


def read_curve(candidate: FrozenTrial, folder: Path, objective: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs (E,) that were validated and objective (E,) of a candidate: of its rungs alone where its run is gone."""
    values = dict(candidate.intermediate_values)
    metrics = run_of(candidate, folder) / "metrics.jsonl"
    if metrics.is_file():
        figures = pd.read_json(metrics, lines=True, precise_float=True).set_index("epoch")[f"val_{objective}"].dropna()
        values |= figures[figures.index <= max(values)].to_dict()  # of later ones, the journal does not know yet
    epochs = sorted(values)
    return np.array(epochs), np.array([values[epoch] for epoch in epochs])


def label(plan: Plan) -> str:
    """What the objective is, with what it is measured on."""
    return f"{LABELS[plan.objective]} ({part(plan)})"


def part(plan: Plan) -> str:
    return PARTS.get(plan.objective, "val part")


def tabulate_rungs(rungs: DataFrame, plan: Plan) -> Table:
    """A row a rung."""
    shown = rungs.assign(**{name: _round(rungs[name], plan) for name in ("best", "median")})
    shown["minutes"] = rungs["minutes"].map("{:.1f}".format)
    titles = {"epoch": "after epoch", "best": f"best {LABELS[plan.objective]}", "epochs": "epochs trained for it"}
    return Table.of("Rungs", shown.rename(columns=titles), NOTE.format(reduction=plan.reduction))


def tabulate_candidates(candidates: DataFrame, plan: Plan) -> Table:
    """A row a candidate; those that came furthest first, and the best of them."""
    order = candidates.assign(value=_last_values(candidates, plan) * (-1 if plan.is_higher_better else 1))
    shown = candidates.loc[order.sort_values(["epoch", "value"], ascending=[False, True], kind="stable").index]
    shown = shown.drop(columns=["run", "genotype"])
    rungs = [str(rung) for rung in plan.rungs]
    shown[rungs] = shown[rungs].apply(_round, plan=plan)
    shown["minutes"] = shown["minutes"].map("{:.1f}".format)
    shown["parameters"] = shown["parameters"].astype(object).where(shown["parameters"].notna(), None)
    titles = {rung: f"at epoch {rung}" for rung in rungs}
    note = f"{label(plan)}. Genotypes and run folders stand in {CANDIDATES}."
    return Table.of("Candidates, those that came furthest first", shown.rename(columns=titles), note)


def _last_values(candidates: DataFrame, plan: Plan) -> pd.Series:
    """The objective at the last rung that each has come to."""
    return candidates[[str(rung) for rung in plan.rungs]].ffill(axis=1).iloc[:, -1]


def _round(values: pd.Series, plan: Plan) -> pd.Series:
    """Figures as texts; None where there is none."""
    digits = DIGITS[plan.objective]
    return pd.Series([None if np.isnan(value) else f"{value:.{digits}f}" for value in values], values.index, object)


def warn(results: Mapping[str, Any], plan: Plan) -> list[str]:
    """What a reader must know."""
    outcomes = results["outcomes"]
    warnings = [TOO_GOOD.format(count=results["candidates"], part=part(plan))]
    if number := outcomes[OUTCOMES[TrialState.RUNNING]]:
        how = "other processes are at them, or more --hours will be"
        warnings.append(f"{number} of {results['candidates']} candidates are not at their end: {how}.")
    if number := outcomes[OUTCOMES[TrialState.FAIL]]:
        warnings.append(f"{number} of {results['candidates']} candidates diverged and are left out; see TRAIN.LR.")
    return warnings


def describe_origin(cfg: CfgNode, plan: Plan) -> Section:
    """The search and the recipe of its trainings."""
    settings = [(key, str(value)) for key, value in flatten(yaml.safe_load(cfg.dump())).items()]
    of_plan = [("objective", plan.objective), ("sampler", f"{plan.sampler}, seed {plan.seed}"), ("space", plan.space)]
    of_plan += [("rungs, epochs", ", ".join(map(str, plan.rungs))), ("sha256 of the index", plan.index)]
    tables = [Table("The search", ("what", "value"), of_plan), Table("The recipe", ("key", "value"), settings)]
    return Section("Where the figures come from", "", tables)
