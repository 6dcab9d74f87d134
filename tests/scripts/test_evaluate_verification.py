"""evaluate_verification.py: its figures, where they come from, and what it warns of."""

import html
import json
import math
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from data_objects.lists import read_trials
from tests.helpers import SCRATCH, call_script, options, run_script
from tests.runs import copy_best, copy_run
from utils.metrics.rates import equal_error_rate
from utils.records.guard import TEST, TRAIN, VAL
from utils.system.files import hash_file

VERIFICATION = ["eer", "min_dcf", "trials", "skipped_trials", "utterances", "speaker_overlap", "speaker_disjoint"]


# ------------------------------------------------------------------------------------------------------------------
# One list
# ------------------------------------------------------------------------------------------------------------------
def test_verification(toy: Path, trained_dev: Path, tmp_path: Path) -> None:
    """The last line printed, results-verification.json, and every trial with its score in scores.txt, in order."""
    run_dir = copy_run(trained_dev, tmp_path)
    arguments = ("--cfg", run_dir / "config.yaml", "--load_path", run_dir)
    outcome = run_script("evaluate_verification.py", *arguments, check=True)
    printed = json.loads(outcome.last_line)
    assert list(printed) == VERIFICATION
    trials = read_trials(toy / "veri_test.txt")
    assert (printed["trials"], printed["skipped_trials"], printed["utterances"]) == (len(trials), 0, 16)
    assert (printed["speaker_overlap"], printed["speaker_disjoint"]) == (0, True)
    assert "WARNING" not in outcome.stderr  # of a toy corpus nobody takes veri_test.txt for Vox1-O
    kept = json.loads((run_dir / "results-verification.json").read_text())
    assert {name: kept[name] for name in VERIFICATION} == printed
    scored = [line.split(" ") for line in (run_dir / "scores.txt").read_text().splitlines()]
    assert [(int(label), *pair) for _, label, *pair in scored] == list(trials)
    scores, labels = np.array([float(line[0]) for line in scored]), np.array([trial.label for trial in trials])
    assert np.abs(scores).max() <= 1
    assert printed["eer"] == pytest.approx(100 * equal_error_rate(scores, labels), abs=0.1)


def test_verification_says_where_it_comes_from(toy: Path, trained_dev: Path, tmp_path: Path) -> None:
    """Hashes of checkpoint, index and trials; who was trained on and tested on; settings and versions."""
    run_dir = copy_run(trained_dev, tmp_path)
    arguments = ("--cfg", run_dir / "config.yaml", "--load_path", run_dir)
    assert call_script("evaluate_verification.py", *arguments).status == 0
    provenance = json.loads((run_dir / "results-verification.json").read_text())["provenance"]
    assert provenance["checkpoint"]["sha256"] == hash_file(run_dir / "best.pt")
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
    outcome = call_script("evaluate_verification.py", *arguments, *options(DATASET__DATA_DIR=toy, EVAL__REPORT=True))
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


# ------------------------------------------------------------------------------------------------------------------
# Lists of one's own
# ------------------------------------------------------------------------------------------------------------------
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
    drawn = ("EVAL.REPORT", True)
    outcome = call_script("evaluate_verification.py", *arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "id10005/gone/00001.wav" in outcome.stderr
    assert "--allow_missing" in outcome.stderr
    assert not (tmp_path / "results-verification.json").exists()
    outcome = call_script("evaluate_verification.py", "--allow_missing", *arguments, *drawn)
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
    assert not (tmp_path / "verification").exists()  # of the earlier evaluation


def test_verification_on_several_lists(own_trials: Path, trained_dev: Path, tmp_path: Path) -> None:
    """A row, scores and a part of the report for each; every utterance is embedded once, and kept for the next time."""
    trials = (own_trials / "veri_test.txt").read_text().splitlines()
    parts = {"first": trials[::3], "second": trials[1::2]}
    for name, chosen in parts.items():
        (tmp_path / f"{name}.txt").write_text("".join(f"{line}\n" for line in chosen))
    checkpoint, out = copy_best(trained_dev, tmp_path / "run"), tmp_path / "out"
    arguments = ["--cfg", SCRATCH, "--load_path", checkpoint, "--out_dir", out]
    arguments += ["--trials", tmp_path / "first.txt", tmp_path / "second.txt", *options(DATASET__DATA_DIR=own_trials)]
    outcome = call_script("evaluate_verification.py", *arguments, "EVAL.REPORT", True)
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
# Ways to score
# ------------------------------------------------------------------------------------------------------------------
def test_systems_and_calibration(trained_apart: Path, tmp_path: Path) -> None:
    """Several ways to score; thresholds that turn scores into decisions, from the trials of the speakers held out."""
    run_dir = copy_run(trained_apart, tmp_path)
    arguments = ("--cfg", run_dir / "config.yaml", "--load_path", run_dir, "--out_dir", tmp_path)
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
    validation = run_dir / "validation_trials.txt"
    outcome = call_script("evaluate_verification.py", *arguments, "--trials", validation)
    assert "2 speakers are both held out and tested on" in outcome.stderr
    assert json.loads(outcome.last_line)["speaker_disjoint"] is False
