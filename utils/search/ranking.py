"""Choosing among genotypes by the supernet that a search has trained, instead of by alpha's argmax.

Candidates are alpha's argmax, draws from the distribution that alpha means (`models.distribution`) and draws by chance;
each is scored as one path of the supernet (`utils.search.paths`), on the val part (Guo et al., ECCV 2020; Bender et
al., ICML 2018). How far such scores can be trusted, tools/rank_genotypes.py measures.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from pandas import DataFrame

from models.distribution import draw_genotype
from models.genotypes import Genotype, parse_genotype, random_genotype
from models.supernet import Supernet
from utils.search.paths import PathScorer
from utils.system.files import write_atomically
from utils.system.logger import get_logger, progress_bar
from utils.system.processes import is_main

RANKING = "ranking.csv"


def draw_candidates(supernet: Supernet, count: int, seed: int) -> dict[Genotype, str]:
    """`count` different genotypes and where they are from: alpha's argmax, then draws by alpha and by chance, in turn.

    Args:
        count: at least 1; that many there are in every space.
        seed: of the draws.
    """
    generator, operations = np.random.default_rng(seed), supernet.operation_names
    alphas = supernet.alpha_normal, supernet.alpha_reduce
    candidates = {supernet.genotype(): "argmax"}
    while len(candidates) < count:
        candidates.setdefault(draw_genotype(*alphas, operations, generator), "alpha")
        if len(candidates) < count:
            candidates.setdefault(random_genotype(operations, generator), "chance")
    return candidates


def rank_genotypes(scorer: PathScorer, candidates: dict[Genotype, str]) -> DataFrame:
    """The candidates, best first: columns source, top1 (per cent), loss, genotype (text).

    The lower loss is the better: it tells more of few utterances than Top-1 does.
    """
    scored = progress_bar(candidates.items(), len(candidates), "ranking")
    rows = [{"source": source, **scorer.score_genotype(one), "genotype": str(one)} for one, source in scored]
    return DataFrame(rows).sort_values("loss", kind="stable", ignore_index=True)


def choose_ranked(scorer: PathScorer, count: int, seed: int, run_dir: Path) -> Genotype:
    """The best of `count` candidates; the ranking is left in the run folder."""
    ranking = rank_genotypes(scorer, draw_candidates(scorer.supernet, count, seed))
    if is_main():
        write_ranking(ranking, run_dir / RANKING)
    best, argmax = ranking.iloc[0], ranking[ranking["source"] == "argmax"].iloc[0]
    first, other = (f"{one['top1']:.1f} % Top-1, loss {one['loss']:.3f}" for one in (best, argmax))
    get_logger().info(
        f"ranked {count} genotypes by the supernet, see {RANKING}: the best is from {best['source']} ({first}), "
        f"alpha's argmax is number {argmax.name + 1} ({other})"
    )
    return parse_genotype(best["genotype"])


def read_ranking(run_dir: Path) -> DataFrame | None:
    """The ranking in a folder, its rows by rank from 1; None where there is none."""
    path = run_dir / RANKING
    return pd.read_csv(path, index_col="rank") if path.is_file() else None


def write_ranking(ranking: DataFrame, path: Path) -> None:
    """Write a ranking as CSV, best first, with a column rank from 1."""
    table = ranking.set_axis(range(1, len(ranking) + 1)).rename_axis("rank")
    write_atomically(path, table.to_csv(float_format="%.6g"))
