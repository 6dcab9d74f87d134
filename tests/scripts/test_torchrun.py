"""Two processes at one job, by gloo: they compute what one would, write once, and never wait for a dead one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.helpers import GENOTYPE, SCRATCH, SEARCH, call_script, options, run_script
from tests.runs import SIMULATED, TORCHRUN, assert_same_run, copy_best, metrics, only_run, start, torchrun, wait_for
from utils.records.checkpoint import load_checkpoint

SCRIPTS = {
    "train": ("--cfg", SCRATCH, "--text_arch", GENOTYPE),
    "search": ("--cfg", SEARCH),
    "train_baseline": ("--cfg", "exps/mini/resnet18.yaml"),
}
SETTINGS = {"TRAIN__BATCH_SIZE": 4, "TRAIN__END_EPOCH": 2, "VAL_FREQ": 2, "MODEL__DROP_PATH_PROB": 0.5, "PRINT_FREQ": 2}
SETTINGS |= {"TRAIN__LR": 0.01, "TRAIN__ARCH_LR": 0.01, "TRAIN__DROPPATH_PROB": 0.5}
SETTINGS |= {"SEARCH__COST_WEIGHT": 1.0, "SEARCH__COST_TARGET": 0.002}
SETTINGS |= {"FRONTEND__FEATURE": "log_mel"}  # whose statistics are measured by all processes together

MORE: dict[str, tuple[object, ...]] = {"search": ()}
MORE["train"] = ("TRAIN.ACCUMULATE", 4, "TRAIN.CLIP", 0.5, "TRAIN.OPTIMIZER", "adamw", "TRAIN.WD", 0.01)
MORE["train"] += ("TRAIN.EMA", 0.5, "TRAIN.LR_WARMUP", 1, "DATASET.SAMPLING", "balanced")
MORE["train"] += ("MODEL.POOLING", "correlation")  # whose dropout is of the whole batch


def new_run(script: str, toy: Path, out: Path, *more: object) -> list[object]:
    """The command line of a new run."""
    return [*SCRIPTS[script], *options(DATASET__DATA_DIR=toy, OUT_DIR=out, **SETTINGS), *more]


def tensors(tree: object, name: str = "") -> dict[str, torch.Tensor]:
    """Every floating-point tensor in nested dictionaries, by its path."""
    if isinstance(tree, torch.Tensor):
        return {name: tree} if tree.is_floating_point() else {}
    items = tree.items() if isinstance(tree, dict) else ()
    return {path: value for key, child in items for path, value in tensors(child, f"{name}.{key}").items()}


# ------------------------------------------------------------------------------------------------------------------
# The same as one process
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("script", "num_workers", "batch_size", "frames"), [("train", 2, 4, 64), ("search", 0, 8, 32)])
def test_two_processes_learn_what_one_does(
    toy: Path, tmp_path: Path, script: str, num_workers: int, batch_size: int, frames: int
) -> None:
    """After two epochs: weights, alpha, optimizers and figures, to 1e-5 (in float64, where it is far less).

    A training's gradients are accumulated and clipped, its weights averaged and its speakers balanced, besides. One
    process computes the norms of either half of its batch apart, as two do: see tests/in_float64.py.
    """
    size = ["TRAIN.BATCH_SIZE", batch_size, "DATASET.PARTIAL_N_FRAMES", frames, *MORE[script]]
    if script == "train":
        changed = SIMULATED | {"AUGMENT__SPEED": "0.9", "AUGMENT__SPEED_CLASSES": True}
        size += [word for key, value in changed.items() for word in (key.replace("__", "."), value)]
    workers = ("DATASET.NUM_WORKERS", num_workers)
    done = torchrun("tests/in_float64.py", 1, f"{script}.py", *new_run(script, toy, tmp_path / "two", *size, *workers))
    assert done.returncode == 0, done.stderr
    run_script("tests/in_float64.py", 2, f"{script}.py", *new_run(script, toy, tmp_path / "one", *size), check=True)
    two, one = only_run(tmp_path / "two", script), only_run(tmp_path / "one", script)
    checkpoints = [load_checkpoint(run_dir / "last.pt", (script,)) for run_dir in (two, one)]
    assert checkpoints[0].step == checkpoints[1].step == 2 * 24 // batch_size
    names = ("model", "trained", "optimizers")
    learnt, expected = (tensors({name: getattr(item, name) for name in names}) for item in checkpoints)
    assert learnt.keys() == expected.keys()
    differences = {name: float((learnt[name] - expected[name]).abs().max()) for name in learnt}
    worst = max(differences, key=differences.get)
    assert differences[worst] < 1e-5, worst
    untrained = tensors({"model": load_checkpoint(two / "previous.pt", (script,)).model})
    assert max(float((learnt[name] - untrained[name]).abs().max()) for name in untrained) > 1e-3
    assert torch.equal(checkpoints[0].generators["cpu"], checkpoints[1].generators["cpu"])
    for line, other in zip(metrics(two), metrics(one), strict=True):
        assert line == pytest.approx(other, rel=1e-5)
    if script == "search":
        assert (two / "genotype.txt").read_text() == (one / "genotype.txt").read_text()
        assert done.stdout.splitlines()[-2] == (one / "genotype.txt").read_text().strip()


@pytest.fixture(scope="module")
def trained(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a network trained for verification."""
    out = tmp_path_factory.mktemp("trained")
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=out, TRAIN__LR=0.01)
    call_script("train.py", *SCRIPTS["train"], *settings)
    return only_run(out, "train")


