"""Training crops and evaluation windows of an indexed corpus, as datasets and loaders.

Every random draw is a pure function of (seed, epoch, item): the order of an epoch, a crop's start, whether it is
reversed. The number of loader workers changes nothing, and a run that is resumed draws what it would have drawn. Of
several processes that share a job (see utils/distributed.py), each loads its share of every batch.

Samples travel as they lie in the file, 16-bit, with their gain: half the bytes of floating-point ones. The front end
turns them into those, on the device.
"""

import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from data_objects.audio import AudioError, read_samples
from data_objects.augmentation import Augmentation, build_augmentation, change_speed, frames_needed
from data_objects.frontend import CONTEXT, HOP, FrontEnd, count_frames, pad_reflect, span, tile
from data_objects.index import Index, load_index, load_statistics
from data_objects.trials import build_validation_trials, choose_validation_speakers
from data_objects.voxceleb import TRIALS, TrialList, read_trials
from utils.distributed import check_divisible, processes, rank
from utils.errors import UserError

if TYPE_CHECKING:
    from yacs.config import CfgNode


class CropBatch(NamedTuple):
    """Random crops."""

    waveforms: Tensor  # (B, samples) int16
    gains: Tensor  # (B,) float32
    labels: Tensor  # (B,) int64
    reverse: Tensor  # (B,) bool: whether the frames shall be in reversed order


class WindowBatch(NamedTuple):
    """All windows of some utterances."""

    windows: Tensor  # (W, samples) int16
    gains: Tensor  # (W,) float32
    counts: list[int]  # windows of each utterance
    rows: list[int]  # of the index


# Streams of random numbers of a seed, besides the first: the order of the second half's batches, and who is in it; what
# is done to a crop.
SECOND_HALF, SPLIT, AUGMENTATION = 1, 2, 3


def read_frames(index: Index, row: int, first: int, frames: int) -> np.ndarray:
    """The samples (span(frames),) int16 of frames first to first + frames of an utterance, with context.

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
        return read_samples(path, offset, begin, end - begin)
    except (OSError, AudioError) as error:
        raise UserError(f"{path} is not as it was indexed ({error}): run data_preprocess.py again") from error


class TrainingCrops(Dataset):
    """Random crops: item (epoch, row) is (waveform (samples,) int16, gain, label, reverse).

    Args:
        frames: length of a crop; the waveform holds it and its context.
        speakers: the classes, in order.
        seed: with epoch and row it decides the crop's start and, with probability 0.5, that its frames are reversed.
        augmentation: what is done to crops, by draws of its own; None: nothing.
    """

    def __init__(
        self,
        index: Index,
        frames: int,
        speakers: Sequence[str],
        seed: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.index = index
        self.frames = frames
        self.seed = seed
        self.labels = index.labels(speakers)
        self.augmentation = augmentation

    def __getitem__(self, item: tuple[int, int]) -> tuple[np.ndarray, np.float32, np.int64, bool]:
        epoch, row = item
        generator = np.random.default_rng((self.seed, epoch, row))
        if self.augmentation is None:
            samples, gain = self._read(row, self.frames, generator), self.index.gains[row]
        else:
            samples, gain = self._read_augmented(epoch, row, generator)
        reverse = bool(generator.integers(2))
        return samples, gain, self.labels[row], reverse

    def _read(self, row: int, frames: int, generator: np.random.Generator) -> np.ndarray:
        spare = max(count_frames(int(self.index.samples[row])) - frames, 0)
        first = int(generator.integers(spare + 1))
        return read_frames(self.index, row, first, frames)

    def _read_augmented(self, epoch: int, row: int, generator: np.random.Generator) -> tuple[np.ndarray, np.float32]:
        own = np.random.default_rng((self.seed, epoch, row, AUGMENTATION))
        speed = self.augmentation.draw_speed(own)
        if speed == 1:
            samples = self._read(row, self.frames, generator)
        else:
            samples = self._read(row, frames_needed(self.frames, speed), generator)
            samples = change_speed(samples, speed, self.frames)
        return self.augmentation.apply(samples, self.index.gains[row], own)


def _collate_crops(items: list[tuple[np.ndarray, np.float32, np.int64, bool]]) -> CropBatch:
    return CropBatch(*(torch.from_numpy(np.array(part)) for part in zip(*items, strict=True)))


def _leave_signals_to_main(worker: int) -> None:
    """Let a loader process end when the main process says so, which finishes its iteration first.

    Ctrl-C, and the SIGTERM of most schedulers, go to all processes of a job at once.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "sigwaitinfo"):  # not on macOS or Windows
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main = multiprocessing.parent_process().pid

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != main:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


