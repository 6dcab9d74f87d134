"""Crops and windows are slices of an utterance's spectrogram; every draw depends on (seed, epoch, item) alone."""

import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_objects.audio import read_samples
from data_objects.corpus import Corpus
from data_objects.datasets import (
    AGAIN,
    BalancedBatches,
    CropBatch,
    CropLoader,
    EvaluationWindows,
    ShuffledBatches,
    TrainingCrops,
    collate_windows,
    count_windows,
    group_by_windows,
    read_frames,
)
from data_objects.frontend import HOP, FrontEnd, count_frames, pad_reflect, span, tile
from data_objects.index import Index, load_index
from tests.helpers import SPEAKERS, index_of, noise, write_audio, write_corpus, write_lists
from tests.networks import settings
from tests.runs import assert_same_batch

FRAMES = 50
LENGTHS = (400, 7_839, 7_840, 7_999, 8_000, 23_456)  # 50 frames begin with 7,840 samples
UTTERANCES = [f"id1000{speaker}/video{speaker}/0000{number}.wav" for speaker in (1, 2) for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Six utterances of LENGTHS samples, all trained on."""
    folder = tmp_path_factory.mktemp("lengths")
    return index_of(write_corpus(folder, dict(zip(UTTERANCES, LENGTHS, strict=True))))


def whole(index: Index, row: int) -> np.ndarray:
    """All samples of an utterance, as they lie in the file."""
    path, offset = index.location(row)
    return read_samples(path, offset, 0, int(index.samples[row]))


def spectrogram(waveform: np.ndarray, gain: float = 1.0) -> torch.Tensor:
    """Magnitudes (T, 257) of a whole utterance, levelled by definition."""
    levelled = pad_reflect(waveform) * np.float32(gain / 32_768)
    return FrontEnd()(torch.from_numpy(levelled)[None])[0]


# ------------------------------------------------------------------------------------------------------------------
# Slices
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("row", range(2, len(LENGTHS)))
def test_crops_are_slices_of_the_spectrogram(index: Index, row: int) -> None:
    """At every start, the first and the last one too, where the context is mirrored."""
    waveform = whole(index, row)
    padded, expected = pad_reflect(waveform), spectrogram(waveform)
    for first in range(count_frames(LENGTHS[row]) - FRAMES + 1):
        crop = read_frames(index, row, first, FRAMES)
        assert np.array_equal(crop, padded[first * HOP : first * HOP + span(FRAMES)])
        features = FrontEnd()(torch.tensor(crop)[None], torch.ones(1))[0]
        torch.testing.assert_close(features, expected[first : first + FRAMES], rtol=0, atol=1e-6)


@pytest.mark.parametrize("row", range(2))
def test_short_utterances_are_tiled(index: Index, row: int) -> None:
    """The crop is that of the utterance said again and again, at its own speed."""
    crop = read_frames(index, row, 0, FRAMES)
    assert np.array_equal(crop, pad_reflect(tile(whole(index, row), FRAMES)))
    middle = crop[256:-256]
    assert np.array_equal(middle[: LENGTHS[row]], whole(index, row))


def test_quiet_utterances_are_levelled_by_the_front_end(tmp_path: Path) -> None:
    """Crops and windows carry the gain that brings their utterance to -30 dBFS."""
    utterance = UTTERANCES[0]
    write_audio(tmp_path / "wav" / utterance, noise(16_000, level=0.001))
    write_lists(tmp_path, {utterance: 1})
    quiet = index_of(tmp_path)
    waveform, gain, _, _ = TrainingCrops(quiet, FRAMES, SPEAKERS, seed=3)[0, 0]
    windows = collate_windows([EvaluationWindows(quiet, FRAMES)[0]])
    assert gain == pytest.approx(10 ** (-30 / 20) / 0.001, rel=0.05)
    assert windows.gains.tolist() == [gain] * len(windows.windows)
    expected = spectrogram(whole(quiet, 0), gain)
    features = FrontEnd()(windows.windows, windows.gains)
    torch.testing.assert_close(features[0], expected[:FRAMES], rtol=0, atol=1e-6)
    crop = FrontEnd()(torch.tensor(waveform)[None], torch.tensor([gain]))[0]
    assert (
        min((crop - expected[first : first + FRAMES]).abs().max() for first in range(len(expected) - FRAMES + 1)) < 1e-6
    )


@pytest.mark.parametrize("row", range(len(LENGTHS)))
def test_windows_are_slices_of_the_spectrogram(index: Index, row: int) -> None:
    """One every half window, the incomplete last one left out, at least one."""
    windows, _, number = EvaluationWindows(index, FRAMES)[row]
    assert number == row
    expected = spectrogram(tile(whole(index, row), FRAMES))
    assert len(windows) == count_windows(LENGTHS[row], FRAMES)
    features = FrontEnd()(torch.from_numpy(windows), torch.ones(len(windows)))
    for window, start in zip(features, itertools.count(0, FRAMES // 2), strict=False):
        torch.testing.assert_close(window, expected[start : start + FRAMES], rtol=0, atol=1e-6)
    following = expected[len(windows) * FRAMES // 2 :]
    assert len(following) < FRAMES


@pytest.mark.parametrize(
    ("frames", "windows"), [(3, 1), (299, 1), (300, 1), (301, 1), (449, 1), (450, 2), (599, 2), (600, 3), (1_050, 6)]
)
def test_number_of_windows(frames: int, windows: int) -> None:
    """300 frames every 150."""
    assert count_windows((frames - 1) * 160, 300) == windows
    assert count_windows((frames - 1) * 160 + 159, 300) == windows


@given(st.lists(st.integers(0, len(LENGTHS) - 1), max_size=30), st.integers(1, 9))
def test_windows_of_many_utterances_share_a_batch(index: Index, rows: list[int], limit: int) -> None:
    """All utterances, in their order; no group over the limit unless it is one long utterance, none that could join."""
    groups = group_by_windows(index, rows, FRAMES, limit)
    assert [row for group in groups for row in group] == rows
    sizes = [[count_windows(LENGTHS[row], FRAMES) for row in group] for group in groups]
    assert all(sum(size) <= limit or len(size) == 1 for size in sizes)
    assert all(sum(size) + following[0] > limit for size, following in itertools.pairwise(sizes))


# ------------------------------------------------------------------------------------------------------------------
# Draws
# ------------------------------------------------------------------------------------------------------------------
def test_draws_of_a_crop(index: Index) -> None:
    """Every start occurs, as often reversed as not; (seed, epoch, row) decides."""
    row = 4  # 51 frames: two starts
    crops = TrainingCrops(index, FRAMES, SPEAKERS, seed=3)
    draws = Counter()
    for epoch in range(400):
        waveform, _, label, reverse = crops[epoch, row]
        assert label == 1
        draws[bool(np.array_equal(waveform, read_frames(index, row, 0, FRAMES))), reverse] += 1
    assert set(draws) == set(itertools.product([True, False], repeat=2))
    assert all(70 <= count <= 130 for count in draws.values())


def test_draws_depend_on_seed_epoch_and_row_alone(index: Index) -> None:
    """The same again, whatever was drawn before; another for another seed or epoch."""
    row = LENGTHS.index(max(LENGTHS))
    crops = TrainingCrops(index, FRAMES, SPEAKERS, seed=3)
    first = [crops[epoch, row] for epoch in range(20)]
    again = [TrainingCrops(index, FRAMES, SPEAKERS, seed=3)[epoch, row] for epoch in reversed(range(20))]
    for (waveform, _, _, reverse), (other, _, _, other_reverse) in zip(first, reversed(again), strict=True):
        assert np.array_equal(waveform, other)
        assert reverse == other_reverse
    others = [TrainingCrops(index, FRAMES, SPEAKERS, seed=4)[epoch, row] for epoch in range(20)]
    assert not all(np.array_equal(item[0], other[0]) for item, other in zip(first, others, strict=True))
    assert not all(np.array_equal(item[0], first[0][0]) for item in first)


# ------------------------------------------------------------------------------------------------------------------
# Batches
# ------------------------------------------------------------------------------------------------------------------
def loader(data_dir: Path, part: str = "train", num_workers: int = 0) -> CropLoader:
    """The toy corpus in batches of 5 of its 24 training utterances, or of another part's."""
    index = load_index(data_dir, data_dir / "feature")
    crops = TrainingCrops(index, FRAMES, index.speakers("merged"), seed=3)
    return CropLoader(crops, index.rows("merged", part), 5, num_workers, pin_memory=False)


def assert_same_batches(batches: Iterable[CropBatch], others: Iterable[CropBatch]) -> None:
    """Equal in every sample, label and reversal."""
    for batch, other in zip(batches, others, strict=True):
        assert_same_batch(batch, other)


def test_epoch(toy: Path) -> None:
    """Every utterance at most once, in an order of its own; what fills no batch is left out."""
    crops = loader(toy)
    epochs = []
    for number in range(3):
        crops.batches.epoch = number
        epochs.append(list(crops.batches))
    assert len(crops) == 24 // 5
    for number, batches in enumerate(epochs):
        items = [item for batch in batches for item in batch]
        assert [len(batch) for batch in batches] == [5] * 4
        assert {epoch for epoch, _ in items} == {number}
        assert len({row for _, row in items}) == 20
        assert {row for _, row in items} <= set(crops.batches.rows.tolist())
    assert len({tuple(row for batch in batches for _, row in batch) for batches in epochs}) == 3


def test_lengths_are_drawn_for_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evenly, by seed, epoch and batch alone: begun within an epoch and shared by two processes they are the same."""
    batches = ShuffledBatches(np.arange(600), 2, seed=3, lengths=(40, 42))
    plain, whole = ShuffledBatches(np.arange(600), 2, seed=3), list(batches)
    assert [[item[:2] for item in batch] for batch in whole] == list(plain)
    assert all(len({frames for *_, frames in batch}) == 1 for batch in whole)
    counts = Counter(batch[0][2] for batch in whole)
    assert counts.keys() == {40, 41, 42}
    assert all(70 <= count <= 130 for count in counts.values())
    batches.first_batch = 297
    assert list(batches) == whole[297:]
    batches.epoch = 1
    assert [batch[0][2] for batch in batches] != [batch[0][2] for batch in whole[297:]]
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "x"}.items():
        monkeypatch.setenv(name, str(value))
    shared = list(ShuffledBatches(np.arange(600), 2, seed=3, lengths=(40, 42)))
    assert shared == [batch[1:] for batch in whole]


def test_crops_of_a_length_of_their_own(toy: Path) -> None:
    """Their samples are as many as their frames need, and begin where a crop of that length may."""
    index = load_index(toy, toy / "feature")
    crops = TrainingCrops(index, FRAMES, index.speakers("merged"), seed=3)
    shorter = TrainingCrops(index, 33, index.speakers("merged"), seed=3)
    for row in range(5):
        for part, expected in zip(crops[2, row, 33], shorter[2, row], strict=True):
            assert np.array_equal(part, expected)
    loader = CropLoader(crops, np.arange(24), 4, 0, fewest_frames=33)
    assert all(33 <= count_frames(batch.waveforms.shape[1] - 512) <= FRAMES for batch in loader.epoch(0))


def balanced(counts: list[int], batch_size: int) -> tuple[BalancedBatches, np.ndarray]:
    """Batches of speakers with so many utterances each, whose rows lie apart; and the labels of all rows."""
    labels = np.random.default_rng(0).permutation(np.repeat(range(len(counts)), counts))
    return BalancedBatches(np.arange(len(labels)), batch_size, 3, labels), labels


def of_epoch(batches: BalancedBatches, epoch: int) -> list[tuple[int, int]]:
    batches.epoch = epoch
    return [item for batch in batches for item in batch]


def spread(counts: Counter, keys: Iterable[int]) -> int:
    """By how much the most frequent one has more than the least."""
    numbers = [counts[key] for key in keys]
    return max(numbers) - min(numbers)


@pytest.mark.parametrize("counts", [[1, 2, 7, 20], [3] * 10, [40, 1, 1], [1] * 5 + [50]])
def test_balanced_epochs(counts: list[int]) -> None:
    """As many crops of every speaker, to one, and of every utterance of a speaker; in each epoch, and in all together.

    No crop is the same as another.
    """
    batches, labels = balanced(counts, 4)
    total, orders, size = Counter(), set(), len(labels) // 4 * 4
    for epoch in range(7):
        items = of_epoch(batches, epoch)
        assert len(items) == len(set(items)) == size
        rows = Counter(row for _, row in items)
        total += rows
        orders.add(tuple(items))
        for taken in (rows, total):
            speakers = Counter({label: sum(taken[row] for row in np.flatnonzero(labels == label))
                                for label in range(len(counts))})  # fmt: skip
            assert spread(speakers, range(len(counts))) <= 1
            assert all(spread(taken, np.flatnonzero(labels == label)) <= 1 for label in range(len(counts)))
        for row, number in rows.items():
            assert sorted(drawn for drawn, other in items if other == row) == [
                epoch + AGAIN * again for again in range(number)
            ]
    assert len(orders) == 7
    again = balanced(counts, 4)[0]
    assert tuple(of_epoch(again, 5)) in orders  # whatever was asked for before


def test_balanced_batches_in_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its share of every batch, begun anywhere."""
    whole, _ = balanced([1, 2, 7, 20], 4)
    whole.epoch, whole.first_batch = 3, 2
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr("data_objects.datasets.rank", lambda rank=rank: rank)
        monkeypatch.setattr("data_objects.datasets.check_divisible", lambda size: size // 2)
        share, _ = balanced([1, 2, 7, 20], 4)
        share.epoch, share.first_batch = 3, 2
        shares.append(list(share))
    monkeypatch.undo()
    assert [one + other for one, other in zip(*shares, strict=True)] == list(whole)
    assert len(list(whole)) == 30 // 4 - 2


@pytest.mark.parametrize("part", ["train", "val"])
def test_training_crops_alone_are_balanced(toy: Path, part: str) -> None:
    """By DATASET.SAMPLING."""
    for sampling, kind in (("balanced", BalancedBatches), ("natural", ShuffledBatches)):
        crops = Corpus(settings(toy, DATASET__SAMPLING=sampling)).crops(part)
        assert type(crops.batches) is (kind if part == "train" else ShuffledBatches)
        assert len(list(crops.epoch(0))) == len(crops)


def test_loader_processes_change_nothing(toy: Path) -> None:
    """The same batches with none and with two, epoch after epoch and begun within one."""
    alone, shared = loader(toy), loader(toy, num_workers=2)
    for epoch, first_batch in ((0, 0), (1, 0), (0, 0), (2, 3)):
        batches = list(shared.epoch(epoch, first_batch))
        assert len(batches) == 4 - first_batch
        assert_same_batches(alone.epoch(epoch, first_batch), batches)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_endless_batches_go_on(toy: Path, num_workers: int) -> None:
    """Begun after k batches, they are those that follow the first k, across epochs; abandoned, they can begin anew."""
    crops = loader(toy, "val", num_workers)
    straight = list(itertools.islice(loader(toy, "val").endless(0), 7))
    for taken in (0, 1, 2, 5):
        assert_same_batches(itertools.islice(crops.endless(taken), 7 - taken), straight[taken:])
