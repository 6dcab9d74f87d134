"""What the scripts and tools are called where the project is installed, and how a user runs one."""

import os
import shlex
import sys

from utils.system.processes import launcher

BY_COMMAND = "AUTOSPEECH_BY_COMMAND"  # set where the command `autospeech` runs a script
COMMANDS = {
    "preprocess": "data_preprocess.py",
    "search": "search.py",
    "train": "train.py",
    "baseline": "train_baseline.py",
    "identify-test": "evaluate_identification.py",
    "verify-test": "evaluate_verification.py",
    "recognize": "tools/recognize.py",
    "import-original": "tools/import_original.py",
    "draw": "tools/draw_genotype.py",
    "summarize": "tools/summarize.py",
    "compare-genotypes": "tools/compare_genotypes.py",
    "compare-systems": "tools/compare_systems.py",
    "benchmark": "tools/benchmark.py",
}


def command_line() -> str:
    """How this process was called."""
    if os.environ.get(BY_COMMAND):
        return f"{sys.argv[0]} {shlex.join(sys.argv[1:])}"
    return f"{launcher()} {shlex.join(sys.argv)}"


def how_to_run(script: str) -> str:
    """What to type for a script of the project, as this process was run: python train.py, or autospeech train."""
    command = next((name for name, file in COMMANDS.items() if file == script), "")
    return f"autospeech {command}" if command and os.environ.get(BY_COMMAND) else f"python {script}"
