"""The speakers held out, by whose trials the best epoch is chosen: what is recorded of them, and what to be wary of."""

from typing import Any

from data_objects.corpus import Corpus
from data_objects.lists import META

KINDS = "validation_kinds"  # in a checkpoint's protocol: see `Corpus.validation_kinds`


def describe_choice(corpus: Corpus) -> dict[str, Any]:
    """Plain values for checkpoints: how the speakers held out are drawn, how many have one session, their kinds."""
    held_out = corpus.validation_speakers
    return {
        "validation_choice": corpus.validation_choice if held_out else "",
        "validation_single_session": len(held_out) - _count_several(corpus),
        KINDS: corpus.validation_kinds,
    }


def _count_several(corpus: Corpus) -> int:
    """How many of the speakers held out have several sessions."""
    return sum(corpus.dev_sessions[speaker] > 1 for speaker in corpus.validation_speakers)


def doubts_of_choice(corpus: Corpus) -> list[str]:
    """What makes the epoch that the speakers held out choose a worse choice than it seems, or a dear one."""
    held_out, with_several = len(corpus.validation_speakers), _count_several(corpus)
    in_all = sum(number > 1 for number in corpus.dev_sessions.values())
    doubts = []
    if single := held_out - with_several:
        doubts.append(
            f"{single} of the {held_out} speakers held out have one session only: their target trials are within it, "
            "which is easier than a test across sessions, and the best epoch and the calibration rest on them; "
            f"{_remedy(in_all, with_several)}"
        )
    if corpus.validation_choice == "hard":
        if 2 * with_several > in_all:
            doubts.append(
                f"DATASET.VAL_CHOICE hard holds out {with_several} of the {in_all} dev speakers with several sessions, "
                f"and leaves {in_all - with_several} to train on: fewer DATASET.VAL_SPEAKERS leave more"
            )
        if not any(corpus.validation_kinds.values()):
            doubts.append(
                f"DATASET.VAL_CHOICE hard: {corpus.list_path(META)} knows no gender of the speakers held "
                "out, nor a nationality that enough of them share, so their non-target trials are of any two"
            )
    return doubts


def _remedy(in_all: int, held_out: int) -> str:
    """How more of the speakers held out would have several sessions; so many have in all, and are held out."""
    if in_all > held_out:
        return f"DATASET.VAL_CHOICE hard holds out those with several first ({in_all} dev speakers have)"
    if in_all > 1:
        return f"only {in_all} dev speakers have several: set DATASET.VAL_SPEAKERS to {in_all} or fewer"
    return "nobody else could be held out: the corpus has no two dev speakers with several"
