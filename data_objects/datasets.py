"""Training crops and evaluation windows of an indexed corpus, as datasets and loaders.

Every random draw is a pure function of (seed, epoch, item): the order of an epoch, a crop's start, whether it is
reversed. The number of loader workers changes nothing, and a run that is resumed draws what it would have drawn. Of
several processes that share a job (see utils/system/distributed.py), each loads its share of every batch.

Samples travel as they lie in the file, 16-bit, with their gain: half the bytes of floating-point ones. The front end
turns them into those, on the device.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from data_objects.audio import AudioError, read_samples
from data_objects.augmentation import BABBLE_DECIBELS, Augmentation, Talkers, change_speed, frames_needed
from data_objects.frontend import CONTEXT, HOP, count_frames, pad_reflect, span, tile
from data_objects.index import Index, Rows
from data_objects.loading import open_loader
from utils.system.errors import UserError
from utils.system.processes import check_divisible, rank

T = TypeVar("T")
BYTES = 2  # of a sample


def move(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Tensors on the device; copying need not be over yet."""
    return [tensor.to(device, non_blocking=True) for tensor in tensors]


# Streams of random numbers of a seed, besides the first: the order of the second half's batches, and who is in it; what
# is done to a crop's samples, who talks in its background, what is done to its spectrum; the length of a batch's crops;
# the turns of speakers and their utterances.
SECOND_HALF, SPLIT, AUGMENTATION, BABBLE, SPECTRAL, LENGTH, BALANCE = 1, 2, 3, 4, 5, 6, 7
# Where an utterance is taken again in an epoch, its crop is drawn as in an epoch so much later, which none comes to.
AGAIN = 1_000_000


class CropBatch(NamedTuple):
    """Random crops."""

    waveforms: Tensor  # (B, samples) int16
    gains: Tensor  # (B,) float32
    labels: Tensor  # (B,) int64
    reverse: Tensor  # (B,) bool: whether the frames shall be in reversed order
    curves: Tensor | None = None  # (B, 257) float32, factors of the magnitudes
    time_masks: Tensor | None = None  # (B, M, 2) float32: see `data_objects.spectral.find_masked`
    frequency_masks: Tensor | None = None  # (B, M, 2)

    def to(self, device: torch.device) -> "CropBatch":
        """The batch on the device; copying need not be over yet."""
        return CropBatch._make(part if part is None else part.to(device, non_blocking=True) for part in self)


class WindowBatch(NamedTuple):
    """All windows of some utterances."""

    windows: Tensor  # (W, samples) int16
    gains: Tensor  # (W,) float32
    counts: list[int]  # windows of each utterance
    rows: list[int]  # of the index


def read_frames(index: Index, row: int, first: int, frames: int) -> np.ndarray:
    """The samples (span(frames),) int16 of frames first to first + frames of an utterance, with context.

    Just these samples are read. Where the context reaches past an end of the utterance it is mirrored there, so that
    the frames are those of the whole utterance's spectrogram.

    Raises:
        UserError: the file is not as it was indexed.
    """
    return cut_frames(partial(_read, index, row), int(index.samples[row]), first, frames)


def cut_frames(read: Callable[[int, int], np.ndarray], length: int, first: int, frames: int) -> np.ndarray:
    """The same of an utterance of `length` samples, which read(begin, end) gives."""
    if count_frames(length) < frames:
        padded = pad_reflect(tile(read(0, length), frames))
        return padded[first * HOP : first * HOP + span(frames)]
    begin, end = first * HOP - CONTEXT, first * HOP - CONTEXT + span(frames)
    samples = read(max(begin, 0), min(end, length))
    missing = max(-begin, 0), max(end - length, 0)
    return np.pad(samples, missing, mode="reflect") if any(missing) else samples


def cut_windows(read: Callable[[int, int], np.ndarray], length: int, frames: int) -> np.ndarray:
    """All windows (W, span(frames)) int16 of an utterance: see `count_windows`, and `cut_frames` for the arguments."""
    count, stride = count_windows(length, frames), frames // 2
    samples = cut_frames(read, length, 0, frames + (count - 1) * stride)
    starts = range(0, count * stride * HOP, stride * HOP)
    return np.stack([samples[start : start + span(frames)] for start in starts])