@pytest.mark.parametrize("script", ["evaluate_identification", "evaluate_verification"])
def test_evaluation_is_the_same_to_the_last_digit(toy: Path, tmp_path: Path, trained: Path, script: str) -> None:
    """However many processes share the utterances, which fill more batches than there are processes."""
    settings = options(DATASET__DATA_DIR=toy, EVAL__BATCH_SIZE=5)
    results, printed = [], []
    for number in (1, 2):
        checkpoint = copy_best(trained, tmp_path / str(number))
        command = (f"{script}.py", "--cfg", SCRATCH, "--load_path", checkpoint, *settings)
        done = torchrun(*command) if number == 2 else run_script(*command, check=True)
        stdout = done.stdout.strip().splitlines()
        assert len(stdout) == 1, done.stderr
        printed.append(stdout)
        (file,) = (tmp_path / str(number)).glob("results-*.json")
        results.append(json.loads(file.read_text()) | {"checkpoint": ""})
    origins = [result.pop("provenance") for result in results]
    assert [origin["machine"]["processes"] for origin in origins] == [1, 2]
    assert printed[0] == printed[1]
    assert results[0] == results[1]
    if script == "evaluate_verification":
        scores = [(tmp_path / number / "scores.txt").read_text() for number in "12"]
        assert scores[0] == scores[1]


def test_baseline_of_two_processes(toy: Path, tmp_path: Path) -> None:
    """It trains, and only the main process writes and prints."""
    kept = ("TRAIN.END_EPOCH", 1, "TRAIN.KEEP_EPOCHS", 1)
    done = torchrun("train_baseline.py", *new_run("train_baseline", toy, tmp_path, *kept))
    assert done.returncode == 0, done.stderr
    run_dir = only_run(tmp_path, "train_baseline")
    assert json.loads(done.stdout)["run_dir"] == str(run_dir)
    assert len(list(run_dir.glob("events.out.*"))) == 1
    assert [path.name for path in run_dir.glob("epoch-*")] == ["epoch-0001.pt"]
    assert (run_dir / "log.txt").read_text().count("epoch 1/1") == 1
    assert ", 2 processes; run in" in (run_dir / "log.txt").read_text()


@pytest.mark.parametrize("hours", [1e-9, 1e-3])
def test_search_of_two_processes_that_runs_out_of_time(toy: Path, tmp_path: Path, hours: float) -> None:
    """Before its first step or within an epoch, at the same step for both: none waits for the other for ever."""
    settings = ("TRAIN.END_EPOCH", 10_000, "SEARCH.MAX_HOURS", hours, "VAL_FREQ", 10_000)
    done = torchrun("search.py", *new_run("search", toy, tmp_path, *settings))
    assert done.returncode == 0, done.stderr
    assert f"SEARCH.MAX_HOURS {hours:g} are over" in done.stderr
    assert done.stdout.startswith("Genotype(")


