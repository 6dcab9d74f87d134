"""Random genotypes, and tools/compare_genotypes.py on the toy corpus."""

import json
import shutil
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from config import load_config
from data_objects.corpus import Corpus
from data_objects.index import Index
from models.genotypes import INPUTS, NODES, PAPER_GENOTYPE, SEARCH_SPACES, parse_genotype, random_genotype
from tests.helpers import SCRATCH, Outcome, options
from tests.tools.comparisons import Scripts, assert_refused, call_tool, records
from utils.recognition.network import load_trained, verify

SCRIPT = "tools/compare_genotypes.py"
FOUND = str(random_genotype(SEARCH_SPACES["s2"], np.random.default_rng(99)))
SEEDS = [1, 2]
NAMES = ["found", "paper", "random-1"]


# ------------------------------------------------------------------------------------------------------------------
# Random genotypes
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("space", SEARCH_SPACES)
def test_random_genotype_is_valid(space: str) -> None:
    """It can be read, has operations of the space other than none, and two different sources a node."""
    for seed in range(50):
        genotype = random_genotype(SEARCH_SPACES[space], np.random.default_rng(seed))
        assert parse_genotype(str(genotype)) == genotype
        for cell in (genotype.normal, genotype.reduce):
            assert {operation for operation, _ in cell} <= set(SEARCH_SPACES[space]) - {"none"}
            assert all(cell[2 * node][1] != cell[2 * node + 1][1] for node in range(NODES))


def test_random_genotype_is_the_generators() -> None:
    """The same generator gives the same genotypes, one after the other; another one, others."""
    first, second = (np.random.default_rng(7) for _ in range(2))
    drawn = [random_genotype(SEARCH_SPACES["s2"], first) for _ in range(3)]
    assert drawn == [random_genotype(SEARCH_SPACES["s2"], second) for _ in range(3)]
    assert len(set(drawn)) == 3
    assert random_genotype(SEARCH_SPACES["s2"], np.random.default_rng(8)) not in drawn


@pytest.mark.parametrize("cell", ["normal", "reduce"])
@pytest.mark.parametrize("space", SEARCH_SPACES)
def test_random_genotype_is_uniform(space: str, cell: str) -> None:
    """Every position takes every operation, and every pair of sources, as often as any other: chi-square tests."""
    generator = np.random.default_rng(1)
    cells = [getattr(random_genotype(SEARCH_SPACES[space], generator), cell) for _ in range(2000)]
    for position in range(2 * NODES):
        operations = Counter(genes[position][0] for genes in cells)
        assert len(operations) == len(SEARCH_SPACES[space]) - 1
        assert chisquare(list(operations.values())).pvalue > 1e-4
    for node in range(NODES):
        pairs = Counter((genes[2 * node][1], genes[2 * node + 1][1]) for genes in cells)
        earlier = INPUTS + node
        assert len(pairs) == earlier * (earlier - 1)
        assert chisquare(list(pairs.values())).pvalue > 1e-4


# ------------------------------------------------------------------------------------------------------------------
# The comparison
# ------------------------------------------------------------------------------------------------------------------
def compare(toy: Path, out: Path, *arguments: object, scripts: Scripts | None = None, **settings: object) -> Outcome:
    """Run the tool with one random genotype and two seeds."""
    command = ("--cfg", SCRATCH, "--genotype", FOUND, "--random", 1, "--seeds", *SEEDS, "--out", out, *arguments)
    return call_tool(SCRIPT, *command, *options(DATASET__DATA_DIR=toy, **settings), scripts=scripts)


def trainings(out: Path) -> list[dict]:
    """The lines of trainings.jsonl."""
    return records(out / "trainings.jsonl")


def runs(out: Path) -> set[str]:
    """The names of the run folders."""
    return {path.name for path in (out / "runs" / "train").iterdir()}


