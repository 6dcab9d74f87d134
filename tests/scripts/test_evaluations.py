"""What both evaluations do: they refuse what has changed since the training, and write a report."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import GENOTYPE, SCRATCH, call_script, options, preprocess
from tests.runs import copy_best, copy_run
from tests.utils.reports.test_html import needs_browser, probe
from utils.records.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from utils.system.files import hash_file

EVALUATIONS = ("evaluate_identification.py", "evaluate_verification.py")


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
@pytest.mark.parametrize("script", EVALUATIONS)
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


@pytest.mark.parametrize("script", EVALUATIONS)
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


@pytest.mark.parametrize("script", EVALUATIONS)
def test_genotype_that_is_not_the_networks(toy: Path, trained_paper: Path, tmp_path: Path, script: str) -> None:
    """Whoever says which genotype he evaluates is told if it is another's."""
    arguments = ("--cfg", SCRATCH, "--load_path", copy_best(trained_paper, tmp_path), *options(DATASET__DATA_DIR=toy))
    other = GENOTYPE.replace("max_pool", "avg_pool")
    outcome = call_script(script, *arguments, "--text_arch", other)
    assert outcome.status == 2
    assert "is not the network of this genotype" in outcome.stderr
    assert call_script(script, *arguments, "--text_arch", GENOTYPE).status == 0


# ------------------------------------------------------------------------------------------------------------------
# What they write
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("script", EVALUATIONS)
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


@needs_browser
@pytest.mark.parametrize("script", ["identification", "verification"])
def test_report_in_a_browser(trained: tuple[dict, Path], trained_apart: Path, tmp_path: Path, script: str) -> None:
    """The reports that the evaluations write: every picture is seen, only cards and tables are wider than a phone."""
    run_dir = copy_run({"identification": trained[1], "verification": trained_apart}[script], tmp_path)
    arguments = ("--cfg", run_dir / "config.yaml", "--load_path", run_dir, "--out_dir", tmp_path)
    assert call_script(f"evaluate_{script}.py", *arguments).status == 0
    source = (tmp_path / script / "report.html").read_text()
    *images, page = probe(source, tmp_path, 390)
    assert len(images) >= {"identification": 1, "verification": 3}[script]
    assert {image[0] for image in images} == {"decoded"}
    assert page[1:] == ["390", "390"]
