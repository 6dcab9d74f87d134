"""The command line of tools/benchmark.py."""

import inspect

import pytest

from tests.helpers import run_script
from tools.benchmarks.options import COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_answers_without_torch(command: str) -> None:
    """It says what is measured; nothing slow is imported for it."""
    outcome = run_script("-X", "importtime", "tools/benchmark.py", command, "--help", check=True)
    imported = {line.rpartition("|")[2].strip() for line in outcome.stderr.splitlines()}
    assert "argparse" in imported
    assert not {"torch", "numpy"} & imported
    assert "--json" in outcome.stdout
    assert inspect.getdoc(COMMANDS[command][1]).splitlines()[-1] in outcome.stdout
