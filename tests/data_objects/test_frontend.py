"""The front end against a discrete Fourier transform written out, and the bookkeeping of frames."""

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from config import CHOICES, RANGES, default_config
from data_objects.frontend import (
    BANDS,
    BINS,
    CONTEXT,
    FEATURES,
    HOP,
    NORMS,
    SETTINGS,
    FrontEnd,
    count_bins,
    count_frames,
    differing_front_end,
    front_end_settings,
    is_known,
    pad_reflect,
    reverse_time,
    settings_of,
    span,
    tile,
)
from tests.helpers import magnitudes_by_definition, noise
from tests.networks import configured


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


def features_by_definition(waveform: np.ndarray, feature: str, bands: int) -> np.ndarray:
    """Features (T, F), not normalised: natural logarithms of magnitudes, or of librosa's mel bands of their squares."""
    magnitudes = magnitudes_by_definition(waveform)
    if feature == "log_magnitude":
        return np.log(magnitudes + 1e-4)
    if feature == "log_mel":
        mel = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=bands, fmin=20, fmax=8_000, htk=True, norm=None)
        return np.log(magnitudes**2 @ mel.T + 1e-6)
    return magnitudes


def norm_by_definition(features: np.ndarray, norm: str) -> np.ndarray:
    """Features (T, F), every bin by itself over time."""
    if norm == "corpus":
        return (features - 0.25) / 2
    centred = features - features.mean(axis=0)
    return centred if norm == "utterance_mean" else centred / features.std(axis=0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("feature", "bands"), [("magnitude", 80), ("log_magnitude", 80), ("log_mel", 80), ("log_mel", 24)]
)
def test_features_by_definition(feature: str, bands: int, norm: str) -> None:
    """Each feature by each norm, of a loud and of a quiet waveform."""
    settings = settings_of(feature, bands, norm)
    bins = count_bins(settings)
    front_end = FrontEnd(np.full(bins, 0.25), np.full(bins, 2.0), settings)
    assert (front_end.bins, front_end.settings) == (bins, settings)
    for level in (0.1, 0.0003):
        waveform = noise(4_800, level=level)
        expected = norm_by_definition(features_by_definition(waveform, feature, bands), norm)
        features = front_end(torch.from_numpy(pad_reflect(waveform))[None])[0].numpy()
        assert features.dtype == np.float32
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("feature", FEATURES)
def test_silence_is_finite(feature: str, norm: str) -> None:
    """Digital silence has a logarithm, and what never changes is not divided by 0."""
    front_end = FrontEnd(settings=settings_of(feature, norm=norm))
    features = front_end(torch.zeros(2, span(40), dtype=torch.int16), torch.ones(2))
    assert features.isfinite().all()
    if norm != "corpus":
        assert features.abs().max() < 1  # nothing, but for rounding


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("feature", FEATURES)
def test_front_end_stays_in_float32(feature: str, norm: str) -> None:
    """Whoever calls it under autocast."""
    front_end, waveforms = FrontEnd(settings=settings_of(feature, norm=norm)), torch.from_numpy(noise(span(20)))[None]
    with torch.autocast("cpu", torch.bfloat16):
        features = front_end(waveforms)
    assert features.dtype == torch.float32
    assert torch.equal(features, front_end(waveforms))


def test_what_a_checkpoint_records() -> None:
    """Of the paper's front end what it always did, and of another one what it takes to build it."""
    assert (
        front_end_settings(default_config())
        == SETTINGS
        == {
            "sample_rate": 16_000,
            "n_fft": 512,
            "window": 400,
            "hop": 160,
            "feature": "magnitude",
            "padding": "reflect",
        }
    )
    changes = {"FRONTEND__FEATURE": "log_mel", "FRONTEND__BANDS": 40, "FRONTEND__NORM": "utterance_mean"}
    settings = front_end_settings(configured(**changes))
    assert settings == SETTINGS | {
        "feature": "log_mel",
        "bands": 40,
        "lowest": 20.0,
        "floor": 1e-6,
        "norm": "utterance_mean",
    }
    assert set(FrontEnd(settings=settings).state_dict()) == set(FrontEnd().state_dict())
    assert is_known(settings) and is_known(SETTINGS)
    for change in (
        {"hop": 80},
        {"feature": "mfcc"},
        {"norm": "batch"},
        {"floor": 1e-9},
        {"lowest": 0.0},
        {"bands": "x"},
    ):
        assert not is_known(settings | change)
    assert differing_front_end(settings, settings) == ""
    assert differing_front_end(settings, SETTINGS) == (
        "FRONTEND.FEATURE log_mel (not magnitude), FRONTEND.BANDS 40 (not 80), "
        "FRONTEND.NORM utterance_mean (not corpus)"
    )


def test_settings_are_the_front_ends() -> None:
    """Their choices are what there is; every band of a spectrogram has a bin."""
    assert (CHOICES["FRONTEND.FEATURE"], CHOICES["FRONTEND.NORM"]) == (FEATURES, NORMS)
    assert default_config().FRONTEND.BANDS == BANDS
    for bands in RANGES["FRONTEND.BANDS"]:
        assert FrontEnd(settings=settings_of("log_mel", int(bands))).bands.amax(dim=0).min() > 0


@pytest.mark.parametrize("settings", [SETTINGS, settings_of("log_mel", norm="utterance_mean_deviation")])
def test_batch_is_its_items(settings: dict) -> None:
    """What stands beside an utterance in a batch does not matter."""
    waveforms = torch.from_numpy(noise(3 * span(20)).reshape(3, -1))
    front_end = FrontEnd(settings=settings)
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
