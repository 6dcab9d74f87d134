"""What a reader of a search's result must know before anything else."""

import math
from collections.abc import Iterator

from utils.search.folder import SearchFolder
from utils.search.monitor import CELLS, KINDS

LUCKY = 3.0  # standard deviations of the share that a constant guess gets right
UNDECIDED = 0.9  # of the entropy that alpha starts from; of 8 operations, 6.5 that are alike have as much
UNSETTLED = 4  # of both cells' 16 edges, changed by one epoch
ABOVE_TARGET = 1.1  # of SEARCH.COST_TARGET


def doubts_of_search(folder: SearchFolder) -> list[str]:
    """Sentences to warn with, the gravest first; what time mends is told from half of the epochs on."""
    early = 2 * folder.epochs < folder.cfg.TRAIN.END_EPOCH
    found = [folder.history.is_over() or folder.history.warning(), *_of_the_supernet(folder)]
    return [doubt for doubt in (*found, *(() if early else _of_alpha(folder))) if doubt]


def chance_limit(chance: float, speakers: int, utterances: int) -> float:
    """Up to which Top-1, per cent, a supernet is near chance: it may know nothing.

    That is twice chance, or 5 points above it where that is less; and what it may get right by naming one speaker
    always, as networks do that have learnt nothing yet, with luck: `LUCKY` deviations of a binomial share.

    Args:
        chance: of guessing among all classes, per cent.
        speakers, utterances: of the part that Top-1 is of; 0 where that is not known.
    """
    constant = max(chance, 100 / speakers) if speakers and utterances else chance
    luck = LUCKY * math.sqrt(constant * (100 - constant) / utterances) if utterances else 0.0
    return max(chance + min(chance, 5.0), constant + luck)


def _of_the_supernet(folder: SearchFolder) -> Iterator[str]:
    """Alpha learns from what the supernet gets right; before it learns, there is nothing to warn of."""
    names = {"the path of alpha's argmax": "argmax_top1", "random paths": "paths_top1"}
    known = {path: folder.of(name).iloc[-1] for path, name in names.items() if len(folder.of(name))}
    limit = chance_limit(folder.chance, folder.val_speakers, folder.val_utterances)
    if known and max(known.values()) <= limit and not folder.is_warming_up():
        shown = " and ".join(f"{value:.3g} % by {path}" for path, value in known.items())
        yield (
            f"the supernet is near chance: of the val part it gets right {shown}, where chance is "
            f"{folder.chance:.3g} % (100/{folder.classes:,} speakers) and up to {limit:.3g} % can be luck; what alpha "
            "has learnt from it, and so the genotype, means little: search for longer, on more data or with a smaller "
            "supernet"
        )


def _of_alpha(folder: SearchFolder) -> Iterator[str]:
    """Alpha has not learnt, is undecided, or still changes its mind; the network that it derives is too large."""
    if folder.is_warming_up():
        if folder.is_whole and folder.cfg.SEARCH.CHOOSE == "argmax":
            yield "alpha has rested in all epochs (warm-up): the genotype is of chance"
        return
    count, last = len(folder.operations), {kind: folder.of(f"entropy_{kind}").get(folder.epochs, 0) for kind in KINDS}
    if undecided := {kind: value for kind, value in last.items() if value > UNDECIDED * math.log(count)}:
        shown = " and ".join(f"{value:.3g} in the {CELLS[kind]}" for kind, value in undecided.items())
        yield (
            f"alpha is undecided: the mean entropy of an edge is {shown}, where log({count}) = {math.log(count):.3g} "
            "is that of operations that are all alike; another search may well find another genotype"
        )
    changes = sum(folder.of(f"changed_edges_{kind}").get(folder.epochs, 0) for kind in KINDS)
    if changes >= UNSETTLED:
        yield f"the genotype has not settled: the last epoch changed {changes:.0f} of its 16 edges"
    cost = folder.of("cost_derived")
    if len(cost) and cost.iloc[-1] > ABOVE_TARGET * folder.cost_target > 0:
        yield (
            f"the derived network takes {cost.iloc[-1]:.3g} G multiply-accumulates, more than SEARCH.COST_TARGET "
            f"{folder.cost_target:.3g}"
        )
