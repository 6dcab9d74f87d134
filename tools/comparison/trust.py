"""How far a supernet's ranking can be trusted: its scores against what genotypes come to when they are trained."""

import json
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from pandas import DataFrame
from yacs.config import CfgNode

from config import load_config
from data_objects.corpus import Corpus
from models import build_supernet
from models.genotypes import parse_genotype
from tools.comparison.chance import rank_correlation
from tools.comparison.genotypes import DIGITS, FIGURES, LABELS, Genotypes, check_recipe, choose_test
from tools.comparison.report import figure, make_table, plain, summarise, write_comparison
from utils.pictures.figure import BLUE, INK, new_figure, styled
from utils.records.checkpoint import check_architecture, load_last
from utils.reports.html import Section, Table
from utils.reports.provenance import Pictures
from utils.search.paths import PathScorer
from utils.search.ranking import RANKING, draw_candidates, rank_genotypes, read_ranking, write_ranking
from utils.system.device import prepare
from utils.system.errors import UserError

RESULTS = "trust"
SCORES = {"loss": -1, "top1": 1}  # of the supernet, and whether more is better
FEWEST = 3  # trainings that a correlation can be of


class RankedGenotypes(Genotypes):
    """Trainings of ranked genotypes, named by their ranks."""

    script, what = "rank_genotypes", "a ranking"


def rank_and_train(
    cfg: CfgNode,
    config_file: str,
    out: Path | None,
    run_dir: Path,
    drawn: tuple[int, int],
    count: int,
    seeds: list[int],
) -> None:
    """What tools/rank_genotypes.py does.

    Args:
        cfg: of the trainings; the search's own is in its run folder.
        drawn: how many candidates, and the seed that draws them.
        count: how many of them to train; 0: none.

    Raises:
        UserError: no search in the folder, or one of another corpus; too few to train; a training that failed.
    """
    if 0 < count < FEWEST or count > drawn[0]:
        raise UserError(f"--train {count}: a correlation needs {FEWEST} trainings or more, of --candidates {drawn[0]}")
    corpus = Corpus(cfg)
    check_recipe(cfg, corpus)
    part, tested, warnings = choose_test(corpus)
    work = RankedGenotypes(cfg, config_file, out, {}, part, corpus.index.fingerprint)
    ranking = rank_again(cfg, run_dir, work.folder, drawn)
    work.genotypes = {f"rank-{rank}": parse_genotype(ranking["genotype"][rank]) for rank in spread(ranking, count)}
    records = work.train_all(seeds)
    about = tested | {"part": part or "trials", "search": str(run_dir), "seeds": seeds}
    report(work, ranking, records, about, warnings)


def rank_again(cfg: CfgNode, run_dir: Path, folder: Path, drawn: tuple[int, int]) -> DataFrame:
    """The ranking, by rank from 1; taken over where the folder has it."""
    count, seed = drawn
    if read_ranking(folder) is None:
        scorer = load_scorer(cfg, run_dir)
        write_ranking(rank_genotypes(scorer, draw_candidates(scorer.supernet, count, seed)), folder / RANKING)
    ranking = read_ranking(folder)
    assert ranking is not None
    if len(ranking) != count:
        raise UserError(
            f"{folder / RANKING} ranks {len(ranking)} genotypes: give --candidates {len(ranking)}, or another --out"
        )
    return ranking


def load_scorer(cfg: CfgNode, run_dir: Path) -> PathScorer:
    """The supernet of a search as its last checkpoint has it; where the corpus is, the settings of today say."""
    where = ["DATASET.DATA_DIR", cfg.DATASET.DATA_DIR, "DATASET.FEATURE_DIR", cfg.DATASET.FEATURE_DIR]
    own = load_config(run_dir / "config.yaml", [*where, "DEVICE", cfg.DEVICE])
    checkpoint, path = load_last(run_dir, ("search",))
    device, corpus = prepare(own), Corpus(own)
    if corpus.index.fingerprint != checkpoint.index or corpus.speakers != checkpoint.speakers:
        raise UserError(f"{path} is of a search in another corpus than {own.DATASET.DATA_DIR}: give DATASET.DATA_DIR")
    supernet, front_end = build_supernet(own, len(corpus.speakers)), corpus.build_front_end()
    check_architecture(supernet.architecture, checkpoint, path)
    supernet.load_state_dict(checkpoint.model)
    front_end.load_state_dict(checkpoint.front_end)
    crops = corpus.halves()[0] if own.SEARCH.DATA_SPLIT == "halves" else corpus.crops("train")
    return PathScorer(supernet.to(device), front_end.to(device), corpus, crops, device, own.SEED)


def spread(ranking: DataFrame, count: int) -> list[int]:
    """Ranks evenly spread from the first to the last, alpha's argmax among them."""
    if not count:
        return []
    ranks = np.linspace(1, len(ranking), count).round().astype(int)
    argmax = int(ranking.index[ranking["source"] == "argmax"][0])
    nearest = 1 + int(np.abs(ranks[1:-1] - argmax).argmin())  # the first and the last stay
    if argmax not in ranks:
        ranks[nearest] = argmax
    return sorted({int(rank) for rank in ranks})


