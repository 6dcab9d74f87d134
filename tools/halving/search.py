"""Random search by successive halving: candidates are trained rung by rung, by as many processes as share the folder.

Li and Talwalkar ("Random search and reproducibility for neural architecture search", UAI 2019) found random search with
early stopping hard to beat; successive halving is of Jamieson and Talwalkar ("Non-stochastic best arm identification
and hyperparameter optimization", AISTATS 2016), here as Li et al. ("A system for massively parallel hyperparameter
tuning", MLSys 2020) have it without waiting, by Optuna's pruner: a candidate goes on where it is among the best 1 /
reduction of those that have come to its rung so far; of fewer than that, where it is the best.
"""

import json
import math
import shlex
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from optuna.trial import TrialState
from yacs.config import CfgNode

from data_objects.corpus import Corpus
from tools.comparison.engine import FREE, RECIPES, SETTINGS, FailedScriptError, Job, Trainings, settings_of
from tools.comparison.genotypes import check_recipe
from tools.halving.report import GENOTYPE, write_results
from tools.halving.study import JOURNAL, PROMOTED, RUN, Plan, Study
from utils.records.checkpoint import BEST, KEPT_FILES, LAST, PREVIOUS
from utils.records.provenance import prepare_folder
from utils.system.commands import call_of
from utils.system.errors import DivergedError, UserError
from utils.system.files import write_atomically
from utils.system.locks import locked
from utils.system.logger import get_logger
from utils.training.state import create_run_dir

TOOL, LOCKS = "search_by_training", "locks"


@dataclass
class Halving(Trainings):
    """A search under way, in its folder.

    Attributes:
        candidates: to draw at most, by all processes together; None: as many as there is time for.
        hours: of training, of all processes together, after which none is begun; None: no limit.
    """

    script, what, records, free = TOOL, "a search", JOURNAL, FREE - {"SEED"}

    plan: Plan
    candidates: int | None
    hours: float | None
    study: Study = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.study = Study(self.folder, self.plan)

    def run(self) -> None:
        """Take candidates and follow each as far as it comes, until there are no more, or no time.

        Raises:
            UserError: a training failed.
            RunStoppedError: a signal came.
        """
        while True:
            with ExitStack() as claims:
                number = self._claim(claims)
                if number is None:
                    return
                self.follow(number)

    def _claim(self, claims: ExitStack) -> int | None:
        """The number of a candidate that is this process's own while `claims` are open; None where nothing is left.

        Those whose process is gone come first: drawn earlier, they are what later ones are compared with.
        """
        with alone_in(self.folder):
            candidates = self.study.candidates()
            if self.is_over():
                return None
            for candidate in candidates:
                if candidate.state == TrialState.RUNNING and self._take(candidate.number, claims):
                    return candidate.number
            if self.candidates is not None and len(candidates) >= self.candidates:
                return None
            number = self.study.draw()
            self._take(number, claims)
            return number

    def _take(self, number: int, claims: ExitStack) -> bool:
        return claims.enter_context(locked(self._lock(f"candidate-{number}"), wait=False)) is not None

    def _lock(self, name: str) -> Path:
        return self.folder / LOCKS / name

    def is_over(self) -> bool:
        """Whether the time is spent."""
        return self.hours is not None and self.study.seconds() >= 3600 * self.hours

    def follow(self, number: int) -> None:
        """Train a candidate from the rung that it has come to, as far as it may go."""
        done, promoted = self.study.reported(number), self.study.promoted(number)
        for epoch in self.plan.rungs:
            if epoch not in done and not self._climb(number, epoch):
                return
            if epoch == self.plan.epochs:
                self.study.end(number, TrialState.COMPLETE)
            elif epoch > promoted:
                if not self.study.may_go_on(number):
                    self._leave(number, epoch)
                    return
                self.study.note(number, PROMOTED, epoch)
                get_logger().info(f"candidate {number} goes on from epoch {epoch}")
            if self.is_over():
                return

    def _climb(self, number: int, epoch: int) -> bool:
        """Train a candidate up to a rung, and report what it has come to; False where it diverged."""
        get_logger().info(f"candidate {number}: to epoch {epoch} of {self.plan.epochs}")
        try:
            run_dir = self._train(number, epoch)
        except FailedScriptError as error:
            if error.status_of_script != DivergedError.status:
                raise
            value = math.nan
        else:
            value = read_objective(run_dir, self.plan.objective, epoch)
            self.study.note(number, RUN, run_dir.name)
        if not math.isfinite(value):
            self.study.end(number, TrialState.FAIL)
            get_logger().warning(f"candidate {number} has diverged before epoch {epoch}, and is left out")
            return False
        self.study.report(number, epoch, value)
        there = self.study.values_at(epoch)
        best = max(there) if self.plan.is_higher_better else min(there)
        of_all = f"the best of {len(there)} that have come there: {best:.4g}"
        get_logger().info(f"candidate {number}: {self.plan.objective} {value:.4g} at epoch {epoch}; {of_all}")
        return True

    def _train(self, number: int, epoch: int) -> Path:
        """The run folder of a candidate that is trained up to an epoch."""
        own = settings_of(self.cfg, self.cfg.MODEL.NAME, self.cfg.DATASET.SUB_DIR, self.cfg.SEED)
        own.TRAIN.STOP_EPOCH = epoch
        genotype = prepare_folder(self.folder / RECIPES, "--out") / f"{self.job(number).stem}.txt"
        write_atomically(genotype, f"{self.study.genotype(number)}\n")
        with self._alone_in_the_run(number):
            began = time.perf_counter()
            try:
                return self.train(self.job(number), own, ["--text_arch", str(genotype)])
            finally:
                self.study.add_seconds(number, epoch, time.perf_counter() - began)

    @contextmanager
    def _alone_in_the_run(self, number: int) -> Iterator[None]:
        """Nobody else trains this candidate meanwhile.

        A search that is killed leaves its training running, which is none the wiser: it has the lock, too.
        """
        path = self._lock(f"training-{number}")
        with locked(path, wait=False) as descriptor:
            is_free = descriptor is not None
        if not is_free:
            get_logger().info(f"a training of candidate {number} has survived its search: waiting for it")
        with locked(path) as descriptor:
            assert descriptor is not None
            self.handed_down = (descriptor,)
            yield

    def job(self, number: int) -> Job:
        """A candidate's training."""
        return Job(f"candidate-{number}", self.cfg.SEED)

    def _leave(self, number: int, epoch: int) -> None:
        """Be done with a candidate that may not go on; of hundreds, the checkpoints would fill a disk."""
        self.study.end(number, TrialState.PRUNED)
        get_logger().info(f"candidate {number} ends at epoch {epoch}")
        for run_dir in self.runs_of(self.job(number)):
            for path in [*(run_dir / name for name in (LAST, PREVIOUS, BEST)), *run_dir.glob(KEPT_FILES)]:
                path.unlink(missing_ok=True)


