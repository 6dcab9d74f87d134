"""How good a network is, while it is trained: on the val part, and on the trials of the speakers held out."""

from typing import Any

from config import last_epoch
from utils.recognition.network import identify, verify
from utils.training.state import TrainingState


def validates(state: TrainingState[Any]) -> bool:
    """Whether VAL_FREQ has the epoch under way validated."""
    done = state.epoch + 1
    return done % state.cfg.VAL_FREQ == 0 or done >= last_epoch(state.cfg)


def validate(state: TrainingState[Any]) -> dict[str, float]:
    """The figures after the epoch under way: on the val part and, where there are such, on the trials of the speakers
    held out; none where VAL_FREQ says so."""
    if not validates(state):
        return {}
    corpus = state.corpus
    network = state.evaluated, state.front_end
    figures: dict[str, float] = {}
    if state.trials is None or corpus.has_rows("val"):  # a corpus of one session a speaker has none in `dev`
        figures = identify(*network, corpus, corpus.rows("val"), corpus.speakers, state.device)
    if state.trials is not None:
        figures |= verify(*network, corpus, state.trials, state.device)
    return figures
