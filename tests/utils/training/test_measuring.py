"""What logarithms are normalised by: mean and deviation of crops of the utterances trained on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data_objects.corpus import Corpus
from data_objects.datasets import TrainingCrops
from tests.networks import FRAMES, settings
from utils.training import measuring
from utils.training.measuring import measure_front_end

CPU = torch.device("cpu")


def of_crops(corpus: Corpus, rows: np.ndarray, feature: str) -> np.ndarray:
    """Features (N T, F), not normalised, of an utterance's first crop each."""
    crops = TrainingCrops(corpus.index, FRAMES, corpus.speakers, seed=3)
    front_end = corpus.build_front_end()
    assert front_end.settings["feature"] == feature
    items = [crops[0, int(row)] for row in rows]
    features = [front_end(torch.tensor(crop)[None], torch.tensor([gain])) for crop, gain, _, _ in items]
    return torch.cat(features).flatten(0, 1).double().numpy()


@pytest.mark.parametrize("feature", ["log_magnitude", "log_mel"])
def test_mean_and_deviation_of_the_train_part(toy: Path, feature: str) -> None:
    """Over all frames of a crop of every utterance; in whatever batches."""
    corpus = Corpus(settings(toy, FRONTEND__FEATURE=feature))
    expected = of_crops(corpus, corpus.rows("train"), feature)
    for batch_size in (5, 16):
        corpus.window_batch_size = batch_size
        front_end = corpus.build_front_end()
        assert front_end.needs_measuring
        assert f"{feature} are measured over {len(expected):,} frames" in measure_front_end(front_end, corpus, CPU)
        np.testing.assert_allclose(front_end.mean, expected.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(front_end.deviation, expected.std(axis=0), rtol=1e-6)


def test_utterances_of_a_large_corpus(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many, evenly spread: every speaker has his share."""
    monkeypatch.setattr(measuring, "UTTERANCES", 8)
    corpus = Corpus(settings(toy, FRONTEND__FEATURE="log_mel"))
    rows = corpus.rows("train")
    chosen = rows[[number * len(rows) // 8 for number in range(8)]]
    assert len(set(corpus.index.labels(corpus.speakers)[chosen])) == len(corpus.speakers)
    front_end = corpus.build_front_end()
    assert f"over {8 * FRAMES} frames" in measure_front_end(front_end, corpus, CPU)
    np.testing.assert_allclose(front_end.mean, of_crops(corpus, chosen, "log_mel").mean(axis=0), rtol=1e-6)


def test_what_need_not_be_measured(toy: Path) -> None:
    """Magnitudes, of which preprocessing has the statistics, and what is normalised by itself."""
    for changes in ({}, {"FEATURE": "log_mel", "NORM": "utterance_mean"}, {"NORM": "utterance_mean_deviation"}):
        cfg = settings(toy, **{f"FRONTEND__{key}": value for key, value in changes.items()})
        assert not Corpus(cfg).build_front_end().needs_measuring
