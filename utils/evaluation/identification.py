"""Evaluating a network by identification: accuracies with intervals, of every speaker and of groups of utterances."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from yacs.config import CfgNode

from data_objects.audio import SAMPLE_RATE
from data_objects.corpus import Corpus
from data_objects.index import Index
from data_objects.lists import Speaker
from utils.evaluation.groups import Breakdowns, break_down, group_lengths, group_speakers, scaled
from utils.metrics.bootstrap import identification_intervals
from utils.metrics.rates import top_k_hits
from utils.recognition.embeddings import embed_kept
from utils.recognition.network import TrainedNetwork
from utils.records.checkpoint import Checkpoint
from utils.system.errors import UserError
from utils.system.files import write_atomically

PER_SPEAKER = "accuracy_per_speaker.csv"


@dataclass(frozen=True, eq=False)
class Identification:
    """Decisions on utterances.

    Attributes:
        rows: (N,) the utterances' in the index.
        speakers: the classes; labels: (N,) each utterance's.
        logits: (N, K) float32.
    """

    rows: np.ndarray
    speakers: list[str]
    labels: np.ndarray
    logits: np.ndarray

    @cached_property
    def decisions(self) -> np.ndarray:
        """The class (N,) of the largest logit."""
        return self.logits.argmax(axis=1)

    @cached_property
    def correct(self) -> dict[str, np.ndarray]:
        """Whether the label is the best class (top1), or among the five best (top5): (N,) bool each."""
        return {"top1": self.decisions == self.labels, "top5": top_k_hits(self.logits, self.labels, 5)}

    def figures(self, replicates: int) -> dict[str, Any]:
        """top1 and top5 in per cent, their 95 % intervals by bootstrap over speakers, mean cross-entropy as loss."""
        loss = nn.functional.cross_entropy(torch.from_numpy(self.logits), torch.from_numpy(self.labels)).item()
        figures: dict[str, Any] = {name: 100 * float(correct.mean()) for name, correct in self.correct.items()}
        figures["loss"] = loss
        if replicates:
            intervals = identification_intervals(self.correct, self.labels, replicates=replicates)
            figures["intervals"] = {name: scaled(interval) for name, interval in intervals.items()}
        return figures

    def per_speaker(self) -> pd.DataFrame:
        """Of every speaker: utterances, top1 in per cent, and whom it was most often taken for; the worst first."""
        decided = pd.DataFrame({"label": self.labels, "correct": self.correct["top1"], "decision": self.decisions})
        rows = decided.groupby("label")["correct"].agg(utterances="size", top1="mean")
        taken_for = decided[~decided["correct"]].groupby("label")["decision"].agg(lambda classes: classes.mode()[0])
        names = pd.Series(self.speakers, dtype=object)
        rows.insert(0, "speaker", names[rows.index])
        rows["top1"] *= 100
        rows["most_often_taken_for"] = taken_for.map(names)
        return rows.fillna({"most_often_taken_for": ""}).sort_values("top1", kind="stable")

    def break_down(self, index: Index, meta: Mapping[str, Speaker], replicates: int) -> Breakdowns:
        """top1 in per cent, with its interval, of groups of utterances: by gender, nationality and length."""
        groups = group_speakers((self.speakers[label] for label in self.labels), meta)
        groups = groups.assign(length=group_lengths(index.samples[self.rows] / SAMPLE_RATE))
        return break_down(groups, partial(self._measure, replicates))

    def _measure(self, replicates: int, chosen: np.ndarray) -> dict[str, Any]:
        correct, labels = {"top1": self.correct["top1"][chosen]}, self.labels[chosen]
        intervals = identification_intervals(correct, labels, replicates=replicates) if replicates else {}
        return {
            "utterances": len(labels),
            "speakers": len(np.unique(labels)),
            "top1": 100 * float(correct["top1"].mean()),
            "top1_interval": scaled(intervals.get("top1")),
        }


def check_class_list(checkpoint: Checkpoint, index: Index, path: Path) -> None:
    """Refuse a network whose classes are not the speakers of the corpus.

    Raises:
        UserError: trained without the test speakers; other speakers than the corpus has, by name.
    """
    if checkpoint.sub_dir != "merged":
        raise UserError(
            f"{path} was trained with SUB_DIR {checkpoint.sub_dir}, which leaves the test speakers out: it cannot "
            "identify them; use evaluate_verification.py, or train with SUB_DIR merged"
        )
    present = index.speakers("merged")
    if checkpoint.speakers != present:
        unknown, gone = set(present) - set(checkpoint.speakers), set(checkpoint.speakers) - set(present)
        example = min(unknown | gone) if unknown | gone else "in another order"
        raise UserError(
            f"{path}: its class list of {len(checkpoint.speakers)} speakers is not that of {index.data_dir}: it does "
            f"not know {len(unknown)} of the corpus's {len(present)}, and knows {len(gone)} others ({example}): "
            "evaluate on the corpus that it was trained on"
        )


def identify_test_part(trained: TrainedNetwork, corpus: Corpus, cfg: CfgNode) -> Identification | None:
    """Embed and classify the test part; None on other processes than the main one.

    Raises:
        UserError: there is no test part.
    """
    rows = corpus.index.rows("merged", "test")
    if not len(rows):
        raise UserError(f"the test part of {corpus.data_dir} has no utterances; check its iden_split.txt")
    utterances = [corpus.index.utterances[row] for row in rows]
    embeddings = embed_kept(cfg, trained, corpus, utterances)
    if embeddings is None:
        return None
    vectors = torch.from_numpy(embeddings.vectors[embeddings.places(utterances)])
    with torch.inference_mode():
        logits = trained.network.classifier(vectors.to(trained.device)).float().cpu().numpy()
    speakers = trained.checkpoint.speakers
    return Identification(rows, speakers, corpus.index.labels(speakers)[rows], logits)


def write_per_speaker(folder: Path, rows: pd.DataFrame) -> Path:
    """accuracy_per_speaker.csv, the worst speaker first; returns its path."""
    write_atomically(folder / PER_SPEAKER, rows.to_csv(index=False, lineterminator="\n"))
    return folder / PER_SPEAKER
