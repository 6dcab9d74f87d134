"""tools/benchmark.py: what it computes of what it measures, how it measures it, and what it refuses."""

import json
import math
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch

from data_objects.frontend import span
from models.genotypes import PAPER_GENOTYPE
from models.network import Network
from tests.helpers import Outcome, call_script, run_script
from tools.benchmarks import measure, train

SMALL = ("--layers", 3, "--channels", 4, "--frames", 64, "--device", "cpu", "--iterations", 1, "--rounds", 1)
DATA = ("--layers", 3, "--channels", 4, "--frames", 64, "--device", "cpu", "--seconds", 0.05, "--num_workers", 0)
CASE = {"layers": 3, "channels": 4, "batch_size": 4, "frames": 64, "classes": 6, "genotype": str(PAPER_GENOTYPE)}
CASE |= {"device": "cpu", "drop_path": 0.1, "data_dir": None, "num_workers": 0, "steps": 12}

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    """Cases of `train` are measured within this process, held against small matrices; the function that does it."""
    run_here = mock.Mock(side_effect=lambda command, case, name, environment: train.measure(case))
    monkeypatch.setattr(train, "run_case", run_here)
    monkeypatch.setitem(measure.MATRIX_SIZE, "cpu", 64)
    return run_here


def refusal(outcome: Outcome) -> str:
    """The line that tells why nothing was done."""
    assert outcome.status == 2
    (line,) = outcome.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize("command", ["search", "train", "data", "scale", "preprocess"])
def test_help_of_a_command_answers_without_torch(command: str) -> None:
    """It says what is measured; nothing slow is imported for it."""
    outcome = run_script("-X", "importtime", "tools/benchmark.py", command, "--help", check=True)
    imported = {line.rpartition("|")[2].strip() for line in outcome.stderr.splitlines()}
    assert "argparse" in imported
    assert not {"torch", "numpy"} & imported
    assert "--json" in outcome.stdout


