"""A comparison in its folder: jobs done once by the project's own scripts, recorded, and gone on with when stopped."""

import json
import shlex
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yacs.config import CfgNode

from config import default_config, differing_settings, flatten
from models import OF_TRAINING, STATISTICS
from models.statistics import WINDOW
from tools.comparison.command_line import METHODS
from utils.records.checkpoint import FREE_SETTINGS, LAST, PREVIOUS
from utils.records.provenance import prepare_folder
from utils.system.errors import RunStoppedError, UserError
from utils.system.files import ROOT, write_atomically
from utils.system.interruption import SIGNALS
from utils.system.locks import claim
from utils.system.logger import get_logger
from utils.training.state import create_run_dir

SETTINGS, RUNS, RECIPES, TRAINING = "config.yaml", "runs", "recipes", "training"
Record = dict[str, Any]
# Beginnings of the settings that may be others when a comparison goes on: what may in a run, and what is set for every
# training or is of a search; but all are to be trained for as many epochs.
FREE = {*FREE_SETTINGS, "SEED", "SEARCH", "TRAIN.DROPPATH_PROB", "TRAIN.ARCH_"}
FREE -= {"TRAIN.END_EPOCH", "TRAIN.STOP_EPOCH"}


@dataclass(frozen=True)
class Job:
    """What is done once and then recorded: a training, or an evaluation of its network.

    Attributes:
        name: of what is compared.
        sub_dir: empty for that of the settings.
        kind: TRAINING, or which evaluation.
    """

    name: str
    seed: int
    sub_dir: str = ""
    kind: str = TRAINING

    def __str__(self) -> str:
        part = f", SUB_DIR {self.sub_dir}" if self.sub_dir else ""
        return f"{self.kind} of {METHODS.get(self.name, self.name)}{part}, seed {self.seed}"

    @property
    def stem(self) -> str:
        """How recipes and run folders of its training begin."""
        return "-".join(filter(None, (self.name, self.sub_dir, f"seed{self.seed}")))


class FailedScriptError(UserError):
    """A script of the project ended with another status than 0."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status_of_script = status


@dataclass
class Trainings:
    """Trainings by the project's own scripts in a folder, which go on where they were stopped.

    Attributes:
        handed_down: open files that scripts inherit, by their descriptors.
    """

    script: ClassVar[str]
    what: ClassVar[str]  # it is, with its article
    records: ClassVar[str]  # the file of what is finished
    free: ClassVar[set[str]]  # beginnings of the settings that may be others when it goes on

    cfg: CfgNode
    config_file: str
    out: Path | None  # None: a new folder
    folder: Path = field(init=False)
    handed_down: tuple[int, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        self.folder = self._open_folder().resolve()

    def _open_folder(self) -> Path:
        """The folder, with the settings in it; refused where it holds results of others, or cannot be made."""
        if self.out is None:
            return create_run_dir(self.cfg, self.script, self.config_file)
        if not any((self.out / name).exists() for name in (self.records, RUNS)):
            try:
                self.out.mkdir(parents=True, exist_ok=True)
                write_atomically(self.out / SETTINGS, self.cfg.dump())
            except OSError as error:
                raise UserError(f"--out: cannot write to {self.out} ({error.strerror}); give another folder") from error
        try:
            before = flatten(yaml.safe_load((self.out / SETTINGS).read_text(encoding="utf-8")))
        except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
            raise UserError(
                f"{self.out} holds results, but their settings in {SETTINGS} cannot be read: give another --out"
            ) from error
        if differing := differing_settings(before, flatten(yaml.safe_load(self.cfg.dump())), tuple(self.free)):
            raise UserError(
                f"{self.out} holds {self.what} with {differing}: go on with --cfg {self.out / SETTINGS}, or give "
                "another --out"
            )
        return self.out

    def train(self, job: Job, own: CfgNode, genotype: Sequence[str]) -> Path:
        """Train a network, or go on where its training was interrupted; returns the run folder.

        Args:
            genotype: the option that names it; none for a baseline.
        """
        script = "train" if genotype else "train_baseline"
        runs = sorted(self.runs_of(job, script), key=lambda run: run.stat().st_mtime)
        begun = [str(run) for run in runs if (run / LAST).is_file() or (run / PREVIOUS).is_file()]
        # The genotype also where a run goes on: it is refused if it is another genotype's.
        options = [*genotype, *(["--load_path", begun[-1]] if begun else [])]
        return Path(json.loads(self.call(f"{script}.py", job, own, options))["run_dir"])

    def runs_of(self, job: Job, script: str = "train") -> Iterable[Path]:
        """The run folders of a job's training: several where it was stopped before there was a checkpoint."""
        return (self.folder / RUNS / script).glob(f"{job.stem}-[0-9]*")

    def call(self, script: str, job: Job, own: CfgNode, options: Sequence[str]) -> str:
        """Run a script with the recipe of a job; returns the last line of its standard output.

        Its standard error is ours. A signal to us is passed on to it, and a training then writes its checkpoint.

        Raises:
            FailedScriptError: it failed.
            RunStoppedError: a signal came.
        """
        own.OUT_DIR = str(self.folder / RUNS)
        recipe = prepare_folder(self.folder / RECIPES, "--out") / f"{job.stem}.yaml"
        write_atomically(recipe, own.dump())
        words = [script, "--cfg", str(recipe), *options]
        get_logger().info(f"$ python {shlex.join(words)}")
        stdout, status, number = _run([sys.executable, str(ROOT / script), *words[1:]], self.handed_down)
        if number:
            reason = f"stopped by {signal.Signals(number).name} in the {job}"
            raise RunStoppedError(f"{reason}; go on with --out {self.folder}", number)
        if status:
            reason = f"{script} ended with status {status} and said why above; go on with --out {self.folder}"
            raise FailedScriptError(reason, status)
        return stdout.strip().splitlines()[-1]


