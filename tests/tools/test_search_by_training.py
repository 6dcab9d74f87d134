"""tools/search_by_training.py on the toy corpus: searches interrupted, taken over, shared, and refused."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import chisquare

from models.genotypes import INPUTS, NODES, SEARCH_SPACES, parse_genotype
from tests.helpers import SCRATCH, Outcome, options
from tests.tools.comparisons import Scripts, assert_refused, call_tool, records
from tools.halving.space import genotype_of, parameters_of
from tools.halving.study import Plan, Study

SCRIPT = "tools/search_by_training.py"
CANDIDATES = 4
PLAN = Plan("loss", "random", 5, 1, 2, 4, "s2", "index")


class KilledError(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def search(toy: Path, out: Path, *arguments: object, scripts: Scripts | None = None, **settings: object) -> Outcome:
    """Run the tool: candidates compared by loss after epochs 1 and 2."""
    command = ("--cfg", SCRATCH, "--objective", "loss", "--reduction", 2, "--candidates", CANDIDATES, "--out", out)
    small = {"DATASET__DATA_DIR": toy, "TRAIN__END_EPOCH": 2, "DATASET__PARTIAL_N_FRAMES": 32, **settings}
    return call_tool(SCRIPT, *command, *arguments, *options(**small), scripts=scripts)


def trials(out: Path) -> list[FrozenTrial]:
    """The candidates in a folder's journal, as Optuna reads it."""
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(out / "study.journal")))
    return optuna.load_study(study_name="search", storage=storage).trials


def outcomes(out: Path) -> list[tuple]:
    """All of a study but times."""
    return [(trial.params, trial.state, trial.intermediate_values, trial.values) for trial in trials(out)]


def results(outcome: Outcome) -> dict:
    """The figures printed, without times."""
    printed = json.loads(outcome.last_line)
    assert printed.pop("hours") > 0
    assert sum(rung.pop("minutes") for rung in printed["rungs"]) > 0
    return printed


