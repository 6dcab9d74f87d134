"""The wheel: built, installed on its own, and used from an empty folder as a user without the checkout does."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import autospeech
from tests.helpers import ROOT, SCRATCH, environment, options, write_small_corpus
from utils.system.commands import COMMANDS

pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
GENOTYPE = ROOT / "exps" / "genotypes" / "paper.txt"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
    ]
    subprocess.run([*command, ROOT], env=environment(), check=True, capture_output=True, timeout=100)
    (file,) = folder.iterdir()
    return file


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it is installed; its dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, wheel]
    subprocess.run(command, env=environment(), check=True, capture_output=True, timeout=100)
    return folder


def run(site: Path, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """The command, from a folder that has nothing to do with the checkout."""
    env = environment() | {"PYTHONPATH": str(site)}
    command = [sys.executable, site / "bin" / "autospeech", *words]
    return subprocess.run(list(map(str, command)), cwd=folder, env=env, capture_output=True, text=True, timeout=100)


def test_nothing_else_lies_beside_the_package(wheel: Path) -> None:
    """No `utils`, `models` or `config` that could be anybody's; none of what a run leaves."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {re.sub(r"-.*", "", top) for top in tops} == {"autospeech"}
    inside = {name.split("/")[2] for name in names if name.startswith("autospeech/root/")}
    scripts = {"config.py", *(file for file in COMMANDS.values() if "/" not in file)}
    assert inside == {"models", "data_objects", "utils", "tools", "exps"} | scripts
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".pt"))]


def test_dependencies_are_those_of_the_requirements() -> None:
    """Word by word: the wheel's users need what a checkout's do."""
    project = pytest.importorskip("tomllib", reason="Python 3.11 brings it").loads(
        (ROOT / "pyproject.toml").read_text()
    )["project"]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert project["dependencies"] == [line for line in lines if line and not line.startswith("#")]
    assert set(project["optional-dependencies"]["onnx"]) < set((ROOT / "requirements-dev.txt").read_text().splitlines())


def test_help(site: Path, tmp_path: Path) -> None:
    """Every command with what it does; a command's own help under its own name."""
    done = run(site, tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\w.{{10,}}", done.stdout, re.MULTILINE), name
    assert f"version {autospeech.__version__}" in done.stdout
    assert run(site, tmp_path, "train", "--help").stdout.startswith("usage: autospeech train ")
    wrong = run(site, tmp_path, "trian")
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert "there is no command 'trian'; valid are preprocess, search, train" in wrong.stderr


def test_the_whole_job(site: Path, tmp_path: Path) -> None:
    """Settings, index, training, evaluation, use; with workers, and hints that can be typed."""
    write_small_corpus(tmp_path / "corpus")
    assert run(site, tmp_path, "configs", "--to", ".").stdout == "exps\n"
    assert "is there already" in run(site, tmp_path, "configs", "--to", ".").stderr
    missing = run(site, tmp_path, "train", "--cfg", "exps/mini/scratch.yaml", "--text_arch", "exps/genotypes/paper.txt")
    assert missing.stderr.startswith("autospeech train: error: DATASET.DATA_DIR: no such folder")
    done = run(site, tmp_path, "preprocess", "corpus", "--num_workers", 2)
    assert done.returncode == 0, done.stderr
    settings = options(DATASET__DATA_DIR="corpus", OUT_DIR="runs", TRAIN__BATCH_SIZE=2, DATASET__NUM_WORKERS=1)
    done = run(site, tmp_path, "train", "--cfg", SCRATCH, "--text_arch", GENOTYPE, *settings)
    assert done.returncode == 0, done.stderr
    folder = Path(json.loads(done.stdout.splitlines()[-1])["run_dir"])
    (hint,) = re.findall(r"next: (autospeech identify-test .*)", done.stderr)
    done = run(site, tmp_path, *hint.split()[1:])
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / folder / "results-identification.json").read_text())
    assert results["provenance"]["command"].startswith("autospeech identify-test --cfg")
    assert any(name == "utils/recognition/network.py" for name in results["provenance"]["code"])
    wavs = sorted((tmp_path / "corpus" / "wav").rglob("*.wav"))[:2]
    done = run(site, tmp_path, "recognize", "compare", folder, *wavs)
    assert json.loads(done.stdout)["same"] is None


def test_recognizer_in_python(site: Path, tmp_path: Path) -> None:
    """Imported by its own name, and nothing heavy before it is asked for."""
    program = (
        "import sys, autospeech\n"
        "assert 'torch' not in sys.modules and 'utils' not in sys.modules\n"
        "from autospeech import Recognizer, Voices\n"
        "print(Recognizer.__name__, Voices.__name__, autospeech.__version__)\n"
    )
    env = environment() | {"PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout == f"Recognizer Voices {autospeech.__version__}\n", done.stderr
    with pytest.raises(ImportError):
        from autospeech import Nobody  # noqa: F401  # type: ignore[attr-defined]


def test_checkout_needs_no_installation() -> None:
    """The same command, from the checkout."""
    done = subprocess.run(
        [sys.executable, "-m", "autospeech", "--version"], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.stdout == f"autospeech {autospeech.__version__}\n", done.stderr
    assert os.fspath(autospeech.ROOT) == os.fspath(ROOT)
