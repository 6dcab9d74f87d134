"""tools/compare_systems.py on the toy corpus."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from config import flatten
from models.genotypes import PAPER_GENOTYPE, SEARCH_SPACES, random_genotype
from models.statistics import MOMENTS
from tests.helpers import ROOT, TINY, Outcome, environment, options, run_script
from tests.tools.comparisons import REAL_POPEN, Scripts, assert_refused, call_tool, records
from tools.comparison.calls import warn_of_mixture

SCRIPT, RECIPE = "tools/compare_systems.py", "exps/mini/compare.yaml"
SETTINGS = {"TRAIN__PRECISION": "fp32", "TRAIN__LR": 0.01, "VAL_FREQ": 5, "EVAL__BOOTSTRAP": 20}
SYSTEMS = ["statistics", "network"]
OF_A_SYSTEM = [
    "training merged",
    "identification merged",
    "verification merged",
    "training dev",
    "verification dev",
]


# ------------------------------------------------------------------------------------------------------------------
# Running it
# ------------------------------------------------------------------------------------------------------------------
def compare(toy: Path, out: Path, *arguments: object, scripts: Scripts | None = None, **settings: object) -> Outcome:
    """Run the tool with two systems and a seed, where the arguments do not say otherwise."""
    command = ("--cfg", RECIPE, "--systems", *SYSTEMS, "--seeds", 1, "--out", out, *arguments)
    return call_tool(SCRIPT, *command, *options(DATASET__DATA_DIR=toy, **(SETTINGS | settings)), scripts=scripts)


def results(out: Path, system: str, kind: str, sub_dir: str, seed: int = 1) -> dict:
    """The JSON file that a script wrote, found without the tool's own record of it."""
    (run_dir,) = (out / "runs").glob(f"*/{system}-{sub_dir}-seed{seed}-*")
    name = "results.json" if kind == "training" else f"results-{kind}.json"
    return json.loads((run_dir / name).read_text())


@pytest.fixture
def copied(compared: tuple[Outcome, Path], tmp_path: Path) -> Path:
    """A copy of that folder, without the baseline's large checkpoints."""
    large = [f"{path.name}" for path in compared[1].glob("runs/train_baseline")]
    return Path(shutil.copytree(compared[1], tmp_path / "copy", ignore=shutil.ignore_patterns(*large)))


# ------------------------------------------------------------------------------------------------------------------
# What it says
# ------------------------------------------------------------------------------------------------------------------
def test_jobs_and_files(compared: tuple[Outcome, Path]) -> None:
    """Every system is trained twice and evaluated three times; everything is in the folder."""
    outcome, out = compared
    own = ["kind", "system", "sub_dir", "seed", "genotype", "index", "trials", "run_dir", "sha256", "seconds"]
    for record in records(out / "finished.jsonl"):
        assert list(record) == [*own, *(["minutes"] if record["kind"] == "training" else [])]
        assert not Path(record["run_dir"]).is_absolute()
    jobs = [f"{record['system']} {record['kind']} {record['sub_dir']}" for record in records(out / "finished.jsonl")]
    assert jobs == [f"{system} {job}" for system in SYSTEMS for job in OF_A_SYSTEM]
    files = {".lock", "config.yaml", "finished.jsonl", "genotype.txt", "recipes", "runs", "pictures"}
    assert {path.name for path in out.iterdir()} == files | {f"comparison.{kind}" for kind in ("json", "md", "html")}
    pictures = {f"{name}.{kind}" for name in ("det", "top1", "eer", "min_dcf") for kind in ("png", "pdf")}
    assert {path.name for path in (out / "pictures").iterdir()} == pictures
    assert json.loads(outcome.last_line) == json.loads((out / "comparison.json").read_text())
    assert (out / "genotype.txt").read_text().strip() == str(PAPER_GENOTYPE)


