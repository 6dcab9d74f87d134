"""The command `autospeech`, which pip installs: it finds the project's code and hands over to it."""

import sys
from pathlib import Path

from autospeech import __version__


def find_root() -> Path:
    """The folder of the project's code: in this package where pip installed it, else the checkout's top."""
    package = Path(__file__).resolve().parent
    installed = package / "root"
    return installed if installed.is_dir() else package.parent


def main() -> None:
    """Run the command line of this process; the project's own `utils`, `models`, ... come before anybody's."""
    sys.path.insert(0, str(find_root()))
    from utils.system.commands import run_command

    run_command(sys.argv[1:], __version__)
