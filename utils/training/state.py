"""A run of search.py, train.py or train_baseline.py: its state, its checkpoints, beginning it and going on with it."""

import json
import math
import shlex
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import yaml
from yacs.config import CfgNode

from config import last_epoch
from data_objects.corpus import Corpus
from data_objects.frontend import FrontEnd
from data_objects.lists import META
from models import count_parameters
from models.base import SpeakerNetwork
from utils.records.checkpoint import (
    BEST,
    LAST,
    PREVIOUS,
    Checkpoint,
    check_architecture,
    check_front_end,
    check_settings,
    find_checkpoint,
    generator_states,
    identity_of,
    load_last,
    restore_generators,
    save_checkpoint,
)
from utils.records.code import code_fingerprints, differing_code
from utils.records.guard import TRAIN, UNKNOWN_PRETRAINING, UNTRAINED, check_training, hash_text
from utils.records.pretraining import Pretraining, read_pretraining
from utils.system.commands import call_of
from utils.system.distributed import agree, broadcast
from utils.system.errors import DivergedError, UserError
from utils.system.files import write_atomically
from utils.system.locks import claim
from utils.system.processes import is_main, processes
from utils.training.averaging import MovingAverage
from utils.training.choice import KINDS, describe_choice, doubts_of_choice
from utils.training.measuring import measure_front_end
from utils.training.meters import TrainingMeter
from utils.training.run_log import LOG, RunLog
from utils.training.tuning import MakeStep, Way, choose_way, keep_way, list_ways, time_ways

PROTOCOL, VALIDATION_TRIALS = "protocol.json", "validation_trials.txt"
REMEDY = "lower TRAIN.LR and begin anew, or go on from the last checkpoint with --load_path"
OWN_RUN = "begin a run of its own: without --load_path, or with OUT_DIR on another file system"
N = TypeVar("N", bound=SpeakerNetwork)


def create_run_dir(cfg: CfgNode, script: str, config_file: str) -> Path:
    """Make OUT_DIR/<script>/<config>-<time>/ with the settings in config.yaml."""
    stem = f"{Path(config_file).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    for attempt in range(1000):
        run_dir = Path(cfg.OUT_DIR) / script / (stem if attempt == 0 else f"{stem}-{attempt}")
        try:
            run_dir.mkdir(parents=True)
            break
        except FileExistsError:  # another run began in the same second
            continue
        except OSError as error:
            raise UserError(f"OUT_DIR: cannot make {run_dir} ({error.strerror}); set OUT_DIR elsewhere") from error
    write_atomically(run_dir / "config.yaml", cfg.dump())
    return run_dir


