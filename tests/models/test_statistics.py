"""Moments of cepstra: what they are by definition, and what they do not depend on."""

import librosa
import numpy as np
import pytest
import scipy.fft
import torch

from data_objects import frontend
from data_objects.frontend import FrontEnd
from models import statistics
from models.statistics import BANDS, BINS, CEPSTRA, MOMENTS, Moments, Statistics


def draw(frames: int, seed: int = 0) -> np.ndarray:
    """Magnitudes (T, 257) of speech-like unevenness."""
    generator = np.random.default_rng(seed)
    loudness = np.exp(generator.normal(size=(frames, 1)))
    return (loudness * generator.gamma(2.0, size=(frames, BINS))).astype(np.float32)


def moments_of(magnitudes: np.ndarray) -> np.ndarray:
    """As the module computes them."""
    return Moments().embed(torch.from_numpy(magnitudes)[None])[0].numpy()


def test_features_are_the_front_ends() -> None:
    """The numbers of bins and samples a second are those of the front end."""
    assert (statistics.BINS, statistics.SAMPLE_RATE) == (frontend.BINS, frontend.SAMPLE_RATE)


@pytest.mark.parametrize("frames", [50, 101])
def test_moments_by_definition(frames: int) -> None:
    """Of the louder 70 % of the frames, by NumPy, SciPy and librosa."""
    magnitudes = draw(frames)
    bands = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=BANDS, fmin=20, htk=True, norm=None)
    logarithms = np.log(magnitudes.astype(np.float64) ** 2 @ bands.T)
    loudest = np.argsort(-logarithms.mean(axis=1))[: int(np.ceil(0.7 * frames))]
    cepstra = scipy.fft.dct(logarithms, norm="ortho")[loudest, :CEPSTRA]
    upper = np.triu_indices(CEPSTRA, 1)
    expected = [cepstra.mean(axis=0), np.log(cepstra.std(axis=0)), np.corrcoef(cepstra.T)[upper]]
    np.testing.assert_allclose(moments_of(magnitudes), np.concatenate(expected), rtol=1e-3, atol=2e-4)


def test_level_moves_the_first_mean_alone() -> None:
    """That of the logarithm of the power."""
    quiet, loud = (moments_of(level * draw(80)) for level in (1.0, 10.0))
    assert loud[0] - quiet[0] == pytest.approx(np.log(100) * np.sqrt(BANDS), rel=1e-3)
    np.testing.assert_allclose(loud[1:], quiet[1:], atol=1e-3)


def test_front_end_is_undone() -> None:
    """Whatever it was normalised by, and in whatever order the frames come."""
    generator, magnitudes = np.random.default_rng(1), draw(60)
    front_end = FrontEnd(generator.normal(size=BINS), generator.uniform(0.5, 2, BINS))
    moments = Moments()
    moments.undo(front_end.mean, front_end.deviation)
    features = (torch.from_numpy(magnitudes) - front_end.mean) / front_end.deviation
    (found,) = moments.embed(features.flip(0)[None]).numpy()
    np.testing.assert_allclose(found, moments_of(magnitudes), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_few_frames_and_silence(frames: int) -> None:
    """Finite, of whatever there is."""
    for features in (torch.zeros(2, frames, BINS), torch.rand(2, frames, BINS)):
        found = Moments().embed(features)
        assert found.shape == (2, MOMENTS)
        assert found.isfinite().all()


@pytest.mark.parametrize(("speakers", "dimensions"), [(1, 1), (5, 4), (121, 120), (1251, 120)])
def test_embeddings_are_projections(speakers: int, dimensions: int) -> None:
    """With one dimension less than there are speakers."""
    network, features = Statistics(speakers), torch.rand(2, 40, BINS)
    generator = torch.Generator().manual_seed(0)
    network.mean.copy_(torch.randn(MOMENTS, generator=generator))
    network.projection.copy_(torch.randn(MOMENTS, dimensions, generator=generator))
    expected = (Moments().embed(features) - network.mean) @ network.projection
    torch.testing.assert_close(network.embed(features), expected)
    assert not any(parameter.requires_grad for parameter in network.parameters())
