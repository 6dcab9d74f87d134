"""The front end against a discrete Fourier transform written out, and the bookkeeping of frames."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_objects.frontend import BINS, CONTEXT, HOP, FrontEnd, count_frames, pad_reflect, reverse_time, span, tile
from tests.helpers import magnitudes_by_definition, noise


@pytest.mark.parametrize("samples", [400, 1_600, 4_799, 4_800, 16_000])
def test_spectrogram_by_definition(samples: int) -> None:
    """Magnitudes, neither squared nor logarithmic; one frame every 10 ms from the first sample on."""
    waveform = noise(samples)
    features = FrontEnd()(torch.from_numpy(pad_reflect(waveform))[None])[0].numpy()
    expected = magnitudes_by_definition(waveform)
    assert features.shape == expected.shape == (count_frames(samples), BINS)
    assert features.dtype == np.float32
    assert np.abs(features - expected).max() <= 1e-5 * expected.max()


def test_normalisation() -> None:
    """Bin by bin, by the mean and the deviation given; both travel with the state."""
    generator = np.random.default_rng(0)
    mean, deviation = generator.random(BINS), 0.5 + generator.random(BINS)
    waveforms = torch.from_numpy(pad_reflect(noise(1_600)))[None]
    plain, normalised = FrontEnd()(waveforms), FrontEnd(mean, deviation)
    expected = (plain.numpy() - mean) / deviation
    assert normalised(waveforms).numpy() == pytest.approx(expected, abs=1e-4)
    loaded = FrontEnd()
    loaded.load_state_dict(normalised.state_dict())
    assert torch.equal(loaded(waveforms), normalised(waveforms))


def test_batch_is_its_items() -> None:
    """What stands beside an utterance in a batch does not matter."""
    waveforms = torch.from_numpy(noise(3 * span(20)).reshape(3, -1))
    front_end = FrontEnd()
    for item, features in zip(waveforms, front_end(waveforms), strict=True):
        torch.testing.assert_close(front_end(item[None])[0], features)


def test_reversal_is_of_the_frames_chosen() -> None:
    """Frames in reversed order, bins as they were; the others untouched."""
    features = torch.arange(12.0).view(2, 3, 2)
    reversed_features = reverse_time(features, torch.tensor([False, True]))
    assert torch.equal(reversed_features[0], features[0])
    assert reversed_features[1].tolist() == [[10, 11], [8, 9], [6, 7]]


@given(st.integers(400, 10**7))
def test_frames_and_their_span(samples: int) -> None:
    """An utterance with its context holds exactly its frames."""
    frames = count_frames(samples)
    assert frames == 1 + samples // 160
    assert span(frames) <= samples + 2 * CONTEXT < span(frames + 1)


@given(st.integers(400, 3_000), st.integers(2, 60))
def test_tiling_repeats_the_utterance(samples: int, frames: int) -> None:
    """The speech is repeated at its own speed until it fills the frames; what is long enough stays as it is."""
    waveform = np.arange(samples, dtype=np.float32)
    tiled = tile(waveform, frames)
    if count_frames(samples) >= frames:
        assert tiled is waveform
    else:
        assert count_frames(len(tiled)) == frames
        assert np.array_equal(tiled, np.resize(waveform, (frames - 1) * HOP))
