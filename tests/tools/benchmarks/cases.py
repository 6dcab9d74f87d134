"""What the tests of the benchmarks share: small sizes, and how refusals look."""

import sys

import pytest

from tests.helpers import Outcome

SMALL = ("--layers", 3, "--channels", 4, "--frames", 64, "--device", "cpu", "--iterations", 1, "--rounds", 1)

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux")


def refusal(outcome: Outcome) -> str:
    """The line that tells why nothing was done."""
    assert outcome.status == 2
    (line,) = outcome.stderr.strip().splitlines()
    return line
