"""--help of every script and tool."""

import subprocess
import sys

import pytest

from tests.helpers import ROOT, environment

SCRIPTS = (
    "data_preprocess.py",
    "search.py",
    "train.py",
    "train_baseline.py",
    "evaluate_identification.py",
    "evaluate_verification.py",
)


@pytest.mark.parametrize("script", [*SCRIPTS, *sorted(f"tools/{path.name}" for path in ROOT.glob("tools/[!_]*.py"))])
def test_help_answers_without_torch(script: str) -> None:
    """Importing torch takes seconds; whoever asks how to run a script should not wait for it."""
    command = [sys.executable, "-X", "importtime", script, "--help"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0
    assert "usage: " in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert "torch" not in imported
