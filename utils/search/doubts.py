"""What a reader of a search's result must know before anything else."""

import math
from collections.abc import Iterator

from utils.search.folder import SearchFolder
from utils.search.monitor import KINDS

LUCKY = 3.0  # standard deviations of the share that guessing gets right
UNDECIDED = 0.9  # of the entropy that alpha starts from: of 8 operations, as if 6.5 were alike
UNSETTLED = 4  # of both cells' 16 edges, changed by one epoch
ABOVE_TARGET = 1.1  # of SEARCH.COST_TARGET


def doubts_of_search(folder: SearchFolder) -> list[str]:
    """Sentences to warn with, the gravest first; what time mends is told from half of the epochs on."""
    early = 2 * folder.epochs < folder.cfg.TRAIN.END_EPOCH
    found = [folder.history.is_over() or folder.history.warning(), *_of_the_supernet(folder)]
    return [doubt for doubt in (*found, *(() if early else _of_alpha(folder))) if doubt]


def chance_limit(chance: float, utterances: int) -> float:
    """Up to which Top-1, per cent, a supernet is near chance: it may know nothing.

    That is twice chance, or 5 points above it where that is less; and what guessing gets right by luck: `LUCKY`
    standard deviations of a binomial share.

    Args:
        chance: per cent.
        utterances: that Top-1 is of; 0 where that is not known.
    """
    luck = LUCKY * math.sqrt(chance * (100 - chance) / utterances) if utterances else 0.0
    return chance + max(min(chance, 5.0), luck)


def _of_the_supernet(folder: SearchFolder) -> Iterator[str]:
    """Alpha learns from what the supernet gets right; before it learns, there is nothing to warn of."""
    names = {"the path of alpha's argmax": "argmax_top1", "random paths": "paths_top1"}
    known = {path: folder.of(name).iloc[-1] for path, name in names.items() if len(folder.of(name))}
    limit = chance_limit(folder.chance, folder.val_utterances)
    if known and max(known.values()) <= limit and not folder.is_warming_up():
        shown = " and ".join(f"{value:.3g} % of it by {path}" for path, value in known.items())
        yield (
            f"the supernet is near chance: it knows {shown}, on the val part, where guessing knows {folder.chance:.3g} "
            f"% (100/{folder.classes:,} speakers) and up to {limit:.3g} % may be luck; what alpha has learnt from it, "
            "and so the genotype, means little: more epochs or data, or a smaller supernet"
        )


def _of_alpha(folder: SearchFolder) -> Iterator[str]:
    """Alpha has not learnt, is undecided, or still changes its mind; the network that it derives is too large."""
    if folder.is_warming_up():
        if folder.is_whole:
            yield "alpha has rested in the last epochs (warm-up), so the genotype is older than they are, or of chance"
        return
    for kind in KINDS:
        entropy, start = folder.of(f"entropy_{kind}"), math.log(len(folder.operations))
        if len(entropy) and entropy.iloc[-1] > UNDECIDED * start:
            yield (
                f"alpha is undecided in the {kind} cell: its edges' mean entropy is {entropy.iloc[-1]:.3g} and was "
                f"{start:.3g} at first, as if {math.exp(entropy.iloc[-1]):.2g} of {len(folder.operations)} operations "
                "were alike; the next search may well choose others"
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