@dataclass
class Comparison(Trainings, ABC):
    """A comparison under way, in its folder; its records are a line a job."""

    what = "a comparison"
    keys: ClassVar[Mapping[str, str]]  # of a record -> field of its job
    sources: ClassVar[Mapping[str, str]]  # key of a record that must be as now -> what it comes from
    recorded: ClassVar[Sequence[str]]  # what else a record must hold

    finished: dict[Job, Record] = field(init=False)
    claimed: ExitStack = field(init=False)  # as long as this is

    def __post_init__(self) -> None:
        super().__post_init__()
        self.claimed = claim(self.folder, ".lock", "give another --out")
        self.finished = dict(self._read_records())

    @abstractmethod
    def origin(self, job: Job) -> dict[str, str]:
        """What a job's record must hold, for each of `sources` that it depends on."""

    @abstractmethod
    def run(self, job: Job) -> Record:
        """Do a job; returns what is recorded of it."""

    def _read_records(self) -> Iterable[tuple[Job, Record]]:
        """The finished jobs; half a line, which an interruption can leave, is taken out of the file."""
        path = self.folder / self.records
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            write_atomically(path, whole)
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                record = json.loads(line)
                job = Job(**{name: record.pop(key) for key, name in self.keys.items()})
                _ = [record[key] for key in (*self.sources, *self.recorded)]
                differing = [key for key, value in self.origin(job).items() if record[key] != value]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(f"{path}, line {number} is damaged: delete it, or give another --out") from error
            if differing:
                culprit = f"the {job} is of another {self.sources[differing[0]]} than now"
                raise UserError(f"{path}, line {number}: {culprit}: give the same, or another --out")
            yield job, record

    def run_missing(self, jobs: Sequence[Job]) -> None:
        """Do what is not finished yet, and record it.

        Raises:
            UserError: a job failed.
            RunStoppedError: a signal came.
        """
        missing = [job for job in jobs if job not in self.finished]
        kinds = ", ".join(f"{count} of {kind}" for kind, count in Counter(job.kind for job in jobs).items())
        done = f"{len(jobs)} jobs ({kinds}), of which {len(jobs) - len(missing)} are done"
        get_logger().info(f"{done}; stopped, they go on with --out {self.folder}")
        for number, job in enumerate(missing, start=1):
            get_logger().info(f"job {number}/{len(missing)}: {job}")
            try:
                self.finished[job] = self.run(job)
            except UserError as error:
                raise UserError(f"{job}: {error}") from error
            record = {key: asdict(job)[name] for key, name in self.keys.items()} | self.finished[job]
            with open(self.folder / self.records, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


def settings_of(cfg: CfgNode, network: str, sub_dir: str, seed: int) -> CfgNode:
    """The recipe for one training: all but these three is the same for all that are compared.

    Statistics, which are not trained, are fitted to whole utterances as they are: nothing of a recipe touches them.
    """
    own = cfg.clone()
    own.defrost()
    own.MODEL.NAME, own.DATASET.SUB_DIR, own.SEED = network, sub_dir, seed
    if network == STATISTICS:
        usual = default_config()
        own.DATASET.PARTIAL_N_FRAMES, own.EVAL.WINDOW_FRAMES = WINDOW, 0
        own.FRONTEND, own.AUGMENT, own.MODEL.POOLING = usual.FRONTEND, usual.AUGMENT, usual.MODEL.POOLING
        depending = ("TRAIN.LOSS", "TRAIN.TOP_K_MARGIN", "TRAIN.MOMENTUM")  # which are refused without others of these
        for key in (*OF_TRAINING, *depending):
            section, name = key.split(".")
            own[section][name] = usual[section][name]
    return own


def _run(command: Sequence[str], handed_down: Sequence[int] = ()) -> tuple[str, int, int]:
    """The standard output of a command, its status, and the first signal, or 0, that came for us and went to it."""
    # In a session of its own: the terminal's Ctrl-C would reach it too, and a second one stops it without a checkpoint.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, pass_fds=handed_down)
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
