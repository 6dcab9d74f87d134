"""Runs that are killed, told to stop, or out of room: they go on as if nothing had happened, and say what did."""

import functools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event

from tests.helpers import ROOT, SCRATCH, SEARCH, call_script, environment, options, run_script
from tests.scripts.test_scripts import GENOTYPE, assert_same_checkpoint, metrics, only_run
from utils.records.checkpoint import load_checkpoint, save_checkpoint
from utils.system.errors import RunStoppedError, UserError
from utils.system.files import write_atomically
from utils.system.interruption import Watch

KILLS = 5
SCRIPTS = {"train": ("--cfg", SCRATCH, "--text_arch", GENOTYPE), "search": ("--cfg", SEARCH)}
RATES = {"TRAIN__LR": 0.01, "TRAIN__LR_MIN": 0.001, "TRAIN__ARCH_LR": 0.01}
# Two epochs of many steps, with a checkpoint after every one.
SETTINGS = {
    "train": {"TRAIN__BATCH_SIZE": 2, "TRAIN__END_EPOCH": 3, "MODEL__DROP_PATH_PROB": 0.5, **RATES},
    "search": {"TRAIN__BATCH_SIZE": 3, "DATASET__PARTIAL_N_FRAMES": 32, "TRAIN__END_EPOCH": 2, **RATES},
}
EVERY_STEP = ("TRAIN.CHECKPOINT_MINUTES", 1e-6)


def arguments(script: str, toy: Path, out: Path, *more: object) -> list[str]:
    """The command line of a new run."""
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=out, **SETTINGS[script])
    return [str(item) for item in (*SCRIPTS[script], *settings, *more)]


def start(script: str, command: list[str]) -> subprocess.Popen:
    """Start a script."""
    return subprocess.Popen(
        [sys.executable, f"{script}.py", *command],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], object], process: subprocess.Popen) -> bool:
    """Wait until a condition holds; False if the process has ended before."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if condition():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.0005)
    raise AssertionError("it took too long")


def saves(out: Path) -> set[int]:
    """When the one run's last checkpoint was written; nothing before the first."""
    return {path.stat().st_mtime_ns for path in out.glob("*/*/last.pt")}


def steps_done(out: Path) -> int:
    """Iterations that the one run's last checkpoint has seen; -1 before the first."""
    paths = list(out.glob("*/*/last.pt"))
    return torch.load(paths[0], weights_only=True)["step"] if paths else -1


def assert_same_run(script: str, run_dir: Path, whole: Path) -> None:
    """Weights, alpha, optimizers, generators, best checkpoint, figures and decisions, bit for bit."""
    assert_same_checkpoint(run_dir / "last.pt", whole / "last.pt")
    assert metrics(run_dir) == metrics(whole)
    assert scalars(run_dir) == scalars(whole)
    if script == "train":
        assert_same_checkpoint(run_dir / "best.pt", whole / "best.pt")
        results = [json.loads((folder / "results.json").read_text()) for folder in (run_dir, whole)]
        own = {"run_dir": "", "provenance": ""}
        assert results[0] | own == results[1] | own
    else:
        assert (run_dir / "genotype.txt").read_text() == (whole / "genotype.txt").read_text()
        alphas, others = (decisions(folder) for folder in (run_dir, whole))
        assert alphas == others


def decisions(run_dir: Path) -> list[tuple[int, dict, dict]]:
    """A search's epochs, with what architecture.jsonl holds of alpha."""
    records = map(json.loads, (run_dir / "architecture.jsonl").read_text().splitlines())
    return [(record["epoch"], record["normal"], record["reduce"]) for record in records]


def scalars(run_dir: Path) -> list[tuple[int, str, float]]:
    """Every scalar in TensorBoard's files, as a reader of them meets it, but those that tell how fast it was."""
    found = []
    for path in sorted(run_dir.glob("events.out.*")):
        content, place = path.read_bytes(), 0
        while place < len(content):  # length (8 bytes), its checksum (4), the event, its checksum (4)
            length = int.from_bytes(content[place : place + 8], "little")
            event = Event.FromString(content[place + 12 : place + 12 + length])
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            place += length + 16
    return sorted(item for item in found if "per_second" not in item[1])


