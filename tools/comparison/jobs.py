"""The jobs of a comparison: calls of the project's own scripts, in processes of their own, as a user makes them."""

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from yacs.config import CfgNode

from tools.comparison.folder import RUNS, J, Record
from utils.records.checkpoint import LAST, PREVIOUS
from utils.records.provenance import prepare_folder
from utils.system.errors import RunStoppedError, UserError
from utils.system.files import ROOT, write_atomically
from utils.system.logger import get_logger

RECIPES = "recipes"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_missing(
    path: Path, jobs: Sequence[J], finished: dict[J, Record], noun: str, run: Callable[[J], Record]
) -> None:
    """Run what is not finished yet, and add it to `finished` and to the file of records at `path`.

    Raises:
        UserError: a job failed.
        RunStoppedError: a signal came.
    """
    missing = [job for job in jobs if job not in finished]
    done = f"{len(jobs)} {noun}s, of which {len(jobs) - len(missing)} are done"
    get_logger().info(f"{done}; stopped, they go on with --out {path.parent}")
    for number, job in enumerate(missing, start=1):
        get_logger().info(f"{noun} {number}/{len(missing)}: {job}")
        try:
            finished[job] = run(job)
        except UserError as error:
            raise UserError(f"{job}: {error}") from error
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(job) | finished[job]) + "\n")


def settings_of(cfg: CfgNode, network: str, sub_dir: str, seed: int) -> CfgNode:
    """The recipe for one training: all but these three is the same for all that are compared."""
    own = cfg.clone()
    own.defrost()
    own.MODEL.NAME, own.DATASET.SUB_DIR, own.SEED = network, sub_dir, seed
    return own


def train(folder: Path, own: CfgNode, name: str, genotype: Sequence[str], what: str) -> Path:
    """Train a network, or go on where its training was interrupted.

    Args:
        name: of the recipe and, with the time, of the run folder.
        genotype: the option that names it; none for a baseline.
        what: see `call`.

    Returns:
        The run folder.
    """
    script = "train" if genotype else "train_baseline"
    runs = sorted((folder / RUNS / script).glob(f"{name}-[0-9]*"), key=lambda run: run.stat().st_mtime)
    begun = [str(run) for run in runs if (run / LAST).is_file() or (run / PREVIOUS).is_file()]
    # The genotype also where a run goes on: it is refused if it is another genotype's.
    options = [*genotype, *(["--load_path", begun[-1]] if begun else [])]
    return Path(json.loads(call(folder, f"{script}.py", own, name, options, what))["run_dir"])


def call(folder: Path, script: str, own: CfgNode, name: str, options: Sequence[str], what: str) -> str:
    """Run a script with a recipe; returns the last line of its standard output.

    Its standard error is ours. A signal to us is passed on to it, and a training then writes its checkpoint.

    Args:
        what: what it does, to be said where it is stopped.

    Raises:
        UserError: it failed.
        RunStoppedError: a signal came.
    """
    own.OUT_DIR = str(folder / RUNS)
    recipe = prepare_folder(folder / RECIPES) / f"{name}.yaml"
    write_atomically(recipe, own.dump())
    words = [script, "--cfg", str(recipe), *options]
    get_logger().info(f"$ python {shlex.join(words)}")
    stdout, status, number = _run([sys.executable, str(ROOT / script), *words[1:]])
    if number:
        reason = f"stopped by {signal.Signals(number).name} in {what}"
        raise RunStoppedError(f"{reason}; go on with --out {folder}", number)
    if status:
        raise UserError(f"{script} ended with status {status} and said why above; go on with --out {folder}")
    return stdout.strip().splitlines()[-1]


def _run(command: Sequence[str]) -> tuple[str, int, int]:
    """Run a command, to which signals that would end us go instead.

    Returns:
        Its standard output, its status, and the number of the first signal, or 0.
    """
    # In a session of its own: the terminal's Ctrl-C would reach it too, and a second one stops it without a checkpoint.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    came: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        came.append(number)
        process.send_signal(number)

    heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup has one ignored
    before = {number: signal.signal(number, pass_on) for number in heeded}
    try:
        stdout, _ = process.communicate()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return stdout, process.returncode, came[0] if came else 0
