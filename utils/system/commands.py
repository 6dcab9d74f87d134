"""The command `autospeech`: which subcommand is which script, and how a script was called and is to be called."""

import ast
import importlib.util
import shlex
import sys
from pathlib import Path

from utils.system.errors import UserError
from utils.system.files import ROOT
from utils.system.processes import launcher, processes
from utils.system.script import run_script

PROGRAM = "autospeech"
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
    "compare-recipes": "tools/compare_recipes.py",
    "search-by-training": "tools/search_by_training.py",
    "configs": "tools/copy_configs.py",
    "demo": "tools/demo.py",
}


def run_command(words: list[str], version: str) -> None:
    """Run a subcommand: its script, as if it had been called by `python`, but under the subcommand's name."""
    sys.argv[0] = PROGRAM
    run_script(lambda: _dispatch(words, version))


def _dispatch(words: list[str], version: str) -> None:
    if words[:1] in (["-h"], ["--help"]):
        print(overview())
    elif words[:1] == ["--version"]:
        print(f"{PROGRAM} {version}")
    else:
        script = script_of(words[0] if words else "")
        _run(script, [f"{PROGRAM} {words[0]}", *(shipped(word) for word in words[1:])])


def script_of(name: str) -> Path:
    """The file of a subcommand.

    Raises:
        UserError: there is no such subcommand, or its script is not in this copy of the project.
    """
    if name not in COMMANDS:
        what = f"there is no command {name!r}" if name else "a command is missing"
        raise UserError(f"{what}; valid are {', '.join(COMMANDS)} ({PROGRAM} --help says what they do)")
    script = ROOT / COMMANDS[name]
    if not script.is_file():
        raise UserError(f"{name}: {script} is missing from this installation: install {PROGRAM} again")
    return script


def _run(script: Path, argv: list[str]) -> None:
    """Run a script as __main__ under a name of its own; runpy would put the file's name in its place."""
    spec = importlib.util.spec_from_file_location("__main__", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__spec__ = None  # as that of any script: worker processes that start afresh then find the file
    sys.modules["__main__"], sys.argv = module, argv
    spec.loader.exec_module(module)


def shipped(word: str) -> str:
    """A word of a command line: of a file exps/... that is not here but among the shipped ones, where it is.

    So the commands of the documents work in any folder; `--cfg=exps/...` is such a word, too.
    """
    option, equals, path = word.rpartition("=")
    file = ROOT / path
    is_shipped = path.startswith("exps/") and file.is_file() and not Path(path).exists()
    return f"{option}{equals}{file}" if is_shipped else word


def overview() -> str:
    """The help of the command itself: a line a subcommand."""
    lines = [f"  {name:19}{title(ROOT / script)}" for name, script in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND ...\n",
            "Neural architecture search for speaker recognition.\n",
            *lines,
            f"\n{PROGRAM} COMMAND --help says how to call it. Where a text names a script (python train.py), its",
            f"command is the same ({PROGRAM} train). A file exps/... that is not here is taken from the settings that",
            f"came along: {PROGRAM} configs lists and copies them. Several GPUs: torchrun ... -m {PROGRAM} train ...",
        ]
    )


def title(script: Path) -> str:
    """The first line of a script's docstring, read without running it."""
    if not script.is_file():
        return "(missing from this installation)"
    return (ast.get_docstring(ast.parse(script.read_bytes())) or "").partition("\n")[0]


def call_of(script: str, together: bool = False) -> str:
    """How to call a script, as the running one was called: `python train.py`, or `autospeech train`.

    Args:
        together: by as many processes as share the job now, with torchrun.
    """
    start = launcher() if together else "python"
    name = next((name for name, file in COMMANDS.items() if file == script), "")
    if not (name and sys.argv[0].startswith(f"{PROGRAM} ")):
        return f"{start} {shlex.quote(script)}"
    return f"{start} -m {PROGRAM} {name}" if together and processes() > 1 else f"{PROGRAM} {name}"


def this_call() -> str:
    """How the running script was called, with its arguments."""
    script = COMMANDS.get(sys.argv[0].removeprefix(f"{PROGRAM} "), sys.argv[0])
    return f"{call_of(script, together=True)} {shlex.join(sys.argv[1:])}"
