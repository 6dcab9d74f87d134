"""The six scripts as a user runs them, on the toy corpus: what they print, what they leave, how they go on."""

import dataclasses
import functools
import html
import json
import math
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from config import load_config
from data_objects.corpus import Corpus
from data_objects.datasets import TrainingCrops
from data_objects.lists import read_trials
from models.genotypes import PAPER_GENOTYPE, parse_genotype
from tests.helpers import (
    ROOT,
    SCRATCH,
    SEARCH,
    Outcome,
    call_script,
    environment,
    options,
    preprocess,
    run_script,
    write_small_corpus,
)
from tests.utils.reports.test_html import needs_browser, probe
from utils.metrics.rates import equal_error_rate
from utils.records.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from utils.records.guard import HELD_OUT, TEST, TRAIN, VAL
from utils.system.files import hash_file
from utils.training.state import TrainingState

GENOTYPE = str(PAPER_GENOTYPE)
SCRIPTS = (
    "data_preprocess.py",
    "search.py",
    "train.py",
    "train_baseline.py",
    "evaluate_identification.py",
    "evaluate_verification.py",
)
IDENTIFICATION = ["top1", "top5", "utterances", "speakers"]
VERIFICATION = ["eer", "min_dcf", "trials", "skipped_trials", "utterances", "speaker_overlap", "speaker_disjoint"]
RUN_FILES = {"config.yaml", "log.txt", "metrics.jsonl", "last.pt", "protocol.json"}
PICTURES = {f"{name}.{suffix}" for name in ("genotype", "alpha-normal", "alpha-reduce") for suffix in ("png", "pdf")}
SEARCH_FILES = {"events", "previous.pt", "genotype.txt", "architecture.jsonl"} | PICTURES


def only_run(out: Path, script: str) -> Path:
    """The one run folder of a script."""
    (run_dir,) = (out / script).iterdir()
    return run_dir


def names(run_dir: Path) -> set[str]:
    """The files of a run folder; its TensorBoard events, whose name has the time in it, as `events`."""
    return {"events" if path.name.startswith("events.out.") else path.name for path in run_dir.iterdir()}


def metrics(run_dir: Path) -> list[dict[str, float]]:
    """The figures of every epoch, without those that tell how fast it was."""
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [{name: line[name] for name in line if name != "time" and "per_second" not in name} for line in lines]


@pytest.fixture(scope="module")
def searched(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """A search of two epochs: how it ended, and its run folder."""
    out = tmp_path_factory.mktemp("runs of search")
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=out, TRAIN__END_EPOCH=2)
    outcome = run_script("search.py", "--cfg", SEARCH, *settings, check=True)
    return outcome, only_run(out, "search")


