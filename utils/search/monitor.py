"""Following a search: what alpha decides from epoch to epoch, whether it collapses, and how long it will take."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from models.genotypes import INPUTS, Gene, Genotype, parse_genotype
from models.operations import PARAMETER_FREE
from models.supernet import Supernet
from utils.pictures.alpha import draw_alpha_history
from utils.pictures.figure import save_figure
from utils.pictures.genotype import draw_genotype
from utils.system.files import write_atomically
from utils.system.processes import is_main

KINDS = ("normal", "reduce")  # of cells
CELLS = dict(zip(KINDS, ("normal cell", "reduction cell"), strict=True))  # what to call them
HISTORY = "architecture.jsonl"
# So many skip connections among the normal cell's 8 edges are a collapse: the first criterion of Liang et al., DARTS+,
# 2019 (arXiv 1909.06035). Skip connections pass gradients on best while the other operations have learnt
# little, so alpha comes to favour them, and networks of many of them are shallow and generalise badly. A cell of random
# operations of s2 has as many in one case of three: what counts is that it stays so (SEARCH.COLLAPSE_PATIENCE).
COLLAPSE = 2
PICTURES_LAST, PICTURES_TAKE = 120.0, 1.2  # seconds before they are drawn anew, and that this may take: 1 % of all


def edge_entropies(alpha: Tensor) -> list[float]:
    """The entropy, in nats, of the operations' probabilities on each edge, of alpha (14, number of operations).

    It is log(number of operations) at first and 0 where all is decided.
    """
    log_probabilities = alpha.detach().double().log_softmax(dim=-1)
    return (-(log_probabilities.exp() * log_probabilities).sum(dim=-1)).tolist()


def count_changes(genes: tuple[Gene, ...], earlier: tuple[Gene, ...]) -> int:
    """How many of a cell's 8 edges an earlier genotype did not have at the same node."""
    nodes = range(0, len(genes), 2)
    return sum((Counter(genes[i : i + 2]) - Counter(earlier[i : i + 2])).total() for i in nodes)


def count_skips(genes: tuple[Gene, ...]) -> int:
    """How many of a cell's 8 edges are skip connections."""
    return sum(operation == "skip_connect" for operation, _ in genes)


def skip_share(genes: tuple[Gene, ...]) -> float:
    """The share of skip connections among a cell's 8 edges."""
    return count_skips(genes) / len(genes)


def parameter_free_share(genes: tuple[Gene, ...], reduction: bool) -> float:
    """The share of operations without weights among a cell's 8 edges.

    A skip connection from an input of a reduction cell is a factorised reduction, which has weights.
    """
    free = 0
    for operation, source in genes:
        is_reduction = reduction and operation == "skip_connect" and source < INPUTS
        free += operation in PARAMETER_FREE and not is_reduction
    return free / len(genes)


class SearchHistory:
    """Alpha and what it derives to, epoch by epoch, in RUN/architecture.jsonl; so it survives interruptions.

    Args:
        run_dir: an existing folder.
        epochs_done: of a resumed run; what is later, left by an interruption, is taken out.
        patience: for how many epochs in a row a collapse may last before the search is over; 0 for any number.
    """

    def __init__(self, run_dir: Path, epochs_done: int = 0, patience: int = 0) -> None:
        self._patience = patience
        self._run_dir = run_dir
        self._file = run_dir / HISTORY
        lines = self._file.read_text(encoding="utf-8").splitlines() if self._file.is_file() else []
        self.records = [record for record in map(json.loads, lines) if record["epoch"] <= epochs_done]
        if len(self.records) < len(lines) or not self._file.is_file():  # whoever only reads changes nothing
            self._write()

    def add(self, epoch: int, hours: float, supernet: Supernet, before: str) -> dict[str, float]:
        """Record the end of an epoch, counted from 1.

        Args:
            hours: since the search began.
            before: the genotype at the epoch's begin, as text.

        Returns:
            Its figures, for each kind of cell: entropy (mean over the edges), skip_share, parameter_free_share,
            changed_edges.
        """
        genotype, earlier = supernet.genotype(), parse_genotype(before)
        figures: dict[str, float] = {}
        record: dict[str, Any] = {"epoch": epoch, "hours": hours, "genotype": str(genotype)}
        for kind, alpha in zip(KINDS, supernet.arch_parameters(), strict=True):
            genes, entropies = getattr(genotype, kind), edge_entropies(alpha)
            record[kind] = {"alpha": alpha.tolist(), "entropies": entropies}
            figures |= {
                f"entropy_{kind}": sum(entropies) / len(entropies),
                f"skip_share_{kind}": skip_share(genes),
                f"parameter_free_share_{kind}": parameter_free_share(genes, kind == "reduce"),
                f"changed_edges_{kind}": count_changes(genes, getattr(earlier, kind)),
            }
        self.records.append(record)
        self._write()
        return figures

    def _write(self) -> None:
        if is_main():
            write_atomically(self._file, "".join(f"{json.dumps(record)}\n" for record in self.records))

    @property
    def hours(self) -> float:
        """Hours that the recorded epochs took."""
        return self.records[-1]["hours"] if self.records else 0.0

    def collapsed_epochs(self) -> int:
        """For how many epochs, up to the last one, the normal cell has had COLLAPSE skip connections or more."""
        count = 0
        for record in reversed(self.records):
            if not is_collapsed(parse_genotype(record["genotype"])):
                break
            count += 1
        return count

    def warning(self) -> str:
        """What to say of a collapse; empty where there is none."""
        epochs = self.collapsed_epochs()
        if not epochs:
            return ""
        return (
            f"skip connections are {COLLAPSE} or more of the normal cell's 8 edges, for {epochs} "
            f"{'epoch' if epochs == 1 else 'epochs'} now: if that lasts, the search has collapsed "
            "(SEARCH.COLLAPSE_PATIENCE ends it)"
        )

    def is_over(self) -> str:
        """Why a collapse ends the search; empty where it does not."""
        if not 0 < self._patience <= self.collapsed_epochs():
            return ""
        return (
            f"skip connections have taken over for {self.collapsed_epochs()} epochs (SEARCH.COLLAPSE_PATIENCE), so the "
            "genotype is of the last epoch before, if there was one"
        )

    def genotype(self) -> Genotype:
        """The last epoch's genotype; where a collapse ended the search, that of the last epoch before, if any."""
        genotypes = [parse_genotype(record["genotype"]) for record in reversed(self.records)]
        sound = (genotype for genotype in genotypes if not is_collapsed(genotype))
        return next(sound, genotypes[0]) if self.is_over() else genotypes[0]

    def has_kept(self, genotype: Genotype) -> bool:
        """Whether the run folder's genotype.txt holds this one, as it does when a run goes on."""
        file = self._run_dir / "genotype.txt"
        return file.is_file() and file.read_text(encoding="utf-8").strip() == str(genotype)

    def keep(self, genotype: Genotype) -> None:
        """Write genotype.txt."""
        if is_main():
            write_atomically(self._run_dir / "genotype.txt", f"{genotype}\n")

    def draw(self, genotype: Genotype, operations: tuple[str, ...]) -> dict[str, Figure]:
        """Draw the genotype, and alpha over the epochs, to pictures in the run folder; returns them by name."""
        pictures = self.pictures(genotype, operations)
        for name, picture in pictures.items():
            save_figure(picture, self._run_dir / name)
        return pictures

    def pictures(self, genotype: Genotype, operations: tuple[str, ...]) -> dict[str, Figure]:
        """The genotype and, where an epoch is done, alpha of either kind of cell over the epochs."""
        pictures = {"genotype": draw_genotype(genotype)}
        for kind, name in CELLS.items():
            if self.records:
                history = np.array([record[kind]["alpha"] for record in self.records])
                pictures[f"alpha-{kind}"] = draw_alpha_history(history, operations, name)
        return pictures


