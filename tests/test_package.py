"""What pip installs: a wheel is built, installed in an environment of its own, and used from an empty folder.

Nothing is fetched: the packages that it needs are those of the environment that the tests run in.
"""

import ast
import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement

import autospeech
from autospeech.library import OWN
from tests.helpers import (
    GENOTYPE,
    ROOT,
    SCRATCH,
    Outcome,
    environment,
    noise,
    options,
    same_threads,
    write_small_corpus,
)
from tests.networks import save_run
from utils.recognition.export import PACKAGES
from utils.recognition.recognizer import Recognizer
from utils.records.code import code_fingerprints
from utils.system.commands import COMMANDS, title

BORROWED = "borrowed.pth"  # the packages that ours needs
# Anybody's packages that are called as ours are, to be met first wherever the interpreter looks by itself.
OTHERS = ("config.py", "train.py", "utils/__init__.py", "models/__init__.py", "tools/__init__.py")
# A start method of worker processes under which they know nothing of what their parent has imported.
SPAWN = "import multiprocessing\n\nmultiprocessing.set_start_method('spawn')\n"


@dataclass(frozen=True)
class Installed:
    """An environment that has the wheel, and an empty folder to work in."""

    wheel: Path
    environment: Path
    folder: Path
    others: Path

    @property
    def packages(self) -> Path:
        """Its site-packages."""
        (found,) = self.environment.glob("lib/python*/site-packages")
        return found

    @property
    def root(self) -> Path:
        """The project's code in it."""
        return self.packages / "autospeech" / "root"

    def call(self, *words: object, before: Path | None = None) -> Outcome:
        """Run a program of the environment, with other people's packages before ours in the interpreter's path."""
        program, *arguments = map(str, words)
        variables = environment() | {"PYTHONPATH": os.pathsep.join(map(str, filter(None, [before, self.others])))}
        done = subprocess.run(
            [str(self.environment / "bin" / program), *arguments],
            cwd=self.folder,
            env=variables,
            capture_output=True,
            text=True,
            timeout=180,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def run(self, *words: object, before: Path | None = None) -> Outcome:
        """Run the command, which has to succeed."""
        outcome = self.call("autospeech", *words, before=before)
        assert outcome.status == 0, outcome.stderr
        return outcome


def pip(*words: object) -> None:
    """Run pip, which may fetch nothing."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, words)]
    done = subprocess.run([*command, "--no-deps", "--no-index"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel of the project as it is here, installed."""
    place = tmp_path_factory.mktemp("installed")
    pip("wheel", "--no-build-isolation", "--wheel-dir", place / "wheel", ROOT)
    (wheel,) = (place / "wheel").iterdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "environment"], check=True)
    pip("--python", place / "environment" / "bin" / "python", "install", wheel)
    (place / "empty").mkdir()
    for name in OTHERS:
        (place / "others" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "others" / name).write_text("raise RuntimeError('this is somebody else\\'s')\n")
    found = Installed(wheel, place / "environment", place / "empty", place / "others")
    (found.packages / BORROWED).write_text(sysconfig.get_path("purelib") + "\n")
    return found


