"""A search's modes, and what ends it early."""

import math
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch

from config import load_config
from models.genotypes import parse_genotype
from tests.helpers import ROOT, SEARCH, call_script, options
from tests.runs import architecture, assert_same_checkpoint, metrics, only_run
from utils.records.checkpoint import load_checkpoint
from utils.search.monitor import SearchClock
from utils.system.errors import UserError


@pytest.fixture(autouse=True)
def reports() -> Iterator[mock.Mock]:
    """Stands for drawing and reporting, which take longer than the searches: tests/scripts/test_search.py has them."""
    with mock.patch("utils.search.loop.report") as called:
        yield called


@pytest.mark.parametrize(
    "settings",
    [
        {"SEARCH__GRADIENT": "dense"},
        {"SEARCH__GRADIENT": "sampled", "SEARCH__TEMPERATURE": 5, "SEARCH__TEMPERATURE_END": 0.1},
        {"SEARCH__SAMPLING": "softmax", "SEARCH__DATA_SPLIT": "halves"},
        {"SEARCH__SPACE": "s3", "FRONTEND__FEATURE": "log_mel", "FRONTEND__BANDS": 40},
    ],
    ids=str,
)
def test_modes_of_a_search(toy: Path, tmp_path: Path, settings: dict) -> None:
    """Each searches, moves alpha, and leaves a genotype and the figures that tell how it goes."""
    small = {"TRAIN__END_EPOCH": 2, "TRAIN__BATCH_SIZE": 12, "DATASET__PARTIAL_N_FRAMES": 32}
    chosen = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path, **small, **settings)
    outcome = call_script("search.py", "--cfg", SEARCH, *chosen)
    assert outcome.status == 0, outcome.stderr
    assert [f"{key.replace('__', '.')} {value}" in outcome.last_line for key, value in settings.items()] == [
        key.startswith("FRONTEND") for key in settings
    ]  # the command that trains what was found
    run_dir = only_run(tmp_path, "search")
    figures, records = metrics(run_dir), architecture(run_dir)
    names = {f"{name}_{kind}" for kind in ("normal", "reduce") for name in ("entropy", "skip_share", "changed_edges")}
    names |= {f"{path}_{name}" for path in ("argmax", "paths") for name in ("top1", "loss")}
    assert names | {"train_loss", "val_top1", "paths_top1_std"} <= set(figures[-1])
    assert all(math.isfinite(value) for line in figures for value in line.values())
    assert records[0]["normal"]["alpha"] != records[1]["normal"]["alpha"]
    assert [len(record["reduce"]["entropies"]) for record in records] == [14, 14]
    assert records[-1]["genotype"] == str(parse_genotype((run_dir / "genotype.txt").read_text()))


def test_exact_and_dense_searches_agree(toy: Path, tmp_path: Path) -> None:
    """A search's first steps by either way end with nearly the same alpha: in float32, only rounding differs."""
    alphas = {}
    for gradient in ("exact", "dense", "sampled"):
        settings = {"SEARCH__GRADIENT": gradient, "OUT_DIR": tmp_path / gradient}
        settings |= {"SEARCH__DATA_SPLIT": "halves", "TRAIN__BATCH_SIZE": 12, "TRAIN__ARCH_LR": 0.01}
        settings |= {"DATASET__PARTIAL_N_FRAMES": 32}
        call_script("search.py", "--cfg", SEARCH, *options(DATASET__DATA_DIR=toy, **settings))
        (record,) = architecture(only_run(tmp_path / gradient, "search"))
        alphas[gradient] = np.array([record["normal"]["alpha"], record["reduce"]["alpha"]])
    difference = np.abs(alphas["exact"] - alphas["dense"])  # Adam's first step is about ARCH_LR in every element
    assert np.mean(difference < 1e-3) > 0.97
    assert np.mean(np.abs(alphas["exact"] - alphas["sampled"]) < 1e-3) < 0.9


