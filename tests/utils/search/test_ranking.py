"""Ranking genotypes by a supernet."""

from utils.search.paths import PathScorer
from utils.search.ranking import draw_candidates, rank_genotypes


def test_ranking_of_candidates(scorer: PathScorer) -> None:
    """Argmax, draws by alpha and by chance, each once and always the same; the lowest loss first."""
    supernet = scorer.supernet
    candidates = draw_candidates(supernet, 8, seed=3)
    assert candidates == draw_candidates(supernet, 8, seed=3) != draw_candidates(supernet, 8, seed=4)
    assert list(candidates.values()) == ["argmax", "alpha", "chance", "alpha", "chance", "alpha", "chance", "alpha"]
    assert next(iter(candidates)) == supernet.genotype()
    ranking = rank_genotypes(scorer, candidates)
    assert set(ranking["genotype"]) == set(map(str, candidates))
    assert ranking["loss"].is_monotonic_increasing
    best = max(candidates, key=lambda one: -scorer.score_genotype(one)["loss"])
    assert ranking["genotype"][0] == str(best)