def check_finite(loss: float, epoch: int, step: int) -> None:
    """Stop a run whose loss is no number any more.

    Raises:
        DivergedError: the loss is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise DivergedError(f"the loss is {loss} in epoch {epoch + 1}, at or before batch {step}: {REMEDY}")


def format_figures(figures: dict[str, float]) -> str:
    """Figures for a line of the log."""
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def merit(figures: Mapping[str, float]) -> tuple[float, float]:
    """What is larger for the better of two validations."""
    if "eer" in figures:
        return -figures["eer"], -figures["min_dcf"]
    return figures["top1"], -figures["loss"]


class TrainingState(Generic[N]):
    """All that a run must save to go on later as if it had not stopped: see `Checkpoint`.

    Attributes:
        average: of the network's weights, which is validated, chosen and kept instead; None without TRAIN.EMA.
        device: where the network is.
        protocol: the guard's summary of the corpus, with what checkpoints hold beside it (see `Checkpoint`), as plain
            values: its names of all utterances would be copied for every loader process.
        protocol_lines: what to say of it, and then what to warn of.
        trials: among the speakers held out; None where there are none.
        ways: how steps may be taken, by the settings; way: how they are; way_doubts: what was asked for and cannot be.
        epoch: epochs done; batch: iterations done of the epoch under way; step: iterations done in all.
        best: figures of the best epoch, empty before the first.
        notes: plain values that the epoch under way has to remember.
    """

    def __init__(
        self,
        cfg: CfgNode,
        script: str,
        network: N,
        front_end: FrontEnd,
        optimizers: dict[str, torch.optim.Optimizer],
        corpus: Corpus,
    ) -> None:
        self.epoch = cfg.TRAIN.BEGIN_EPOCH
        self.batch = 0
        self.step = 0
        self.best: dict[str, float] = {}
        self.notes: dict[str, Any] = {}
        self.cfg = cfg
        self.script = script
        self.network = network
        self.front_end = front_end
        self.average = MovingAverage(network, cfg.TRAIN.EMA) if cfg.TRAIN.EMA else None
        self.optimizers = optimizers
        self.corpus = corpus
        self.device = next(network.parameters()).device
        # A supernet is no embedding to verify by: searching has its own way to choose.
        self.trials = None if script == "search" else corpus.validation_trials()
        self._guard(read_pretraining(cfg.MODEL.PRETRAINED))
        self._code = code_fingerprints(f"{script}.py")  # now: files may be edited while the run goes on
        self.ways, self.way_doubts = list_ways(cfg, network, self.device)
        self.way = Way()
        self._meters: dict[str, TrainingMeter] = {}
        self._restored_meters: dict[str, Any] = {}

    @property
    def evaluated(self) -> SpeakerNetwork:
        """The network that is validated, chosen and kept: the average, where there is one."""
        return self.network if self.average is None else self.average.network

    def is_better(self, figures: dict[str, float]) -> bool:
        """Whether these figures of a validation beat the best so far.

        A lower equal error rate of the speakers held out does, or the same at a lower cost; where none are held out, a
        higher Top-1 of the val part, or the same at a lower loss.
        """
        return not self.best or merit(figures) > merit(self.best)

    def take_way(self, way: Way) -> None:
        """Have steps taken so, in this run and those that go on with it."""
        self.way = way
        way.take(self.network)
        if self.average is not None:
            way.lay_out(self.average.network)

    def begin_epoch(self, *names: str) -> list[TrainingMeter]:
        """The epoch's meters, by name; within an epoch that is gone on with, they go on too."""
        self._meters = {name: TrainingMeter(self._restored_meters.get(name), self.device) for name in names}
        self._restored_meters = {}
        return list(self._meters.values())

    def count_step(self) -> None:
        """Count an iteration."""
        self.count_batches(1)

    def count_batches(self, number: int) -> None:
        """Count so many iterations."""
        self.batch += number
        self.step += number

    def advance(self, best: dict[str, float] | None = None) -> None:
        """Count an epoch, and its figures if they are the best."""
        self.epoch += 1
        self.batch = 0
        self.best = best or self.best
        self.notes, self._meters = {}, {}

    def where(self, run_dir: Path, steps: int) -> str:
        """How far the run is, and the command that goes on with it."""
        done = (
            f"in epoch {self.epoch + 1}, after batch {self.batch} of {steps}"
            if self.batch
            else f"after epoch {self.epoch}"
        )
        options = ["--cfg", str(run_dir / "config.yaml"), "--load_path", str(run_dir)]
        return f"{done}; go on with: {call_of(f'{self.script}.py', together=True)} {shlex.join(options)}"

    def check_sound(self) -> None:
        """Stop a run in which a weight, alpha, or a norm's statistic is no number any more, which a loss need not show.

        Raises:
            DivergedError: naming the first one.
        """
        values = {name: value for name, value in self.network.state_dict().items() if value.is_floating_point()}
        are_sound = torch.stack([value.isfinite().all() for value in values.values()]).tolist()  # one wait for a GPU
        broken = [name for name, is_sound in zip(values, are_sound, strict=True) if not is_sound]
        if broken:
            others = f" and {len(broken) - 1} others are" if len(broken) > 1 else " is"
            raise DivergedError(
                f"{broken[0]}{others} not finite in epoch {self.epoch + 1}, at or before batch {self.batch}: {REMEDY}"
            )

    def save(self, path: Path, *, can_go_on: bool = True) -> None:
        """Write a checkpoint; of last.pt, the one before stays as previous.pt. All processes call this, one writes.

        Args:
            can_go_on: with the optimizers and generators, which evaluating does without.

        Raises:
            UserError: the loss of the epoch under way, or a weight, is no number; the checkpoint cannot be written.
        """
        self.check_sound()
        meters = {name: meter.state() for name, meter in self._meters.items()}
        for meter in meters.values():
            check_finite(meter["sums"].sum().item(), self.epoch, self.batch)
        if not is_main():
            return
        checkpoint = Checkpoint(
            script=self.script,
            architecture=self.network.architecture,
            model=self.evaluated.state_dict(),
            trained=self.network.state_dict() if self.average is not None and can_go_on and path.name != BEST else {},
            front_end=self.front_end.state_dict(),
            front_end_settings=self.front_end.settings,
            optimizers={name: optimizer.state_dict() for name, optimizer in self.optimizers.items() if can_go_on},
            generators=generator_states() if can_go_on else {},
            epoch=self.epoch,
            step=self.step,
            best=self.best,
            config=self.cfg.dump(),
            sub_dir=self.corpus.sub_dir,
            speakers=self.corpus.speakers,
            index=self.corpus.index.fingerprint,
            batch=self.batch,
            meters=meters,
            notes=self.notes,
            code=self._code,
            processes=processes(),
            **self.way._asdict(),
            protocol=self.protocol,
        )
        checkpoint = replace(checkpoint, identity=identity_of(checkpoint))
        save_checkpoint(checkpoint, path, path.with_name(PREVIOUS) if path.name == LAST else None)

    def _guard(self, pretraining: Pretraining) -> None:
        """Refuse a protocol that does not hold, and keep the account of one that does."""
        protocol = check_training(self.corpus, pretraining.networks)
        self.protocol_lines = [f"protocol: {protocol}", *protocol.doubts]
        if not pretraining.is_known:
            self.protocol_lines.append(UNKNOWN_PRETRAINING)
        untrained = set(self.corpus.speakers) - protocol.roles[TRAIN].speakers
        self.protocol = protocol.summary() | {
            UNTRAINED: sorted(untrained),
            "validation_speakers": self.corpus.validation_speakers,
            "validation_trials": "" if self.trials is None else hash_text(self.trials.text()),
            **describe_choice(self.corpus),
            "pretraining": pretraining.networks,
            "pretraining_known": pretraining.is_known,
        }

    def restore(self, load_path: str) -> tuple[Path, list[str]]:
        """Go on from a run folder's last checkpoint; returns its file, and what the user should know of it.

        Raises:
            UserError: it is of another script, network, corpus or settings.
        """
        checkpoint, path = load_last(load_path, (self.script,))
        self._check(checkpoint, path)
        if checkpoint.protocol:  # the file that the network was started from may be gone
            known = checkpoint.protocol["pretraining"], checkpoint.protocol["pretraining_known"]
            self._guard(Pretraining(*known))
        self.take_way(keep_way(Way(checkpoint.layout, checkpoint.compiled, checkpoint.graphs), self.ways))
        self.network.load_state_dict(checkpoint.trained or checkpoint.model)
        if self.average is not None:
            self.average.network.load_state_dict(checkpoint.model)
        self.front_end.load_state_dict(checkpoint.front_end)
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(checkpoint.optimizers[name])
        restore_generators(checkpoint.generators)
        self.epoch, self.step, self.best = checkpoint.epoch, checkpoint.step, checkpoint.best
        self.batch, self.notes, self._restored_meters = checkpoint.batch, checkpoint.notes, checkpoint.meters
        return path, self._doubts(checkpoint, path)

    def _doubts(self, checkpoint: Checkpoint, path: Path) -> list[str]:
        """Why a run that goes on from this may not end as it would have."""
        doubts = []
        if path.name == PREVIOUS:
            doubts.append(f"{path.with_name(LAST)} is damaged or missing: going on from {path}, the one before")
        if differing := differing_code(checkpoint.code, self._code):
            doubts.append(
                f"{path} was written by other code: {differing} changed; the run goes on, but it may end otherwise "
                "than it would have"
            )
        epochs = yaml.safe_load(checkpoint.config)["TRAIN"]["END_EPOCH"]
        if epochs != self.cfg.TRAIN.END_EPOCH and self.epoch < self.cfg.TRAIN.END_EPOCH:
            doubts.append(
                f"TRAIN.END_EPOCH is {self.cfg.TRAIN.END_EPOCH} (was {epochs}): from now on the learning rate and "
                "drop-path are those of so many epochs"
            )
        if self.way.compiled != checkpoint.compiled:
            doubts.append(
                f"from now on steps are {'' if self.way.compiled else 'not '}compiled: they are rounded otherwise"
            )
        if all(way.graphs for way in self.ways) and not self.way.graphs:
            doubts.append("TRAIN.CUDA_GRAPHS True: the run was begun without them, and goes on so")
        if checkpoint.processes != processes():
            doubts.append(
                f"{path} was written by {checkpoint.processes} processes and goes on with {processes()}: norms see "
                "other shares of a batch, so the run will not end as it would have"
            )
        return doubts

    def _check(self, checkpoint: Checkpoint, path: Path) -> None:
        """Refuse to go on with something else."""
        check_architecture(self.network.architecture, checkpoint, path)
        check_settings(self.cfg.dump(), checkpoint, path)
        check_front_end(checkpoint, path, self.front_end.settings)
        if (checkpoint.speakers, checkpoint.sub_dir) != (self.corpus.speakers, self.corpus.sub_dir):
            raise UserError(
                f"{path} was trained on {len(checkpoint.speakers)} speakers of SUB_DIR {checkpoint.sub_dir}, the "
                f"settings give {len(self.corpus.speakers)} of {self.corpus.sub_dir}: a run goes on with its own data"
            )
        if checkpoint.protocol.get(KINDS, self.protocol[KINDS]) != self.protocol[KINDS]:
            raise UserError(
                f"{path}: {self.corpus.list_path(META)} says other things of the speakers held out than when the run "
                "began, by which their trials were drawn: put it back as it was, or begin a new run"
            )
        if checkpoint.index not in self.corpus.index.fingerprints():
            raise UserError(f"{path} was trained with another index than {self.corpus.index.feature_dir} holds now")


