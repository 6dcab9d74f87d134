"""tools/benchmark.py data: what it reports of loading, and what it refuses."""

import json
import math
from pathlib import Path
from unittest import mock

import pytest

from data_objects.frontend import span
from tests.helpers import call_script
from tests.tools.benchmarks.cases import on_linux, refusal
from tools.benchmarks.data import AUGMENTED

DATA = ("--layers", 3, "--channels", 4, "--frames", 64, "--device", "cpu", "--seconds", 0.05, "--num_workers", 0)


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
        options = ("--data_dir", toy, "--batch_size", 6, "--augmentation")
        outcome = call_script("tools/benchmark.py", "data", *DATA, *options)
    assert outcome.status == 0, outcome.stderr
    assert "read for a crop" not in outcome.stdout
    for name in AUGMENTED:
        (line,) = [line for line in outcome.stdout.splitlines() if line.startswith(f"{name} ")]
        assert all(float(figure) > 0 for figure in line.removeprefix(name).split())
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
