"""Training crops and evaluation windows of an indexed corpus, as datasets and loaders.

Every random draw is a pure function of (seed, epoch, item): the order of an epoch, a crop's start, whether it is
reversed. The number of loader workers changes nothing, and a run that is resumed draws what it would have drawn.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from data_objects.audio import FULL_SCALE, AudioError, read_samples
from data_objects.frontend import CONTEXT, HOP, FrontEnd, count_frames, pad_reflect, span, tile
from data_objects.index import Index, load_index, load_statistics
from data_objects.voxceleb import speaker_of
from utils.errors import UserError

if TYPE_CHECKING:
    from yacs.config import CfgNode

CropBatch = tuple[Tensor, Tensor, Tensor]  # waveforms (B, samples), labels (B,), reverse (B,) bool
WindowBatch = tuple[Tensor, list[int], list[int]]  # windows (W, samples), windows an utterance, rows of the index
# Streams of random numbers of a seed, besides the first: the order of the second half's batches, and who is in it.
SECOND_HALF, SPLIT = 1, 2


def read_frames(index: Index, row: int, first: int, frames: int) -> np.ndarray:
    """The levelled samples (span(frames),) float32 of frames first to first + frames of an utterance, with context.

    Just these samples are read. Where the context reaches past an end of the utterance it is mirrored there, so that
    the frames are those of the whole utterance's spectrogram.

    Raises:
        UserError: the file is not as it was indexed.
    """
    length = int(index.samples[row])
    if count_frames(length) < frames:
        padded = pad_reflect(tile(_read(index, row, 0, length), frames))
        return padded[first * HOP : first * HOP + span(frames)]
    begin, end = first * HOP - CONTEXT, first * HOP - CONTEXT + span(frames)
    samples = _read(index, row, max(begin, 0), min(end, length))
    missing = max(-begin, 0), max(end - length, 0)
    return np.pad(samples, missing, mode="reflect") if any(missing) else samples


def _read(index: Index, row: int, begin: int, end: int) -> np.ndarray:
    path, offset = index.location(row)
    try:
        samples = read_samples(path, offset, begin, end - begin)
    except (OSError, AudioError) as error:
        raise UserError(f"{path} is not as it was indexed ({error}): run data_preprocess.py again") from error
    return samples * np.float32(index.gains[row] / FULL_SCALE)


class TrainingCrops(Dataset):
    """Random crops: item (epoch, row) is (waveform (samples,), label, reverse).

    Args:
        frames: length of a crop; the waveform holds it and its context.
        speakers: the classes, in order.
        seed: with epoch and row it decides the crop's start and, with probability 0.5, that its frames are reversed.
    """

    def __init__(self, index: Index, frames: int, speakers: Sequence[str], seed: int) -> None:
        self.index = index
        self.frames = frames
        self.seed = seed
        self.label_of = {speaker: label for label, speaker in enumerate(speakers)}

    def __getitem__(self, item: tuple[int, int]) -> tuple[np.ndarray, int, bool]:
        epoch, row = item
        generator = np.random.default_rng((self.seed, epoch, row))
        spare = max(count_frames(int(self.index.samples[row])) - self.frames, 0)
        first = int(generator.integers(spare + 1))
        reverse = bool(generator.integers(2))
        label = self.label_of[speaker_of(self.index.utterances[row])]
        return read_frames(self.index, row, first, self.frames), label, reverse


class ShuffledBatches(Sampler[list[tuple[int, int]]]):
    """An epoch's batches of (epoch, row), in an order drawn anew for every epoch; an incomplete batch is left out.

    Set `epoch`, and `first_batch` to begin within an epoch, before iterating.
    """

    def __init__(self, rows: np.ndarray, batch_size: int, seed: int, stream: tuple[int, ...] = ()) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.stream = stream  # tells the orders of loaders of the same seed apart
        self.epoch = 0
        self.first_batch = 0

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return len(self.rows) // self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = self.rows[np.random.default_rng((self.seed, self.epoch, *self.stream)).permutation(len(self.rows))]
        for batch in range(self.first_batch, len(self)):
            chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(self.epoch, int(row)) for row in chosen]


class CropLoader:
    """Batches of random crops of one part of the corpus, epoch by epoch or without end."""

    def __init__(
        self,
        dataset: TrainingCrops,
        rows: np.ndarray,
        batch_size: int,
        num_workers: int,
        pin_memory: bool = False,
        stream: tuple[int, ...] = (),
    ) -> None:
        self.batches = ShuffledBatches(rows, batch_size, dataset.seed, stream)
        self._loader = DataLoader(
            dataset,
            batch_sampler=self.batches,
            num_workers=num_workers,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            generator=torch.Generator(),  # see Corpus.windows
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.batches)

    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[CropBatch]:
        """The batches of one epoch, from its batch `first_batch` on."""
        self.batches.epoch, self.batches.first_batch = epoch, first_batch
        yield from self._loader

    def endless(self, batches_before: int) -> Iterator[CropBatch]:
        """Epoch after epoch, as if `batches_before` batches had been taken already."""
        epoch, first_batch = divmod(batches_before, len(self))
        while True:
            yield from self.epoch(epoch, first_batch)
            epoch, first_batch = epoch + 1, 0


class EvaluationWindows(Dataset):
    """Whole utterances as overlapping windows: item row is (windows (W, samples), row)."""

    def __init__(self, index: Index, frames: int) -> None:
        self.index = index
        self.frames = frames

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        count = count_windows(int(self.index.samples[row]), self.frames)
        stride = self.frames // 2
        samples = read_frames(self.index, row, 0, self.frames + (count - 1) * stride)
        starts = range(0, count * stride * HOP, stride * HOP)
        return np.stack([samples[start : start + span(self.frames)] for start in starts]), row


def count_windows(samples: int, frames: int) -> int:
    """Windows of `frames` frames, each begun half a window after the one before; an incomplete one is dropped.

    An utterance shorter than a window is tiled to one.
    """
    return max((count_frames(samples) - frames) // (frames // 2) + 1, 1)


def group_by_windows(index: Index, rows: Sequence[int], frames: int, limit: int) -> list[list[int]]:
    """Rows in order, grouped so that each group has at most `limit` windows (or is a single long utterance)."""
    groups: list[list[int]] = []
    room = 0
    for row in map(int, rows):
        windows = count_windows(int(index.samples[row]), frames)
        if windows > room:
            groups.append([])
            room = limit
        groups[-1].append(row)
        room -= windows
    return groups


def _collate_windows(items: list[tuple[np.ndarray, int]]) -> WindowBatch:
    windows = torch.from_numpy(np.concatenate([windows for windows, _ in items]))
    return windows, [len(windows) for windows, _ in items], [row for _, row in items]


class Corpus:
    """What a run takes from a preprocessed corpus.

    Attributes:
        index, sub_dir: the utterances, and which of them (merged or dev).
        speakers: the classes, in order.
        frames: length of a crop and of a window.
        window_batch_size: windows that an evaluation puts through the network at a time.

    Raises:
        UserError: DATA_DIR is not set, missing or not preprocessed.
    """

    def __init__(self, cfg: "CfgNode") -> None:
        self.data_dir, feature_dir = corpus_folders(cfg)
        self.index = load_index(self.data_dir, feature_dir)
        self.sub_dir = cfg.DATASET.SUB_DIR
        self.speakers = self.index.speakers(self.sub_dir)
        self.frames = cfg.DATASET.PARTIAL_N_FRAMES
        self._seed = cfg.SEED
        self._num_workers = cfg.DATASET.NUM_WORKERS
        self._pin_memory = cfg.DEVICE != "cpu" and torch.cuda.is_available()
        self._train_batch_size = cfg.TRAIN.BATCH_SIZE
        self.window_batch_size = cfg.EVAL.BATCH_SIZE

    def check_num_classes(self, num_classes: int) -> int:
        """The number of classes: MODEL.NUM_CLASSES, where 0 means as many as there are speakers.

        Raises:
            UserError: it is neither 0 nor the number of speakers.
        """
        if num_classes not in (0, len(self.speakers)):
            raise UserError(
                f"MODEL.NUM_CLASSES is {num_classes}, but SUB_DIR {self.sub_dir} of {self.data_dir} has "
                f"{len(self.speakers)} speakers: set it to {len(self.speakers)}, or to 0 for as many as there are"
            )
        return len(self.speakers)

    def build_front_end(self) -> FrontEnd:
        """A front end normalised by the statistics of the training part."""
        return FrontEnd(*load_statistics(self.index.feature_dir, self.sub_dir))

    def crops(self, part: str) -> CropLoader:
        """Batches of TRAIN.BATCH_SIZE random crops of a part: train or val.

        Raises:
            UserError: the part has no utterances, or fewer than a batch.
        """
        return self._load(self.rows(part), f"the {part} part")

    def halves(self) -> tuple[CropLoader, CropLoader]:
        """Batches of random crops of two halves of the train part, each with half of every speaker's utterances.

        Which half an utterance is in, SEED decides. Of an odd number the first half has one more.

        Raises:
            UserError: there are no utterances, or a half has fewer than a batch.
        """
        taken: Counter[str] = Counter()
        halves: tuple[list[int], list[int]] = ([], [])
        for row in np.random.default_rng((self._seed, 0, SPLIT)).permutation(self.rows("train")):
            speaker = speaker_of(self.index.utterances[row])
            halves[taken[speaker] % 2].append(row)
            taken[speaker] += 1
        first, second = map(np.sort, halves)
        return (
            self._load(first, "half of the train part"),
            self._load(second, "the other half of the train part", stream=(SECOND_HALF,)),
        )

    def _load(self, rows: np.ndarray, name: str, stream: tuple[int, ...] = ()) -> CropLoader:
        if self._train_batch_size > len(rows):
            raise UserError(
                f"TRAIN.BATCH_SIZE {self._train_batch_size} is more than the {len(rows)} utterances of {name} "
                f"of SUB_DIR {self.sub_dir}: set it to {len(rows)} or less"
            )
        dataset = TrainingCrops(self.index, self.frames, self.speakers, self._seed)
        return CropLoader(dataset, rows, self._train_batch_size, self._num_workers, self._pin_memory, stream)

    def rows(self, part: str) -> np.ndarray:
        """The rows of a part: train, val or test.

        Raises:
            UserError: there are none.
        """
        rows = self.index.rows(self.sub_dir, part)
        if len(rows) == 0:
            raise UserError(
                f"the {part} part of SUB_DIR {self.sub_dir} has no utterances; check the lists in {self.data_dir}"
            )
        return rows

    def windows(self, rows: Sequence[int]) -> DataLoader:
        """Every window of some utterances, in batches of at most EVAL.BATCH_SIZE windows of many utterances."""
        groups = group_by_windows(self.index, rows, self.frames, self.window_batch_size)
        return DataLoader(
            EvaluationWindows(self.index, self.frames),
            batch_sampler=groups,
            num_workers=self._num_workers,
            collate_fn=_collate_windows,
            pin_memory=self._pin_memory,
            # Iterating draws a seed for the workers; from a generator of its own, so that what the model draws from
            # torch's is the same however often the data is iterated over.
            generator=torch.Generator(),
        )


def corpus_folders(cfg: "CfgNode") -> tuple[Path, Path]:
    """DATASET.DATA_DIR and the folder of its index.

    Raises:
        UserError: DATA_DIR is not set.
    """
    if not cfg.DATASET.DATA_DIR:
        raise UserError("DATASET.DATA_DIR is not set: set it in the YAML, or give DATASET.DATA_DIR /path/to/VoxCeleb1")
    data_dir = Path(cfg.DATASET.DATA_DIR)
    return data_dir, Path(cfg.DATASET.FEATURE_DIR) if cfg.DATASET.FEATURE_DIR else data_dir / "feature"