def test_files_of_a_comparison(compared: tuple[Outcome, Path]) -> None:
    """Settings, trainings, runs, and the comparison as JSON, as tables and as pictures."""
    _, out = compared
    kinds = ("json", "md", "html", "png", "pdf")
    files = {".lock", "config.yaml", "trainings.jsonl", "recipes", "runs", *(f"comparison.{kind}" for kind in kinds)}
    assert {path.name for path in out.iterdir()} == files
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "comparison.pdf").read_bytes().startswith(b"%PDF")
    found = trainings(out)
    assert [(record["seed"], record["name"]) for record in found] == [(s, name) for s in SEEDS for name in NAMES]
    assert {Path(record["run_dir"]).name for record in found} == runs(out)
    keys = ["name", "seed", "genotype", "parameters", "epochs", "top1", "loss", "seconds", "run_dir", "index"]
    assert all(list(record) == keys and record["epochs"] == 1 for record in found)


def test_genotypes_of_a_comparison(compared: tuple[Outcome, Path]) -> None:
    """The given one, the paper's and the first that the generator draws from the space."""
    texts = json.loads((compared[1] / "comparison.json").read_text())["genotypes"]
    drawn = random_genotype(SEARCH_SPACES["s2"], np.random.default_rng(0))
    assert texts == {"found": FOUND, "paper": str(PAPER_GENOTYPE), "random-1": str(drawn)}


def test_statistics_of_a_comparison(compared: tuple[Outcome, Path]) -> None:
    """They are those of the trainings; the last line printed is what comparison.json holds."""
    outcome, out = compared
    printed = json.loads(outcome.last_line)
    kept = json.loads((out / "comparison.json").read_text())
    assert printed | {"genotypes": kept["genotypes"]} == kept
    assert (printed["part"], printed["utterances"]) == ("test", 12)
    assert list(printed["results"]) == NAMES
    found = trainings(out)
    for name, result in printed["results"].items():
        own = [record for record in found if record["name"] == name]
        assert (result["parameters"], result["seeds"]) == (own[0]["parameters"], SEEDS)
        for figure in ("top1", "loss"):
            values = [record[figure] for record in own]
            assert result[f"{figure}_mean"] == pytest.approx(np.mean(values))
            assert result[f"{figure}_std"] == pytest.approx(np.std(values, ddof=1))
    chance = printed["results"]["random-1"]
    means = {"top1_mean": chance["top1_mean"], "loss_mean": chance["loss_mean"]}
    assert printed["random"] == {"number": 1, "top1_std": None, "loss_std": None} | means
    for name in ("found", "paper"):
        own = printed["results"][name]
        beaten = {
            "loss": int(own["loss_mean"] > means["loss_mean"]),
            "top1": int(own["top1_mean"] < means["top1_mean"]),
        }
        assert printed["beaten_by_random"][name] == beaten
    cell = f"{means['loss_mean']:.4f} ± {chance['loss_std']:.4f}"
    for text in (outcome.stderr, (out / "comparison.md").read_text(), (out / "comparison.html").read_text()):
        assert "of 1 random genotypes" in text
        assert cell in text


def test_seeds_and_genotypes_differ(compared: tuple[Outcome, Path]) -> None:
    """No two trainings give the same network."""
    losses = {record["loss"] for record in trainings(compared[1])}
    assert len(losses) == len(NAMES) * len(SEEDS)


def test_nothing_is_trained_anew(toy: Path, compared: tuple[Outcome, Path], copied: Path) -> None:
    """Run again, the tool takes everything over; where data are, and what only tells of it, may differ."""
    scripts = Scripts()
    again = compare(toy, copied, scripts=scripts, PRINT_FREQ=7, SEARCH__SPACE="s2")
    assert again.last_line == compared[0].last_line
    assert scripts.called == []
    assert trainings(copied) == trainings(compared[1])


def test_interrupted_comparison_goes_on(toy: Path, compared: tuple[Outcome, Path], copied: Path) -> None:
    """Only what is missing is trained, half a line being missing too, and to the same figures.

    One training's run was lost: it is made anew; the other's is there: it is gone on with.
    """
    lines = (copied / "trainings.jsonl").read_text().splitlines(keepends=True)
    (copied / "trainings.jsonl").write_text("".join(lines[:-2]) + lines[-1][:40])
    (lost,) = (copied / "runs" / "train").glob("paper-seed2-*")
    (kept,) = (copied / "runs" / "train").glob("random-1-seed2-*")
    shutil.rmtree(lost)
    scripts = Scripts()
    again = compare(toy, copied, scripts=scripts)
    assert json.loads(again.last_line) == json.loads(compared[0].last_line)
    assert [words[0] for words in scripts.called] == ["train.py", "train.py"]
    assert "--load_path" not in scripts.called[0]
    assert scripts.called[1][-2:] == ["--load_path", str(kept)]
    assert len(trainings(copied)) == len(lines)


