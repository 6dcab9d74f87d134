"""The corpus as the settings say: its parts, halves and statistics, and what is loaded of them."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from config import load_config
from data_objects.corpus import Corpus
from data_objects.datasets import EvaluationWindows
from data_objects.index import load_statistics
from data_objects.lists import META, TRIALS, speaker_of
from tests.helpers import ROOT, SEARCH, options
from tests.networks import FRAMES, settings
from utils.system.errors import UserError


def corpus(data_dir: Path, num_workers: int = 0) -> Corpus:
    """The toy corpus in batches of 5 of its 24 training utterances."""
    return Corpus(settings(data_dir, DATASET__NUM_WORKERS=num_workers, TRAIN__BATCH_SIZE=5, EVAL__BATCH_SIZE=7))


def test_loading_draws_from_no_global_generator(toy: Path) -> None:
    """What the model draws must not depend on how often the data is iterated over."""
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    loaded = corpus(toy)
    list(loaded.crops("train").epoch(0))
    list(loaded.windows(loaded.group_windows(loaded.rows("val"))))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_batches(toy: Path, num_workers: int) -> None:
    """Every utterance once, in order, with all of its windows; no more windows in a batch than EVAL.BATCH_SIZE."""
    loaded = corpus(toy, num_workers)
    rows = loaded.rows("test")[::-1].tolist()
    seen, expected = [], EvaluationWindows(loaded.index, FRAMES)
    for windows, gains, counts, batch_rows in loaded.windows(loaded.group_windows(rows)):
        assert gains.tolist() == np.repeat(loaded.index.gains[batch_rows], counts).tolist()
        assert len(windows) == sum(counts)
        assert len(counts) == 1 or len(windows) <= 7
        for part, row in zip(windows.split(counts), batch_rows, strict=True):
            assert np.array_equal(part.numpy(), expected[row][0])
        seen += batch_rows
    assert seen == rows


@pytest.mark.parametrize("name", [META, TRIALS])
def test_folder_in_place_of_a_list(toy: Path, tmp_path: Path, name: str) -> None:
    """It is refused: only a list that is not there at all may be wanting."""
    (tmp_path / name).mkdir()
    loaded = corpus(toy)
    loaded.data_dir = tmp_path
    with pytest.raises(UserError, match=f"{name} is a folder"):
        loaded.speaker_details() if name == META else loaded.test_trials()


def test_front_end_of_a_corpus_is_normalised_by_its_statistics(toy: Path) -> None:
    """Those of the sub-directory that is trained on."""
    for sub_dir in ("merged", "dev"):
        front_end = Corpus(settings(toy, DATASET__SUB_DIR=sub_dir)).build_front_end()
        mean, deviation = load_statistics(toy / "feature", sub_dir)
        assert np.array_equal(front_end.mean, mean)
        assert np.array_equal(front_end.deviation, deviation)


# ------------------------------------------------------------------------------------------------------------------
# Halves of the train part
# ------------------------------------------------------------------------------------------------------------------
def test_halves_of_the_train_part(toy: Path) -> None:
    """Disjoint, all of it, half of every speaker's utterances in each; decided by the seed."""
    searching = options(DATASET__DATA_DIR=toy)
    corpus = Corpus(load_config(ROOT / SEARCH, searching))
    first, second = (set(loader.batches.rows.tolist()) for loader in corpus.halves())
    assert not first & second
    assert first | second == set(corpus.rows("train").tolist())
    counts = [Counter(speaker_of(corpus.index.utterances[row]) for row in half) for half in (first, second)]
    assert all(0 <= counts[0][speaker] - counts[1][speaker] <= 1 for speaker in corpus.speakers)
    assert set(Corpus(load_config(ROOT / SEARCH, searching)).halves()[0].batches.rows.tolist()) == first
    other = Corpus(load_config(ROOT / SEARCH, [*searching, "SEED", "4"]))
    assert set(other.halves()[0].batches.rows.tolist()) != first


def test_batches_of_the_halves_are_drawn_apart(toy: Path) -> None:
    """Of halves as large as each other, alpha's batches have other speakers than those of the weights."""
    loaders = Corpus(load_config(ROOT / SEARCH, options(DATASET__DATA_DIR=toy))).halves()
    labels = [[label for batch in loader.epoch(0) for label in batch.labels.tolist()] for loader in loaders]
    assert sorted(labels[0]) == sorted(labels[1])
    assert labels[0] != labels[1]


def test_half_with_less_than_a_batch(toy: Path) -> None:
    """One line that names the setting."""
    corpus = Corpus(load_config(ROOT / SEARCH, options(DATASET__DATA_DIR=toy, TRAIN__BATCH_SIZE=13)))
    with pytest.raises(UserError, match=r"TRAIN\.BATCH_SIZE 13 is more than the 12 utterances of half of the train"):
        corpus.halves()