@pytest.fixture(scope="module")
def searched(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """A search: how it ended, and its folder, which tests must leave as it is."""
    out = tmp_path_factory.mktemp("search") / "made by the tool"
    outcome = search(toy, out)
    assert outcome.status == 0, outcome.stderr
    return outcome, out


@pytest.fixture
def copied(searched: tuple[Outcome, Path], tmp_path: Path) -> Path:
    """A copy of that folder."""
    return Path(shutil.copytree(searched[1], tmp_path / "copy"))


# ------------------------------------------------------------------------------------------------------------------
# What a search leaves
# ------------------------------------------------------------------------------------------------------------------
def test_files_of_a_search(searched: tuple[Outcome, Path]) -> None:
    """Settings, the journal, runs, and the winner, tables and pictures."""
    _, out = searched
    pictures = {f"{name}.{kind}" for name in ("curves", "genotype") for kind in ("png", "pdf")}
    reports = {f"report.{kind}" for kind in ("html", "json", "md")}
    own = {"config.yaml", "study.journal", "locks", "recipes", "runs", "genotype.txt", "candidates.csv"}
    assert {path.name for path in out.iterdir()} == own | pictures | reports
    runs = {path.name for path in (out / "runs" / "train").iterdir()}
    candidates = pd.read_csv(out / "candidates.csv")
    assert set(candidates["run"]) == runs
    assert (candidates["parameters"] > 1000).all()
    assert len(runs) == CANDIDATES


def test_values_are_those_of_the_runs(searched: tuple[Outcome, Path]) -> None:
    """What is reported is what metrics.jsonl has for the rung; each candidate is trained up to its last rung alone."""
    for trial in trials(searched[1]):
        lines = records(searched[1] / "runs" / "train" / trial.user_attrs["run"] / "metrics.jsonl")
        assert trial.intermediate_values == {line["epoch"]: line["val_loss"] for line in lines}


def test_pruner_decides(searched: tuple[Outcome, Path]) -> None:
    """A candidate goes on where it is among the better half of those that came so far; and checkpoints go with it."""
    earlier: list[float] = []
    for trial in trials(searched[1]):
        earlier.append(trial.intermediate_values[1])
        goes_on = trial.intermediate_values[1] in sorted(earlier)[: max(1, len(earlier) // 2)]
        assert trial.state == (TrialState.COMPLETE if goes_on else TrialState.PRUNED)
        assert set(trial.intermediate_values) == ({1, 2} if goes_on else {1})
        run = searched[1] / "runs" / "train" / trial.user_attrs["run"]
        assert {path.name for path in run.glob("*.pt")} == ({"last.pt", "previous.pt", "best.pt"} if goes_on else set())
    assert {trial.state for trial in trials(searched[1])} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_results_of_a_search(searched: tuple[Outcome, Path]) -> None:
    """The winner is the best of the highest rung; rungs are counted; the command trains what it says."""
    outcome, out = searched
    printed, found = results(outcome), trials(out)
    finished = [trial for trial in found if trial.state == TrialState.COMPLETE]
    winner = min(finished, key=lambda trial: trial.values[0])
    assert (printed["winner"], printed["epoch"], printed["value"]) == (winner.number, 2, winner.values[0])
    assert printed["genotype"] == str(genotype_of(winner.params)) == (out / "genotype.txt").read_text().strip()
    assert parse_genotype(printed["genotype"])
    counts = [(rung["epoch"], rung["candidates"], rung["epochs"]) for rung in printed["rungs"]]
    assert counts == [(1, CANDIDATES, CANDIDATES), (2, len(finished), len(finished))]
    first = [trial.intermediate_values[1] for trial in found]
    assert (printed["rungs"][0]["best"], printed["rungs"][0]["median"]) == pytest.approx((min(first), np.median(first)))
    last = outcome.stderr.strip().splitlines()[-1]
    assert last.endswith(f"next: python train.py --cfg '{out / 'config.yaml'}' --text_arch '{out / 'genotype.txt'}'")
    page = (out / "report.html").read_text()
    assert f"{winner.values[0]:.4f}" in page
    assert f"best of {CANDIDATES} candidates" in page


def test_test_part_is_not_looked_at_on_the_way(searched: tuple[Outcome, Path]) -> None:
    """Runs that ended at a rung have no figures of it."""
    for trial in trials(searched[1]):
        run = searched[1] / "runs" / "train" / trial.user_attrs["run"]
        tested = "top1" in json.loads((run / "results.json").read_text())
        assert tested == (trial.state == TrialState.COMPLETE)


# ------------------------------------------------------------------------------------------------------------------
# Interrupted, shared, taken over
# ------------------------------------------------------------------------------------------------------------------
def test_search_is_finished(toy: Path, searched: tuple[Outcome, Path], copied: Path) -> None:
    """Run again it trains nothing, and says the same."""
    scripts = Scripts()
    assert results(search(toy, copied, scripts=scripts)) == results(searched[0])
    assert scripts.called == []


def test_killed_after_every_second_line_of_the_journal(
    toy: Path, tmp_path: Path, searched: tuple[Outcome, Path]
) -> None:
    """Whatever is on record and what not, the search goes on to the same study; nothing is trained twice."""
    write, lives = JournalFileBackend.append_logs, 0

    def write_and_die(backend: JournalFileBackend, logs: list) -> None:
        write(backend, logs)
        left.pop()
        if not left:
            raise KilledError

    scripts = Scripts()
    outcome = None
    while outcome is None and lives < 60:
        left, lives = [1, 2], lives + 1
        with mock.patch.object(JournalFileBackend, "append_logs", write_and_die), contextlib.suppress(KilledError):
            outcome = search(toy, tmp_path / "out", scripts=scripts)
    assert lives > 8
    assert outcome is not None
    assert results(outcome) == results(searched[0])
    assert outcomes(tmp_path / "out") == outcomes(searched[1])
    assert len(list((tmp_path / "out" / "runs" / "train").iterdir())) == CANDIDATES


def in_a_process(do: Callable[..., object], *arguments: object) -> multiprocessing.Process:
    """Start a function in a process that has all of this one's imports."""
    process = multiprocessing.get_context("fork").Process(target=do, args=arguments)
    process.start()
    return process


def test_dead_candidate_is_taken_over(toy: Path, tmp_path: Path, searched: tuple[Outcome, Path]) -> None:
    """A process is killed within a training; another one goes on from its checkpoint, to the same study."""
    out, every_step = tmp_path / "out", {"TRAIN__CHECKPOINT_MINUTES": 1e-6}
    process = in_a_process(lambda: search(toy, out, **every_step))
    deadline = time.monotonic() + 60
    while not list(out.glob("runs/train/*/last.pt")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert all(trial.state == TrialState.RUNNING for trial in trials(out))
    scripts = Scripts()
    outcome = search(toy, out, scripts=scripts, **every_step)
    assert "--load_path" in scripts.called[0]
    assert results(outcome) == results(searched[0])
    assert outcomes(out) == outcomes(searched[1])


def test_two_processes_share_a_study(toy: Path, tmp_path: Path, searched: tuple[Outcome, Path]) -> None:
    """Both draw, no candidate is anybody's twice, and the last one to end reports all."""
    out = tmp_path / "out"
    process = in_a_process(lambda: os._exit(search(toy, out).status))
    outcome = search(toy, out)
    process.join()
    assert (outcome.status, process.exitcode) == (0, 0)
    assert [trial.params for trial in trials(out)] == [trial.params for trial in trials(searched[1])]
    assert len(list((out / "runs" / "train").iterdir())) == CANDIDATES
    assert all(trial.state.is_finished() for trial in trials(out))
    assert json.loads((out / "report.json").read_text())["outcomes"]["under way"] == 0
    workers = {line["worker_id"] for line in records(out / "study.journal") if line["op_code"] == 4}  # of new trials
    assert len(workers) == 2


def test_stopped_by_a_signal(toy: Path, tmp_path: Path) -> None:
    """It says how to go on, and what was spent is on record."""

    def interrupt(scripts: Scripts) -> tuple[str, None]:
        signal.raise_signal(signal.SIGTERM)
        scripts.returncode = 143
        return "", None

    with (
        mock.patch.object(Scripts, "communicate", interrupt),
        mock.patch.object(Scripts, "send_signal", lambda scripts, number: None, create=True),
    ):
        outcome = search(toy, tmp_path / "out")
    assert outcome.status == 143
    assert f"go on with --out {tmp_path / 'out'}" in outcome.stderr.splitlines()[-1]
    assert "1" in trials(tmp_path / "out")[0].user_attrs["seconds"]


def test_hours_are_the_studys(toy: Path, searched: tuple[Outcome, Path], copied: Path) -> None:
    """What was spent before an interruption counts: nothing is begun."""
    scripts, spent = Scripts(), json.loads(searched[0].last_line)["hours"]
    again = search(toy, copied, "--candidates", CANDIDATES + 1, "--hours", spent / 2, scripts=scripts)
    assert (results(again), scripts.called) == (results(searched[0]), [])


def test_runs_may_be_gone(toy: Path, searched: tuple[Outcome, Path], copied: Path) -> None:
    """What they alone know is left out."""
    shutil.rmtree(copied / "runs")
    assert results(search(toy, copied)) == results(searched[0])
    assert pd.read_csv(copied / "candidates.csv")["parameters"].isna().all()
    assert "&lt;NA&gt;" not in (copied / "report.html").read_text()


def test_hours_end_a_candidate_at_its_rung(toy: Path, tmp_path: Path, searched: tuple[Outcome, Path]) -> None:
    """It is under way, and goes on when there is time."""
    outcome = search(toy, tmp_path, "--hours", 1e-9)
    assert results(outcome)["outcomes"]["under way"] == 1
    assert results(outcome)["epoch"] == 1
    assert "1 of 1 candidates are not at their end" in (tmp_path / "report.md").read_text()
    assert search(toy, tmp_path, "--hours", 1000, "--candidates", 1).status == 0
    assert outcomes(tmp_path) == outcomes(searched[1])[:1]


# ------------------------------------------------------------------------------------------------------------------
# Objectives
# ------------------------------------------------------------------------------------------------------------------
def test_objective_eer(toy: Path, tmp_path: Path) -> None:
    """Of the trials of the speakers held out, and the default where there are such."""
    settings = options(DATASET__DATA_DIR=toy, DATASET__SUB_DIR="dev", DATASET__VAL_SPEAKERS=2, OUT_DIR=tmp_path)
    outcome = call_tool(SCRIPT, "--cfg", SCRATCH, "--candidates", 2, *settings)
    printed = json.loads(outcome.last_line)
    assert printed["objective"] == "eer"
    (out,) = (tmp_path / "search_by_training").iterdir()
    values = []
    for trial in trials(out):
        (line,) = records(out / "runs" / "train" / trial.user_attrs["run"] / "metrics.jsonl")
        assert trial.values == [line["val_eer"]]
        values.append(line["val_eer"])
    assert printed["value"] == min(values)


def test_diverged_candidates_are_left_out(toy: Path, tmp_path: Path) -> None:
    """They are counted; where all have diverged, there is no winner."""
    endless = {"TRAIN__LR": 1e30, "TRAIN__LR_MIN": 1e30}
    outcome = search(toy, tmp_path / "out", "--candidates", 2, **endless)
    assert outcome.status == 2
    assert "all 2 candidates have diverged: lower TRAIN.LR" in outcome.stderr.splitlines()[-1]
    assert [trial.state for trial in trials(tmp_path / "out")] == [TrialState.FAIL] * 2


# ------------------------------------------------------------------------------------------------------------------
# Refused
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "settings", "parts"),
    [
        ((), {"TRAIN__LR": 0.002}, ("TRAIN.LR 0.01 (now 0.002)", "holds a search with", "--out")),
        ((), {"SEED": 4}, ("SEED 3 (now 4)",)),
        ((), {"TRAIN__END_EPOCH": 3}, ("TRAIN.END_EPOCH 2 (now 3)",)),
        (("--seed", 1), {}, ("--seed 0 (now 1)", "--out")),
        (("--objective", "top1", "--reduction", 3), {}, ("--objective loss (now top1), --reduction 2 (now 3)",)),
        (("--space", "s3"), {}, ("--space s2 (now s3)",)),
    ],
)
def test_other_settings_are_refused(
    toy: Path, searched: tuple[Outcome, Path], arguments: tuple, settings: dict, parts: tuple
) -> None:
    """A folder is of one search; the culprit and the remedy are named."""
    scripts = Scripts()
    assert_refused(search(toy, searched[1], *arguments, scripts=scripts, **settings), searched[1], *parts)
    assert scripts.called == []


@pytest.mark.parametrize(
    ("arguments", "settings", "part"),
    [
        (("--objective", "eer"), {}, "DATASET.SUB_DIR dev"),
        (("--objective", "eer"), {"DATASET__SUB_DIR": "dev", "DATASET__VAL_SPEAKERS": 0}, "DATASET.VAL_SPEAKERS"),
        (("--first_rung", 3), {}, "--first_rung 3"),
        ((), {"TRAIN__STOP_EPOCH": 1}, "TRAIN.STOP_EPOCH"),
        ((), {"TRAIN__BEGIN_EPOCH": 1}, "TRAIN.BEGIN_EPOCH"),
        ((), {"MODEL__PRETRAINED": "some/file"}, "MODEL.PRETRAINED"),
        ((), {"MODEL__NAME": "resnet18"}, "MODEL.NAME"),
        (("--hours", 0), {}, "--hours"),
        (("--reduction", 1), {}, "--reduction"),
        (("--candidates", 0), {}, "--candidates"),
    ],
)
def test_bad_search(toy: Path, tmp_path: Path, arguments: tuple, settings: dict, part: str) -> None:
    """It is refused before anything is made."""
    assert_refused(search(toy, tmp_path / "out", *arguments, **settings), part)
    assert not (tmp_path / "out").exists()


def test_without_a_limit(toy: Path) -> None:
    outcome = call_tool(SCRIPT, "--cfg", SCRATCH, *options(DATASET__DATA_DIR=toy))
    assert outcome.status == 2
    assert "--candidates, --hours or both are needed" in outcome.stderr.splitlines()[-1]


def test_damaged_journal_is_refused(toy: Path, copied: Path) -> None:
    with open(copied / "study.journal", "a") as file:
        file.write("nonsense\n{}\n")
    assert_refused(search(toy, copied), copied / "study.journal", "--out")


# ------------------------------------------------------------------------------------------------------------------
# The study
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("space", SEARCH_SPACES)
def test_genotypes_are_drawn_evenly(space: str, tmp_path: Path) -> None:
    """Every node takes every pair of sources and every operation as often as any other: chi-square tests."""
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(sampler=sampler)
    drawn = [genotype_of(study.ask(parameters_of(space)).params) for _ in range(600)]
    assert all(parse_genotype(str(genotype)) == genotype for genotype in drawn[:20])
    for genes in ([genotype.normal for genotype in drawn], [genotype.reduce for genotype in drawn]):
        for node in range(NODES):
            pairs = Counter((cell[2 * node][1], cell[2 * node + 1][1]) for cell in genes)
            sources = INPUTS + node
            assert len(pairs) == sources * (sources - 1) // 2
            assert len(pairs) == 1 or chisquare(list(pairs.values())).pvalue > 1e-4
        for position in range(2 * NODES):
            operations = Counter(cell[position][0] for cell in genes)
            assert len(operations) == len(SEARCH_SPACES[space]) - 1
            assert chisquare(list(operations.values())).pvalue > 1e-4


@pytest.mark.parametrize(
    ("first", "reduction", "epochs", "rungs"),
    [(1, 3, 41, [1, 3, 9, 27, 41]), (1, 3, 27, [1, 3, 9, 27]), (2, 2, 3, [2, 3]), (5, 3, 5, [5])],
)
def test_rungs(first: int, reduction: int, epochs: int, rungs: list[int]) -> None:
    assert Plan("loss", "random", 0, first, reduction, epochs, "s2", "").rungs == rungs


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    yield Study(tmp_path, PLAN)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_drawing_goes_on(tmp_path: Path, sampler: str) -> None:
    """A study opened anew for every candidate draws what one left open draws; no genotype comes twice."""
    plan = Plan("loss", sampler, 5, 1, 2, 4, "s2", "index")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = Study(tmp_path / "a", plan)
    for number in range(14):  # tpe draws ten by chance first
        again = Study(tmp_path / "b", plan)
        for one in (whole, again):
            assert one.draw() == number
            one.report(number, 1, float(number % 5))
            one.end(number, TrialState.PRUNED)
    drawn = [trial.params for trial in whole.candidates()]
    assert drawn == [trial.params for trial in Study(tmp_path / "b", plan).candidates()]
    assert len({str(genotype_of(values)) for values in drawn}) == 14


def test_half_a_line_of_the_journal(tmp_path: Path) -> None:
    """A crash can leave it; the next line is not written on to it."""
    Study(tmp_path, PLAN).draw()
    with open(tmp_path / "study.journal", "a") as file:
        file.write('{"op_code":')
    assert Study(tmp_path, PLAN).draw() == 1
    assert len(Study(tmp_path, PLAN).candidates()) == 2


def test_judged_again_after_a_kill(study: Study) -> None:
    """The verdict is the same however often it is asked for, and counts nobody twice."""
    for number, value in enumerate([2.0, 1.0, 3.0, 2.5]):
        study.draw()
        study.report(number, 1, value)
        verdicts = {study.may_go_on(number) for _ in range(3)}
        assert verdicts == {number in (0, 1)}
    study.report(0, 2, 5.0)
    assert study.may_go_on(0)  # the only one there, whatever became of those drawn later
    study.report(1, 2, 6.0)
    assert not study.may_go_on(1)


def test_optuna_keeps_quiet(searched: tuple[Outcome, Path]) -> None:
    assert "A new study created" not in searched[0].stderr
    assert "Trial" not in searched[0].stderr
