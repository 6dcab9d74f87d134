"""Runs of the scripts: started, waited for, and what is compared of their folders."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tensorboardX.proto.event_pb2 import Event

from data_objects.datasets import CropBatch
from tests.helpers import GENOTYPE, ROOT, SCRATCH, SEARCH, environment, options

RESUMABLE = {"train": ("--cfg", SCRATCH, "--text_arch", GENOTYPE), "search": ("--cfg", SEARCH)}
RATES = {"TRAIN__LR": 0.01, "TRAIN__LR_MIN": 0.001, "TRAIN__ARCH_LR": 0.01}
FRONT_END = {"FRONTEND__FEATURE": "log_mel", "FRONTEND__NORM": "utterance_mean"}
# Epochs of many steps.
LONG: dict[str, dict[str, Any]] = {
    "train": {
        "TRAIN__BATCH_SIZE": 2,
        "TRAIN__END_EPOCH": 3,
        "TRAIN__KEEP_EPOCHS": 1,
        "MODEL__DROP_PATH_PROB": 0.5,
        **RATES,
        **FRONT_END,
    },
    "search": {"TRAIN__BATCH_SIZE": 3, "DATASET__PARTIAL_N_FRAMES": 32, "TRAIN__END_EPOCH": 2, **RATES, **FRONT_END},
}
# All of the augmentation that needs no recordings, but for speeds.
SIMULATED: dict[str, Any] = {"AUGMENT__BABBLE": 0.5, "AUGMENT__EQ_DB": 6, "AUGMENT__GAIN_DB": 3}
SIMULATED |= {"AUGMENT__BAND_PROBABILITY": 0.3, "AUGMENT__TIME_MASKS": 1, "AUGMENT__FREQUENCY_MASKS": 2}
SIMULATED |= {"DATASET__PARTIAL_N_FRAMES_MIN": 40}
# All that may be asked for of losses and steps, where four batches an epoch make two steps.
OPTIONS = {"TRAIN__LOSS": "aam", "TRAIN__SUBCENTERS": 2, "TRAIN__TOP_K": 1, "TRAIN__MARGIN_WARMUP": 1}
OPTIONS |= {"TRAIN__OPTIMIZER": "sgd", "TRAIN__WD": 1e-3, "TRAIN__LR_WARMUP": 1, "TRAIN__CLIP": 0.5}
OPTIONS |= {"TRAIN__ACCUMULATE": 3, "TRAIN__EMA": 0.9, "DATASET__SAMPLING": "balanced", "MODEL__POOLING": "correlation"}
OPTIONS |= {"FRONTEND__FEATURE": "log_mel"}
OPTIONS |= {"DATASET__SUB_DIR": "dev", "TRAIN__END_EPOCH": 2, "MODEL__DROP_PATH_PROB": 0.5, "TRAIN__LR": 0.01}
RUN_FILES = {"config.yaml", "log.txt", "metrics.jsonl", "last.pt", "protocol.json"}  # of every script
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


# ------------------------------------------------------------------------------------------------------------------
# Processes
# ------------------------------------------------------------------------------------------------------------------
def torchrun(*command: object) -> subprocess.CompletedProcess[str]:
    """Run a script in two processes."""
    line = [*TORCHRUN, *map(str, command)]
    return subprocess.run(line, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)


def long_run(script: str, data_dir: Path, out: Path, *more: object) -> list[str]:
    """The command line of a new run of `LONG`'s settings, but for the script."""
    settings = options(DATASET__DATA_DIR=data_dir, OUT_DIR=out, **LONG[script])
    return [str(item) for item in (*RESUMABLE[script], *settings, *more)]


def start(*command: object) -> subprocess.Popen[str]:
    """Start a program from the project's folder; what it says on standard error can be read."""
    line = [*map(str, command)]
    return subprocess.Popen(
        line, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str], every: float = 0.01) -> bool:
    """Wait until a condition holds, looking every so many seconds; False if the process has ended before."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if condition():
            return True
        if process.poll() is not None:
            return False
        time.sleep(every)
    raise AssertionError("it took too long")


# ------------------------------------------------------------------------------------------------------------------
# Run folders
# ------------------------------------------------------------------------------------------------------------------
def only_run(out: Path, script: str) -> Path:
    """The one run folder of a script."""
    (run_dir,) = (out / script).iterdir()
    return run_dir


def files(run_dir: Path) -> set[str]:
    """The files of a run folder; its TensorBoard events, whose name has the time in it, as `events`."""
    return {"events" if path.name.startswith("events.out.") else path.name for path in run_dir.iterdir()}


def copy_run(run_dir: Path, folder: Path) -> Path:
    """A run folder, in a folder that it may be changed in."""
    return Path(shutil.copytree(run_dir, folder / "run"))


def copy_best(run_dir: Path, folder: Path) -> Path:
    """The best checkpoint in a folder of its own, so that an evaluation leaves its files there."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(run_dir / "best.pt", folder))


def metrics(run_dir: Path) -> list[dict[str, float]]:
    """The figures of every epoch, without those that tell how fast it was."""
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [{name: line[name] for name in line if name != "time" and "per_second" not in name} for line in lines]


def architecture(run_dir: Path) -> list[dict[str, Any]]:
    """The recorded epochs of a search, without the time they took."""
    lines = map(json.loads, (run_dir / "architecture.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name != "hours"} for line in lines]


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


# ------------------------------------------------------------------------------------------------------------------
# Two runs that should be one
# ------------------------------------------------------------------------------------------------------------------
def assert_same_run(script: str, run_dir: Path, whole: Path) -> None:
    """Weights, alpha, optimizers, generators, best checkpoint, figures and decisions, bit for bit."""
    assert_same_checkpoint(run_dir / "last.pt", whole / "last.pt")
    assert metrics(run_dir) == metrics(whole)
    assert scalars(run_dir) == scalars(whole)
    if script == "train":
        kept = [sorted(path.name for path in folder.glob("epoch-*.pt")) for folder in (run_dir, whole)]
        assert kept[0] == kept[1]
        for name in ("best.pt", *kept[0]):
            assert_same_checkpoint(run_dir / name, whole / name)
        results = [json.loads((folder / "results.json").read_text()) for folder in (run_dir, whole)]
        own = {"run_dir": "", "provenance": ""}
        assert results[0] | own == results[1] | own
    else:
        assert (run_dir / "genotype.txt").read_text() == (whole / "genotype.txt").read_text()
        assert architecture(run_dir) == architecture(whole)


def assert_same_checkpoint(actual: Path, expected: Path) -> None:
    """Every tensor bit for bit, and all figures."""
    one, other = (torch.load(path, weights_only=True) for path in (actual, expected))
    for content in (one, other):
        del content["config"]  # OUT_DIR differs
    assert_same(one, other)


def assert_same_batch(one: CropBatch, other: CropBatch) -> None:
    """Every part, or that neither has it."""
    assert_same(one._asdict(), other._asdict())


def assert_same(one: object, other: object) -> None:
    """Equal, down to the last bit of tensors."""
    if isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor)
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert isinstance(other, dict)
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    else:
        assert one == other