@pytest.fixture(scope="module")
def trained(searched: tuple[Outcome, Path]) -> tuple[dict, Path]:
    """What the command that the search printed trains, on all speakers: its figures and its run folder."""
    command = searched[0].last_line.replace("python ", f"{shlex.quote(sys.executable)} ", 1)
    command = f"{command} {shlex.join(options())}"
    done = subprocess.run(command, shell=True, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    return figures, Path(figures["run_dir"])


@pytest.fixture(scope="module")
def trained_dev(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a network trained without the test speakers."""
    out = tmp_path_factory.mktemp("dev")
    settings = options(DATASET__DATA_DIR=toy, DATASET__SUB_DIR="dev", OUT_DIR=out)
    outcome = run_script("train.py", "--cfg", SCRATCH, "--text_arch", GENOTYPE, *settings, check=True)
    return Path(json.loads(outcome.last_line)["run_dir"])


def copy_best(run_dir: Path, folder: Path) -> Path:
    """The best checkpoint in a folder of its own, so that an evaluation leaves its files there."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(run_dir / "best.pt", folder))


# ------------------------------------------------------------------------------------------------------------------
# What they print and leave
# ------------------------------------------------------------------------------------------------------------------
def test_search_prints_the_genotype_and_the_command_that_trains_it(searched: tuple[Outcome, Path]) -> None:
    """The last two lines of standard output; that the command works, other tests here need."""
    outcome, run_dir = searched
    genotype, command = outcome.stdout.splitlines()[-2:]
    assert parse_genotype(genotype) == parse_genotype((run_dir / "genotype.txt").read_text())
    assert command.startswith("python train.py --cfg exps/mini/scratch.yaml --text_arch ")
    assert genotype in shlex.split(command)


def test_run_folder_of_a_search(toy: Path, searched: tuple[Outcome, Path]) -> None:
    """Settings, log, figures of every epoch, events, the last checkpoint, the genotype."""
    _, run_dir = searched
    assert names(run_dir) == RUN_FILES | SEARCH_FILES
    assert str(toy) == load_config(run_dir / "config.yaml").DATASET.DATA_DIR
    figures = metrics(run_dir)
    assert [line["epoch"] for line in figures] == [1, 2]
    assert all(math.isfinite(value) for line in figures for value in line.values())
    assert {"train_loss", "val_loss", "entropy_normal", "entropy_reduce"} <= set(figures[0])
    assert load_checkpoint(run_dir / "last.pt", ("search",)).epoch == 2


def test_search_moves_alpha_and_the_weights(searched: tuple[Outcome, Path]) -> None:
    """Both optimizers step, each over its own parameters."""
    checkpoint = load_checkpoint(searched[1] / "last.pt", ("search",))
    steps = {
        name: {int(state["step"]) for state in optimizer["state"].values()}
        for name, optimizer in checkpoint.optimizers.items()
    }
    assert checkpoint.step == 2 * (24 // 4)  # epochs x batches of the train part
    assert steps == {"alpha": {checkpoint.step}, "weights": {checkpoint.step}}
    assert len(checkpoint.optimizers["alpha"]["state"]) == 2


def test_search_never_learns_from_a_crop_twice(toy: Path, tmp_path: Path) -> None:
    """Every step takes the next batch of the val part, through its end and into its next epoch, not the first again."""
    drawn, draw = [], TrainingCrops.__getitem__

    def record(crops: TrainingCrops, item: tuple[int, int]) -> tuple:
        drawn.append(item)
        return draw(crops, item)

    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path, TRAIN__END_EPOCH=2, TRAIN__BATCH_SIZE=10)
    with mock.patch.object(TrainingCrops, "__getitem__", record):
        call_script("search.py", "--cfg", SEARCH, *settings)
    assert len(drawn) == 2 * (2 + 2) * 10  # epochs x batches of either part x batch
    assert len(set(drawn)) == len(drawn)


def test_run_folder_of_a_training(trained: tuple[dict, Path]) -> None:
    """The last line printed is what results.json holds."""
    figures, run_dir = trained
    assert names(run_dir) == RUN_FILES | {"events", "best.pt", "results.json"}
    kept = json.loads((run_dir / "results.json").read_text())
    provenance = kept.pop("provenance")
    assert kept == figures
    assert provenance["checkpoint"]["sha256"] == hash_file(run_dir / "best.pt")
    assert list(figures) == ["run_dir", "parameters", "epoch", "val_top1", "top1", "top5", "utterances"]
    assert figures["utterances"] == 6 * 2


def test_identification(toy: Path, trained: tuple[dict, Path]) -> None:
    """The last line printed, results-identification.json, and the same figures as at the end of the training."""
    figures, run_dir = trained
    arguments = ("--cfg", run_dir / "config.yaml", "--load_path", run_dir)
    outcome = run_script("evaluate_identification.py", *arguments, check=True)
    printed = json.loads(outcome.last_line)
    assert list(printed) == IDENTIFICATION
    assert (printed["utterances"], printed["speakers"]) == (12, 6)
    assert (printed["top1"], printed["top5"]) == (figures["top1"], figures["top5"])
    kept = json.loads((run_dir / "results-identification.json").read_text())
    assert {name: kept[name] for name in IDENTIFICATION} == printed


def test_verification(toy: Path, trained_dev: Path) -> None:
    """The last line printed, results-verification.json, and every trial with its score in scores.txt, in order."""
    arguments = ("--cfg", trained_dev / "config.yaml", "--load_path", trained_dev)
    outcome = run_script("evaluate_verification.py", *arguments, check=True)
    printed = json.loads(outcome.last_line)
    assert list(printed) == VERIFICATION
    trials = read_trials(toy / "veri_test.txt")
    assert (printed["trials"], printed["skipped_trials"], printed["utterances"]) == (len(trials), 0, 16)
    assert (printed["speaker_overlap"], printed["speaker_disjoint"]) == (0, True)
    (warning,) = [line for line in outcome.stderr.splitlines() if "WARNING" in line]
    assert "has the name of Vox1-O, which has 37,720 trials" in warning
    kept = json.loads((trained_dev / "results-verification.json").read_text())
    assert {name: kept[name] for name in VERIFICATION} == printed
    scored = [line.split(" ") for line in (trained_dev / "scores.txt").read_text().splitlines()]
    assert [(int(label), *pair) for _, label, *pair in scored] == list(trials)
    scores, labels = np.array([float(line[0]) for line in scored]), np.array([trial.label for trial in trials])
    assert np.abs(scores).max() <= 1
    assert printed["eer"] == pytest.approx(100 * equal_error_rate(scores, labels), abs=0.1)


def test_verification_says_where_it_comes_from(toy: Path, trained_dev: Path) -> None:
    """Hashes of checkpoint, index and trials; who was trained on and tested on; settings and versions."""
    arguments = ("--cfg", trained_dev / "config.yaml", "--load_path", trained_dev)
    assert call_script("evaluate_verification.py", *arguments).status == 0
    provenance = json.loads((trained_dev / "results-verification.json").read_text())["provenance"]
    assert provenance["checkpoint"]["sha256"] == hash_file(trained_dev / "best.pt")
    assert provenance["index"]["sha256"] == hash_file(toy / "feature" / "utterances.csv")
    assert provenance["trials"]["veri_test"]["sha256"] == hash_file(toy / "veri_test.txt")
    roles = provenance["protocol"]["roles"]
    assert {name: role["speakers"] for name, role in roles.items()} == {TRAIN: 4, VAL: 4, TEST: 2}
    assert provenance["protocol"]["overlap"] == []
    assert provenance["protocol"]["training_utterances_known"] is True
    assert provenance["packages"]["torch"] == torch.__version__.split("+")[0]
    assert provenance["config"]["DATASET"]["SUB_DIR"] == provenance["training_config"]["DATASET"]["SUB_DIR"] == "dev"
    assert provenance["skipped_trials"] == 0


def test_verification_names_speakers_trained_on(toy: Path, trained: tuple[dict, Path], tmp_path: Path) -> None:
    """A network trained on all speakers gives no verification result: log, table, JSON and report say so."""
    arguments = ("--cfg", SCRATCH, "--load_path", copy_best(trained[1], tmp_path))
    outcome = call_script("evaluate_verification.py", *arguments, *options(DATASET__DATA_DIR=toy))
    printed = json.loads(outcome.last_line)
    assert (printed["speaker_overlap"], printed["speaker_disjoint"]) == (2, False)
    assert "2 of the trials' 2 speakers were trained on" in outcome.stderr
    assert "2 speakers are both trained on and tested on (id10005, id10006)" in outcome.stderr
    assert "NO: 2 of 2 are not" in outcome.stderr
    kept = json.loads((tmp_path / "results-verification.json").read_text())
    found = {entry["kind"]: entry for entry in kept["provenance"]["protocol"]["overlap"]}
    assert found["speakers"]["number"] == 2
    assert found["utterances"]["number"] > 0
    assert kept["lists"]["veri_test"]["speaker_disjoint"] is False
    report = html.unescape((tmp_path / "verification" / "report.html").read_text())
    assert "2 of the trials' 2 speakers were trained on" in report
    assert any("2 of the trials' 2 speakers were trained on" in warning for warning in kept["warnings"])


@pytest.fixture
def own_trials(toy: Path, tmp_path: Path) -> Path:
    """The toy corpus with lists of one's own."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in ("wav", "feature", "vox1_meta.csv"):
        (folder / name).symlink_to(toy / name)
    shutil.copy(toy / "veri_test.txt", folder)
    return folder


def test_verification_with_trials_that_are_missing(own_trials: Path, trained_dev: Path, tmp_path: Path) -> None:
    """An error; allowed, they are counted, listed and warned of; the list goes when none is left."""
    trials = (own_trials / "veri_test.txt").read_text()
    missing = f"1 id10005/gone/00001.wav {trials.split()[1]}\n"
    (own_trials / "veri_test.txt").write_text(missing + trials)
    checkpoint = copy_best(trained_dev, tmp_path)
    arguments = ("--cfg", SCRATCH, "--load_path", checkpoint, *options(DATASET__DATA_DIR=own_trials))
    outcome = call_script("evaluate_verification.py", *arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "id10005/gone/00001.wav" in outcome.stderr
    assert "--allow_missing" in outcome.stderr
    assert not (tmp_path / "results-verification.json").exists()
    outcome = call_script("evaluate_verification.py", "--allow_missing", *arguments)
    printed = json.loads(outcome.last_line)
    assert (printed["trials"], printed["skipped_trials"]) == (len(trials.splitlines()), 1)
    assert f"1 of {1 + len(trials.splitlines())} trials name 1 utterances" in outcome.stderr
    assert (tmp_path / "skipped_trials.txt").read_text() == missing
    kept = json.loads((tmp_path / "results-verification.json").read_text())
    assert kept["provenance"]["skipped_trials"] == 1
    assert "they are skipped" in (tmp_path / "verification" / "report.html").read_text()
    (own_trials / "veri_test.txt").write_text(trials)
    call_script("evaluate_verification.py", *arguments)
    assert not (tmp_path / "skipped_trials.txt").exists()


def test_verification_on_several_lists(own_trials: Path, trained_dev: Path, tmp_path: Path) -> None:
    """A row, scores and a part of the report for each; every utterance is embedded once, and kept for the next time."""
    trials = (own_trials / "veri_test.txt").read_text().splitlines()
    parts = {"first": trials[::3], "second": trials[1::2]}
    for name, chosen in parts.items():
        (tmp_path / f"{name}.txt").write_text("".join(f"{line}\n" for line in chosen))
    checkpoint, out = copy_best(trained_dev, tmp_path / "run"), tmp_path / "out"
    arguments = ["--cfg", SCRATCH, "--load_path", checkpoint, "--out_dir", out]
    arguments += ["--trials", tmp_path / "first.txt", tmp_path / "second.txt", *options(DATASET__DATA_DIR=own_trials)]
    outcome = call_script("evaluate_verification.py", *arguments)
    assert outcome.status == 0, outcome.stderr
    kept = json.loads((out / "results-verification.json").read_text())
    counts = {name: entry["trials"] for name, entry in kept["lists"].items()}
    assert counts == {name: len(chosen) for name, chosen in parts.items()}
    assert json.loads(outcome.last_line)["trials"] == counts["first"]
    for name, chosen in parts.items():
        scored = (out / f"scores-{name}.txt").read_text().splitlines()
        assert [line.split(" ", 1)[1] for line in scored] == chosen
    assert "first.txt: pictures" in (out / "verification" / "report.html").read_text()
    with mock.patch("utils.recognition.embeddings.embed_utterances", side_effect=AssertionError("embedded again")):
        again = call_script("evaluate_verification.py", *arguments)
    assert "embeddings are taken from" in again.stderr
    assert again.last_line == outcome.last_line


# ------------------------------------------------------------------------------------------------------------------
# Held-out speakers
# ------------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def trained_apart(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a network for verification whose best epoch was chosen on two speakers held out."""
    settings = options(
        DATASET__DATA_DIR=toy,
        DATASET__SUB_DIR="dev",
        DATASET__VAL_SPEAKERS=2,
        OUT_DIR=tmp_path_factory.mktemp("apart"),
        TRAIN__END_EPOCH=3,
        VAL_FREQ=1,
    )
    outcome = call_script("train.py", "--cfg", SCRATCH, "--text_arch", GENOTYPE, *settings)
    assert outcome.status == 0, outcome.stderr
    return Path(json.loads(outcome.last_line)["run_dir"])


def test_best_epoch_is_chosen_on_speakers_held_out(trained_apart: Path) -> None:
    """By their equal error rate, whatever Top-1 is; their trials lie beside the run."""
    figures = [line for line in metrics(trained_apart) if "val_eer" in line]
    assert len(figures) > 1
    best = min(figures, key=lambda line: (line["val_eer"], line["val_min_dcf"], line["epoch"]))
    results = json.loads((trained_apart / "results.json").read_text())
    assert results["epoch"] == best["epoch"]
    assert results["val_eer"] == best["val_eer"]
    protocol = json.loads((trained_apart / "protocol.json").read_text())
    trials = read_trials(trained_apart / "validation_trials.txt")
    checkpoint = load_checkpoint(trained_apart / "best.pt", ("train",))
    assert trials.speakers == protocol["validation_speakers"] == checkpoint.protocol["validation_speakers"]
    assert hash_file(trained_apart / "validation_trials.txt") == protocol["validation_trials"]
    assert len(trials.speakers) == len(checkpoint.speakers) == 2
    assert not set(trials.speakers) & set(checkpoint.speakers)
    assert {role: entry["speakers"] for role, entry in protocol["roles"].items()} == {
        TRAIN: 2,
        VAL: 2,
        HELD_OUT: 2,
        TEST: 2,
    }


def test_pretrained_on_the_test_speakers(
    toy: Path, trained: tuple[dict, Path], trained_apart: Path, tmp_path: Path
) -> None:
    """A network for verification must not be started from one that knows the test speakers, or those held out."""
    genotype = load_checkpoint(trained[1] / "best.pt", ("train",)).architecture["genotype"]
    settings = {"DATASET__DATA_DIR": toy, "DATASET__SUB_DIR": "dev", "OUT_DIR": tmp_path}
    arguments = ("--cfg", SCRATCH, "--text_arch", genotype)
    outcome = call_script("train.py", *arguments, *options(MODEL__PRETRAINED=trained[1], **settings))
    assert outcome.status == 2
    assert "2 speakers are both pretrained on and tested on (id10005, id10006)" in outcome.stderr
    assert not list(tmp_path.iterdir())
    arguments = ("--cfg", SCRATCH, "--text_arch", GENOTYPE)
    for number, start in enumerate((trained_apart, tmp_path / "weights.pt")):
        checkpoint = load_checkpoint(trained_apart / "best.pt", ("train",))
        torch.save(checkpoint.model, tmp_path / "weights.pt")  # without a word of where it comes from
        fresh = settings | {"OUT_DIR": tmp_path / str(number), "DATASET__VAL_SPEAKERS": 2}
        outcome = call_script("train.py", *arguments, *options(MODEL__PRETRAINED=start, **fresh))
        assert outcome.status == 0, outcome.stderr
        (run_dir,) = (tmp_path / str(number) / "train").iterdir()
        protocol = load_checkpoint(run_dir / "last.pt", ("train",)).protocol
        own = {"sub_dir": "dev", "speakers": checkpoint.speakers, "chosen_on": protocol["validation_speakers"]}
        assert (protocol["pretraining"], protocol["pretraining_known"]) == (
            ([own], True) if number == 0 else ([], False)
        )
        outcome = call_script("evaluate_verification.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir)
        assert outcome.status == 0, outcome.stderr
        kept = json.loads((run_dir / "results-verification.json").read_text())
        assert kept["provenance"]["protocol"]["pretraining_known"] is (number == 0)
        assert ("nobody knows what they have learnt from" in outcome.stderr) is (number == 1)


def test_systems_and_calibration(toy: Path, trained_apart: Path, tmp_path: Path) -> None:
    """Several ways to score; thresholds that turn scores into decisions, from the trials of the speakers held out."""
    arguments = ("--cfg", trained_apart / "config.yaml", "--load_path", trained_apart, "--out_dir", tmp_path)
    outcome = call_script("evaluate_verification.py", *arguments, "EVAL.BACKENDS", "cosine,centred,snorm")
    assert outcome.status == 0, outcome.stderr
    kept = json.loads((tmp_path / "results-verification.json").read_text())
    systems = kept["lists"]["veri_test"]["systems"]
    assert list(systems) == ["cosine", "centred", "snorm"]
    assert len({tuple((tmp_path / f"scores{name}.txt").read_text()) for name in ("", "--centred", "--snorm")}) == 3
    calibrated = [system for system, values in kept["calibration"].items() if values]
    if calibrated:  # a network of an epoch or two may score strangers the wrong way round
        thresholds = json.loads((tmp_path / "calibration.json").read_text())["systems"]
        for system in calibrated:
            values = thresholds[system]
            assert values["scale"] * values["thresholds"]["0.5"] + values["offset"] == pytest.approx(0, abs=1e-9)
            assert math.isfinite(systems[system]["cllr"])
    validation = trained_apart / "validation_trials.txt"
    outcome = call_script("evaluate_verification.py", *arguments, "--trials", validation)
    assert "2 speakers are both held out and tested on" in outcome.stderr
    assert json.loads(outcome.last_line)["speaker_disjoint"] is False


@needs_browser
@pytest.mark.parametrize("script", ["identification", "verification"])
def test_report_in_a_browser(
    toy: Path, trained: tuple[dict, Path], trained_apart: Path, tmp_path: Path, script: str
) -> None:
    """The reports that the evaluations write: every picture is seen, only cards and tables are wider than a phone."""
    run_dir = {"identification": trained[1], "verification": trained_apart}[script]
    arguments = ("--cfg", run_dir / "config.yaml", "--load_path", run_dir, "--out_dir", tmp_path)
    assert call_script(f"evaluate_{script}.py", *arguments).status == 0
    source = (tmp_path / script / "report.html").read_text()
    *images, page = probe(source, tmp_path, 390)
    assert len(images) >= {"identification": 1, "verification": 3}[script]
    assert {image[0] for image in images} == {"decoded"}
    assert page[1:] == ["390", "390"]


# ------------------------------------------------------------------------------------------------------------------
# What has changed since the training
# ------------------------------------------------------------------------------------------------------------------
def other_front_end(checkpoint: Checkpoint) -> Checkpoint:
    return dataclasses.replace(checkpoint, front_end_settings=checkpoint.front_end_settings | {"hop": 80})


def other_statistics(checkpoint: Checkpoint) -> Checkpoint:
    return dataclasses.replace(checkpoint, front_end=checkpoint.front_end | {"mean": checkpoint.front_end["mean"] + 1})


def other_genotype(checkpoint: Checkpoint) -> Checkpoint:
    """Another operation without weights, so that the weights still fit."""
    genotype = checkpoint.architecture["genotype"].replace("max_pool", "avg_pool")
    return dataclasses.replace(checkpoint, architecture=checkpoint.architecture | {"genotype": genotype})


def other_classes(checkpoint: Checkpoint) -> Checkpoint:
    return dataclasses.replace(checkpoint, speakers=checkpoint.speakers[::-1])


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (other_front_end, "front end"),
        (other_statistics, "front end"),
        (other_genotype, "genotype"),
        (other_classes, "class list"),
    ],
)
@pytest.mark.parametrize("script", ["evaluate_identification.py", "evaluate_verification.py"])
def test_changed_checkpoint_is_refused(
    toy: Path, trained_paper: Path, tmp_path: Path, script: str, change: Callable[[Checkpoint], Checkpoint], name: str
) -> None:
    """What was changed after the training is named."""
    checkpoint = load_checkpoint(trained_paper / "best.pt", ("train",))
    save_checkpoint(change(checkpoint), tmp_path / "best.pt")
    arguments = ("--cfg", SCRATCH, "--load_path", tmp_path, *options(DATASET__DATA_DIR=toy))
    outcome = call_script(script, *arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert f"its {name}" in outcome.stderr
    assert not list(tmp_path.glob("results*"))


@pytest.fixture(scope="module")
def trained_paper(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the paper's genotype, which has poolings, trained on all speakers."""
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path_factory.mktemp("paper"))
    outcome = call_script("train.py", "--cfg", SCRATCH, "--text_arch", GENOTYPE, *settings)
    return Path(json.loads(outcome.last_line)["run_dir"])


@pytest.mark.parametrize("script", ["evaluate_identification.py", "evaluate_verification.py"])
def test_changed_index_is_refused(toy: Path, trained_paper: Path, tmp_path: Path, script: str) -> None:
    """Both hashes are told; it may be allowed, and the results say that it is another."""
    corpus = tmp_path / "corpus"
    shutil.copytree(toy, corpus)
    extra = corpus / "wav" / "id10001" / "new" / "00001.wav"
    extra.parent.mkdir()
    shutil.copy(next((corpus / "wav" / "id10001").rglob("*.wav")), extra)
    preprocess(corpus)
    arguments = (
        "--cfg",
        SCRATCH,
        "--load_path",
        copy_best(trained_paper, tmp_path),
        *options(DATASET__DATA_DIR=corpus),
    )
    outcome = call_script(script, *arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    now = hash_file(corpus / "feature" / "utterances.csv")
    for part in ("another index", hash_file(toy / "feature" / "utterances.csv")[:12], now[:12], "--allow_index_change"):
        assert part in outcome.stderr
    outcome = call_script(script, "--allow_index_change", *arguments)
    assert outcome.status == 0, outcome.stderr
    (results,) = tmp_path.glob("results-*.json")
    index = json.loads(results.read_text())["provenance"]["index"]
    assert index["sha256"] == now != index["sha256_at_training"]


@pytest.mark.parametrize("script", ["evaluate_identification.py", "evaluate_verification.py"])
def test_genotype_that_is_not_the_networks(toy: Path, trained_paper: Path, tmp_path: Path, script: str) -> None:
    """Whoever says which genotype he evaluates is told if it is another's."""
    arguments = ("--cfg", SCRATCH, "--load_path", copy_best(trained_paper, tmp_path), *options(DATASET__DATA_DIR=toy))
    other = GENOTYPE.replace("max_pool", "avg_pool")
    outcome = call_script(script, *arguments, "--text_arch", other)
    assert outcome.status == 2
    assert "is not the network of this genotype" in outcome.stderr
    assert call_script(script, *arguments, "--text_arch", GENOTYPE).status == 0


def test_corpus_of_other_speakers(toy: Path, trained_paper: Path, tmp_path: Path) -> None:
    """A class list that is not the corpus's is refused by name, whatever is allowed."""
    corpus = write_small_corpus(tmp_path / "corpus")
    preprocess(corpus)
    arguments = ("--cfg", SCRATCH, "--load_path", copy_best(trained_paper, tmp_path), "--allow_index_change")
    outcome = call_script("evaluate_identification.py", *arguments, *options(DATASET__DATA_DIR=corpus))
    assert outcome.status == 2
    assert "its class list of 6 speakers is not that of" in outcome.stderr


@pytest.mark.parametrize(("name", "frames"), [("resnet18", 64), ("vggm", 80)])
def test_baseline(tmp_path: Path, name: str, frames: int) -> None:
    """A baseline trains, and its run folder is evaluated with the same settings."""
    corpus = write_small_corpus(tmp_path / "corpus")
    preprocess(corpus)
    settings = options(
        DATASET__DATA_DIR=corpus,
        OUT_DIR=tmp_path / "runs",
        MODEL__NAME=name,
        TRAIN__BATCH_SIZE=3,
        DATASET__PARTIAL_N_FRAMES=frames,
    )
    config = ("--cfg", "exps/mini/resnet18.yaml", *settings)
    figures = json.loads(run_script("train_baseline.py", *config, check=True).last_line)
    outcome = call_script("evaluate_identification.py", *config, "--load_path", figures["run_dir"])
    assert json.loads(outcome.last_line)["top1"] == figures["top1"]


@pytest.mark.parametrize("script", ["evaluate_identification.py", "evaluate_verification.py"])
def test_results_name_the_epoch_of_the_checkpoint(
    toy: Path, trained: tuple[dict, Path], tmp_path: Path, script: str
) -> None:
    """Of the checkpoint that was evaluated, also where it is not the best or no epoch was validated yet."""
    checkpoint = load_checkpoint(trained[1] / "last.pt", ("train",))
    save_checkpoint(dataclasses.replace(checkpoint, epoch=7, best={}), tmp_path / "last.pt")
    arguments = ("--cfg", SCRATCH, "--load_path", tmp_path / "last.pt")
    call_script(script, *arguments, *options(DATASET__DATA_DIR=toy))
    (results,) = tmp_path.glob("results-*.json")
    assert json.loads(results.read_text())["epoch"] == 7


@pytest.mark.parametrize("script", [*SCRIPTS, *sorted(f"tools/{path.name}" for path in ROOT.glob("tools/*.py"))])
def test_help_answers_without_torch(script: str) -> None:
    """Importing torch takes seconds; whoever asks how to run a script should not wait for it."""
    command = [sys.executable, "-X", "importtime", script, "--help"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0
    assert "usage: " in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert "torch" not in imported


# ------------------------------------------------------------------------------------------------------------------
# Going on
# ------------------------------------------------------------------------------------------------------------------
EPOCHS = 4
RATES = {"TRAIN__LR": 0.01, "TRAIN__LR_MIN": 0.001, "TRAIN__ARCH_LR": 0.01}
LONG = {
    "train": {"TRAIN__BATCH_SIZE": 2, "TRAIN__END_EPOCH": EPOCHS, "VAL_FREQ": 2, **RATES},
    "search": {"TRAIN__BATCH_SIZE": 6, "DATASET__PARTIAL_N_FRAMES": 32, "TRAIN__END_EPOCH": EPOCHS, **RATES},
}
RESUMABLE = {"train": ("--cfg", SCRATCH, "--text_arch", GENOTYPE), "search": ("--cfg", SEARCH)}


@pytest.fixture(scope="module")
def uninterrupted(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """By the name of a script: the folder of a run that nothing stopped."""

    @functools.cache
    def run(script: str) -> Path:
        out = tmp_path_factory.mktemp("uninterrupted")
        settings = options(DATASET__DATA_DIR=toy, OUT_DIR=out, **LONG[script])
        run_script(f"{script}.py", *RESUMABLE[script], *settings, check=True)
        return only_run(out, script)

    return run


def assert_same_checkpoint(actual: Path, expected: Path) -> None:
    """Every tensor bit for bit, and all figures."""
    one, other = (torch.load(path, weights_only=True) for path in (actual, expected))
    for content in (one, other):
        del content["config"]  # OUT_DIR differs
    assert_same(one, other)


def assert_same(one: object, other: object) -> None:
    """Equal, down to the last bit of tensors."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    else:
        assert one == other


def test_learning_rate_falls_by_half_a_cosine(uninterrupted: Callable[[str], Path]) -> None:
    """From TRAIN.LR, in the first epoch, towards TRAIN.LR_MIN at the end; alpha's stays."""
    expected = [0.001 + 0.009 * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2 for epoch in range(EPOCHS)]
    assert [line["lr"] for line in metrics(uninterrupted("train"))] == pytest.approx(expected)
    searched = metrics(uninterrupted("search"))
    assert [line["lr_weights"] for line in searched] == pytest.approx(expected)
    assert {line["lr_alpha"] for line in searched} == {0.01}


@pytest.mark.parametrize("saves", [1, 2, 3])
def test_stopped_between_two_checkpoints(
    toy: Path, tmp_path: Path, uninterrupted: Callable[[str], Path], saves: int
) -> None:
    """Wherever it stops, last.pt and best.pt fit each other when it goes on."""
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path, **LONG["train"])
    save, paths = TrainingState.save, []

    def save_and_stop(state: TrainingState, path: Path) -> None:
        save(state, path)
        paths.append(path)
        if len(paths) == saves:
            raise KeyboardInterrupt

    with mock.patch.object(TrainingState, "save", save_and_stop):
        assert call_script("train.py", *RESUMABLE["train"], *settings).status == 130
    run_dir = only_run(tmp_path, "train")
    load_path = ("--load_path", run_dir) if (run_dir / "last.pt").exists() else ()
    outcome = call_script("train.py", *RESUMABLE["train"], *load_path, *settings)
    assert outcome.status == 0, outcome.stderr
    run_dir = Path(json.loads(outcome.last_line)["run_dir"])
    assert_same_checkpoint(run_dir / "best.pt", uninterrupted("train") / "best.pt")


def test_figures_of_an_epoch_cut_short(toy: Path, tmp_path: Path, trained: tuple[dict, Path]) -> None:
    """A crash can leave half a line in metrics.jsonl; the run goes on all the same."""
    run_dir = tmp_path / "run"
    shutil.copytree(trained[1], run_dir)
    with open(run_dir / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 2, "lr"')
    settings = options(DATASET__DATA_DIR=toy, TRAIN__END_EPOCH=2)
    genotype = load_checkpoint(run_dir / "last.pt", ("train",)).architecture["genotype"]
    arguments = ("--cfg", SCRATCH, "--text_arch", genotype, "--load_path", run_dir)
    outcome = call_script("train.py", *arguments, *settings)
    assert outcome.status == 0, outcome.stderr
    assert [line["epoch"] for line in metrics(run_dir)] == [1, 2]


@pytest.mark.parametrize("script", RESUMABLE)
def test_finished_run_is_left_as_it_is(
    toy: Path, tmp_path: Path, uninterrupted: Callable[[str], Path], script: str
) -> None:
    """Going on with a run that is done prints its result again and trains nothing."""
    run_dir = tmp_path / "run"
    shutil.copytree(uninterrupted(script), run_dir)
    before = (run_dir / "last.pt").read_bytes()
    arguments = (*RESUMABLE[script], "--load_path", run_dir / "last.pt")
    outcome = call_script(f"{script}.py", *arguments, *options(DATASET__DATA_DIR=toy, **LONG[script]))
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout
    assert (run_dir / "last.pt").read_bytes() == before
    assert [line["epoch"] for line in metrics(run_dir)] == list(range(1, EPOCHS + 1))


def test_going_on_needs_no_genotype(toy: Path, tmp_path: Path, trained: tuple[dict, Path]) -> None:
    """The run's own settings and folder are enough: the checkpoint holds the genotype."""
    run_dir = tmp_path / "run"
    shutil.copytree(trained[1], run_dir)
    arguments = ("--cfg", run_dir / "config.yaml", "--load_path", run_dir, "TRAIN.END_EPOCH", 2)
    outcome = call_script("train.py", *arguments)
    assert outcome.status == 0, outcome.stderr
    assert load_checkpoint(run_dir / "last.pt", ("train",)).epoch == 2


def test_evaluation_with_windows_of_another_length(toy: Path, trained: tuple[dict, Path], tmp_path: Path) -> None:
    """Settings that disagree with the training are refused; windows that are meant to be others are warned of."""
    arguments = ("--cfg", SCRATCH, "--load_path", copy_best(trained[1], tmp_path))
    refused = options(DATASET__DATA_DIR=toy, DATASET__PARTIAL_N_FRAMES=100)
    outcome = call_script("evaluate_identification.py", *arguments, *refused)
    assert outcome.status == 2
    assert "was trained on crops of 64 frames, the settings say DATASET.PARTIAL_N_FRAMES 100" in outcome.stderr
    settings = options(DATASET__DATA_DIR=toy, EVAL__WINDOW_FRAMES=100)
    outcome = call_script("evaluate_identification.py", *arguments, *settings)
    assert "WARNING: the network was trained on crops of 64 frames and is evaluated on windows of 100" in outcome.stderr
    assert json.loads((tmp_path / "results-identification.json").read_text())["window_frames"] == 100


@pytest.mark.parametrize(("sub_dir", "config"), [("merged", "scratch.yaml"), ("dev", "scratch_veri.yaml")])
def test_command_after_a_search_fits_its_corpus(toy: Path, tmp_path: Path, sub_dir: str, config: str) -> None:
    """Settings for VoxCeleb1 would refuse a corpus of another size, or train on other speakers."""
    (tmp_path / "search.yaml").write_text((ROOT / SEARCH).read_text())
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path / "runs", DATASET__SUB_DIR=sub_dir)
    outcome = call_script("search.py", "--cfg", tmp_path / "search.yaml", *settings)
    words = shlex.split(outcome.last_line)
    cfg = load_config(ROOT / words[words.index("--cfg") + 1], words[words.index("--text_arch") + 2 :])
    assert words[3] == f"exps/scratch/{config}"
    assert sub_dir == cfg.DATASET.SUB_DIR
    assert Corpus(cfg).check_num_classes(cfg.MODEL.NUM_CLASSES) == {"merged": 6, "dev": 4}[sub_dir]
