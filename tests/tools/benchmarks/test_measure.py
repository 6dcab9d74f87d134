"""What the benchmarks measure with."""

import subprocess
import sys

import pytest
import torch

from tests.helpers import ROOT
from tests.tools.benchmarks.cases import on_linux
from tools.benchmarks import measure


def test_rate_of_multiplications(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 n³ operations over the shortest of several times, the first of which does not count."""
    monkeypatch.setitem(measure.MATRIX_SIZE, "cpu", 10)
    times = iter([0, 0.001, 1, 5, 6, 8, 9, 12, 13, 17, 18, 23])
    monkeypatch.setattr(measure, "clock", lambda device: next(times))
    assert measure.multiply_rate(torch.device("cpu"), torch.float32) == 2 * 10**3 / 2


@on_linux
def test_peak_of_memory_begins_anew() -> None:
    """What was freed before is forgotten, what is taken after counts; in a process of its own, as when it is used."""
    program = (
        "import torch\n"
        "from tools.benchmarks.measure import Peak\n"
        "torch.ones(50_000_000)\n"  # 200 MB, freed at once
        "peak = Peak(torch.device('cpu'))\n"
        "peak.forget()\n"
        "torch.ones(25_000_000)\n"
        "print(peak.read())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert 80 < float(done.stdout) < 180, done.stderr
