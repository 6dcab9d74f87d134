"""Runs that are killed, told to stop, or out of room: they go on as if nothing had happened, and say what did."""

import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch

from data_objects.corpus import Corpus
from data_objects.datasets import CropBatch, CropLoader
from tests.helpers import GENOTYPE, ROOT, SCRATCH, call_script, environment, options, run_script
from tests.runs import (
    LONG,
    OPTIONS,
    RESUMABLE,
    SIMULATED,
    assert_same,
    assert_same_checkpoint,
    assert_same_run,
    copy_run,
    long_run,
    metrics,
    only_run,
    start,
    wait_for,
)
from utils.records.checkpoint import load_checkpoint, save_checkpoint
from utils.system.errors import UserError
from utils.system.interruption import Watch
from utils.training.state import TrainingState

KILLS = 2
EVERY_STEP = ("TRAIN.CHECKPOINT_MINUTES", 1e-6)


def saves(out: Path) -> set[int]:
    """When the one run's last checkpoint was written; nothing before the first."""
    return {path.stat().st_mtime_ns for path in out.glob("*/*/last.pt")}


def steps_done(out: Path) -> int:
    """Iterations that the one run's last checkpoint has seen; -1 before the first."""
    paths = list(out.glob("*/*/last.pt"))
    return torch.load(paths[0], weights_only=True)["step"] if paths else -1


# ------------------------------------------------------------------------------------------------------------------
# Killed
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("script", "num_workers"), [("train", 0), ("train", 2), ("search", 2)])
def test_killed_again_and_again(
    toy: Path, tmp_path: Path, uninterrupted: Callable[[str], Path], script: str, num_workers: int
) -> None:
    """With SIGKILL, at random moments and while a checkpoint is being written: the run ends as the one left alone."""
    draw = random.Random(f"{script} {num_workers}")
    command = long_run(script, toy, tmp_path, *EVERY_STEP, "DATASET.NUM_WORKERS", num_workers)
    killed_at, halves = [], 0
    for number in range(KILLS):
        before = saves(tmp_path)
        process = start(sys.executable, f"{script}.py", *command)
        running = wait_for(lambda before=before: saves(tmp_path) - before, process)
        time.sleep(draw.uniform(0, 0.1))
        if number % 2:  # in the midst of the next checkpoint
            running = wait_for(lambda: list(tmp_path.glob("*/*/last.pt.*.partial")), process, every=0.0005)
        process.kill()
        process.wait()  # not for its standard error, which loader processes keep open for some seconds more
        assert running, "the run was over before it could be killed"
        assert process.returncode == -signal.SIGKILL
        run_dir = only_run(tmp_path, script)
        halves += len(list(run_dir.glob("last.pt.*.partial")))
        killed_at.append(steps_done(tmp_path))
        command = ["--cfg", str(run_dir / "config.yaml"), "--load_path", str(run_dir)]
    assert sorted(set(killed_at)) == killed_at  # it came further every time
    assert halves > 0
    run_script(f"{script}.py", *command, check=True)
    assert_same_run(script, run_dir, uninterrupted(script))