def open_run(state: TrainingState[Any], config_file: str, load_path: str | None, make_step: MakeStep[Any]) -> RunLog:
    """The log of a new run folder, or of the one that `load_path` names, with the state restored from it.

    Args:
        make_step: by which a new run is tuned.

    Raises:
        UserError: see `TrainingState.restore`.
    """
    if load_path:
        run_dir = _run_of(load_path)
    else:
        run_dir = broadcast(create_run_dir(state.cfg, state.script, config_file) if is_main() else None)
    with claim(run_dir, LOG, OWN_RUN) as claimed:
        doubts = _go_on(state, run_dir) if load_path else []
        log = RunLog(run_dir, state.epoch, claimed.pop_all())
    if is_main():
        write_protocol(state, run_dir)
    _introduce(state, log, doubts, is_new=not load_path)
    if not load_path:
        if state.front_end.needs_measuring:
            log.info(measure_front_end(state.front_end, state.corpus, state.device))
        choose(state, make_step, log)
    return log


def choose(state: TrainingState[N], make_step: MakeStep[N], log: RunLog) -> None:
    """Decide how a new run takes its steps, by the clock where the settings leave several ways open."""
    (way, *others) = state.ways
    if others or way.graphs:  # which have to be tried
        way, table = choose_way(time_ways(state.network, state.ways, make_step, state.device))
        log.info(table)
    state.take_way(way)