# ------------------------------------------------------------------------------------------------------------------
# Search
# ------------------------------------------------------------------------------------------------------------------
@on_linux
def test_benchmark_of_a_search() -> None:
    """One JSON object; the ratios are those of its own figures."""
    report = json.loads(run_script("tools/benchmark.py", "search", *SMALL, "--json", check=True).stdout)
    for mode in ("dense", "dense_channels_last", "exact", "sampled"):
        assert report[mode]["seconds"] > 0
        assert report[mode]["peak_mb"] > 0
    assert report["ratio"]["time"] == report["dense"]["seconds"] / report["exact"]["seconds"]
    assert report["ratio"]["memory"] == report["dense"]["peak_mb"] / report["exact"]["peak_mb"]
    assert (report["layers"], report["batch_size"], report["frames"], report["precision"]) == (3, 2, 64, "fp32")
    iterations = 50 * (138_361 // 2)
    assert report["exact"]["voxceleb1_hours"] == pytest.approx(report["exact"]["seconds"] * iterations / 3600)


@pytest.mark.parametrize("option", [("--batch_size", "some"), ("--layers", 2), ("--rounds", 0)])
def test_benchmark_of_a_search_refuses_what_cannot_be(option: tuple) -> None:
    """In one line, with exit status 2."""
    assert str(option[0]) in refusal(call_script("tools/benchmark.py", "search", *SMALL, *option))


# ------------------------------------------------------------------------------------------------------------------
# Train
# ------------------------------------------------------------------------------------------------------------------
def test_figures_of_rows() -> None:
    """By hand: of two rounds, the median without the first three steps, and what follows from it."""
    first = {"seconds": [9, 9, 9, 2.5, 2], "waiting": [9, 0, 0, 0.1, 0.2], "front_end": [0, 0, 0, 0.2, 0.7]}
    second = {"seconds": [5, 5, 5, 2, 2.5], "waiting": [0, 0, 0, 0.3, 0.3], "front_end": [0, 0, 0, 0, 0]}
    measured = {"losses": [1], "macs": 10}
    first |= measured | {"rate": 100.0, "peak_mb": 7.0}
    second |= measured | {"rate": 300.0, "peak_mb": 5.0}
    slow = first | {"seconds": [1, 1, 1, 4.5, 4.5]}
    outcomes = {"fp32": [slow], "fp32_compiled": [first, second], "bf16": [second, {"error": "out of memory"}]}
    report = train.summarise({"batch_size": 9, "data_dir": "corpus"}, outcomes)
    assert report["variants"]["fp32_compiled"] == {
        "seconds": 2.25,
        "utterances_per_second": 4.0,
        "ratio": 2.0,
        "flops_per_second": 240.0,
        "multiply_flops_per_second": 300.0,
        "share": 0.8,
        "peak_mb": 7.0,
        "compile_seconds": 27 - 3 * 2.25,
        "waiting_share": pytest.approx(0.9 / 9),
        "front_end_share": pytest.approx(0.9 / 9),
        "voxceleb1_hours": 301 * 138_361 / 4 / 3600,
    }
    assert (report["reference"], report["macs"], report["variants"]["fp32"]["compile_seconds"]) == ("fp32", 10, None)
    assert set(report["variants"]["bf16"].values()) == {None}


@on_linux
def test_benchmark_of_training() -> None:
    """One JSON object, of a process for each row; its figures agree with each other."""
    options = ("--batch_size", 4, "--json")
    report = json.loads(call_script("tools/benchmark.py", "train", *SMALL, *options).stdout)
    assert list(report["variants"]) == ["channels_first", "fp32", "bf16"]
    for row in report["variants"].values():
        assert row["utterances_per_second"] == 4 / row["seconds"]
        assert row["ratio"] == report["variants"]["channels_first"]["seconds"] / row["seconds"]
        assert row["flops_per_second"] == pytest.approx(6 * report["macs"] * 4 / row["seconds"])
        assert row["share"] == row["flops_per_second"] / row["multiply_flops_per_second"]
        assert 0 < row["share"] < 1
        assert row["voxceleb1_hours"] == pytest.approx(301 * 138_361 * row["seconds"] / 4 / 3600)
        assert row["peak_mb"] > 0
        assert row["waiting_share"] is None
    assert (report["layers"], report["classes"], report["genotype"]) == (3, 1251, str(PAPER_GENOTYPE))


@on_linux
def test_benchmark_of_training_on_a_corpus(toy: Path, here: mock.Mock) -> None:
    """The table has the shares of loader and front end, and every row its losses; a step's parts are less than it."""
    options = ("--batch_size", 4, "--data_dir", toy, "--num_workers", 1, "--curve", 12)
    options = (*options, "--variants", "channels_first", "fp32")
    outcome = call_script("tools/benchmark.py", "train", *SMALL, *options)
    assert outcome.status == 0, outcome.stderr
    table, curve = (block.splitlines() for block in outcome.stdout.strip().split("\n\n"))
    assert "classes 6" in table[0]
    assert all(heading in table[1] for heading in ("s/step", "share", "waiting", "front end", "hours"))
    assert [line.split()[0] for line in table[2:4]] == ["channels_first", "fp32"]
    assert curve[1].split() == ["channels_first", "fp32", "channels_first_nudged"]
    assert len(curve) == 13
    assert all(0 < float(difference) < 0.1 for difference in curve[-1].split()[-2:])
    measured = train.measure(here.call_args.args[1])
    for seconds, waiting, front_end in zip(*(measured[name] for name in train.TIMES), strict=True):
        assert 0 < waiting + front_end < seconds


@on_linux
def test_rows_begin_alike(toy: Path, here: mock.Mock) -> None:
    """Weights, batches and drop-path are the same for every row and every time."""
    case = CASE | {"data_dir": str(toy)}
    losses = [train.measure(case | {"row": row})["losses"] for row in ("fp32", "fp32", "channels_first", "fp32_nudged")]
    assert losses[0] == losses[1]
    for others in losses[2:]:
        assert others != losses[0]
        assert others[:3] == pytest.approx(losses[0][:3], rel=1e-3)
    assert len(set(losses[0])) == 12


def test_curves_are_compared_by_tenths() -> None:
    """Of 25 steps, parts of two and three; the largest difference is that of one part's mean."""
    first = [float(step) for step in range(25)]
    second = [value + (3 if step == 24 else 0.5) for step, value in enumerate(first)]
    curve = train.compare_curves({"fp32": [{"losses": first}], "bf16": [{"losses": second}, {"losses": [0.0]}]})
    assert curve["steps"] == 25
    assert curve["tenths"]["fp32"] == [0.5, 3, 5.5, 8, 10.5, 13, 15.5, 18, 20.5, 23]
    assert curve["largest_difference"] == {"fp32": 0, "bf16": pytest.approx((0.5 + 0.5 + 3) / 3)}


def test_rows_are_as_they_are_called() -> None:
    """channels_first is so in memory, and never compiled; compiled rows are, the others are not."""
    assert train.list_rows(["channels_first", "fp32", "fp32"], "off") == ["channels_first", "fp32"]
    rows = train.list_rows(["channels_first", "fp32"], "both")
    assert rows == ["channels_first", "fp32", "fp32_compiled"]
    assert train.list_rows(["channels_first", "bf16"], "on") == ["channels_first", "bf16_compiled"]
    layouts, compiled = [], []
    for row in rows:
        with mock.patch.object(Network, "compile_for_training") as compile_for_training:
            network, macs = train.build_network(CASE | {"row": row}, torch.device("cpu"))
        states = []
        hook = network.cells[0].register_forward_hook(lambda cell, inputs, output, states=states: states.append(output))
        network(torch.randn(2, 64, 257))
        hook.remove()
        layouts.append(states[0].is_contiguous())
        compiled.append(compile_for_training.called)
        assert (network.training, network.drop_path_probability) == (True, 0.1)
        assert macs > 0
    assert layouts == [True, False, False]
    assert compiled == [False, False, True]


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (("--variants", "fp32", "tf32"), "--variants tf32 needs a CUDA device"),
        (("--curve", 20), "--curve needs --data_dir"),
        (("--curve", 9), "--curve must be at least 10"),
        (("--layers", 2), "--layers must be at least 3"),
        (("--batch_size", 0), "--batch_size must be at least 1"),
        (("--rounds", 0), "--rounds must be at least 1"),
        (("--drop_path", 1), "--drop_path must be a probability"),
        (("--genotype", "nowhere"), "no genotype"),
        (("--data_dir", "nowhere"), "nowhere"),
    ],
    ids=str,
)
def test_benchmark_of_training_refuses_what_cannot_be(option: tuple, reason: str) -> None:
    """In one line that names the option, with exit status 2."""
    assert reason in refusal(call_script("tools/benchmark.py", "train", *SMALL, *option))