@pytest.fixture(scope="module")
def corpus(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus, preprocessed by two processes of the command."""
    folder = write_small_corpus(tmp_path_factory.mktemp("corpus"))
    outcome = installed.run("preprocess", folder, "--num_workers", 2)
    assert "12 utterances" in outcome.stdout
    return folder


@pytest.fixture(scope="module")
def trained(installed: Installed, corpus: Path) -> Path:
    """The folder of a run of one epoch, whose batches two worker processes read."""
    settings = options(DATASET__DATA_DIR=corpus, DATASET__SUB_DIR="dev", DATASET__NUM_WORKERS=2, TRAIN__BATCH_SIZE=2)
    outcome = installed.run("train", "--cfg", SCRATCH, "--text_arch", GENOTYPE, *settings)
    assert "next: autospeech verify-test --cfg " in outcome.stderr
    return installed.folder / json.loads(outcome.last_line)["run_dir"]


# ------------------------------------------------------------------------------------------------------------------
# What it consists of
# ------------------------------------------------------------------------------------------------------------------
def test_one_package_alone_is_installed(installed: Installed) -> None:
    """Nothing called utils or models stands beside it."""
    known = {"autospeech", f"autospeech-{autospeech.__version__}.dist-info", BORROWED}
    assert {path.name for path in installed.packages.iterdir()} == known


def test_all_of_the_code_is_in_it(installed: Installed) -> None:
    """Every file of the parts that it consists of, and no test."""
    parts = ("models", "data_objects", "utils", "tools", "exps")
    files = [*ROOT.glob("*.py"), *(path for part in parts for path in (ROOT / part).rglob("*"))]
    expected = {path.relative_to(ROOT) for path in files if path.is_file() and "__pycache__" not in path.parts}
    found = {path.relative_to(installed.root) for path in installed.root.rglob("*") if path.is_file()}
    assert {path for path in found if "__pycache__" not in path.parts} == expected - {Path("conftest.py")}


def test_it_needs_what_requirements_txt_says(installed: Installed) -> None:
    """The same packages in the same versions."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    expected = {Requirement(line) for line in lines if line and not line.startswith("#")}
    (information,) = installed.packages.glob("*.dist-info")
    every = {Requirement(line) for line in Distribution.at(information).requires or []}
    needed = {entry for entry in every if entry.marker is None}
    extras = {entry.name.lower() for entry in every - needed}
    assert extras == set(PACKAGES)
    assert {(entry.name.lower(), entry.specifier) for entry in needed} == {
        (entry.name.lower(), entry.specifier) for entry in expected
    }


def test_every_command_has_its_script() -> None:
    """None is promised that is not there."""
    assert [script for script in COMMANDS.values() if not (ROOT / script).is_file()] == []


# ------------------------------------------------------------------------------------------------------------------
# The command
# ------------------------------------------------------------------------------------------------------------------
def test_help_lists_the_commands(installed: Installed) -> None:
    """A line each, from the script's docstring."""
    lines = installed.run("--help").stdout.splitlines()
    for name, script in COMMANDS.items():
        assert f"  {name:19}{title(ROOT / script)}" in lines
    assert installed.run("--version").stdout == f"autospeech {autospeech.__version__}\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trian"], "autospeech: error: there is no command 'trian'; valid are preprocess, search, "),
        ([], "autospeech: error: a command is missing; valid are preprocess, search, "),
        (["train", "--cfg", "none.yaml", "--text_arch", "paper"], "autospeech train: error: no such config file: none"),
    ],
)
def test_mistake_is_told_in_one_line(installed: Installed, words: list[str], line: str) -> None:
    """With the status and the words of the scripts, under the command's name."""
    outcome = installed.call("autospeech", *words)
    assert (outcome.status, outcome.stdout, outcome.stderr.count("\n")) == (2, "", 1)
    assert outcome.stderr.startswith(line)


@pytest.mark.parametrize("name", [name for name, script in COMMANDS.items() if (ROOT / script).is_file()])
def test_help_of_a_command_is_the_scripts_own(installed: Installed, name: str) -> None:
    """Under the command's name."""
    shown = installed.run(name, "--help").stdout
    assert shown.startswith(f"usage: autospeech {name} ")
    assert title(ROOT / COMMANDS[name]) in shown


def test_the_steps_run_anywhere(installed: Installed, corpus: Path, trained: Path) -> None:
    """Preprocessing, training and an evaluation, by the shipped settings; results name the code and the command."""
    settings = options(DATASET__DATA_DIR=corpus)
    installed.run("verify-test", f"--cfg={SCRATCH}", "--load_path", trained, *settings)
    provenance = json.loads((trained / "results-verification.json").read_text())["provenance"]
    assert provenance["command"].startswith(f"autospeech verify-test --cfg={installed.root / SCRATCH} --load_path ")
    assert provenance["code"] == code_fingerprints("evaluate_verification.py")