def test_figures_are_those_of_the_evaluations(compared: tuple[Outcome, Path]) -> None:
    """Each is, with its interval, what the JSON file of its evaluation holds."""
    outcome, out = compared
    printed = json.loads(outcome.last_line)
    assert list(printed["results"]) == SYSTEMS
    for system, result in printed["results"].items():
        identification = results(out, system, "identification", "merged")
        seen, apart = (results(out, system, "verification", sub_dir) for sub_dir in ("merged", "dev"))
        for name in ("top1", "top5"):
            assert result[name] == identification[name]
            assert result[f"{name}_interval"] == identification["intervals"][name]
        of_dev = apart["lists"]["veri_test"]["systems"]["cosine"]
        assert (result["eer_seen"], result["eer"], result["min_dcf"]) == (seen["eer"], apart["eer"], apart["min_dcf"])
        assert result["eer_interval"] == of_dev["intervals"]["eer"]
        assert result["min_dcf_interval"] == of_dev["intervals"]["min_dcf_0.01"]
        assert (result["cllr"], result["min_cllr"]) == (None, of_dev["min_cllr"])  # 4 dev speakers: none are held out
        assert (result["eer_mean"], result["eer_std"]) == (pytest.approx(result["eer"]), None)
        for sub_dir in ("merged", "dev"):
            assert result[f"parameters_{sub_dir}"] == results(out, system, "training", sub_dir)["parameters"]
            assert 0 < result[f"minutes_{sub_dir}"] < 2
    assert printed["results"]["statistics"]["parameters_merged"] == MOMENTS + 5 * MOMENTS + 5 * 6  # of 6 speakers
    assert (seen["speaker_disjoint"], apart["speaker_disjoint"]) == (False, True)
    assert printed["speaker_disjoint"] == {"merged": False, "dev": True}
    assert printed["trial_speakers_trained_on"] == {"merged": 2, "dev": 0}
    assert printed["trials"] == apart["trials"]


def test_tables(compared: tuple[Outcome, Path]) -> None:
    """Console, Markdown and HTML show the same cells; the column of speakers trained on is marked."""
    outcome, out = compared
    page, markdown = (out / "comparison.html").read_text(), (out / "comparison.md").read_text()
    for system, method in (("statistics", "cepstral statistics, LDA"), ("network", "AutoSpeech (3 cells, 4 channels)")):
        result = json.loads(outcome.last_line)["results"][system]
        low, high = result["top1_interval"]
        top1 = f"{result['top1']:.2f} [{low:.2f}, {high:.2f}]"
        assert result["eer_interval"] is None  # of two test speakers there is none
        parameters = f"{result['parameters_merged']:,}"
        (row,) = [line for line in markdown.splitlines() if line.startswith(f"| {method}") and parameters in line]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        rates = [f"{result[name]:.2f}" for name in ("eer_seen", "eer")]
        assert cells[1:6] == [top1, *rates, f"{result['min_dcf']:.3f}", parameters]
        assert all(cell in text for cell in cells for text in (page, outcome.stderr))
    for text in (page, markdown):
        assert "EER %, test speakers trained on" in text
        assert "is not speaker-disjoint: the networks were trained on 2 of the 2 speakers" in text
    assert "One training each, seed 1" in markdown
    assert len(json.loads(outcome.last_line)["warnings"]) == 1  # by scripts of different files, but of the same code


def test_recipe_is_the_same(compared: tuple[Outcome, Path]) -> None:
    """The settings that the runs kept differ in the network, SUB_DIR, and the windows of statistics."""
    kept = [flatten(yaml.safe_load(path.read_text())) for path in compared[1].glob("runs/*/*/config.yaml")]
    assert len(kept) == 4
    differing = {key for other in kept for key in other if other[key] != kept[0][key]}
    assert differing == {"MODEL.NAME", "DATASET.SUB_DIR", "DATASET.PARTIAL_N_FRAMES"}
    frames = {settings["MODEL.NAME"]: settings["DATASET.PARTIAL_N_FRAMES"] for settings in kept}
    assert frames == {"statistics": 1000, "network": TINY["DATASET.PARTIAL_N_FRAMES"]}


@pytest.mark.parametrize(
    ("codes", "versions"),
    [
        ([{"config.py": "a", "train.py": "b"}, {"config.py": "a", "evaluate_verification.py": "c"}], 1),
        ([{"config.py": "a", "train.py": "b"}, {"config.py": "d", "evaluate_verification.py": "c"}], 2),
        ([{"config.py": "a", "torch": "2.1"}, {"config.py": "b"}, {"config.py": "c", "torch": "2.2"}], 3),
    ],
)
def test_versions_are_those_of_a_file(codes: list[dict], versions: int) -> None:
    """Two scripts depend on different files; only a file that is not the same for both makes two versions."""
    warnings = warn_of_mixture([{"code": code, "machine": {"device": "CPU", "threads": 1}} for code in codes])
    assert warnings == [f"The results are of {versions} versions of the code."] * (versions > 1)


