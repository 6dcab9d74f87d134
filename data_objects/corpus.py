"""A preprocessed corpus as the settings say: what a run trains, validates and tests on."""

from collections import Counter
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from yacs.config import CfgNode

from data_objects.augmentation import Augmentation, build_augmentation
from data_objects.completing import changed_lists
from data_objects.datasets import (
    BYTES,
    SECOND_HALF,
    SPLIT,
    CropLoader,
    EvaluationWindows,
    TrainingCrops,
    collate_crops,
    collate_windows,
    group_by_windows,
)
from data_objects.frontend import SETTINGS, FrontEnd, front_end_settings, span
from data_objects.index import Rows, load_index, load_statistics
from data_objects.lists import META, TRIALS, Speaker, TrialList, find_list, read_meta, read_trials
from data_objects.loading import open_loader
from data_objects.trials import build_validation_trials, choose_validation_speakers, count_sessions, kinds_of
from utils.system.errors import UserError
from utils.system.logger import get_logger
from utils.system.processes import processes, rank

REMEDIES = {  # where a part of a sub-directory has no utterances
    "merged": "give it some in iden_split.txt, or in the manifest's column part, and run data_preprocess.py again",
    "dev": "hold speakers out to choose the best epoch by (DATASET.VAL_SPEAKERS), or have two sessions a speaker",
}


