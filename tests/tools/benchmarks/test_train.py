"""tools/benchmark.py train: what it computes of what it measures, how it measures it, and what it refuses."""

import json
from pathlib import Path
from unittest import mock

import pytest
import torch

from models.genotypes import PAPER_GENOTYPE
from models.network import Network
from tests.helpers import call_script
from tests.tools.benchmarks.cases import SMALL, on_linux, refusal
from tools.benchmarks import measure, processes, train

CASE = {"layers": 3, "channels": 4, "batch_size": 4, "frames": 64, "classes": 6, "genotype": str(PAPER_GENOTYPE)}
CASE |= {"device": "cpu", "drop_path": 0.1, "data_dir": None, "num_workers": 0, "steps": 12, "cache": ""}
CPU = torch.device("cpu")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    """Cases of `train` are measured within this process, held against small matrices; the function that does it."""
    run_here = mock.Mock(side_effect=lambda measure, case, name: measure(case))
    monkeypatch.setattr(processes, "run_case", run_here)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.setitem(measure.MATRIX_SIZE, "cpu", 64)
    return run_here


def test_figures_of_rows() -> None:
    """By hand: of two rounds the median, and what follows from it."""
    first = {"seconds": [2.5, 2], "waiting": [0.1, 0.2], "front_end": [0.2, 0.7], "warm_up_seconds": 27}
    second = {"seconds": [2, 2.5], "waiting": [0.3, 0.3], "front_end": [0, 0], "warm_up_seconds": 15}
    measured = {"losses": [1], "macs": 10}
    first |= measured | {"rate": 100.0, "peak_mb": 7.0}
    second |= measured | {"rate": 300.0, "peak_mb": 5.0}
    slow = first | {"seconds": [4.5, 4.5]}
    outcomes = {"fp32": [slow], "fp32_compiled": [first, second]}
    rows = ["fp32", "fp32_compiled", "bf16"]
    report = train.compare_rows({"batch_size": 9, "data_dir": "corpus"}, rows, outcomes)
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
    assert len(measured["losses"]) - 3 == len(measured["seconds"]) == 9
    for seconds, waiting, front_end in zip(
        *(measured[name] for name in ("seconds", "waiting", "front_end")), strict=True
    ):
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
    assert train.compare_curves({}) == {"steps": 0, "tenths": {}, "largest_difference": {}}


def test_rows_are_as_they_are_called() -> None:
    """channels_first is so in memory, and never compiled; compiled rows are, the others are not; so with graphs."""
    assert train.list_rows(["channels_first", "fp32", "fp32"], "off", "off", CPU) == ["channels_first", "fp32"]
    rows = train.list_rows(["channels_first", "fp32"], "both", "both", torch.device("cuda"))
    assert rows == ["channels_first", "fp32", "fp32_graphs", "fp32_compiled", "fp32_compiled_graphs"]
    assert train.list_rows(["channels_first", "bf16"], "on", "off", CPU) == ["channels_first", "bf16_compiled"]
    layouts, compiled = [], []
    for row in rows:
        with mock.patch.object(Network, "compile_for_training") as compile_for_training:
            network, macs = train.build_row(measure.build_settings(CASE), CASE | {"row": row}, CPU)
        states = []
        hook = network.cells[0].register_forward_hook(lambda cell, inputs, output, states=states: states.append(output))
        network(torch.randn(2, 64, 257))
        hook.remove()
        layouts.append(states[0].is_contiguous())
        compiled.append(tuple(compile_for_training.call_args.kwargs.values()))
        assert (network.training, network.drop_path_probability) == (True, 0.1)
        assert macs > 0
    assert layouts == [True, False, False, False, False]
    assert compiled == [(False, False), (False, False), (False, True), (True, False), (True, True)]


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (("--variants", "fp32", "tf32"), "--variants tf32 needs a CUDA device"),
        (("--graphs", "both"), "--graphs both needs a CUDA device"),
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
