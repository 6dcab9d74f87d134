"""Following a search, and ending it: what is recorded of alpha, collapse, time; how its modes run."""

import json
import math
import time
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from config import load_config
from data_objects.corpus import Corpus
from data_objects.lists import speaker_of
from models.genotypes import PAPER_GENOTYPE, SEARCH_SPACES, parse_genotype
from models.supernet import Supernet
from tests.helpers import ROOT, SCRATCH, SEARCH, call_script, options
from tests.scripts.test_scripts import metrics, only_run
from utils.records.checkpoint import load_checkpoint
from utils.search.monitor import (
    SearchClock,
    SearchHistory,
    count_changes,
    edge_entropies,
    parameter_free_share,
    skip_share,
)
from utils.system.errors import UserError

SKIPS = PAPER_GENOTYPE._replace(normal=(("skip_connect", 0), ("skip_connect", 1), *PAPER_GENOTYPE.normal[2:]))


def architecture(run_dir: Path) -> list[dict]:
    """The recorded epochs of a search, without the time they took."""
    lines = map(json.loads, (run_dir / "architecture.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name != "hours"} for line in lines]


# ------------------------------------------------------------------------------------------------------------------
# Following
# ------------------------------------------------------------------------------------------------------------------
def test_entropies_of_the_edges() -> None:
    """log(n) where all operations are alike, 0 where one has it all, and by definition in between."""
    alpha = torch.zeros(14, 8)
    alpha[0, 3] = 100
    alpha[1, :2] = torch.tensor([0.5, -1.0])
    entropies = edge_entropies(alpha)
    p = np.exp(alpha[1].double().numpy()) / np.exp(alpha[1].double().numpy()).sum()
    assert entropies[0] == pytest.approx(0, abs=1e-9)
    assert entropies[1] == pytest.approx(-(p * np.log(p)).sum())
    assert entropies[2:] == pytest.approx([math.log(8)] * 12)


def test_changed_edges() -> None:
    """Edges of a node that the node did not have; their order does not count, the node does."""
    genes = PAPER_GENOTYPE.normal
    assert count_changes(genes, genes) == 0
    assert count_changes((genes[1], genes[0], *genes[2:]), genes) == 0
    assert count_changes((("skip_connect", 0), *genes[1:]), genes) == 1
    assert count_changes((*genes[2:4], *genes[:2], *genes[4:]), genes) > 0
    assert count_changes((("skip_connect", 0), ("skip_connect", 1)) * 4, genes) == 8


def test_shares_of_operations() -> None:
    """Of a cell's 8 edges; a strided skip connection has weights."""
    assert skip_share(SKIPS.normal) == 2 / 8
    assert parameter_free_share(PAPER_GENOTYPE.reduce, reduction=True) == 3 / 8
    assert parameter_free_share(SKIPS.normal, reduction=False) == 3 / 8
    assert parameter_free_share(SKIPS.normal, reduction=True) == 1 / 8
    assert parameter_free_share((*SKIPS.normal[:7], ("skip_connect", 3)), reduction=True) == 1 / 8


def history_of(tmp_path: Path, genotypes: list, patience: int = 0) -> SearchHistory:
    """A history of epochs that derived to these genotypes."""
    supernet = Supernet(SEARCH_SPACES["s2"], 2, 3, 2)
    tmp_path.mkdir(exist_ok=True)
    history = SearchHistory(tmp_path, patience=patience)
    for epoch, genotype in enumerate(genotypes, start=1):
        with mock.patch.object(Supernet, "genotype", lambda self, genotype=genotype: genotype):
            history.add(epoch, float(epoch), supernet, str(PAPER_GENOTYPE))
    return history


def test_collapse_is_warned_of_and_ends_the_search_when_it_lasts(tmp_path: Path) -> None:
    """Two skip connections in the normal cell; the genotype is then that of the last epoch before."""
    sound = PAPER_GENOTYPE._replace(reduce=SKIPS.normal)  # skip connections in the reduction cell do not count
    history = history_of(tmp_path, [SKIPS, PAPER_GENOTYPE, sound], patience=2)
    assert (history.collapsed_epochs(), history.warning(), history.is_over()) == (0, "", "")
    history = history_of(tmp_path / "one", [SKIPS, PAPER_GENOTYPE, sound, SKIPS], patience=2)
    assert history.collapsed_epochs() == 1
    assert "for 1 epoch now" in history.warning()
    assert (history.is_over(), history.genotype()) == ("", SKIPS)
    history = history_of(tmp_path / "over", [PAPER_GENOTYPE, sound, SKIPS, SKIPS], patience=2)
    assert "SEARCH.COLLAPSE_PATIENCE" in history.is_over()
    assert history.genotype() == sound
    assert history_of(tmp_path / "all", [SKIPS, SKIPS], patience=2).genotype() == SKIPS


def test_history_goes_on_from_the_epochs_done(tmp_path: Path) -> None:
    """Later epochs, left by an interruption, are taken out."""
    history_of(tmp_path, [PAPER_GENOTYPE, SKIPS, SKIPS])
    history = SearchHistory(tmp_path, epochs_done=2)
    assert [record["epoch"] for record in history.records] == [1, 2]
    assert history.hours == 2
    assert len((tmp_path / "architecture.jsonl").read_text().splitlines()) == 2


def test_clock_estimates_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 50 iterations it tells what the rest takes by the speed since the 10th; hours from before count."""
    now = 1000.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    clock = SearchClock(steps=50 + 1800, hours=1.0, max_hours=1.05)
    messages = []
    for step in range(60):
        now += 30.0 if step < 10 else 2.0  # the first iterations are slow
        messages.append(clock.tick())
        if step == 8:
            assert "1.05" in clock.is_over()
    (message,) = filter(None, messages)
    assert messages.index(message) == 49
    assert message.startswith("2 s an iteration: 1 h are left of an estimated 2.11 h in all")
    assert SearchClock(10, 5.0, 0.0).is_over() == ""


# ------------------------------------------------------------------------------------------------------------------
# Data
# ------------------------------------------------------------------------------------------------------------------
def test_halves_of_the_train_part(toy: Path) -> None:
    """Disjoint, all of it, half of every speaker's utterances in each; decided by the seed."""
    settings = options(DATASET__DATA_DIR=toy)
    corpus = Corpus(load_config(ROOT / SEARCH, settings))
    first, second = (set(loader.batches.rows.tolist()) for loader in corpus.halves())
    assert not first & second
    assert first | second == set(corpus.rows("train").tolist())
    counts = [Counter(speaker_of(corpus.index.utterances[row]) for row in half) for half in (first, second)]
    assert all(0 <= counts[0][speaker] - counts[1][speaker] <= 1 for speaker in corpus.speakers)
    assert set(Corpus(load_config(ROOT / SEARCH, settings)).halves()[0].batches.rows.tolist()) == first
    other = Corpus(load_config(ROOT / SEARCH, [*settings, "SEED", "4"]))
    assert set(other.halves()[0].batches.rows.tolist()) != first


def test_batches_of_the_halves_are_drawn_apart(toy: Path) -> None:
    """Of halves as large as each other, alpha's batches have other speakers than those of the weights."""
    loaders = Corpus(load_config(ROOT / SEARCH, options(DATASET__DATA_DIR=toy))).halves()
    labels = [[label for batch in loader.epoch(0) for label in batch.labels.tolist()] for loader in loaders]
    assert sorted(labels[0]) == sorted(labels[1])
    assert labels[0] != labels[1]


def test_half_with_less_than_a_batch(toy: Path) -> None:
    """One line that names the setting."""
    corpus = Corpus(load_config(ROOT / SEARCH, options(DATASET__DATA_DIR=toy, TRAIN__BATCH_SIZE=13)))
    with pytest.raises(UserError, match=r"TRAIN\.BATCH_SIZE 13 is more than the 12 utterances of half of the train"):
        corpus.halves()


# ------------------------------------------------------------------------------------------------------------------
# The script
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "settings",
    [
        {"SEARCH__GRADIENT": "dense"},
        {"SEARCH__GRADIENT": "sampled", "SEARCH__TEMPERATURE": 5, "SEARCH__TEMPERATURE_END": 0.1},
        {"SEARCH__SAMPLING": "softmax", "SEARCH__DATA_SPLIT": "halves"},
        {"SEARCH__SPACE": "s3"},
    ],
    ids=str,
)
def test_modes_of_a_search(toy: Path, tmp_path: Path, settings: dict) -> None:
    """Each searches, moves alpha, and leaves a genotype and the figures that tell how it goes."""
    chosen = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path, TRAIN__END_EPOCH=2, **settings)
    outcome = call_script("search.py", "--cfg", SEARCH, *chosen)
    assert outcome.status == 0, outcome.stderr
    run_dir = only_run(tmp_path, "search")
    figures, records = metrics(run_dir), architecture(run_dir)
    names = {f"{name}_{kind}" for kind in ("normal", "reduce") for name in ("entropy", "skip_share", "changed_edges")}
    assert names | {"argmax_top1", "argmax_loss", "train_loss", "val_top1"} <= set(figures[-1])
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
        call_script("search.py", "--cfg", SEARCH, *options(DATASET__DATA_DIR=toy, **settings))
        (record,) = architecture(only_run(tmp_path / gradient, "search"))
        alphas[gradient] = np.array([record["normal"]["alpha"], record["reduce"]["alpha"]])
    difference = np.abs(alphas["exact"] - alphas["dense"])  # Adam's first step is about ARCH_LR in every element
    assert np.mean(difference < 1e-3) > 0.97
    assert np.mean(np.abs(alphas["exact"] - alphas["sampled"]) < 1e-3) < 0.9