# ------------------------------------------------------------------------------------------------------------------
# Stopped and lost
# ------------------------------------------------------------------------------------------------------------------
def ranks(process: subprocess.Popen) -> list[int]:
    """The processes that torchrun has started, by rank."""
    pids = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    names = {pid: Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in pids}
    own = {pid: dict(item.split(b"=", 1) for item in items if b"=" in item) for pid, items in names.items()}
    return sorted((pid for pid in pids if b"RANK" in own[pid]), key=lambda pid: int(own[pid][b"RANK"]))


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_killed_rank_ends_the_job(toy: Path, tmp_path: Path, rank: int) -> None:
    """In far less than a minute, with a message; what was saved is there to go on with."""
    settings = ("TRAIN.END_EPOCH", 10_000, "VAL_FREQ", 10_000, "TRAIN.CHECKPOINT_MINUTES", 1e-6)
    process = start(*TORCHRUN, "train.py", *new_run("train", toy, tmp_path, *settings))
    assert wait_for(lambda: list(tmp_path.glob("*/*/previous.pt")), process)
    os.kill(ranks(process)[rank], signal.SIGKILL)
    began = time.monotonic()
    messages = process.communicate(timeout=60)[1]
    assert time.monotonic() - began < 60
    assert process.returncode != 0
    assert "Signal 9 (SIGKILL) received" in messages
    assert load_checkpoint(only_run(tmp_path, "train") / "last.pt", ("train",)).step > 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_stopped_by_a_signal(toy: Path, tmp_path: Path) -> None:
    """torchrun passes SIGTERM on; the run saves, says how to go on, and ends as if it had not been stopped."""
    command = new_run("train", toy, tmp_path / "stopped", "TRAIN.END_EPOCH", 4, "MODEL.DROP_PATH_PROB", 0)
    process = start(*TORCHRUN, "train.py", *command, "TRAIN.CHECKPOINT_MINUTES", 1e-6)
    assert wait_for(lambda: list(tmp_path.glob("*/*/*/last.pt")), process)
    process.send_signal(signal.SIGTERM)
    messages = process.communicate(timeout=60)[1]
    run_dir = only_run(tmp_path / "stopped", "train")
    stopped = [line for line in messages.splitlines() if "stopped by SIGTERM" in line]
    assert len(stopped) == 1
    going_on = (
        f"torchrun --standalone --nproc_per_node 2 train.py --cfg {run_dir / 'config.yaml'} --load_path {run_dir}"
    )
    assert stopped[0].endswith(f"go on with: {going_on}")
    done = torchrun("train.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir)
    assert done.returncode == 0, done.stderr
    whole = torchrun(
        "train.py", *new_run("train", toy, tmp_path / "whole", "TRAIN.END_EPOCH", 4, "MODEL.DROP_PATH_PROB", 0)
    )
    assert whole.returncode == 0, whole.stderr
    assert_same_run("train", run_dir, only_run(tmp_path / "whole", "train"))


def test_going_on_with_another_number_of_processes(toy: Path, tmp_path: Path) -> None:
    """It works, and says that norms see other shares of a batch; with a batch of windows for one process alone."""
    done = torchrun("train.py", *new_run("train", toy, tmp_path, "TRAIN.END_EPOCH", 1, "EVAL.BATCH_SIZE", 1000))
    assert done.returncode == 0, done.stderr
    run_dir = only_run(tmp_path, "train")
    outcome = call_script("train.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir, "TRAIN.END_EPOCH", 2)
    assert outcome.status == 0, outcome.stderr
    assert "was written by 2 processes and goes on with 1" in outcome.stderr
    assert load_checkpoint(run_dir / "last.pt", ("train",)).epoch == 2
    assert "END_EPOCH: 2" in (run_dir / "config.yaml").read_text()


def test_genotype_that_leaves_an_input_out(toy: Path, tmp_path: Path) -> None:
    """What prepares that input gets no gradient, which DistributedDataParallel must be told."""
    genes = ["('dil_conv_3x3', 1)", "('skip_connect', 1)", *["('sep_conv_3x3', 2)", "('skip_connect', 1)"] * 3]
    cell = f"[{', '.join(genes)}]"
    genotype = f"Genotype(normal={cell}, normal_concat=range(2, 6), reduce={cell}, reduce_concat=range(2, 6))"
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path)
    done = torchrun("train.py", "--cfg", SCRATCH, "--text_arch", genotype, *settings)
    assert done.returncode == 0, done.stderr


def test_error_of_all_processes_ends_the_job(tmp_path: Path) -> None:
    """Bad input is told in a line that bears the script's name."""
    done = torchrun("train.py", *SCRIPTS["train"], *options(DATASET__DATA_DIR=tmp_path / "nowhere"))
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("train.py (rank ")]
    assert errors
    assert all("DATASET.DATA_DIR: no such folder" in line for line in errors)