def test_fewer_are_compared_from_what_there_is(toy: Path, copied: Path) -> None:
    """No random genotypes and one seed: nothing to train, and what cannot be computed is null."""
    scripts = Scripts()
    command = ("--cfg", SCRATCH, "--genotype", FOUND, "--random", 0, "--out", copied, "--seeds", 2)
    settings = options(DATASET__DATA_DIR=toy)
    outcome = call_tool(SCRIPT, *command, *settings, scripts=scripts)  # settings right after the seeds
    printed = json.loads(outcome.last_line)
    assert scripts.called == []
    assert list(printed["results"]) == ["found", "paper"]
    assert [result["loss_std"] for result in printed["results"].values()] == [None, None]
    assert printed["random"] == {"number": 0} | dict.fromkeys(("top1_mean", "top1_std", "loss_mean", "loss_std"))
    assert printed["beaten_by_random"] == {name: {"loss": 0, "top1": 0} for name in ("found", "paper")}


@pytest.mark.parametrize(
    ("arguments", "settings", "parts"),
    [
        ((), {"TRAIN__LR": 0.002}, ("TRAIN.LR 0.01 (now 0.002)", "--out")),
        ((), {"TRAIN__END_EPOCH": 2}, ("TRAIN.END_EPOCH 1 (now 2)", "--out")),
        (("--draw_seed", 1), {}, ("random-1", "--draw_seed", "--out")),
        (("--space", "s3"), {}, ("random-1", "--space", "--out")),
    ],
)
def test_other_settings_are_refused(
    toy: Path, compared: tuple[Outcome, Path], arguments: tuple, settings: dict, parts: tuple
) -> None:
    """What would be compared under different conditions is not; the culprit and the remedy are named."""
    scripts = Scripts()
    outcome = compare(toy, compared[1], *arguments, scripts=scripts, **settings)
    assert_refused(outcome, compared[1], *parts)
    assert scripts.called == []


def test_another_genotype_is_refused(toy: Path, compared: tuple[Outcome, Path]) -> None:
    """The name `found` stands for one genotype in a folder."""
    command = ("--cfg", SCRATCH, "--genotype", str(PAPER_GENOTYPE), "--out", compared[1])
    assert_refused(call_tool(SCRIPT, *command, *options(DATASET__DATA_DIR=toy)), "found", "--genotype", "--out")


@pytest.mark.parametrize("content", ["{}\n", "nonsense\n", "3\n"])
def test_damaged_trainings_are_refused(toy: Path, copied: Path, content: str) -> None:
    """The file and the line are named."""
    with open(copied / "trainings.jsonl", "a", encoding="utf-8") as file:
        file.write(content)
    assert_refused(compare(toy, copied), copied / "trainings.jsonl", "line 7", "--out")


@pytest.mark.parametrize("genotype", ["Genotype(normal=[])", "no/such/file"])
def test_bad_genotype(toy: Path, tmp_path: Path, genotype: str) -> None:
    """Nothing is made."""
    out = tmp_path / "out"
    assert_refused(compare(toy, out, "--genotype", genotype), "genotype")
    assert not out.exists()


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"MODEL__PRETRAINED": "some/file"}, "MODEL.PRETRAINED"),
        ({"MODEL__NAME": "resnet18"}, "MODEL.NAME"),
        ({"MODEL__NUM_CLASSES": 5}, "MODEL.NUM_CLASSES"),
        ({"TRAIN__BATCH_SIZE": 1000}, "TRAIN.BATCH_SIZE"),
    ],
)
def test_bad_recipe(toy: Path, tmp_path: Path, settings: dict, part: str) -> None:
    """It is refused before anything is made."""
    out = tmp_path / "out"
    assert_refused(compare(toy, out, **settings), part)
    assert not out.exists()


