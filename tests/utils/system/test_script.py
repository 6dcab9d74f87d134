"""How a script ends: a line and an exit status for what a user can mend, a traceback for what is ours."""

import errno
import sys
from importlib.metadata import version

import pytest

from utils.system.errors import DivergedError, RunStoppedError, UserError
from utils.system.script import run_script


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("SEED: set it"), 2, "train.py: error: SEED: set it\n"),
        (UserError("Traceback of a loader\nutils.system.errors.UserError: gone"), 2, "train.py: error: gone\n"),
        (DivergedError("the loss is nan"), 3, "train.py: error: the loss is nan\n"),
        (KeyboardInterrupt(), 130, "train.py: interrupted; a run goes on with --load_path and its folder\n"),
        (RunStoppedError("stopped by SIGTERM", 15), 143, "train.py: stopped by SIGTERM\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "log.txt"),
            2,
            "train.py: error: cannot write log.txt (No space left on device): make room; a run goes on with "
            "--load_path\n",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "utterances.csv"),
            2,
            "train.py: error: no permission for utterances.csv (Permission denied): give it, or name another place\n",
        ),
        (
            OSError("Could not load this library: libtorchaudio.so"),
            2,
            f"train.py: error: torch {version('torch')} and torchaudio {version('torchaudio')} do not go together "
            "(Could not load this library: libtorchaudio.so): install the pair that requirements.txt names: python -m "
            "pip install -r requirements.txt\n",
        ),
    ],
    ids=[
        "mistake",
        "mistake in a loader",
        "no number",
        "Ctrl-C",
        "stopped",
        "full disk",
        "no permission",
        "other torchaudio",
    ],
)
def test_what_a_user_can_mend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, status: int, line: str
) -> None:
    """One line on standard error, which bears the script's name, and its exit status."""
    monkeypatch.setattr(sys, "argv", ["/path/to/train.py"])

    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        run_script(main)
    assert (stop.value.code, *capsys.readouterr()) == (status, "", line)


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError(errno.ENOENT, "No such file", "gone"), RuntimeError()])
def test_what_is_ours_to_mend(error: Exception) -> None:
    """Any other error keeps its traceback."""

    def main() -> None:
        raise error

    with pytest.raises(type(error)):
        run_script(main)


def test_script_that_succeeds() -> None:
    """Nothing is said, and nothing raised."""
    run_script(lambda: None)