class Corpus:
    """What a run takes from a preprocessed corpus.

    Attributes:
        index, sub_dir: the utterances, and which of them (merged or dev).
        validation_speakers: those of `dev` that are held out to choose the best epoch by; none of `merged`.
        validation_choice: how they and their trials are drawn, DATASET.VAL_CHOICE.
        speakers: the classes, in order: the others.
        frames, window_frames: length of a crop and of a window.
        window_batch_size: windows that an evaluation puts through the network at a time.
        front_end_settings: of the front end, as a checkpoint records them.

    Raises:
        UserError: DATA_DIR is not set, missing or not preprocessed; too few speakers to hold VAL_SPEAKERS out.
    """

    def __init__(self, cfg: CfgNode) -> None:
        self.data_dir, feature_dir = corpus_folders(cfg)
        self.index = load_index(self.data_dir, feature_dir)
        for name in changed_lists(self.data_dir, feature_dir):
            get_logger().warning(
                f"{self.data_dir / name} is not the list that the index was made by, and says nothing until "
                "data_preprocess.py is run again"
            )
        self.sub_dir = cfg.DATASET.SUB_DIR
        self.validation_choice = cfg.DATASET.VAL_CHOICE
        self.validation_speakers = self._hold_out(cfg.DATASET.VAL_SPEAKERS, cfg.DATASET.VAL_SEED)
        present = self.index.speakers(self.sub_dir)
        self.speakers = [speaker for speaker in present if speaker not in set(self.validation_speakers)]
        self.frames = cfg.DATASET.PARTIAL_N_FRAMES
        self._fewest_frames = cfg.DATASET.PARTIAL_N_FRAMES_MIN
        self.window_frames = cfg.EVAL.WINDOW_FRAMES or self.frames
        self._validation = cfg.DATASET.VAL_TRIALS, cfg.DATASET.VAL_SEED
        self._seed = cfg.SEED
        self._num_workers = cfg.DATASET.NUM_WORKERS
        self._pin_memory = cfg.DEVICE != "cpu" and torch.cuda.is_available()
        self._train_batch_size = cfg.TRAIN.BATCH_SIZE
        self._is_balanced = cfg.DATASET.SAMPLING == "balanced"
        self._build_augmentation = partial(build_augmentation, cfg)  # when training: others need no noise
        self.window_batch_size = cfg.EVAL.BATCH_SIZE
        self.front_end_settings = front_end_settings(cfg)

    def _hold_out(self, count: int, seed: int) -> list[str]:
        if self.sub_dir != "dev":
            return []
        try:
            several_first = self.validation_choice == "hard"
            return choose_validation_speakers(self.index, count, seed, several_first=several_first)
        except ValueError as error:
            raise UserError(
                f"DATASET.VAL_SPEAKERS {count} are too many to hold out of {error} in {self.data_dir}: set fewer, or 0"
            ) from error

    def check_num_classes(self, num_classes: int) -> int:
        """The number of classes: MODEL.NUM_CLASSES, where 0 means as many as there are speakers.

        The number of all speakers of SUB_DIR is taken too, those held out among them, which are no classes.

        Raises:
            UserError: it is neither.
        """
        trained, held_out = len(self.speakers), len(self.validation_speakers)
        if num_classes not in (0, trained, trained + held_out):
            without = f" (and {held_out} held out: DATASET.VAL_SPEAKERS)" if held_out else ""
            raise UserError(
                f"MODEL.NUM_CLASSES is {num_classes}, but SUB_DIR {self.sub_dir} of {self.data_dir} has "
                f"{trained} speakers as classes{without}: set it to {trained}, or to 0 for as many as there are"
            )
        return trained

    def build_front_end(self) -> FrontEnd:
        """A front end; of magnitudes, normalised by the statistics of the utterances trained on.

        Preprocessing leaves no others: a front end that `needs_measuring` is still to be given its own, by
        `utils.training.measuring` or from a checkpoint.
        """
        if self.front_end_settings != SETTINGS:
            return FrontEnd(settings=self.front_end_settings)
        return FrontEnd(*load_statistics(self.index.feature_dir, self.sub_dir, self.validation_speakers))

    def validation_trials(self) -> TrialList | None:
        """The trials among the speakers held out; None where there are none.

        Raises:
            UserError: see `read_meta`.
        """
        if not self.validation_speakers:
            return None
        return build_validation_trials(
            self.index, self.validation_speakers, *self._validation, self.validation_kinds or None
        )

    @cached_property
    def dev_sessions(self) -> dict[str, int]:
        """How many sessions every speaker of `dev` has."""
        return count_sessions(self.index)

    @cached_property
    def validation_kinds(self) -> dict[str, str]:
        """The kinds of the speakers held out (`kinds_of`) with DATASET.VAL_CHOICE hard; otherwise none.

        Raises:
            UserError: see `read_meta`.
        """
        return kinds_of(self.validation_speakers, self.speaker_details()) if self.validation_choice == "hard" else {}

    def list_path(self, name: str) -> Path:
        """Where a list of the corpus is; see `find_list`."""
        return find_list(self.data_dir, self.index.feature_dir, name)

    def test_trials(self) -> TrialList | None:
        """The trials of the corpus's veri_test.txt; None where there is no such file.

        Raises:
            UserError: see `read_trials`.
        """
        path = self.list_path(TRIALS)
        return read_trials(path) if path.exists() else None

    def speaker_details(self) -> dict[str, Speaker]:
        """What the corpus's vox1_meta.csv says of the speakers; nothing where there is no such file.

        Raises:
            UserError: see `read_meta`.
        """
        path = self.list_path(META)
        return read_meta(path) if path.exists() else {}

    def crops(self, part: str) -> CropLoader:
        """Batches of TRAIN.BATCH_SIZE random crops of a part: train, drawn and augmented as the settings say, or val.

        Raises:
            UserError: the part has no utterances, or fewer than a batch; what AUGMENT names is not there.
        """
        if part != "train":
            return self._load(self.rows(part), f"the {part} part")
        return self._load(
            self.rows(part),
            f"the {part} part",
            augmentation=self._build_augmentation(),
            fewest_frames=self._fewest_frames,
            is_balanced=self._is_balanced,
        )

    def halves(self) -> tuple[CropLoader, CropLoader]:
        """Batches of random crops of two halves of the train part, each with half of every speaker's utterances.

        Which half an utterance is in, SEED decides. Of an odd number the first half has one more.

        Raises:
            UserError: there are no utterances, or a half has fewer than a batch.
        """
        taken: Counter[int] = Counter()
        halves: tuple[list[int], list[int]] = ([], [])
        labels = self.index.labels(self.speakers)
        for row in np.random.default_rng((self._seed, 0, SPLIT)).permutation(self.rows("train")):
            halves[taken[labels[row]] % 2].append(row)
            taken[labels[row]] += 1
        first, second = map(np.sort, halves)
        return (
            self._load(first, "half of the train part"),
            self._load(second, "the other half of the train part", stream=(SECOND_HALF,)),
        )

    def _load(
        self,
        rows: np.ndarray,
        name: str,
        stream: tuple[int, ...] = (),
        augmentation: Augmentation | None = None,
        fewest_frames: int = 0,
        is_balanced: bool = False,
    ) -> CropLoader:
        if self._train_batch_size > len(rows):
            raise UserError(
                f"TRAIN.BATCH_SIZE {self._train_batch_size} is more than the {len(rows)} utterances of {name} "
                f"of SUB_DIR {self.sub_dir}: set it to {len(rows)} or less"
            )
        dataset = TrainingCrops(self.index, self.frames, self.speakers, self._seed, augmentation, rows)
        how = self._train_batch_size, self._num_workers, self._pin_memory
        return CropLoader(dataset, rows, *how, stream, fewest_frames, is_balanced)

    def single_crops(self, part: str, limit: int | None = None) -> DataLoader[Any]:
        """A crop of every utterance of a part, always the same, in batches of EVAL.BATCH_SIZE.

        Of several processes, each gets some of the batches.

        Args:
            limit: utterances at most, evenly spread over the part.
        """
        rows, size = self.rows(part), self.window_batch_size
        if limit is not None and len(rows) > limit:
            rows = rows[np.arange(limit) * len(rows) // limit]
        batches = [[(0, int(row)) for row in rows[begin : begin + size]] for begin in range(0, len(rows), size)]
        dataset = TrainingCrops(self.index, self.frames, self.speakers, self._seed)
        return self._evaluate(dataset, batches[rank() :: processes()], collate_crops)

    def rows(self, part: str) -> np.ndarray:
        """The rows of a part, train, val or test, of the speakers that are classes.

        Raises:
            UserError: there are none.
        """
        rows = self._rows(part)
        if len(rows) == 0:
            raise UserError(f"the {part} part of SUB_DIR {self.sub_dir} has no utterances: {REMEDIES[self.sub_dir]}")
        return rows

    def has_rows(self, part: str) -> bool:
        """Whether the part has utterances of the speakers that are classes."""
        return len(self._rows(part)) > 0

    def _rows(self, part: str) -> np.ndarray:
        rows = self.index.rows(self.sub_dir, part)
        return rows[self.index.labels(self.speakers)[rows] >= 0] if self.validation_speakers else rows

    def group_windows(self, rows: Rows) -> list[list[int]]:
        """Rows in groups of at most EVAL.BATCH_SIZE windows, for `windows`.

        Of several processes, each gets some of the groups, which are the same whatever their number.
        """
        groups = group_by_windows(self.index, rows, self.window_frames, self.window_batch_size)
        return groups[rank() :: processes()]

    def windows(self, groups: list[list[int]]) -> DataLoader[Any]:
        """Every window of some utterances, a batch a group of them."""
        return self._evaluate(EvaluationWindows(self.index, self.window_frames), groups, collate_windows)

    def _evaluate(
        self, dataset: Dataset, batches: list[list[Any]], collate: Callable[[list[Any]], Any]
    ) -> DataLoader[Any]:
        batch_bytes = self.window_batch_size * span(self.window_frames) * BYTES
        return open_loader(dataset, batches, collate, self._num_workers, self._pin_memory, batch_bytes)


def corpus_folders(cfg: CfgNode) -> tuple[Path, Path]:
    """DATASET.DATA_DIR and the folder of its index.

    Raises:
        UserError: DATA_DIR is not set.
    """
    if not cfg.DATASET.DATA_DIR:
        raise UserError("DATASET.DATA_DIR is not set: set it in the YAML, or give DATASET.DATA_DIR /path/to/VoxCeleb1")
    data_dir = Path(cfg.DATASET.DATA_DIR)
    return data_dir, Path(cfg.DATASET.FEATURE_DIR) if cfg.DATASET.FEATURE_DIR else data_dir / "feature"