class ShuffledBatches(Sampler[list[tuple[int, int]]]):
    """An epoch's batches of (epoch, row), in an order drawn anew for every epoch; an incomplete batch is left out.

    Set `epoch`, and `first_batch` to begin within an epoch, before iterating.

    Args:
        rows: of the index.
        batch_size: of all processes together; each gets its share of every batch.
        seed: with the epoch and the stream it decides the order.
        stream: tells the orders of loaders of the same seed apart.
    """

    def __init__(self, rows: np.ndarray, batch_size: int, seed: int, stream: tuple[int, ...] = ()) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.share = check_divisible(batch_size)
        self.seed = seed
        self.stream = stream
        self.epoch = 0
        self.first_batch = 0

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return len(self.rows) // self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = self.rows[np.random.default_rng((self.seed, self.epoch, *self.stream)).permutation(len(self.rows))]
        for batch in range(self.first_batch, len(self)):
            begin = batch * self.batch_size + rank() * self.share
            yield [(self.epoch, int(row)) for row in order[begin : begin + self.share]]


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
            collate_fn=_collate_crops,
            worker_init_fn=_leave_signals_to_main,
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


def to_device(batches: Iterable[CropBatch], device: torch.device) -> Iterator[CropBatch]:
    """Batches on the device; to a GPU, each is copied while the one before is being worked on."""
    if device.type != "cuda":
        yield from batches
        return
    copying = torch.cuda.Stream(device)
    ready: tuple[CropBatch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(copying):
            copied = CropBatch(*(part.to(device, non_blocking=True) for part in batch))
            following = copied, copying.record_event()
        if ready is not None:
            yield _wait_for(*ready)
        ready = following
    if ready is not None:
        yield _wait_for(*ready)


def _wait_for(batch: CropBatch, copied: "torch.cuda.Event") -> CropBatch:
    """Let the GPU begin with a batch when it is copied, and keep its memory until the GPU is done with it."""
    working = torch.cuda.current_stream()
    working.wait_event(copied)
    for part in batch:
        part.record_stream(working)
    return batch


class EvaluationWindows(Dataset):
    """Whole utterances as overlapping windows: item row is (windows (W, samples) int16, gain, row)."""

    def __init__(self, index: Index, frames: int) -> None:
        self.index = index
        self.frames = frames

    def __getitem__(self, row: int) -> tuple[np.ndarray, np.float32, int]:
        count = count_windows(int(self.index.samples[row]), self.frames)
        stride = self.frames // 2
        samples = read_frames(self.index, row, 0, self.frames + (count - 1) * stride)
        starts = range(0, count * stride * HOP, stride * HOP)
        windows = np.stack([samples[start : start + span(self.frames)] for start in starts])
        return windows, self.index.gains[row], row


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


def _collate_windows(items: list[tuple[np.ndarray, np.float32, int]]) -> WindowBatch:
    windows, gains, rows = zip(*items, strict=True)
    counts = [len(part) for part in windows]
    return WindowBatch(
        torch.from_numpy(np.concatenate(windows)), torch.from_numpy(np.repeat(gains, counts)), counts, list(rows)
    )


class Corpus:
    """What a run takes from a preprocessed corpus.

    Attributes:
        index, sub_dir: the utterances, and which of them (merged or dev).
        validation_speakers: those of `dev` that are held out to choose the best epoch by; none of `merged`.
        speakers: the classes, in order: the others.
        frames, window_frames: length of a crop and of a window.
        window_batch_size: windows that an evaluation puts through the network at a time.

    Raises:
        UserError: DATA_DIR is not set, missing or not preprocessed; too few speakers to hold VAL_SPEAKERS out.
    """

    def __init__(self, cfg: "CfgNode") -> None:
        self.data_dir, feature_dir = corpus_folders(cfg)
        self.index = load_index(self.data_dir, feature_dir)
        self.sub_dir = cfg.DATASET.SUB_DIR
        self.validation_speakers = self._hold_out(cfg.DATASET.VAL_SPEAKERS, cfg.DATASET.VAL_SEED)
        present = self.index.speakers(self.sub_dir)
        self.speakers = [speaker for speaker in present if speaker not in set(self.validation_speakers)]
        self.frames = cfg.DATASET.PARTIAL_N_FRAMES
        self.window_frames = cfg.EVAL.WINDOW_FRAMES or self.frames
        self._validation = cfg.DATASET.VAL_TRIALS, cfg.DATASET.VAL_SEED
        self._seed = cfg.SEED
        self._num_workers = cfg.DATASET.NUM_WORKERS
        self._pin_memory = cfg.DEVICE != "cpu" and torch.cuda.is_available()
        self._train_batch_size = cfg.TRAIN.BATCH_SIZE
        self._build_augmentation = partial(build_augmentation, cfg)  # when training: others need no noise
        self.window_batch_size = cfg.EVAL.BATCH_SIZE

    def _hold_out(self, count: int, seed: int) -> list[str]:
        if self.sub_dir != "dev":
            return []
        try:
            return choose_validation_speakers(self.index, count, seed)
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
                f"{trained} speakers to train on{without}: set it to {trained}, or to 0 for as many as there are"
            )
        return trained

    def build_front_end(self) -> FrontEnd:
        """A front end normalised by the statistics of the utterances trained on."""
        return FrontEnd(*load_statistics(self.index.feature_dir, self.sub_dir, self.validation_speakers))

    def validation_trials(self) -> TrialList | None:
        """The trials among the speakers held out; None where there are none."""
        if not self.validation_speakers:
            return None
        return build_validation_trials(self.index, self.validation_speakers, *self._validation)

    def test_trials(self) -> TrialList | None:
        """The trials of DATA_DIR's veri_test.txt; None where there is no such file.

        Raises:
            UserError: see `read_trials`.
        """
        path = self.data_dir / TRIALS
        return read_trials(path) if path.is_file() else None

    def crops(self, part: str) -> CropLoader:
        """Batches of TRAIN.BATCH_SIZE random crops of a part: train, augmented as AUGMENT says, or val.

        Raises:
            UserError: the part has no utterances, or fewer than a batch; what AUGMENT names is not there.
        """
        augmentation = self._build_augmentation() if part == "train" else None
        return self._load(self.rows(part), f"the {part} part", augmentation=augmentation)

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
        self, rows: np.ndarray, name: str, stream: tuple[int, ...] = (), augmentation: Augmentation | None = None
    ) -> CropLoader:
        if self._train_batch_size > len(rows):
            raise UserError(
                f"TRAIN.BATCH_SIZE {self._train_batch_size} is more than the {len(rows)} utterances of {name} "
                f"of SUB_DIR {self.sub_dir}: set it to {len(rows)} or less"
            )
        dataset = TrainingCrops(self.index, self.frames, self.speakers, self._seed, augmentation)
        return CropLoader(dataset, rows, self._train_batch_size, self._num_workers, self._pin_memory, stream)

    def rows(self, part: str) -> np.ndarray:
        """The rows of a part, train, val or test, of the speakers that are classes.

        Raises:
            UserError: there are none.
        """
        rows = self.index.rows(self.sub_dir, part)
        if self.validation_speakers:
            rows = rows[self.index.labels(self.speakers)[rows] >= 0]
        if len(rows) == 0:
            raise UserError(
                f"the {part} part of SUB_DIR {self.sub_dir} has no utterances; check the lists in {self.data_dir}"
            )
        return rows

    def windows(self, rows: Sequence[int]) -> DataLoader:
        """Every window of some utterances, in batches of at most EVAL.BATCH_SIZE windows of many utterances.

        Of several processes, each gets some of the batches, which are the same whatever their number.
        """
        groups = group_by_windows(self.index, rows, self.window_frames, self.window_batch_size)
        return DataLoader(
            EvaluationWindows(self.index, self.window_frames),
            batch_sampler=groups[rank() :: processes()],
            num_workers=self._num_workers,
            collate_fn=_collate_windows,
            worker_init_fn=_leave_signals_to_main,
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