def test_search_ends_within_an_epoch_when_its_hours_are_over(toy: Path, tmp_path: Path) -> None:
    """With the genotype of then and a checkpoint; it goes on from that very step once it may take longer."""
    settings = options(DATASET__DATA_DIR=toy, TRAIN__END_EPOCH=2)
    outcome = call_script("search.py", "--cfg", SEARCH, *settings, "OUT_DIR", tmp_path, "SEARCH.MAX_HOURS", 1e-9)
    assert outcome.status == 0, outcome.stderr
    run_dir = only_run(tmp_path, "search")
    assert "SEARCH.MAX_HOURS 1e-09 are over" in outcome.stderr
    assert architecture(run_dir) == []
    assert outcome.stdout.splitlines()[-2] == (run_dir / "genotype.txt").read_text().strip()
    assert (run_dir / "genotype.png").is_file()
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


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))],
)
@pytest.mark.parametrize("script", ["search", "train"])
def test_learning_in_bfloat16(toy: Path, tmp_path: Path, script: str, device: str) -> None:
    """Losses are finite and near those in float32; weights and the norms' statistics stay in float32."""
    arguments = ["--text_arch", str(PAPER_GENOTYPE)] if script == "train" else []
    losses = {}
    for precision in ("fp32", "bf16"):
        settings = {"DATASET__DATA_DIR": toy, "OUT_DIR": tmp_path / precision, "TRAIN__PRECISION": precision}
        settings |= {"DEVICE": device, "TRAIN__LR": 0.001}
        config = SEARCH if script == "search" else SCRATCH
        outcome = call_script(f"{script}.py", "--cfg", config, *arguments, *options(**settings))
        assert outcome.status == 0, outcome.stderr
        run_dir = only_run(tmp_path / precision, script)
        losses[precision] = metrics(run_dir)[0]["train_loss"]
        model = load_checkpoint(run_dir / "last.pt", (script,)).model
        assert {value.dtype for value in model.values()} == {torch.float32, torch.int64}
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)


def test_softmax_has_no_sampled_gradient() -> None:
    """A combination without a meaning is told in one line."""
    with pytest.raises(UserError, match=r"SEARCH\.GRADIENT sampled needs SEARCH\.SAMPLING gumbel"):
        load_config(ROOT / SEARCH, ["SEARCH.SAMPLING", "softmax", "SEARCH.GRADIENT", "sampled"])