def _run_of(load_path: str) -> Path:
    """The folder of the run to go on with."""
    path = find_checkpoint(load_path, LAST)
    if path.name != LAST and not Path(load_path).is_dir():
        raise UserError(f"--load_path: a run goes on from its {LAST}: give its folder, {path.parent}")
    return path.parent


def _go_on(state: TrainingState[Any], run_dir: Path) -> list[str]:
    """Restore the state; returns what the user should know."""
    used, doubts = state.restore(str(run_dir))
    agree()  # all have read it
    if used.name == PREVIOUS and is_main():  # or the next checkpoint would put the damaged one in its place
        used.replace(run_dir / LAST)
    if is_main():  # what may change has changed: see FREE_SETTINGS
        write_atomically(run_dir / "config.yaml", state.cfg.dump())
    return doubts


def _introduce(state: TrainingState[Any], log: RunLog, doubts: list[str], is_new: bool) -> None:
    """Say what is trained, on whom, and what to be wary of."""
    shared = f", {processes()} processes" if processes() > 1 else ""
    classes, untrained = len(state.corpus.speakers), len(state.protocol[UNTRAINED])
    of_whom = f" ({classes - untrained:,} with something to train on)" if untrained else ""
    count = f"{count_parameters(state.network):,} parameters, {classes:,} speakers{of_whom}{shared}"
    within = f" and {state.batch} steps of the next" if state.batch else ""
    done = "" if is_new else f"; {state.epoch} epochs{within} are done"
    log.info(f"{count}; run in {log.run_dir}{done}")
    about, *of_protocol = state.protocol_lines
    log.info(about)
    for warning in [*doubts, *of_protocol, *state.way_doubts]:
        log.warning(warning)
    if state.corpus.sub_dir == "dev" and not state.corpus.validation_speakers:
        log.warning(
            f"none of the {len(state.corpus.speakers)} dev speakers are held out (DATASET.VAL_SPEAKERS): the best "
            "epoch is chosen by Top-1 on other videos of the speakers trained on"
        )
    for doubt in doubts_of_choice(state.corpus) if is_new and state.trials is not None else ():
        log.warning(doubt)
    if is_new and state.cfg.DATASET.VAL_CHOICE == "hard" and state.corpus.sub_dir == "merged":
        log.warning("DATASET.VAL_CHOICE hard says nothing with SUB_DIR merged, for which nobody is held out")
    if state.epoch >= last_epoch(state.cfg):
        key = "TRAIN.STOP_EPOCH" if state.cfg.TRAIN.STOP_EPOCH else "TRAIN.END_EPOCH"
        log.info(f"nothing to do: {state.epoch} epochs are done and {key} is {last_epoch(state.cfg)}")


def write_protocol(state: TrainingState[Any], run_dir: Path) -> None:
    """protocol.json, and validation_trials.txt where speakers are held out."""
    write_atomically(run_dir / PROTOCOL, json.dumps(state.protocol, indent=2) + "\n")
    if state.trials is not None:
        write_atomically(run_dir / VALIDATION_TRIALS, state.trials.text())