def test_search_ends_within_an_epoch_when_its_hours_are_over(toy: Path, tmp_path: Path, reports: mock.Mock) -> None:
    """With the genotype of then and a checkpoint; it goes on from that very step once it may take longer."""
    settings = options(DATASET__DATA_DIR=toy, TRAIN__END_EPOCH=2, SEARCH__REPORT=True)
    outcome = call_script("search.py", "--cfg", SEARCH, *settings, "OUT_DIR", tmp_path, "SEARCH.MAX_HOURS", 1e-9)
    assert outcome.status == 0, outcome.stderr
    run_dir = only_run(tmp_path, "search")
    assert "SEARCH.MAX_HOURS 1e-09 are over" in outcome.stderr
    assert architecture(run_dir) == []
    assert outcome.stdout.splitlines()[-2] == (run_dir / "genotype.txt").read_text().strip()
    assert reports.call_args.args[-1] == "SEARCH.MAX_HOURS 1e-09 are over"
    assert not (run_dir / "last.pt").exists()  # it was over before the first step

    with mock.patch.object(SearchClock, "is_over", lambda clock: "over" if clock._steps == 2 else ""):
        outcome = call_script("search.py", "--cfg", SEARCH, *settings, "OUT_DIR", tmp_path / "two")
    assert outcome.status == 0, outcome.stderr
    run_dir = only_run(tmp_path / "two", "search")
    checkpoint = load_checkpoint(run_dir / "last.pt", ("search",))
    assert (checkpoint.epoch, checkpoint.batch, checkpoint.step) == (0, 2, 2)
    assert architecture(run_dir) == []
    before = (run_dir / "genotype.txt").read_text()
    with mock.patch.object(SearchClock, "is_over", lambda clock: "still over"):
        outcome = call_script("search.py", "--cfg", SEARCH, *settings, "--load_path", run_dir)
    assert outcome.stdout.splitlines()[-2] == before.strip() == (run_dir / "genotype.txt").read_text().strip()
    call_script("search.py", "--cfg", SEARCH, *settings, "--load_path", run_dir)
    call_script("search.py", "--cfg", SEARCH, *settings, "OUT_DIR", tmp_path / "whole")
    whole = only_run(tmp_path / "whole", "search")
    assert architecture(run_dir) == architecture(whole)
    assert metrics(run_dir) == metrics(whole)


def test_search_that_collapses_ends_early(toy: Path, tmp_path: Path) -> None:
    """SEARCH.COLLAPSE_PATIENCE epochs after skip connections took over."""
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path, TRAIN__END_EPOCH=5, SEARCH__COLLAPSE_PATIENCE=2)
    with mock.patch("utils.search.monitor.COLLAPSE", 0):  # as if any cell had too many
        outcome = call_script("search.py", "--cfg", SEARCH, *settings)
    assert outcome.status == 0, outcome.stderr
    assert len(architecture(only_run(tmp_path, "search"))) == 2
    assert "for 2 epochs (SEARCH.COLLAPSE_PATIENCE)" in outcome.stderr


WARMED = {"SEARCH__WARMUP_EPOCHS": 1, "SEARCH__PATHS": "genotypes", "TRAIN__END_EPOCH": 2}