def test_machines_are_counted() -> None:
    """They differ where anything of them does."""
    machines = [{"device": "CPU", "threads": 1}, {"device": "CPU", "threads": 2}, {"device": "CPU", "threads": 1}]
    warnings = warn_of_mixture([{"code": {"config.py": "a"}, "machine": machine} for machine in machines])
    assert warnings == ["The results are of 2 machines: the minutes are not comparable."]


# ------------------------------------------------------------------------------------------------------------------
# Going on
# ------------------------------------------------------------------------------------------------------------------
def test_finished_jobs_are_taken_over(toy: Path, compared: tuple[Outcome, Path]) -> None:
    """Run again, the tool calls no script; what says nothing of a figure may differ."""
    scripts = Scripts()
    again = compare(toy, compared[1], scripts=scripts, PRINT_FREQ=7, DATASET__SUB_DIR="dev", MODEL__NAME="vggm")
    assert scripts.called == []
    assert again.last_line == compared[0].last_line


def test_missing_results_and_more_seeds(toy: Path, copied: Path) -> None:
    """In a folder that was moved, one lost and one changed file are made again, and another seed is added."""
    (lost,) = copied.glob("runs/train/network-dev-seed1-*/results-verification.json")
    before = json.loads(lost.read_text())
    lost.unlink()
    (changed,) = copied.glob("runs/train/network-merged-seed1-*/results-identification.json")
    changed.write_text("{}")
    (copied / "finished.jsonl").open("a").write('{"kind": "training", "sys')  # as an interruption leaves it
    scripts = Scripts()
    command = ("--cfg", RECIPE, "--systems", "network", "--seeds", 1, 2)  # settings right after the seeds
    settings = options(DATASET__DATA_DIR=toy, **SETTINGS)
    outcome = call_tool(SCRIPT, *command, *settings, "--out", copied, scripts=scripts)
    evaluations = ["evaluate_identification.py", "evaluate_verification.py"]
    added = ["train.py", *evaluations, "train.py", evaluations[1]]
    assert [words[0] for words in scripts.called] == [*evaluations, *added]
    figures = [results(copied, "network", "verification", "dev", seed)["eer"] for seed in (1, 2)]
    mean, deviation = np.mean(figures), np.std(figures, ddof=1)
    result = json.loads(outcome.last_line)["results"]["network"]
    assert (result["eer"], before["eer"]) == (figures[0], figures[0])
    assert (result["eer_mean"], result["eer_std"]) == pytest.approx((mean, deviation))
    assert f"{figures[0]:.2f}; {mean:.2f} ± {deviation:.2f}" in (copied / "comparison.md").read_text()


def test_stopped_training_goes_on(toy: Path, tmp_path: Path) -> None:
    """SIGTERM: the training writes its checkpoint, and the next call goes on with it to the same end."""
    long = options(DATASET__DATA_DIR=toy, TRAIN__END_EPOCH=6, EVAL__BOOTSTRAP=0, TRAIN__PRECISION="fp32")
    command = ["--cfg", RECIPE, "--systems", "network", "--out", str(tmp_path / "out"), *long]
    process = REAL_POPEN(
        [sys.executable, SCRIPT, *command], cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob("out/runs/train/network-merged-*/metrics.jsonl")):  # one epoch is over
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert stderr.splitlines()[-1].startswith("compare_systems.py: stopped by SIGTERM in the training of AutoSpeech")
    assert "Traceback" not in stderr
    scripts = Scripts(status=3)
    refused = call_tool(SCRIPT, *command, scripts=scripts)
    (run_dir,) = tmp_path.glob("out/runs/train/*")
    assert scripts.called[-1][0] == "train.py"
    assert scripts.called[-1][-2:] == ["--load_path", str(run_dir)]
    assert_refused(refused, "train.py ended with status 3", "--out")
    assert not (tmp_path / "out" / "finished.jsonl").exists()


