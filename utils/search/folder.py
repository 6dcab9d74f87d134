"""What the run folder of a search tells about it, while it goes on and at any time after."""

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from yacs.config import CfgNode

from config import load_config
from models.genotypes import SEARCH_SPACES, Genotype, read_genotype
from utils.records.guard import TRAIN, UNTRAINED, VAL
from utils.search.monitor import HISTORY, SearchHistory
from utils.system.errors import UserError
from utils.training.state import PROTOCOL


@dataclass(frozen=True)
class SearchFolder:
    """A search, as its run folder holds it; reading changes nothing there.

    Attributes:
        history: alpha and the genotype after every epoch.
        figures: of metrics.jsonl, a row an epoch and a column a figure; NaN where an epoch does not have it.
        genotype: of genotype.txt.
        classes: speakers to tell apart; 0 where that is not known.
        val_speakers, val_utterances: in the val part; 0 where that is not known.
    """

    path: Path
    cfg: CfgNode
    history: SearchHistory
    figures: pd.DataFrame
    genotype: Genotype
    classes: int
    val_speakers: int
    val_utterances: int

    @classmethod
    def read(cls, path: Path) -> "SearchFolder":
        """Read a run folder.

        Raises:
            UserError: it is not the run folder of a search, or its settings or genotype cannot be read.
        """
        if not (path / HISTORY).is_file():
            raise UserError(f"{path} is no run folder of search.py: it has no {HISTORY}; give one, runs/search/...")
        cfg = load_config(path / "config.yaml")
        genotype = read_genotype(str((path / "genotype.txt").resolve()))
        history = SearchHistory(path, sys.maxsize, cfg.SEARCH.COLLAPSE_PATIENCE)
        classes, *of_val = _read_counts(path / PROTOCOL)
        return cls(path, cfg, history, _read_figures(path), genotype, cfg.MODEL.NUM_CLASSES or classes, *of_val)

    @property
    def operations(self) -> tuple[str, ...]:
        """The candidates on an edge."""
        return SEARCH_SPACES[self.cfg.SEARCH.SPACE]

    @property
    def epochs(self) -> int:
        """That are done."""
        return self.history.records[-1]["epoch"] if self.history.records else 0

    @property
    def is_whole(self) -> bool:
        """Whether all epochs are done."""
        return self.epochs >= self.cfg.TRAIN.END_EPOCH

    @property
    def chance(self) -> float:
        """Top-1 of guessing, per cent; NaN where the number of classes is not known."""
        return 100 / self.classes if self.classes else math.nan

    @property
    def cost_target(self) -> float:
        """SEARCH.COST_TARGET, G multiply-accumulates; 0 where there is none."""
        return self.cfg.SEARCH.COST_TARGET

    def of(self, name: str) -> pd.Series:
        """A figure by epoch, where it is a finite number; empty where there is none."""
        values = self.figures[name] if name in self.figures else pd.Series(dtype=float)
        return values[values.abs() < math.inf]

    def warm_up(self) -> list[int]:
        """The epochs in which alpha rested."""
        return self.of("warmup").loc[lambda values: values > 0].index.tolist()

    def is_warming_up(self) -> bool:
        """Whether alpha rested in the last epoch."""
        return self.epochs in self.warm_up()

    def hours_left(self) -> float:
        """Estimated from the epochs so far, from those in which alpha learnt where there are such; NaN before any."""
        hours = pd.Series({record["epoch"]: record["hours"] for record in self.history.records}, dtype=float)
        lasted = hours.diff().fillna(hours)  # of the first epoch, all
        learnt = lasted[~lasted.index.isin(self.warm_up())]
        left = max(self.cfg.TRAIN.END_EPOCH - self.epochs, 0) * (lasted if learnt.empty else learnt).mean()
        limit = self.cfg.SEARCH.MAX_HOURS
        return min(left, max(limit - self.history.hours, 0.0)) if limit else left


def _read_figures(path: Path) -> pd.DataFrame:
    file = path / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    # A search that is interrupted, or goes on, can leave half a line.
    figures = [json.loads(line) for line in lines if line.endswith("}")]
    table = pd.DataFrame.from_dict({line["epoch"]: line for line in figures}, orient="index")
    return table.apply(pd.to_numeric, errors="coerce").sort_index()


def _read_counts(file: Path) -> tuple[int, int, int]:
    """Classes, and speakers and utterances of the val part, by protocol.json; 0 for what it does not tell."""
    protocol = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    roles = protocol.get("roles", {})
    classes = roles.get(TRAIN, {}).get("speakers", 0) + len(protocol.get(UNTRAINED, ()))
    val = roles.get(VAL, {})
    return classes, val.get("speakers", 0), val.get("utterances", 0)
