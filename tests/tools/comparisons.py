"""What the tests of the comparisons need: their scripts run in this process, and refusals."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from tests.helpers import Outcome, call_script

REAL_POPEN = subprocess.Popen


@dataclass
class Scripts:
    """Stands for subprocess.Popen: the project's scripts run in this process, which saves importing torch.

    Attributes:
        called: their names and arguments; status: what they end with, instead of being run.
    """

    called: list[list[str]] = field(default_factory=list)
    status: int | None = None

    def __call__(self, command: list[str], **settings: object) -> "Scripts | subprocess.Popen":
        if command[0] != sys.executable:
            return REAL_POPEN(command, **settings)
        self.called.append([Path(command[1]).name, *command[2:]])
        return self

    def communicate(self) -> tuple[str, None]:
        script, *arguments = self.called[-1]
        outcome = Outcome(self.status, "", "") if self.status else call_script(script, *arguments)
        sys.stderr.write(outcome.stderr)
        self.returncode = outcome.status
        return outcome.stdout, None


def call_tool(script: str, *arguments: object, scripts: Scripts | None = None) -> Outcome:
    """Run a tool within this process, and what it calls too."""
    with mock.patch.object(subprocess, "Popen", scripts or Scripts()):
        return call_script(script, *arguments)


def records(file: Path) -> list[dict]:
    """The lines of a file of records."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def assert_refused(outcome: Outcome, *parts: object) -> None:
    """One line on standard error, which says what and where."""
    (line,) = (line for line in outcome.stderr.splitlines() if "error: " in line)
    assert outcome.stderr.splitlines()[-1] == line
    assert outcome.status == 2
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    assert all(str(part) in line for part in parts), line