# ------------------------------------------------------------------------------------------------------------------
# What is refused
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"TRAIN__LR": 0.002}, "TRAIN.LR 0.01 (now 0.002)"),
        ({"VAL_FREQ": 1}, "VAL_FREQ 5 (now 1)"),
        ({"EVAL__BACKENDS": "snorm"}, "EVAL.BACKENDS cosine (now snorm)"),
        ({"MODEL__LAYERS": 4}, "MODEL.LAYERS 3 (now 4)"),
    ],
)
def test_another_recipe_is_refused(toy: Path, compared: tuple[Outcome, Path], settings: dict, part: str) -> None:
    """By the name of the setting, with both values and the remedy."""
    scripts = Scripts()
    assert_refused(compare(toy, compared[1], scripts=scripts, **settings), compared[1], part, "--out")
    assert scripts.called == []


def test_another_genotype_is_refused(toy: Path, compared: tuple[Outcome, Path]) -> None:
    """The folder's genotype stays as it is."""
    other = str(random_genotype(SEARCH_SPACES["s2"], np.random.default_rng(0)))
    outcome = compare(toy, compared[1], "--genotype", other)
    assert_refused(outcome, "line 6", "training of AutoSpeech", "--genotype", "--out")
    assert (compared[1] / "genotype.txt").read_text().strip() == str(PAPER_GENOTYPE)


def test_another_corpus_is_refused(toy: Path, compared: tuple[Outcome, Path], tmp_path: Path) -> None:
    """With the same index, but another list of trials."""
    shutil.copytree(toy, tmp_path / "other", ignore=shutil.ignore_patterns("wav"))
    trials = (toy / "veri_test.txt").read_text().splitlines(keepends=True)
    (tmp_path / "other" / "veri_test.txt").write_text("".join(trials[:-2]))
    assert_refused(compare(tmp_path / "other", compared[1]), "line 1", "veri_test.txt", "--out")


@pytest.mark.parametrize("content", ["{}\n", "nonsense\n", "3\n"])
def test_damaged_record_is_refused(toy: Path, compared: tuple[Outcome, Path], tmp_path: Path, content: str) -> None:
    """The file and the line are named."""
    for name in ("config.yaml", "finished.jsonl"):
        shutil.copy(compared[1] / name, tmp_path)
    with open(tmp_path / "finished.jsonl", "a", encoding="utf-8") as file:
        file.write(content)
    assert_refused(compare(toy, tmp_path), tmp_path / "finished.jsonl", "line 11", "--out")


@pytest.mark.parametrize(
    ("arguments", "settings", "part"),
    [
        (("--systems", "vggm", "network"), {}, "PARTIAL_N_FRAMES must be at least 65 for vggm"),
        ((), {"MODEL__PRETRAINED": "some/file"}, "MODEL.PRETRAINED"),
        ((), {"MODEL__NUM_CLASSES": 6}, "MODEL.NUM_CLASSES"),
        (("--genotype", "no/such/file"), {}, "no/such/file"),
    ],
)
def test_recipe_that_does_not_suit_all(toy: Path, tmp_path: Path, arguments: tuple, settings: dict, part: str) -> None:
    """It is refused before anything is made."""
    out = tmp_path / "out"
    assert_refused(compare(toy, out, *arguments, **settings), part)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (
            ("--systems", "resnet18", "resnet50"),
            "--systems: there is no 'resnet50'; valid are statistics, vggm, resnet18",
        ),
        (("--seeds", "one"), "--seeds"),
        (("--seeds", 2**32), "--seeds"),
    ],
)
def test_bad_options(toy: Path, tmp_path: Path, arguments: tuple, part: str) -> None:
    """The option is named."""
    outcome = compare(toy, tmp_path / "out", *arguments)
    assert outcome.status == 2
    assert part in outcome.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_help_answers_without_torch() -> None:
    """Nothing slow is imported for it."""
    outcome = run_script("-X", "importtime", SCRIPT, "--help", check=True)
    imported = {line.rpartition("|")[2].strip() for line in outcome.stderr.splitlines()}
    assert "argparse" in imported
    assert not {"torch", "numpy"} & imported
    assert "resnet34" in outcome.stdout