def test_corpus_that_does_not_fit(toy: Path) -> None:
    """More speakers than classes, or less than a batch, is told before any process is begun."""
    arguments = ("tools/benchmark.py", "train", *SMALL, "--data_dir", toy)
    assert "--classes 2 is less than the 6 speakers" in refusal(call_script(*arguments, "--classes", 2))
    assert "BATCH_SIZE 1000 is more than the" in refusal(call_script(*arguments, "--batch_size", 1000))


# ------------------------------------------------------------------------------------------------------------------
# Data
# ------------------------------------------------------------------------------------------------------------------
@on_linux
def test_benchmark_of_loading(toy: Path) -> None:
    """One JSON object: a crop costs the bytes of its samples and their context, and hardly more, in a read or so."""
    options = ("--data_dir", toy, "--batch_size", 6, "--train_batch_size", 4, "--num_workers", 1, "--json")
    outcome = call_script("tools/benchmark.py", "data", *DATA, *options)
    assert outcome.status == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert 2 * 63 * 160 <= report["bytes_per_crop"] <= 1.05 * 2 * span(64)
    assert 1 <= report["reads_per_crop"] < 2
    names = ("loader", "front_end", "original")
    rates = [report[f"{name}_crops_per_second"] for name in names]
    rates.append(report["loader_crops_per_second_without_workers"])
    assert all(math.isfinite(rate) and rate > 0 for rate in rates)
    training = report["training"]
    assert training["steps"] >= 5
    shares = [training[name] for name in ("waiting_share", "mean_waiting_share", "front_end_share")]
    assert all(0 < share < 1 for share in shares)


@on_linux
def test_table_of_loading(toy: Path) -> None:
    """What people read of it; where the system does not count reads, the rest is told."""
    with mock.patch("tools.benchmarks.data.count_reads", dict):
        outcome = call_script("tools/benchmark.py", "data", *DATA, "--data_dir", toy, "--batch_size", 6)
    assert outcome.status == 0, outcome.stderr
    assert "read for a crop" not in outcome.stdout
    for text in ("loader, 0 workers", "loader and front end", "waiting for data", "1650"):
        assert text in outcome.stdout


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (("--seconds", 0), "--seconds must be more than 0"),
        (("--num_workers", -1), "--num_workers must be at least 0"),
        (("--layers", 2), "--layers must be at least 3"),
        (("--train_batch_size", 1000), "BATCH_SIZE 1000 is more than the"),
        (("--batch_size", 1000), "BATCH_SIZE 1000 is more than the"),
    ],
    ids=str,
)
def test_benchmark_of_loading_refuses_what_cannot_be(toy: Path, option: tuple, reason: str) -> None:
    """In one line, with exit status 2."""
    arguments = ("--data_dir", toy, "--batch_size", 6)
    assert reason in refusal(call_script("tools/benchmark.py", "data", *DATA, *arguments, *option))


# ------------------------------------------------------------------------------------------------------------------
# Measuring
# ------------------------------------------------------------------------------------------------------------------
def test_rate_of_multiplications(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 n³ operations over the shortest of several times, the first of which does not count."""
    monkeypatch.setitem(measure.MATRIX_SIZE, "cpu", 10)
    times = iter([0, 0.001, 1, 5, 6, 8, 9, 12, 13, 17, 18, 23])
    monkeypatch.setattr(measure, "clock", lambda device: next(times))
    assert measure.multiply_rate(torch.device("cpu"), torch.float32) == 2 * 10**3 / 2


@on_linux
def test_peak_of_memory_begins_anew() -> None:
    """What was freed before is forgotten, what is taken after counts."""
    cpu = torch.device("cpu")
    torch.ones(50_000_000)  # 200 MB, freed at once
    measure.forget_peak(cpu)
    before = measure.peak_mb(cpu)
    torch.ones(25_000_000)
    assert 80 < measure.peak_mb(cpu) - before < 180


def test_table_is_aligned() -> None:
    """The first column to the left, the others to the right, each as wide as its widest cell."""
    assert measure.format_table(["", "s"], [["long", "1.5"], ["b", "10.25"]]) == "          s\nlong    1.5\nb     10.25"


def test_failed_case_is_told_in_one_line() -> None:
    """With the last line of what its process said."""
    with pytest.raises(measure.UserError, match=r"^bf16 failed: KeyError: 'layers'$"):
        measure.run_case("search", {}, "bf16")