def report(
    work: RankedGenotypes, ranking: DataFrame, records: DataFrame, about: dict[str, Any], warnings: Sequence[str]
) -> None:
    """Write the ranking, and where there are trainings how they agree with it; print it as JSON."""
    figures, pictures = FIGURES[work.cfg.DATASET.SUB_DIR], []
    tables = [Table("The ranking", ["rank", *ranking], ranking.reset_index().to_numpy().tolist())]
    trust: dict[str, Any] = about | {"candidates": len(ranking), "trained": {}, "tau": []}
    if work.genotypes:
        trained = summarise(records, list(figures)).join(of_supernet(ranking))
        trust |= {"trained": plain(select(trained, figures)), "tau": correlate(trained, figures)}
        tables = [tabulate_tau(trust["tau"], len(trained)), tabulate(trust["trained"], figures), *tables]
        caption = "The supernet's loss on the val part, and what each genotype comes to when it is trained."
        pictures.append(Pictures(work.folder)(RESULTS, plot(trained, trust["tau"], figures), caption))
    sections = [Section("How far the supernet can be trusted" if work.genotypes else "", "", tables, pictures)]
    write_comparison(work.folder, "Genotypes by the supernet", trust, warnings, sections, RESULTS)
    print(json.dumps(trust))


def of_supernet(ranking: DataFrame) -> DataFrame:
    """The supernet's scores by the trainings' names."""
    scores = ranking[["source", *SCORES]].add_prefix("supernet_")
    return scores.set_axis([f"rank-{rank}" for rank in ranking.index])


def select(trained: DataFrame, figures: Mapping[str, int]) -> DataFrame:
    spreads = [f"{name}_{of}" for name in figures for of in ("mean", "std")]
    return trained[["parameters", *spreads, *(column for column in trained if column.startswith("supernet_"))]]


def correlate(trained: DataFrame, figures: Mapping[str, int]) -> list[dict[str, Any]]:
    """Kendall's tau, and its p, of each score of the supernet with each figure of the trained; 1 where they agree."""
    found = []
    for score, better in SCORES.items():
        for name, sign in figures.items():
            tau, p = rank_correlation(better * trained[f"supernet_{score}"], sign * trained[f"{name}_mean"])
            found.append({"supernet": score, "trained": name, "tau": tau, "p": p})
    return found


def tabulate_tau(found: Sequence[Mapping[str, Any]], count: int) -> Table:
    columns: dict[str, Callable[..., object]] = {
        "supernet's": lambda row: LABELS[row["supernet"]],
        "trained": lambda row: LABELS[row["trained"]],
        "Kendall's tau": lambda row: f"{row['tau']:.2f}",
        "p": lambda row: f"{row['p']:.3g}",
    }
    note = f"Of {count} genotypes: 1 is the same order, 0 none in common, -1 the reverse."
    return make_table("How the orders agree", found, columns, note)


def tabulate(trained: Mapping[str, Mapping[str, Any]], figures: Mapping[str, int]) -> Table:
    columns: dict[str, Callable[..., object]] = {
        "genotype": itemgetter("name"),
        "from": itemgetter("supernet_source"),
        "supernet's loss": lambda row: f"{row['supernet_loss']:.3f}",
        "supernet's Top-1, %": lambda row: f"{row['supernet_top1']:.1f}",
        "parameters": itemgetter("parameters"),
    }
    columns |= {LABELS[name]: figure(name, DIGITS[name]) for name in figures}
    rows = [{"name": name, **row} for name, row in trained.items()]
    return make_table("Trained from scratch", rows, columns, "Means ± standard deviations over the seeds, last epoch.")


@styled
def plot(trained: DataFrame, found: Sequence[Mapping[str, Any]], figures: Mapping[str, int]) -> Figure:
    """A panel a figure: the supernet's loss to the right, what it comes to when trained upwards, a dot a genotype."""
    picture = new_figure(3.4 * len(figures) + 0.4, 3.4)
    for axes, name in zip(picture.subplots(1, len(figures), squeeze=False)[0], figures, strict=True):
        x, y = trained["supernet_loss"], trained[f"{name}_mean"]
        spread_of_seeds = trained[f"{name}_std"].fillna(0)
        axes.errorbar(x, y, spread_of_seeds, fmt="o", color=BLUE, markersize=5, linewidth=1)
        for label, *at in zip(trained.index, x, y, strict=True):
            axes.annotate(label.removeprefix("rank-"), at, (4, 3), textcoords="offset points", color=INK, size="small")
        (row,) = (row for row in found if (row["supernet"], row["trained"]) == ("loss", name))
        axes.set(xlabel="loss in the supernet", ylabel=f"{LABELS[name]}, trained")
        axes.set_title(f"Kendall's tau {row['tau']:.2f} (p {row['p']:.2g})", size="medium")
        axes.grid()
    return picture