def search_by_training(
    cfg: CfgNode,
    config_file: str,
    out: Path | None,
    objective: str | None,
    drawn: tuple[str, int, str],
    rungs: tuple[int, int],
    limits: tuple[int | None, float | None],
) -> None:
    """What tools/search_by_training.py does.

    Args:
        objective: None for what chooses the best epoch of a training.
        drawn: the sampler, its seed, and the name of the space.
        rungs: the first rung, and the reduction.
        limits: see `Halving`.
    """
    corpus = Corpus(cfg)
    check(cfg, corpus, rungs[0])
    chosen = objective or ("eer" if corpus.validation_speakers else "top1")
    check_objective(chosen, corpus)
    plan = Plan(chosen, *drawn[:2], *rungs, cfg.TRAIN.END_EPOCH, drawn[2], corpus.index.fingerprint)
    folder = create_run_dir(cfg, TOOL, config_file) if out is None else out
    with alone_in(folder):
        work = Halving(cfg, config_file, folder, plan, *limits)
    get_logger().info(
        f"candidates are compared by {chosen} after the epochs {', '.join(map(str, plan.rungs))}; stopped, the search "
        f"goes on with --out {work.folder}"
    )
    work.run()
    with alone_in(work.folder):
        report(work)


def check(cfg: CfgNode, corpus: Corpus, first_rung: int) -> None:
    """Refuse what no search could begin with.

    Raises:
        UserError: naming it.
    """
    check_recipe(cfg, corpus)
    if cfg.TRAIN.STOP_EPOCH or cfg.TRAIN.BEGIN_EPOCH:
        key = "STOP_EPOCH" if cfg.TRAIN.STOP_EPOCH else "BEGIN_EPOCH"
        raise UserError(f"TRAIN.{key} must be 0: where trainings begin and stop, the search decides")
    if first_rung > cfg.TRAIN.END_EPOCH:
        raise UserError(f"--first_rung {first_rung} must not be more than TRAIN.END_EPOCH {cfg.TRAIN.END_EPOCH}")


def check_objective(objective: str, corpus: Corpus) -> None:
    """Refuse an objective that trainings on this corpus do not have.

    Raises:
        UserError: naming what it needs.
    """
    if objective == "eer" and not corpus.validation_speakers:
        raise UserError(
            "--objective eer is of speakers held out, and there are none: set DATASET.SUB_DIR dev (and "
            "DATASET.VAL_SPEAKERS to another number than 0), or give another --objective"
        )
    if objective != "eer" and not corpus.has_rows("val"):
        raise UserError(f"--objective {objective} is of the val part, which SUB_DIR {corpus.sub_dir} has not: give eer")


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """No other process of the search opens its folder, draws a candidate or writes results meanwhile.

    Raises:
        UserError: the folder cannot be made.
    """
    try:
        (folder / LOCKS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out: cannot write to {folder} ({error.strerror}); give another folder") from error
    with locked(folder / LOCKS / TOOL):
        yield


def read_objective(run_dir: Path, objective: str, epoch: int) -> float:
    """What a run had come to after an epoch."""
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return next(line[f"val_{objective}"] for line in lines if line["epoch"] == epoch)


def report(work: Halving) -> None:
    """Write what the search has come to, print it, and say how to train the winner.

    Raises:
        UserError: all candidates diverged.
    """
    candidates = work.study.candidates()
    if not any(candidate.intermediate_values for candidate in candidates):
        if all(candidate.state == TrialState.FAIL for candidate in candidates):
            raise UserError(f"all {len(candidates)} candidates have diverged: lower TRAIN.LR, and give another --out")
        get_logger().info("other processes are at the first candidates; there is nothing to report yet")
        print(json.dumps({"winner": None, "candidates": len(candidates)}))
        return
    results = write_results(work.folder, work.cfg, work.study)
    options = ["--cfg", str(work.folder / SETTINGS), "--text_arch", str(work.folder / GENOTYPE)]
    get_logger().info(f"next: {call_of('train.py')} {shlex.join(options)}")
    print(json.dumps(results))
