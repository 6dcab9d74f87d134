"""tools/benchmark.py search: what it reports, and what it refuses."""

import json

import pytest

from tests.helpers import call_script
from tests.tools.benchmarks.cases import SMALL, on_linux, refusal


@on_linux
def test_benchmark_of_a_search() -> None:
    """One JSON object; the ratios are those of its own figures."""
    report = json.loads(call_script("tools/benchmark.py", "search", *SMALL, "--json").stdout)
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