def test_folder_that_cannot_be_made(toy: Path, tmp_path: Path) -> None:
    """A file is in its place."""
    (tmp_path / "file").touch()
    assert_refused(compare(toy, tmp_path / "file"), "--out", tmp_path / "file")


@pytest.mark.parametrize(
    "arguments", [("--random", -1), ("--seeds", "one"), ("--seeds", 2**32), ("--seeds",), ("--space", "s4")]
)
def test_bad_options(toy: Path, tmp_path: Path, arguments: tuple) -> None:
    """The option is named."""
    outcome = compare(toy, tmp_path / "out", *arguments)
    assert outcome.status == 2
    assert arguments[0] in outcome.stderr.splitlines()[-1]


def test_without_a_test_part(toy: Path, tmp_path: Path) -> None:
    """The val part is evaluated, with the last epoch's network, and said so; the folder is made in OUT_DIR."""
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path, TRAIN__END_EPOCH=2, VAL_FREQ=1)
    command = ("--cfg", SCRATCH, "--genotype", FOUND, "--random", 0, "--seeds", 1, *settings)
    rows = Index.rows

    def without_test(index: Index, sub_dir: str, part: str) -> np.ndarray:
        return rows(index, sub_dir, part)[: 0 if part == "test" else None]

    with mock.patch.object(Index, "rows", without_test):
        outcome = call_tool(SCRIPT, *command)
    printed = json.loads(outcome.last_line)
    assert printed["part"] == "val"
    assert "of the val part" in outcome.stderr
    (folder,) = (tmp_path / "compare_genotypes").iterdir()
    for record in trainings(folder):
        epochs = (Path(record["run_dir"]) / "metrics.jsonl").read_text().splitlines()
        figures = json.loads(epochs[-1])  # the run's own, which are of the val part
        assert (len(epochs), record["epochs"]) == (2, 2)
        assert (record["top1"], record["loss"]) == pytest.approx((figures["val_top1"], figures["val_loss"]))
        assert printed["results"][record["name"]]["loss_mean"] == record["loss"]


def test_comparison_by_verification(toy: Path, tmp_path: Path) -> None:
    """With dev, the last epoch's network is tested by the corpus's trials; genotypes go by the names given."""
    settings = options(DATASET__DATA_DIR=toy, DATASET__SUB_DIR="dev", DATASET__VAL_SPEAKERS=0)
    command = (
        "--cfg",
        SCRATCH,
        "--genotype",
        f"mine-1={FOUND}",
        "--random",
        2,
        "--seeds",
        1,
        "--out",
        tmp_path / "out",
    )
    outcome = call_tool(SCRIPT, *command, *settings)
    assert outcome.status == 0, outcome.stderr
    printed = json.loads(outcome.last_line)
    assert (printed["part"], printed["trials"]) == ("trials", 96)
    assert list(printed["results"]) == ["mine-1", "paper", "random-1", "random-2"]
    for record in trainings(tmp_path / "out"):
        cfg = load_config(Path(record["run_dir"]) / "config.yaml")
        trained = load_trained(cfg, record["run_dir"], torch.device("cpu"))  # of one epoch: the best is the last
        trials = Corpus(cfg).test_trials()
        assert trials is not None
        figures = verify(trained.network, trained.front_end, Corpus(cfg), trials, trained.device)
        assert record["eer"] == pytest.approx(figures["eer"], abs=1e-6)
    tested = {(row["group"], row["figure"]): row for row in printed["against_chance"]}
    assert set(tested) == {(group, figure) for group in ("mine", "paper") for figure in ("eer", "min_dcf")}
    for row in tested.values():
        assert row["beats"][0] in (0, 0.5, 1)
        assert row["p"] >= 1 / 3 - 1e-9  # of three genotypes, one is as good as any
    assert "Against chance" in (tmp_path / "out" / "comparison.md").read_text()


@pytest.mark.parametrize("taken", ["paper", "random", "random-3", "found"])
def test_names_that_are_taken(toy: Path, tmp_path: Path, taken: str) -> None:
    """A name stands for one genotype; nothing is made."""
    assert_refused(compare(toy, tmp_path / "out", "--genotype", f"{taken}={FOUND}"), "--genotype", taken)
    assert not (tmp_path / "out").exists()