def _read(index: Index, row: int, begin: int, end: int) -> np.ndarray:
    path, offset = index.location(row)
    try:
        return read_samples(path, offset, begin, end - begin, partial(index.check, row))
    except (OSError, AudioError) as error:
        raise UserError(f"{path} is not as it was indexed ({error}): run data_preprocess.py again") from error


class TrainingCrops(Dataset):
    """Random crops: item (epoch, row) is (waveform (samples,) int16, gain, label, reverse).

    Where the spectrum is augmented, its factors and masks follow: the other parts of a `CropBatch`. An item may say how
    many frames the crop has: (epoch, row, frames).

    Args:
        frames: length of a crop, at most; the waveform holds it and its context.
        speakers: the K classes, in order; of those that other speeds make, the n-th speed's are n K further on.
        seed: with epoch and row it decides the crop's start and, with probability 0.5, that its frames are reversed.
        augmentation: what is done to crops, by draws of its own; None: nothing.
        rows: whose speakers talk in the background, where augmentation has them do so.
    """

    def __init__(
        self,
        index: Index,
        frames: int,
        speakers: Sequence[str],
        seed: int,
        augmentation: Augmentation | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        self.index = index
        self.frames = frames
        self.seed = seed
        self.num_speakers = len(speakers)
        self.labels = index.labels(speakers)
        self.augmentation = augmentation
        self._talkers: Talkers | None = None
        if augmentation is not None and augmentation.babble and rows is not None:
            self._talkers = Talkers(rows, self.labels)

    def __getitem__(self, item: tuple[int, ...]) -> tuple[Any, ...]:
        epoch, row, frames = (*item, self.frames)[:3]
        generator = np.random.default_rng((self.seed, epoch, row))
        if self.augmentation is None:
            samples, gain, label = self._read(row, frames, generator), self.index.gains[row], self.labels[row]
            spectral: tuple[Any, ...] = ()
        else:
            samples, gain, label = self._read_augmented(self.augmentation, epoch, row, frames, generator)
            spectral = self._draw_spectral(self.augmentation, epoch, row)
        reverse = bool(generator.integers(2))
        return samples, gain, label, reverse, *spectral

    def _read(self, row: int, frames: int, generator: np.random.Generator) -> np.ndarray:
        spare = max(count_frames(int(self.index.samples[row])) - frames, 0)
        first = int(generator.integers(spare + 1))
        return read_frames(self.index, row, first, frames)

    def _read_augmented(
        self, augmentation: Augmentation, epoch: int, row: int, frames: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.float32, np.int64]:
        own = np.random.default_rng((self.seed, epoch, row, AUGMENTATION))
        speed = augmentation.draw_speed(own)
        if speed == 1:
            samples = self._read(row, frames, generator)
        else:
            samples = self._read(row, frames_needed(frames, speed), generator)
            samples = change_speed(samples, speed, frames)
        babble = self._draw_babble(augmentation, epoch, row, frames)
        samples, gain = augmentation.apply(samples, self.index.gains[row], own, babble)
        return samples, gain, self.labels[row] + self.num_speakers * augmentation.place_of(speed)

    def _draw_babble(
        self, augmentation: Augmentation, epoch: int, row: int, frames: int
    ) -> tuple[np.ndarray, float] | None:
        """What others talk, each as loud as the other, and the decibels of the crop above it; None where none do."""
        if self._talkers is None:
            return None
        generator = np.random.default_rng((self.seed, epoch, row, BABBLE))
        if generator.random() >= augmentation.babble:
            return None
        others = self._talkers.draw(int(self.labels[row]), generator)
        voices = (self._read(int(other), frames, generator) * self.index.gains[other] for other in others)
        return np.sum(list(voices), axis=0), generator.uniform(*BABBLE_DECIBELS)

    def _draw_spectral(self, augmentation: Augmentation, epoch: int, row: int) -> tuple[np.ndarray | None, ...]:
        """The parts of a `CropBatch` behind `reverse`; none where there is nothing in any of them."""
        if not any(augmentation.spectral):
            return ()
        generator = np.random.default_rng((self.seed, epoch, row, SPECTRAL))
        return tuple(part if part is None else part.draw(generator) for part in augmentation.spectral)


def collate_crops(items: list[tuple[Any, ...]]) -> CropBatch:
    parts: list[Any] = [
        None if part[0] is None else torch.from_numpy(np.array(part)) for part in zip(*items, strict=True)
    ]
    return CropBatch(*parts)


class ShuffledBatches(Sampler[list[tuple[int, ...]]]):
    """An epoch's batches of (epoch, row), in an order drawn anew for every epoch; an incomplete batch is left out.

    Set `epoch`, and `first_batch` to begin within an epoch, before iterating.

    Args:
        rows: of the index.
        batch_size: of all processes together; each gets its share of every batch.
        seed: with the epoch and the stream it decides the order.
        stream: tells the orders of loaders of the same seed apart.
        lengths: the fewest and the most frames of a batch's crops, drawn evenly for each; the items are then
            (epoch, row, frames), and the same in all processes. None: crops are as long as they are.
    """

    def __init__(
        self,
        rows: np.ndarray,
        batch_size: int,
        seed: int,
        stream: tuple[int, ...] = (),
        lengths: tuple[int, int] | None = None,
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.share = check_divisible(batch_size)
        self.seed = seed
        self.stream = stream
        self.lengths = lengths
        self.epoch = 0
        self.first_batch = 0

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return len(self.rows) // self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        rows, epochs = self._choose()
        order = np.random.default_rng((self.seed, self.epoch, *self.stream)).permutation(len(rows))
        for batch in range(self.first_batch, len(self)):
            begin = batch * self.batch_size + rank() * self.share
            length = self._draw_length(batch)
            yield [(int(epochs[place]), int(rows[place]), *length) for place in order[begin : begin + self.share]]

    def _choose(self) -> tuple[np.ndarray, np.ndarray]:
        """What the epoch has, in any order: rows (N,), and the epochs (N,) that their crops are drawn as in."""
        return self.rows, np.full(len(self.rows), self.epoch)

    def _draw_length(self, batch: int) -> tuple[int, ...]:
        """The frames of a batch's crops, where they are drawn."""
        if self.lengths is None:
            return ()
        generator = np.random.default_rng((self.seed, self.epoch, batch, LENGTH, *self.stream))
        return (int(generator.integers(*self.lengths, endpoint=True)),)


class BalancedBatches(ShuffledBatches):
    """The same of as many crops of every speaker, to one, whatever utterances these have.

    All crops of a training are dealt out to the speakers in turn, and a speaker's to the utterances in turn, both in an
    order that the seed draws once: so epochs differ in who has one crop more, and in which utterances they begin with,
    and no utterance is taken twice more than another of the same speaker.

    Args:
        labels: of all rows of the index, the speakers.
    """

    def __init__(
        self,
        rows: np.ndarray,
        batch_size: int,
        seed: int,
        labels: np.ndarray,
        stream: tuple[int, ...] = (),
        lengths: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(rows, batch_size, seed, stream, lengths)
        generator = np.random.default_rng((seed, 0, *stream, BALANCE))
        drawn = rows[generator.permutation(len(rows))]
        self._sorted = drawn[np.argsort(labels[drawn], kind="stable")]  # each speaker's behind each other
        _, counts = np.unique(labels[self._sorted], return_counts=True)
        order = generator.permutation(len(counts))
        self._counts, self._starts = counts[order], (np.cumsum(counts) - counts)[order]

    def _choose(self) -> tuple[np.ndarray, np.ndarray]:
        size = len(self) * self.batch_size
        turns, speakers = np.divmod(np.arange(self.epoch * size, (self.epoch + 1) * size), len(self._counts))
        counts = self._counts[speakers]
        first = -(-(self.epoch * size - speakers) // len(self._counts))  # of the speaker's turns in this epoch
        return self._sorted[self._starts[speakers] + turns % counts], self.epoch + AGAIN * ((turns - first) // counts)


class CropLoader:
    """Batches of random crops of one part of the corpus, epoch by epoch or without end.

    Args:
        is_balanced: whether an epoch has as many crops of every speaker, and not every utterance once.
    """

    def __init__(
        self,
        dataset: TrainingCrops,
        rows: np.ndarray,
        batch_size: int,
        num_workers: int,
        pin_memory: bool = False,
        stream: tuple[int, ...] = (),
        fewest_frames: int = 0,
        is_balanced: bool = False,
    ) -> None:
        """`fewest_frames`: of a batch's crops, where they are not always those of the dataset."""
        how = stream, (fewest_frames, dataset.frames) if fewest_frames else None
        if is_balanced:
            self.batches: ShuffledBatches = BalancedBatches(rows, batch_size, dataset.seed, dataset.labels, *how)
        else:
            self.batches = ShuffledBatches(rows, batch_size, dataset.seed, *how)
        batch_bytes = self.batches.share * span(dataset.frames) * BYTES
        self._loader = open_loader(
            dataset, self.batches, collate_crops, num_workers, pin_memory, batch_bytes, persistent=True
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


def to_device(batches: Iterable[CropBatch], device: torch.device) -> Iterator[CropBatch]:
    """Batches on the device; to a GPU, each is copied while the one before is being worked on."""
    if device.type != "cuda":
        yield from batches
        return
    copying = torch.cuda.Stream(device)
    ready: tuple[CropBatch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(copying):
            copied = batch.to(device)
            following = copied, copying.record_event()
        if ready is not None:
            yield _wait_for(*ready)
        ready = following
    if ready is not None:
        yield _wait_for(*ready)


def _wait_for(batch: CropBatch, copied: torch.cuda.Event) -> CropBatch:
    """Let the GPU begin with a batch when it is copied, and keep its memory until the GPU is done with it."""
    working = torch.cuda.current_stream()
    working.wait_event(copied)
    for part in batch:
        if part is not None:
            part.record_stream(working)
    return batch


class EvaluationWindows(Dataset):
    """Whole utterances as overlapping windows: item row is (windows (W, samples) int16, gain, row)."""

    def __init__(self, index: Index, frames: int) -> None:
        self.index = index
        self.frames = frames

    def __getitem__(self, row: int) -> tuple[np.ndarray, np.float32, int]:
        windows = cut_windows(partial(_read, self.index, row), int(self.index.samples[row]), self.frames)
        return windows, self.index.gains[row], row


def count_windows(samples: int, frames: int) -> int:
    """Windows of `frames` frames, each begun half a window after the one before; an incomplete one is dropped.

    An utterance shorter than a window is tiled to one.
    """
    return max((count_frames(samples) - frames) // (frames // 2) + 1, 1)


def group_by_windows(index: Index, rows: Rows, frames: int, limit: int) -> list[list[int]]:
    """Rows in order, grouped so that each group has at most `limit` windows (or is a single long utterance)."""
    return list(group_by_size(map(int, rows), lambda row: count_windows(int(index.samples[row]), frames), limit))


def group_by_size(items: Iterable[T], size_of: Callable[[T], int], limit: int) -> Iterator[list[T]]:
    """Items in order, in groups of at most `limit` together (or a single one that is larger)."""
    group: list[T] = []
    room = limit
    for item in items:
        size = size_of(item)
        if group and size > room:
            yield group
            group, room = [], limit
        group.append(item)
        room -= size
    if group:
        yield group


def collate_windows(items: list[tuple[np.ndarray, np.float32, int]]) -> WindowBatch:
    windows, gains, rows = zip(*items, strict=True)
    counts = [len(part) for part in windows]
    return WindowBatch(
        torch.from_numpy(np.concatenate(windows)), torch.from_numpy(np.repeat(gains, counts)), counts, list(rows)
    )