class PictureClock:
    """When pictures are to be drawn anew: after two minutes, or more where drawing takes long, as on a busy machine."""

    def __init__(self) -> None:
        self._drawn = time.monotonic()  # or begun
        self._took = 0.0

    def is_due(self) -> bool:
        """Whether the last ones are old; epochs may be shorter than drawing is."""
        return time.monotonic() - self._drawn >= PICTURES_LAST * max(1.0, self._took / PICTURES_TAKE)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Take the time of drawing."""
        began = time.monotonic()
        yield
        self._drawn = time.monotonic()
        self._took = self._drawn - began


def is_collapsed(genotype: Genotype) -> bool:
    """Whether skip connections have taken over the normal cell."""
    return count_skips(genotype.normal) >= COLLAPSE


class SearchClock:
    """How long a search has taken, will take, and may take.

    Args:
        steps: iterations that are left.
        hours: that the search took before.
        max_hours: that it may take in all; 0 for any.
    """

    SETTLED, MEASURED = 10, 50  # iterations after which speed is measured from, and told

    def __init__(self, steps: int, hours: float, max_hours: float) -> None:
        self._steps_left = steps
        self._hours_before = hours
        self._max_hours = max_hours
        self._began = self._last = time.perf_counter()
        self._steps = 0
        self._measured = 0.0  # seconds of the iterations between SETTLED and MEASURED
        self._waited_before = 0.0

    @property
    def hours(self) -> float:
        """Hours of the whole search so far: up to the checkpoint that it went on from, and of this process."""
        return self._hours_before + (time.perf_counter() - self._began) / 3600

    def is_over(self) -> str:
        """Why time ends the search; empty where it does not."""
        return f"SEARCH.MAX_HOURS {self._max_hours:g} are over" if 0 < self._max_hours <= self.hours else ""

    def start_epoch(self) -> None:
        """Leave out of the iterations' time what has passed since the last one."""
        self._last = time.perf_counter()

    def tick(self, waited: float = 0.0) -> str:
        """Count an iteration; after the first 50 of a process, returns how long the rest will take.

        Args:
            waited: seconds that this process has waited for batches so far.
        """
        now = time.perf_counter()
        if self._steps < self.SETTLED:
            self._waited_before = waited
        if self._steps >= self.SETTLED:
            self._measured += now - self._last
        self._last = now
        self._steps += 1
        self._steps_left -= 1
        if self._steps != self.MEASURED:
            return ""
        seconds = self._measured / (self.MEASURED - self.SETTLED)
        left = self._steps_left * seconds / 3600
        over = 0 < self._max_hours < self.hours + left
        limit = f"; SEARCH.MAX_HOURS ends it after {self._max_hours:g} h" if over else ""
        waiting = (waited - self._waited_before) / self._measured
        return (
            f"{seconds:.3g} s an iteration, {waiting:.2%} of it until its batches are there: {left:.3g} h are left of "
            f"an estimated {self.hours + left:.3g} h in all, without what every epoch's end takes{limit}"
        )
