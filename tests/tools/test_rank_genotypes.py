"""tools/rank_genotypes.py on the toy corpus."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import kendalltau

from models.genotypes import parse_genotype
from tests.helpers import SCRATCH, SEARCH, Outcome, call_script, options
from tests.runs import only_run
from tests.tools.comparisons import Scripts, assert_refused, call_tool, records

SCRIPT = "tools/rank_genotypes.py"


@pytest.fixture(scope="module")
def search(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a search, which tests must leave as it is."""
    out = tmp_path_factory.mktemp("search")
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=out, SEARCH__PATHS="genotypes")
    assert call_script("search.py", "--cfg", SEARCH, *settings).status == 0
    return only_run(out, "search")


def rank(toy: Path, search: Path, out: Path, *arguments: object, scripts: Scripts | None = None) -> Outcome:
    """Rank four candidates."""
    command = ("--run", search, "--cfg", SCRATCH, "--candidates", 4, "--out", out, *arguments)
    return call_tool(SCRIPT, *command, *options(DATASET__DATA_DIR=toy), scripts=scripts)


@pytest.fixture(scope="module")
def ranked(toy: Path, search: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """A ranking of which three are trained: how it ended, and its folder, which tests must leave as it is."""
    out = tmp_path_factory.mktemp("ranking") / "out"
    outcome = rank(toy, search, out, "--train", 3)
    assert outcome.status == 0, outcome.stderr
    return outcome, out


def test_files_of_a_ranking(ranked: tuple[Outcome, Path]) -> None:
    """The ranking, the trainings, and how they agree as JSON, as tables and as pictures."""
    outcome, out = ranked
    files = {".lock", "config.yaml", "ranking.csv", "trainings.jsonl", "recipes", "runs"}
    assert {path.name for path in out.iterdir()} == files | {
        f"trust.{kind}" for kind in ("json", "md", "html", "png", "pdf")
    }
    assert json.loads(outcome.last_line) == json.loads((out / "trust.json").read_text())
    ranking = pd.read_csv(out / "ranking.csv", index_col="rank")
    assert list(ranking.index) == [1, 2, 3, 4]
    assert ranking["loss"].is_monotonic_increasing
    assert "argmax" in set(ranking["source"])


def test_agreement_of_a_ranking(ranked: tuple[Outcome, Path]) -> None:
    """Trained are the first, the last and one between, alpha's argmax if it is none of these; tau is as defined."""
    outcome, out = ranked
    trust, ranking = json.loads(outcome.last_line), pd.read_csv(out / "ranking.csv", index_col="rank")
    trained = pd.DataFrame(records(out / "trainings.jsonl")).set_index("name")
    ranks = [int(name.removeprefix("rank-")) for name in trained.index]
    assert len(ranks) == 3
    assert {1, 4} <= set(ranks)
    assert int(ranking.index[ranking["source"] == "argmax"][0]) in ranks
    assert [parse_genotype(text) for text in trained["genotype"]] == [
        parse_genotype(ranking["genotype"][number]) for number in ranks
    ]
    for row in trust["tau"]:
        signs = {"loss": -1, "top1": 1}
        scores = signs[row["supernet"]] * ranking[row["supernet"]][ranks].to_numpy()
        expected = kendalltau(scores, signs[row["trained"]] * trained[row["trained"]].to_numpy())
        assert row["tau"] == pytest.approx(expected.statistic, nan_ok=True)
    assert len(trust["tau"]) == 4


def test_a_ranking_goes_on(toy: Path, search: Path, ranked: tuple[Outcome, Path], tmp_path: Path) -> None:
    """What is ranked and trained is taken over; a search that is gone is not missed."""
    copied, scripts = Path(shutil.copytree(ranked[1], tmp_path / "copy")), Scripts()
    again = rank(toy, tmp_path / "gone", copied, "--train", 3, scripts=scripts)
    assert scripts.called == []
    own = {"search": ""}
    assert json.loads(again.last_line) | own == json.loads(ranked[0].last_line) | own
    assert_refused(rank(toy, search, copied, "--train", 3, "--candidates", 5), "ranking.csv", "--candidates 4")


@pytest.mark.parametrize("count", [1, 2, 5])
def test_too_few_trainings(toy: Path, search: Path, tmp_path: Path, count: int) -> None:
    """No correlation without three; not more than there are candidates."""
    assert_refused(rank(toy, search, tmp_path / "out", "--train", count), "--train", count)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_search(toy: Path, tmp_path: Path) -> None:
    """It is named."""
    assert_refused(rank(toy, tmp_path, tmp_path / "out"), tmp_path)