def test_search_with_a_warm_up_and_a_ranking(toy: Path, tmp_path: Path) -> None:
    """Alpha rests in the first epoch and learns in the second; the best candidate of the ranking comes out.

    Interrupted within the warm-up and gone on with, it is the same search.
    """
    settings = options(DATASET__DATA_DIR=toy, SEARCH__CHOOSE="ranked", SEARCH__CANDIDATES=4, VAL_FREQ=1, **WARMED)
    outcome = call_script("search.py", "--cfg", SEARCH, *settings, "OUT_DIR", tmp_path / "whole")
    assert outcome.status == 0, outcome.stderr
    run_dir = only_run(tmp_path / "whole", "search")
    first, second = metrics(run_dir)
    assert not {"val_loss", "val_top1"} & set(first)
    assert {"train_loss", "argmax_loss", "paths_loss", "warmup"} <= set(first)
    assert {"val_loss", "val_top1"} <= set(second)
    assert "warmup" not in second
    alphas = [np.array([record[kind]["alpha"] for kind in ("normal", "reduce")]) for record in architecture(run_dir)]
    assert np.abs(alphas[0]).max() < 0.01  # as it began
    assert np.abs(alphas[1]).max() > 0.01
    ranking = pd.read_csv(run_dir / "ranking.csv")
    assert list(ranking) == ["rank", "source", "top1", "loss", "genotype"]
    assert sorted(ranking["source"]) == ["alpha", "alpha", "argmax", "chance"]
    genotype, command = outcome.stdout.splitlines()[-2:]
    assert genotype == ranking["genotype"][0] == (run_dir / "genotype.txt").read_text().strip()
    assert genotype in command
    assert architecture(run_dir)[-1]["genotype"] == ranking.set_index("source")["genotype"]["argmax"]

    with mock.patch.object(SearchClock, "is_over", lambda clock: "over" if clock._steps == 2 else ""):
        call_script("search.py", "--cfg", SEARCH, *settings, "OUT_DIR", tmp_path / "parts")
    parts = only_run(tmp_path / "parts", "search")
    assert load_checkpoint(parts / "last.pt", ("search",)).batch == 2
    again = call_script("search.py", "--cfg", SEARCH, *settings, "--load_path", parts)
    assert again.status == 0, again.stderr
    assert_same_checkpoint(parts / "last.pt", run_dir / "last.pt")
    assert metrics(parts) == metrics(run_dir)
    assert (parts / "ranking.csv").read_text() == (run_dir / "ranking.csv").read_text()


def test_stems_of_the_supernet(toy: Path, tmp_path: Path) -> None:
    """A run with one goes on with it alone."""
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path, TRAIN__END_EPOCH=1)
    outcome = call_script("search.py", "--cfg", SEARCH, *settings, "SEARCH.STEM", "paper")
    assert outcome.status == 0, outcome.stderr
    run_dir = only_run(tmp_path, "search")
    outcome = call_script("search.py", "--cfg", SEARCH, *settings, "--load_path", run_dir)
    assert outcome.status == 2
    assert "paper" in outcome.stderr.splitlines()[-1]


def test_alpha_that_is_no_number_ends_the_search(toy: Path, tmp_path: Path) -> None:
    """The loss stays finite, since `none` comes first; no genotype of chance and no checkpoint is left by it."""

    def spoil(alpha: torch.optim.Adam) -> None:
        for parameter in alpha.param_groups[0]["params"]:
            parameter.data.fill_(math.nan)

    step, settings = torch.optim.Adam.step, options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path, TRAIN__END_EPOCH=2)

    def step_and_spoil(optimizer: torch.optim.Adam, *arguments: object) -> object:
        outcome = step(optimizer, *arguments)
        if len(optimizer.param_groups[0]["params"]) == 2 and only_run(tmp_path, "search").joinpath("last.pt").exists():
            spoil(optimizer)
        return outcome

    with mock.patch.object(torch.optim.Adam, "step", step_and_spoil):
        outcome = call_script("search.py", "--cfg", SEARCH, *settings)
    run_dir = only_run(tmp_path, "search")
    assert outcome.status == 3
    assert "alpha_normal and 1 others are not finite in epoch 2" in outcome.stderr.splitlines()[-1]
    assert outcome.stdout == ""
    assert len(metrics(run_dir)) == len(architecture(run_dir)) == 1
    assert load_checkpoint(run_dir / "last.pt", ("search",)).epoch == 1
    assert architecture(run_dir)[0]["genotype"] == (run_dir / "genotype.txt").read_text().strip()


def test_softmax_has_no_sampled_gradient() -> None:
    """A combination without a meaning is told in one line."""
    with pytest.raises(UserError, match=r"SEARCH\.GRADIENT sampled needs SEARCH\.SAMPLING gumbel"):
        load_config(ROOT / SEARCH, ["SEARCH.SAMPLING", "softmax", "SEARCH.GRADIENT", "sampled"])