def test_worker_processes_may_start_afresh(installed: Installed, corpus: Path, tmp_path: Path) -> None:
    """As is usual outside Linux: they import what they need by its name, as the command does."""
    (tmp_path / "sitecustomize.py").write_text(SPAWN)
    out_dir = tmp_path / "feature"
    installed.run("preprocess", corpus, "--num_workers", 2, "--out_dir", out_dir, before=tmp_path)
    assert (out_dir / "utterances.csv").read_bytes() == (corpus / "feature" / "utterances.csv").read_bytes()


def test_torchrun_starts_the_module(installed: Installed) -> None:
    """`-m autospeech` is the command."""
    outcome = installed.call("python", "-m", "autospeech", "train", "--help")
    assert outcome.stdout.startswith("usage: autospeech train ")


# ------------------------------------------------------------------------------------------------------------------
# The package in somebody's program
# ------------------------------------------------------------------------------------------------------------------
def test_programs_keep_their_own_modules(installed: Installed, tmp_path: Path) -> None:
    """A program with a `utils` of its own imports ours beside it, under other names."""
    program = tmp_path / "program.py"
    (tmp_path / "utils.py").write_text("OURS = 1\n")
    program.write_text(
        "import sys, utils\n"
        "from autospeech import UserError\n"
        "import autospeech.library.utils.evaluation.verification, autospeech.library.models\n"
        f"print(utils.OURS, UserError.__module__, [name for name in {OWN} if name in sys.modules])\n"
    )
    outcome = installed.call("python", program)
    assert outcome.stderr == ""
    assert outcome.stdout == "1 autospeech.library.utils.system.errors ['utils']\n"


def test_recognizer_in_a_program(installed: Installed, tmp_path: Path) -> None:
    """It embeds and recognises there as it does here, whatever the program calls `utils`."""
    run, samples = save_run(tmp_path / "run", "network"), noise(20_000)
    (tmp_path / "utils.py").write_text("OURS = 1\n")
    np.save(tmp_path / "samples.npy", samples)
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, utils, numpy as np\n"
        "from autospeech import Recognizer, UserError, Voices\n"
        "recognizer = Recognizer.load(sys.argv[1], 'cpu')\n"
        "samples = np.load(sys.argv[2])\n"
        "voices = Voices(recognizer)\n"
        "voices.enrol('Ann', [(samples, 16_000)])\n"
        "try:\n"
        "    voices.remove('Bob')\n"
        "except UserError as error:\n"
        "    print(error)\n"
        "np.save(sys.argv[3], recognizer.embed((samples, 16_000)))\n"
        "print(voices.identify((samples, 16_000)).candidates[0].name, utils.OURS)\n"
    )
    outcome = installed.call("python", program, run, tmp_path / "samples.npy", tmp_path / "out.npy")
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout == "nobody is enrolled as 'Bob'; known are Ann\nAnn 1\n"
    with same_threads():
        torch.set_num_threads(1)
        expected = Recognizer.load(run, "cpu").embed((samples, 16_000))
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=1e-5, atol=1e-6)


def test_nobody_is_refused_by_name() -> None:
    with pytest.raises(AttributeError, match="'Nobody'; there are Recognizer, Voices"):
        _ = autospeech.Nobody


def test_imports_are_of_the_form_that_is_renamed() -> None:
    """`from utils.system import files`, never `import utils.system.files`."""
    for part in OWN:
        for file in [ROOT / f"{part}.py"] if part == "config" else (ROOT / part).rglob("*.py"):
            imports = [node for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, ast.Import)]
            names = [alias.name for node in imports for alias in node.names]
            assert not [name for name in names if name.partition(".")[0] in OWN], file
