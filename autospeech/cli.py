"""The command `autospeech`: the scripts and tools of the project, by plain words.

autospeech COMMAND ...          # a command's own help: autospeech COMMAND --help
autospeech configs --to DIR     # the settings that the commands take with --cfg, to read and to change
"""

import ast
import importlib.util
import os
import shutil
import sys
import textwrap
from pathlib import Path
from types import ModuleType

from autospeech import ROOT, __version__

sys.path.insert(0, str(ROOT))

from utils.system.commands import BY_COMMAND, COMMANDS
from utils.system.errors import UserError
from utils.system.script import run_script

CONFIGS = "configs"


def main() -> None:
    """Run a command as its script is run."""
    words = sys.argv[1:]
    name = words[0] if words else "--help"
    if name in ("-h", "--help"):
        print(help_text())
    elif name == "--version":
        print(f"autospeech {__version__}")
    elif name == CONFIGS:
        run_script(lambda: copy_configs(words[1:]))
    elif name in COMMANDS:
        os.environ[BY_COMMAND] = "1"  # what is printed to be run next is a command, too
        sys.argv = [f"autospeech {name}", *words[1:]]
        run_script(load(ROOT / COMMANDS[name]).main)
    else:
        run_script(lambda: refuse(name))


def load(script: Path) -> ModuleType:
    """A script as a module; nothing happens when it is loaded."""
    spec = importlib.util.spec_from_file_location(f"autospeech_{script.stem}", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def refuse(name: str) -> None:
    """Name the commands that there are."""
    raise UserError(f"there is no command {name!r}; valid are {', '.join((*COMMANDS, CONFIGS))}")


def help_text() -> str:
    """The commands, each with the first line of its script's text, which is read and not run."""
    lines = [f"  {name:<18}{summary_of(ROOT / script)}" for name, script in COMMANDS.items()]
    lines.append(f"  {CONFIGS:<18}List the settings that come with the project, or copy them: --to DIR")
    return "\n".join([str(__doc__).strip(), "", *lines, "", f"version {__version__}"])


def summary_of(script: Path) -> str:
    """The first line of a script's text."""
    text = (ast.get_docstring(ast.parse(script.read_bytes())) or "").partition("\n")[0]
    return textwrap.shorten(text, 96, placeholder=" ...")


def copy_configs(words: list[str]) -> None:
    """List the shipped settings, or copy them to a folder, where nothing is overwritten."""
    source = ROOT / "exps"
    if not words:
        print(*sorted(str(path.relative_to(ROOT)) for path in source.rglob("*") if path.is_file()), sep="\n")
        return
    if len(words) != 2 or words[0] != "--to":
        raise UserError("configs takes --to DIR, or nothing")
    target = Path(words[1]) / "exps"
    if target.exists():
        raise UserError(f"{target} is there already: name another folder")
    shutil.copytree(source, target)
    print(target)


if __name__ == "__main__":
    main()