@pytest.fixture(scope="module")
def uninterrupted(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """By the name of a script: the folder of a run that nothing stopped, and that saved at the ends of epochs alone."""

    @functools.cache
    def run(script: str) -> Path:
        out = tmp_path_factory.mktemp("uninterrupted")
        run_script(f"{script}.py", *arguments(script, toy, out, "TRAIN.CHECKPOINT_MINUTES", 0), check=True)
        return only_run(out, script)

    return run


# ------------------------------------------------------------------------------------------------------------------
# Killed
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("script", SCRIPTS)
def test_killed_again_and_again(
    toy: Path, tmp_path: Path, uninterrupted: Callable[[str], Path], script: str, num_workers: int
) -> None:
    """With SIGKILL, at random moments and while a checkpoint is being written: the run ends as the one left alone."""
    draw = random.Random(f"{script} {num_workers}")
    command = arguments(script, toy, tmp_path, *EVERY_STEP, "DATASET.NUM_WORKERS", num_workers)
    killed_at, halves = [], 0
    for number in range(KILLS):
        before = saves(tmp_path)
        process = start(script, command)
        running = wait_for(lambda before=before: saves(tmp_path) - before, process)
        time.sleep(draw.uniform(0, 0.1))
        if number % 2:  # in the midst of the next checkpoint
            running = wait_for(lambda: list(tmp_path.glob("*/*/last.pt.partial")), process)
        process.kill()
        process.wait()  # not for its standard error, which loader processes keep open for some seconds more
        assert running, "the run was over before it could be killed"
        assert process.returncode == -signal.SIGKILL
        run_dir = only_run(tmp_path, script)
        halves += (run_dir / "last.pt.partial").exists()
        killed_at.append(steps_done(tmp_path))
        command = ["--cfg", str(run_dir / "config.yaml"), "--load_path", str(run_dir)]
    assert sorted(set(killed_at)) == killed_at  # it came further every time
    assert halves > 0
    run_script(f"{script}.py", *command, check=True)
    assert_same_run(script, run_dir, uninterrupted(script))


def test_half_a_checkpoint_is_never_loaded(toy: Path, tmp_path: Path, uninterrupted: Callable[[str], Path]) -> None:
    """What a kill left of the next one is not looked at; a damaged last.pt gives way to the one before."""
    outcome = call_script("train.py", *arguments("train", toy, tmp_path, *EVERY_STEP))
    assert outcome.status == 0, outcome.stderr
    run_dir = only_run(tmp_path, "train")
    last = (run_dir / "last.pt").read_bytes()
    (run_dir / "last.pt.partial").write_bytes(last[: len(last) // 2])
    assert call_script("train.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir).status == 0
    for broken in (last[: len(last) // 2], b""):
        (run_dir / "last.pt").write_bytes(broken)
        assert load_checkpoint(run_dir / "previous.pt", ("train",)).epoch in (2, 3)
        outcome = call_script("train.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir)
        assert outcome.status == 0, outcome.stderr
        damaged = f"WARNING: {run_dir / 'last.pt'} is damaged or missing: going on from {run_dir / 'previous.pt'}"
        assert damaged in outcome.stderr
        assert_same_run("train", run_dir, uninterrupted("train"))


# ------------------------------------------------------------------------------------------------------------------
# Told to stop
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("script", "number"), [("train", signal.SIGTERM), ("train", signal.SIGINT), ("search", signal.SIGTERM)]
)
def test_stopped_by_a_signal(
    toy: Path, tmp_path: Path, uninterrupted: Callable[[str], Path], script: str, number: signal.Signals
) -> None:
    """It finishes the iteration, saves, says how to go on, and going on loses nothing; loader processes do not mind."""
    process = start(script, arguments(script, toy, tmp_path, *EVERY_STEP, "DATASET.NUM_WORKERS", 2))
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
    where = f"in epoch {checkpoint.epoch + 1}, after step {checkpoint.batch} of "
    where = where if checkpoint.batch else f"after epoch {checkpoint.epoch}"
    assert message.startswith(f"{script}.py: stopped by {number.name} {where}")
    assert message.endswith(f"go on with: python {script}.py --cfg {run_dir / 'config.yaml'} --load_path {run_dir}")
    run_script(f"{script}.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir, check=True)
    assert_same_run(script, run_dir, uninterrupted(script))


def test_watch() -> None:
    """Saves when it is due or asked for, stops after the iteration, and at once at a second Ctrl-C."""
    saved: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with Watch(lambda: saved.append(1), 0, lambda: "somewhere") as watch:
        assert not watch.after_iteration()
        assert watch.after_iteration(over=True)
        assert len(saved) == 1
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(RunStoppedError, match="stopped by SIGTERM somewhere") as stopped:
            watch.after_iteration()
        assert (stopped.value.status, len(saved)) == (143, 2)
    assert signal.getsignal(signal.SIGTERM) == before
    with Watch(lambda: saved.append(1), 1e-9, lambda: "") as watch:
        assert not watch.after_iteration()
        assert len(saved) == 3
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


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
        outcome = call_script("train.py", *arguments("train", toy, tmp_path))
    assert outcome.status == 143
    run_dir = only_run(tmp_path, "train")
    checkpoint = load_checkpoint(run_dir / "last.pt", ("train",))
    assert (checkpoint.epoch, checkpoint.batch) == (0, 12)
    outcome = call_script("train.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir)
    assert outcome.status == 0, outcome.stderr
    assert_same_run("train", run_dir, uninterrupted("train"))


# ------------------------------------------------------------------------------------------------------------------
# Out of room
# ------------------------------------------------------------------------------------------------------------------
def test_full_disk(toy: Path, tmp_path: Path) -> None:
    """The system's refusal to write a checkpoint leaves the one before as it was, and is told in one line."""
    command = arguments("train", toy, tmp_path)
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
        outcome = call_script("train.py", *arguments("train", toy, tmp_path))
    assert outcome.status == 2
    assert "train.py: error: cannot write somewhere/metrics.jsonl (No space left on device)" in outcome.stderr


def test_file_keeps_what_was_there_under_another_name(tmp_path: Path) -> None:
    """Whole under one name or the other at every moment; also where there are no hard links."""
    path, before = tmp_path / "last.pt", tmp_path / "previous.pt"
    for number in range(3):
        write_atomically(path, f"{number}", keep_as=before)
    assert (path.read_text(), before.read_text()) == ("2", "1")
    with mock.patch("os.link", side_effect=OSError("not here")):
        write_atomically(path, "3", keep_as=before)
    assert (path.read_text(), before.read_text()) == ("3", "2")
    with mock.patch("os.fsync", side_effect=OSError("full")), pytest.raises(OSError, match="full"):
        write_atomically(path, "4", keep_as=before)
    assert (path.read_text(), before.read_text()) == ("3", "2")
    assert {item.name for item in tmp_path.iterdir()} == {"last.pt", "previous.pt"}


# ------------------------------------------------------------------------------------------------------------------
# What is gone on with
# ------------------------------------------------------------------------------------------------------------------
def test_more_epochs_than_planned(toy: Path, tmp_path: Path) -> None:
    """The learning rate follows another curve from there on, which is said."""
    command = arguments("train", toy, tmp_path, "TRAIN.END_EPOCH", 1)
    call_script("train.py", *command)
    run_dir = only_run(tmp_path, "train")
    outcome = call_script("train.py", *command, "--load_path", run_dir)
    assert "from now on" not in outcome.stderr
    outcome = call_script("train.py", *command, "--load_path", run_dir, "TRAIN.END_EPOCH", 2)
    assert "WARNING: TRAIN.END_EPOCH is 2 (was 1): from now on the learning rate" in outcome.stderr


def test_other_code_is_named(toy: Path, tmp_path: Path) -> None:
    """A run goes on with changed code, but says which."""
    command = arguments("train", toy, tmp_path, "TRAIN.END_EPOCH", 1)
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
    command = arguments("train", toy, tmp_path, *EVERY_STEP, "TRAIN.LR", 1e30, "TRAIN.LR_MIN", 1e30)
    outcome = call_script("train.py", *command)
    assert outcome.status == 2
    assert "lower TRAIN.LR" in outcome.stderr
    checkpoint = load_checkpoint(only_run(tmp_path, "train") / "last.pt", ("train",))
    assert torch.isfinite(checkpoint.meters["train"]["sums"]).all()


def test_checkpoints_of_the_first_version_are_read(toy: Path, tmp_path: Path) -> None:
    """They had no epochs under way."""
    command = arguments("train", toy, tmp_path, "TRAIN.END_EPOCH", 1)
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