def test_half_a_checkpoint_is_never_loaded(toy: Path, tmp_path: Path, uninterrupted: Callable[[str], Path]) -> None:
    """What a kill left of the next one is not looked at; a damaged last.pt gives way to the one before."""
    outcome = call_script("train.py", *long_run("train", toy, tmp_path, *EVERY_STEP))
    assert outcome.status == 0, outcome.stderr
    run_dir = only_run(tmp_path, "train")
    last = (run_dir / "last.pt").read_bytes()
    (run_dir / "last.pt.other-1.partial").write_bytes(last[: len(last) // 2])
    assert call_script("train.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir).status == 0
    for broken in (last[: len(last) // 2], b""):
        (run_dir / "last.pt").write_bytes(broken)
        assert load_checkpoint(run_dir / "previous.pt", ("train",)).epoch in (2, 3)
        outcome = call_script("train.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir)
        assert outcome.status == 0, outcome.stderr
        damaged = f"WARNING: {run_dir / 'last.pt'} is damaged or missing: going on from {run_dir / 'previous.pt'}"
        assert damaged in outcome.stderr
        assert_same_run("train", run_dir, uninterrupted("train"))


def test_figures_of_an_epoch_cut_short(toy: Path, tmp_path: Path, trained: tuple[dict, Path]) -> None:
    """A crash can leave half a line in metrics.jsonl; the run goes on all the same."""
    run_dir = copy_run(trained[1], tmp_path)
    with open(run_dir / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 2, "lr"')
    settings = options(DATASET__DATA_DIR=toy, TRAIN__END_EPOCH=2)
    genotype = load_checkpoint(run_dir / "last.pt", ("train",)).architecture["genotype"]
    arguments = ("--cfg", SCRATCH, "--text_arch", genotype, "--load_path", run_dir)
    outcome = call_script("train.py", *arguments, *settings)
    assert outcome.status == 0, outcome.stderr
    assert [line["epoch"] for line in metrics(run_dir)] == [1, 2]


# ------------------------------------------------------------------------------------------------------------------
# Told to stop
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("script", "number"), [("train", signal.SIGHUP), ("train", signal.SIGINT), ("search", signal.SIGTERM)]
)
def test_stopped_by_a_signal(
    toy: Path, tmp_path: Path, uninterrupted: Callable[[str], Path], script: str, number: signal.Signals
) -> None:
    """It finishes the iteration, saves, says how to go on, and going on loses nothing; loader processes do not mind."""
    process = start(
        sys.executable, f"{script}.py", *long_run(script, toy, tmp_path, *EVERY_STEP, "DATASET.NUM_WORKERS", 2)
    )
    assert wait_for(lambda: saves(tmp_path), process)
    first = saves(tmp_path)
    assert wait_for(lambda: saves(tmp_path) - first, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    for pid in (*children, process.pid):  # as Ctrl-C does, and schedulers do
        os.kill(int(pid), number)
    message = process.communicate(timeout=60)[1].strip().splitlines()[-1]
    assert process.returncode == 128 + number
    run_dir = only_run(tmp_path, script)
    checkpoint = load_checkpoint(run_dir / "last.pt", (script,))
    where = f"in epoch {checkpoint.epoch + 1}, after batch {checkpoint.batch} of "
    where = where if checkpoint.batch else f"after epoch {checkpoint.epoch}"
    assert message.startswith(f"{script}.py: stopped by {number.name} {where}")
    assert message.endswith(f"go on with: python {script}.py --cfg {run_dir / 'config.yaml'} --load_path {run_dir}")
    run_script(f"{script}.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir, check=True)
    assert_same_run(script, run_dir, uninterrupted(script))


def test_stopped_within_an_epoch_after_its_last_step(
    toy: Path, tmp_path: Path, uninterrupted: Callable[[str], Path]
) -> None:
    """All steps are done, the val part is not: going on validates."""
    after_iteration = Watch.after_iteration

    def stop_at_the_end(watch: Watch, over: bool = False) -> bool:
        steps.append(1)
        if len(steps) == 12:  # of the toy corpus's 24 crops in batches of 2
            signal.raise_signal(signal.SIGTERM)
        return after_iteration(watch, over)

    steps: list[int] = []
    with mock.patch.object(Watch, "after_iteration", stop_at_the_end):
        outcome = call_script("train.py", *long_run("train", toy, tmp_path))
    assert outcome.status == 143
    run_dir = only_run(tmp_path, "train")
    checkpoint = load_checkpoint(run_dir / "last.pt", ("train",))
    assert (checkpoint.epoch, checkpoint.batch) == (0, 12)
    outcome = call_script("train.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir)
    assert outcome.status == 0, outcome.stderr
    assert_same_run("train", run_dir, uninterrupted("train"))


@pytest.mark.parametrize("saves", [1, 2, 3])
def test_stopped_between_two_checkpoints(
    toy: Path, tmp_path: Path, uninterrupted: Callable[[str], Path], saves: int
) -> None:
    """Wherever it stops, last.pt and best.pt fit each other when it goes on."""
    command = long_run("train", toy, tmp_path)
    save, paths = TrainingState.save, []

    def save_and_stop(state: TrainingState, path: Path, **how: bool) -> None:
        save(state, path, **how)
        paths.append(path)
        if len(paths) == saves:
            raise KeyboardInterrupt

    with mock.patch.object(TrainingState, "save", save_and_stop):
        assert call_script("train.py", *command).status == 130
    run_dir = only_run(tmp_path, "train")
    load_path = ("--load_path", run_dir) if (run_dir / "last.pt").exists() else ()
    outcome = call_script("train.py", *command, *load_path)
    assert outcome.status == 0, outcome.stderr
    run_dir = Path(json.loads(outcome.last_line)["run_dir"])
    assert_same_checkpoint(run_dir / "best.pt", uninterrupted("train") / "best.pt")


# ------------------------------------------------------------------------------------------------------------------
# Out of room
# ------------------------------------------------------------------------------------------------------------------
def test_full_disk(toy: Path, tmp_path: Path) -> None:
    """The system's refusal to write a checkpoint leaves the one before as it was, and is told in one line."""
    command = long_run("train", toy, tmp_path)
    call_script("train.py", *command, "TRAIN.END_EPOCH", 1)
    run_dir = only_run(tmp_path, "train")
    before = (run_dir / "last.pt").read_bytes()
    room = len(before) // 2  # for no file larger than this

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    done = subprocess.run(
        [sys.executable, "train.py", *command, "--load_path", str(run_dir)],
        cwd=ROOT,
        env=environment(),
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    (error,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert "train.py: error: cannot write the checkpoint" in error
    assert f"the one before is intact: make room and go on with --load_path {run_dir}" in error
    assert "Traceback" not in done.stderr
    assert (run_dir / "last.pt").read_bytes() == before
    assert not list(run_dir.glob("*.partial"))
    assert call_script("train.py", *command, "--load_path", run_dir).status == 0


def test_full_disk_elsewhere(toy: Path, tmp_path: Path) -> None:
    """Other files' want of room is told in one line too."""
    full = OSError(28, "No space left on device", "somewhere/metrics.jsonl")
    with mock.patch("utils.training.run_log.RunLog.metrics", side_effect=full):
        outcome = call_script("train.py", *long_run("train", toy, tmp_path))
    assert outcome.status == 2
    assert "train.py: error: cannot write somewhere/metrics.jsonl (No space left on device)" in outcome.stderr


# ------------------------------------------------------------------------------------------------------------------
# What is gone on with
# ------------------------------------------------------------------------------------------------------------------
def test_more_epochs_than_planned(toy: Path, tmp_path: Path) -> None:
    """The learning rate follows another curve from there on, which is said."""
    command = long_run("train", toy, tmp_path, "TRAIN.END_EPOCH", 1)
    call_script("train.py", *command)
    run_dir = only_run(tmp_path, "train")
    outcome = call_script("train.py", *command, "--load_path", run_dir)
    assert "from now on" not in outcome.stderr
    outcome = call_script("train.py", *command, "--load_path", run_dir, "TRAIN.END_EPOCH", 2)
    assert "WARNING: TRAIN.END_EPOCH is 2 (was 1): from now on the learning rate" in outcome.stderr


def test_stopped_after_an_epoch(toy: Path, tmp_path: Path, uninterrupted: Callable[[str], Path]) -> None:
    """TRAIN.STOP_EPOCH leaves the schedule as it is: gone on with as it says, the run is the one that did not stop."""
    outcome = call_script("train.py", *long_run("train", toy, tmp_path, "TRAIN.STOP_EPOCH", 2))
    assert outcome.status == 0, outcome.stderr
    assert "top1" not in json.loads(outcome.last_line)  # of the test part
    run_dir = only_run(tmp_path, "train")
    assert metrics(run_dir) == metrics(uninterrupted("train"))[:2]
    going_on = ["--cfg", str(run_dir / "config.yaml"), "--load_path", str(run_dir)]
    said = f"after epoch 2; go on with: python train.py {' '.join(going_on)} TRAIN.STOP_EPOCH "
    assert f"{said}0\n" in outcome.stderr
    again = call_script("train.py", *going_on)
    assert "nothing to do: 2 epochs are done and TRAIN.STOP_EPOCH is 2" in again.stderr
    assert call_script("train.py", *going_on, "TRAIN.STOP_EPOCH", 0).status == 0
    assert_same_run("train", run_dir, uninterrupted("train"))


def test_epochs_that_are_kept(uninterrupted: Callable[[str], Path]) -> None:
    """TRAIN.KEEP_EPOCHS 1: those validated; the last one's network is last.pt's, without what going on needs."""
    run_dir = uninterrupted("train")
    assert sorted(path.name for path in run_dir.glob("epoch-*.pt")) == ["epoch-0002.pt", "epoch-0003.pt"]
    kept, last = (load_checkpoint(run_dir / name, ("train",)) for name in ("epoch-0003.pt", "last.pt"))
    assert_same(kept.model, last.model)
    assert_same(kept.front_end, last.front_end)
    assert (kept.optimizers, kept.generators, kept.epoch) == ({}, {}, 3)
    outcome = call_script("train.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir / "epoch-0002.pt")
    assert outcome.status == 2
    assert f"a run goes on from its last.pt: give its folder, {run_dir}" in outcome.stderr


def test_hard_choice_goes_on(toy: Path, tmp_path: Path) -> None:
    """As if it had not stopped; not where vox1_meta.csv has come to say other things of the speakers held out."""
    hard = {"DATASET__SUB_DIR": "dev", "DATASET__VAL_CHOICE": "hard", "DATASET__VAL_SPEAKERS": 2, "TRAIN__END_EPOCH": 2}
    settings = options(DATASET__DATA_DIR=toy, VAL_FREQ=1, **hard)
    runs = []
    for name, more in (("whole", ()), ("stopped", ("TRAIN.STOP_EPOCH", 1))):
        command = ("--cfg", SCRATCH, "--text_arch", GENOTYPE, *settings, "OUT_DIR", tmp_path / name, *more)
        outcome = call_script("train.py", *command)
        assert outcome.status == 0, outcome.stderr
        assert "DATASET.VAL_CHOICE hard holds out 2 of the 4 dev speakers" not in outcome.stderr  # no more than half
        runs.append(only_run(tmp_path / name, "train"))
    whole, run_dir = runs
    going_on = ("--cfg", run_dir / "config.yaml", "--load_path", run_dir, "TRAIN.STOP_EPOCH", 0)
    with mock.patch.object(Corpus, "speaker_details", lambda corpus: {}):
        outcome = call_script("train.py", *going_on)
        assert outcome.status == 2
        assert f"{toy / 'vox1_meta.csv'} says other things of the speakers held out" in outcome.stderr
        evaluated = call_script("evaluate_verification.py", "--cfg", whole / "config.yaml", "--load_path", whole)
        assert "cannot be made again" not in evaluated.stderr  # their kinds are the checkpoint's
    outcome = call_script("train.py", *going_on)
    assert outcome.status == 0, outcome.stderr
    assert_same_run("train", run_dir, whole)
    protocol = json.loads((whole / "protocol.json").read_text())
    assert (protocol["validation_choice"], protocol["validation_single_session"]) == ("hard", 0)
    assert set(protocol["validation_kinds"]) == set(protocol["validation_speakers"])
    assert set(protocol["validation_kinds"].values()) <= {"m", "f"}


def test_last_epoch_before_a_stop_is_validated(toy: Path, tmp_path: Path) -> None:
    """Whatever VAL_FREQ says."""
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path, TRAIN__END_EPOCH=9, TRAIN__STOP_EPOCH=1, VAL_FREQ=9)
    outcome = call_script("train.py", "--cfg", SCRATCH, "--text_arch", GENOTYPE, *settings)
    assert outcome.status == 0, outcome.stderr
    (line,) = metrics(only_run(tmp_path, "train"))
    assert {"val_top1", "val_loss"} <= line.keys()


def test_other_code_is_named(toy: Path, tmp_path: Path) -> None:
    """A run goes on with changed code, but says which."""
    command = long_run("train", toy, tmp_path, "TRAIN.END_EPOCH", 1)
    call_script("train.py", *command)
    run_dir = only_run(tmp_path, "train")
    checkpoint = load_checkpoint(run_dir / "last.pt", ("train",))
    assert {"models/network.py", "utils/training/loop.py", "config.py", "torch"} <= checkpoint.code.keys()
    outcome = call_script("train.py", *command, "--load_path", run_dir)
    assert "other code" not in outcome.stderr
    checkpoint.code |= {"models/network.py": "0" * 16, "torch": "1.0"}
    save_checkpoint(checkpoint, run_dir / "last.pt")
    outcome = call_script("train.py", *command, "--load_path", run_dir)
    assert outcome.status == 0
    assert f"by other code: models/network.py, torch {torch.__version__} (was 1.0) changed" in outcome.stderr
    assert "by other code" in (run_dir / "log.txt").read_text()


def test_checkpoint_of_a_loss_that_is_no_number(toy: Path, tmp_path: Path) -> None:
    """Weights that are none any more must not take a good checkpoint's place."""
    command = long_run("train", toy, tmp_path, *EVERY_STEP, "TRAIN.LR", 1e30, "TRAIN.LR_MIN", 1e30)
    outcome = call_script("train.py", *command)
    assert outcome.status == 3
    assert "lower TRAIN.LR" in outcome.stderr
    checkpoint = load_checkpoint(only_run(tmp_path, "train") / "last.pt", ("train",))
    assert torch.isfinite(checkpoint.meters["train"]["sums"]).all()


def test_checkpoints_of_the_first_version_are_read(toy: Path, tmp_path: Path) -> None:
    """They had no epochs under way."""
    command = long_run("train", toy, tmp_path, "TRAIN.END_EPOCH", 1)
    call_script("train.py", *command)
    run_dir = only_run(tmp_path, "train")
    content = torch.load(run_dir / "last.pt", weights_only=True)
    for name in ("batch", "meters", "notes", "code"):
        del content[name]
    torch.save(content | {"version": 1}, run_dir / "last.pt")
    outcome = call_script("train.py", *command, "--load_path", run_dir, "TRAIN.END_EPOCH", 2)
    assert outcome.status == 0, outcome.stderr
    torch.save(content | {"version": 9}, run_dir / "last.pt")
    with pytest.raises(UserError, match="version 9"):
        load_checkpoint(run_dir / "last.pt", ("train",))


@pytest.mark.parametrize("script", RESUMABLE)
def test_finished_run_is_left_as_it_is(
    toy: Path, tmp_path: Path, uninterrupted: Callable[[str], Path], script: str
) -> None:
    """Going on with a run that is done prints its result again and trains nothing."""
    run_dir = copy_run(uninterrupted(script), tmp_path)
    before = (run_dir / "last.pt").read_bytes()
    command = long_run(script, toy, tmp_path / "runs")
    outcome = call_script(f"{script}.py", *command, "--load_path", run_dir / "last.pt")
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout
    assert (run_dir / "last.pt").read_bytes() == before
    assert [line["epoch"] for line in metrics(run_dir)] == [*range(1, LONG[script]["TRAIN__END_EPOCH"] + 1)]


def test_going_on_needs_no_genotype(toy: Path, tmp_path: Path, trained: tuple[dict, Path]) -> None:
    """The run's own settings and folder are enough: the checkpoint holds the genotype."""
    run_dir = copy_run(trained[1], tmp_path)
    arguments = ("--cfg", run_dir / "config.yaml", "--load_path", run_dir, "TRAIN.END_EPOCH", 2)
    outcome = call_script("train.py", *arguments)
    assert outcome.status == 0, outcome.stderr
    assert load_checkpoint(run_dir / "last.pt", ("train",)).epoch == 2


def test_fine_tuning_goes_on_within_and_after_its_frozen_epochs(
    toy: Path, trained_dev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, whatever is done to the crops; the network that it started from may be gone by then."""
    start_from, kept = copy_run(trained_dev, tmp_path / "first"), []
    save = TrainingState.save

    def keep(state: TrainingState, path: Path, **how: bool) -> None:
        save(state, path, **how)
        if path.name == "last.pt":
            kept.append(path.read_bytes())

    settings = {"DATASET__SUB_DIR": "dev", "TRAIN__LR_PRETRAINED": 0.3, "MODEL__FREEZE": 1} | LONG["train"]
    settings |= {"AUGMENT__SPEED": "0.9 1.1", "AUGMENT__SPEED_CLASSES": True, **SIMULATED}
    settings |= {"FRONTEND__FEATURE": "magnitude", "FRONTEND__NORM": "corpus"}  # of the network that it starts from
    out = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path / "out", MODEL__PRETRAINED=start_from, **settings)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "save", keep)
        command = ("--cfg", SCRATCH, "--text_arch", GENOTYPE, *out, *EVERY_STEP)
        outcome = call_script("train.py", *command)
    assert outcome.status == 0, outcome.stderr
    assert "MODEL.PRETRAINED: " in outcome.stderr
    assert "the classifier drawn anew for 8 of 12 classes" in outcome.stderr
    whole = only_run(tmp_path / "out", "train")
    shutil.rmtree(start_from)
    steps = len(kept) // 3
    for number, place in enumerate((1, steps + 1)):  # after the second step of the first epoch, and of the second
        run_dir = copy_run(whole, tmp_path / str(number))
        (run_dir / "last.pt").write_bytes(kept[place])
        outcome = call_script("train.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir)
        assert outcome.status == 0, outcome.stderr
        assert_same_checkpoint(run_dir / "last.pt", whole / "last.pt")
    frozen, first = (torch.load(io.BytesIO(content), weights_only=True)["model"] for content in (kept[1], kept[0]))
    given = load_checkpoint(trained_dev / "best.pt", ("train",)).model
    for name, value in frozen.items():
        assert torch.equal(value, given[name]) == (not name.startswith("classifier.")), name
    assert not torch.equal(first["classifier.weight"], frozen["classifier.weight"])


@pytest.mark.parametrize(("epoch", "batch", "goes_on"), [(0, 1, (0, 0)), (1, 3, (1, 3))])
def test_stopped_among_the_batches_of_a_step(
    toy: Path, trained_otherwise: Path, tmp_path: Path, epoch: int, batch: int, goes_on: tuple[int, int]
) -> None:
    """What was taken of them is forgotten; gone on with after the step before, the run is the one that did not stop.

    With all options: the margins, the learning rate and the average count steps; an epoch's last one has a batch.
    """
    load = CropLoader.epoch

    def interrupt(loader: CropLoader, number: int, first: int = 0) -> Iterator[CropBatch]:
        for place, crops in enumerate(load(loader, number, first), start=first):
            yield crops
            if (number, place) == (epoch, batch):
                signal.raise_signal(signal.SIGTERM)

    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path, **OPTIONS)
    with mock.patch.object(CropLoader, "epoch", interrupt):
        outcome = call_script("train.py", "--cfg", SCRATCH, "--text_arch", GENOTYPE, *settings)
    assert outcome.status == 143
    run_dir = only_run(tmp_path, "train")
    checkpoint = load_checkpoint(run_dir / "last.pt", ("train",))
    assert (checkpoint.epoch, checkpoint.batch) == goes_on
    outcome = call_script("train.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir)
    assert outcome.status == 0, outcome.stderr
    assert_same_run("train", run_dir, trained_otherwise)
    last, best = (torch.load(run_dir / name, weights_only=True) for name in ("last.pt", "best.pt"))
    assert not torch.equal(last["trained"]["classifier.weight"], last["model"]["classifier.weight"])
    assert best["trained"] == {}
