"""The study of a search: Optuna's journal, which several processes write, and what is decided from it alone.

Candidates are Optuna's trials, by their numbers. Nothing of a process's own decides: whoever reads the journal draws
the same genotype for a number, and comes to the same verdict on a candidate.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from models.genotypes import Genotype
from tools.halving.space import genotype_of, parameters_of
from utils.system.errors import UserError
from utils.system.logger import get_logger

JOURNAL = "study.journal"
NAME = "search"
DIRECTIONS = {"top1": StudyDirection.MAXIMIZE, "eer": StudyDirection.MINIMIZE, "loss": StudyDirection.MINIMIZE}
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "random": RandomSampler,
    "tpe": lambda seed: TPESampler(seed=seed, constant_liar=True),  # away from what others are at
}
PLAN, PROMOTED, SECONDS, RUN = "plan", "promoted", "seconds", "run"  # attributes of the study, and of candidates


@dataclass(frozen=True)
class Plan:
    """What a search is, beside the recipe of its trainings; it stays the same when it goes on.

    Attributes:
        objective: of DIRECTIONS; sampler: of SAMPLERS, and the seed that it draws by.
        first_rung, reduction, epochs: see `rungs`.
        space: of SEARCH_SPACES.
        index: fingerprint of the corpus's index.
    """

    objective: str
    sampler: str
    seed: int
    first_rung: int
    reduction: int
    epochs: int
    space: str
    index: str

    @property
    def rungs(self) -> list[int]:
        """The epochs after which candidates are compared; the last is the end of a training."""
        rungs = [self.first_rung]
        while rungs[-1] * self.reduction < self.epochs:
            rungs.append(rungs[-1] * self.reduction)
        return [*(rung for rung in rungs if rung < self.epochs), self.epochs]

    @property
    def is_higher_better(self) -> bool:
        return DIRECTIONS[self.objective] == StudyDirection.MAXIMIZE


class Study:
    """The study in a folder.

    Args:
        plan: refused where the folder's study has another one.

    Raises:
        UserError: another plan; a journal that cannot be read.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.plan = plan
        self.parameters = parameters_of(plan.space)
        self._journal = folder / JOURNAL
        _listen_to_optuna()
        try:
            self._study = self._open()
        except (ValueError, KeyError, TypeError, AssertionError) as error:  # what garbage makes Optuna raise depends
            raise UserError(f"{self._journal} is damaged: give another --out") from error
        self._check_plan(folder)

    def _open(self) -> optuna.Study:
        lock = JournalFileOpenLock(str(self._journal))
        lock.acquire()
        try:
            _mend(self._journal)
        finally:
            lock.release()
        self._storage = JournalStorage(JournalFileBackend(str(self._journal), lock))
        names = {study.study_name for study in self._storage.get_all_studies()}
        if NAME in names:
            return optuna.load_study(study_name=NAME, storage=self._storage)
        return optuna.create_study(study_name=NAME, storage=self._storage, direction=DIRECTIONS[self.plan.objective])

    def _check_plan(self, folder: Path) -> None:
        now = asdict(self.plan)
        before = self._study.user_attrs.get(PLAN)
        if before is None:
            self._study.set_user_attr(PLAN, now)
            return
        names = {"index": "the index of DATASET.DATA_DIR", "epochs": "TRAIN.END_EPOCH"}
        differing = [
            f"{names.get(key, f'--{key}')} {before.get(key)} (now {now[key]})"
            for key in now
            if before.get(key) != now[key]
        ]
        if differing:
            raise UserError(f"{folder} holds a search with {', '.join(differing)}: give the same, or another --out")

    # ------------------------------------------------------------------------------------------------------------------
    # Candidates
    # ------------------------------------------------------------------------------------------------------------------
    def candidates(self) -> list[FrozenTrial]:
        """All that were drawn, by number, as the journal has them now."""
        return self._study.get_trials(deepcopy=False)

    def draw(self) -> int:
        """Draw a candidate, and return its number; one process at a time may.

        The sampler is asked in a copy in memory, by a seed of the number's own, and the candidate then written as a
        whole: drawing in the journal, a process that is killed would leave it with some of its parameters.
        """
        drawn = self.candidates()
        seed = int(np.random.SeedSequence((self.plan.seed, len(drawn))).generate_state(1)[0])
        copy = self._copy(sampler=SAMPLERS[self.plan.sampler](seed))
        copy.add_trials(drawn)
        values = copy.ask(self.parameters).params
        self._study.add_trial(create_trial(state=TrialState.RUNNING, params=values, distributions=self.parameters))
        return len(drawn)

    def genotype(self, number: int) -> Genotype:
        """What a candidate is."""
        return genotype_of(self.candidates()[number].params)

    def reported(self, number: int) -> set[int]:
        """The rungs that a candidate has come to."""
        return set(self.candidates()[number].intermediate_values)

    def values_at(self, epoch: int) -> list[float]:
        """The objective of all that have come to a rung."""
        values = [candidate.intermediate_values for candidate in self.candidates()]
        return [of_one[epoch] for of_one in values if epoch in of_one]

    def promoted(self, number: int) -> int:
        """The last rung from which a candidate may go on, whatever others have come to since; 0: none yet."""
        return self.candidates()[number].user_attrs.get(PROMOTED, 0)

    def may_go_on(self, number: int) -> bool:
        """Whether the pruner lets a candidate go on from the rung that it has reported last.

        It is asked in a copy in memory, to which all that is reported is told anew. In the journal itself it would mark
        the rung as passed before its verdict is known to anybody: a candidate whose process is killed in between would
        go on unjudged.
        """
        copy, is_pruned = self._copy(pruner=SuccessiveHalvingPruner(self.plan.first_rung, self.plan.reduction)), False
        for candidate in sorted(self.candidates(), key=lambda candidate: candidate.number == number):  # it comes last
            trial = copy.ask()
            for epoch, value in sorted(candidate.intermediate_values.items()):
                trial.report(value, epoch)
                is_pruned = trial.should_prune()
        return not is_pruned

    def _copy(self, **parts: Any) -> optuna.Study:
        return optuna.create_study(direction=DIRECTIONS[self.plan.objective], **parts)

    # ------------------------------------------------------------------------------------------------------------------
    # What becomes of them
    # ------------------------------------------------------------------------------------------------------------------
    def report(self, number: int, epoch: int, value: float) -> None:
        """Record the objective after an epoch."""
        self._trial(number).report(value, epoch)

    def end(self, number: int, state: TrialState) -> None:
        """Record that a candidate is done with: COMPLETE, PRUNED or FAIL."""
        values = list(self.candidates()[number].intermediate_values.values())
        self._study.tell(number, values[-1] if state == TrialState.COMPLETE else None, state=state)

    def note(self, number: int, name: str, value: Any) -> None:
        """Record an attribute of a candidate, if it is not on record."""
        if self.candidates()[number].user_attrs.get(name) != value:
            self._trial(number).set_user_attr(name, value)

    def add_seconds(self, number: int, epoch: int, seconds: float) -> None:
        """Record what a candidate's way to a rung has taken."""
        spent = dict(self.candidates()[number].user_attrs.get(SECONDS, {}))
        spent[str(epoch)] = round(spent.get(str(epoch), 0) + seconds, 3)
        self.note(number, SECONDS, spent)

    def seconds(self) -> float:
        """What all candidates have taken, in all processes."""
        return sum(sum(candidate.user_attrs.get(SECONDS, {}).values()) for candidate in self.candidates())

    def _trial(self, number: int) -> Trial:
        of_study = self._storage.get_study_id_from_name(NAME)
        return Trial(self._study, self._storage.get_trial_id_from_study_id_trial_number(of_study, number))


def _mend(journal: Path) -> None:
    """Take half a line, which a crash can leave, from a journal's end: the next one would be written on to it."""
    if not journal.is_file():
        return
    content = journal.read_bytes()
    if not content.endswith(b"\n"):
        with open(journal, "r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def _listen_to_optuna() -> None:
    """Let our logger say what Optuna warns of, and nothing else of it."""
    optuna.logging.disable_default_handler()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for handler in get_logger().handlers:
        optuna.logging.get_logger("optuna").addHandler(handler)
