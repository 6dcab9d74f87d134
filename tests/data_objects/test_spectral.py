"""Channels and masks: their closed forms, what they do to a spectrum, and how they are drawn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import butter, firwin2, freqs_zpk

from data_objects.frontend import BINS, FrontEnd, pad_reflect
from data_objects.spectral import FREQUENCIES, Channel, Masks, find_masked, interpolate, limit_band, mask_features
from tests.helpers import magnitudes_by_definition, noise

MEL = 1127 * np.log(1 + FREQUENCIES / 700)  # the same scale as it is often written, too
DRAWS = 400


def to_decibels(factors: np.ndarray) -> np.ndarray:
    """Of amplitudes."""
    return 20 * np.log10(factors)


# ------------------------------------------------------------------------------------------------------------------
# Channels
# ------------------------------------------------------------------------------------------------------------------
def test_equalisation_is_linear_between_its_points() -> None:
    """On the mel scale: from the first point, at 0 Hz, to the last one, at 8 kHz."""
    points = np.array([3.0, -6.0, 2.0])
    first_half = MEL[-1] / 2 > MEL
    share = np.where(first_half, MEL, MEL - MEL[-1] / 2) / (MEL[-1] / 2)
    expected = np.where(first_half, 3 - 9 * share, -6 + 8 * share)
    np.testing.assert_allclose(interpolate(points), expected, atol=1e-3)
    assert interpolate(points)[[0, -1]].tolist() == [3, 2]


@pytest.mark.parametrize(("lower", "upper"), [(300.0, 3400.0), (0.0, 5000.0)])
def test_bands_are_those_of_filters(lower: float, upper: float) -> None:
    """Butterworth's, as scipy designs them; at the edges -3 dB, and an octave beyond so many dB."""
    poles = butter(16, 2 * math.pi * upper, "low", analog=True, output="zpk")
    expected = np.abs(freqs_zpk(*poles, worN=2 * math.pi * FREQUENCIES)[1])
    if lower:
        poles = butter(4, 2 * math.pi * lower, "high", analog=True, output="zpk")
        expected *= np.abs(freqs_zpk(*poles, worN=2 * math.pi * FREQUENCIES)[1])
    np.testing.assert_allclose(limit_band(lower, upper), expected, rtol=1e-5, atol=1e-12)
    edges = to_decibels(limit_band(1000.0, 4000.0)[[32, 128]])
    assert edges == pytest.approx([-3.01, -3.01], abs=0.02)
    assert to_decibels(limit_band(1000.0, 1e6)[16]) == pytest.approx(-24.1, abs=0.1)
    assert to_decibels(limit_band(0.0, 2000.0)[128]) == pytest.approx(-96.3, abs=0.1)


def test_channel_multiplies_the_magnitudes() -> None:
    """Before they are normalised; of each crop by its own factors."""
    generator = np.random.default_rng(0)
    mean, deviation = generator.random(BINS), 0.5 + generator.random(BINS)
    curves = generator.uniform(0.1, 3, (2, BINS)).astype(np.float32)
    waveforms = [noise(1_600, seed) for seed in range(2)]
    padded = torch.from_numpy(np.stack([pad_reflect(waveform) for waveform in waveforms]))
    features = FrontEnd(mean, deviation)(padded, curves=torch.from_numpy(curves)).numpy()
    for item, waveform, curve in zip(features, waveforms, curves, strict=True):
        np.testing.assert_allclose(item, (magnitudes_by_definition(waveform) * curve - mean) / deviation, atol=1e-4)
    plain = FrontEnd(mean, deviation)(padded)
    assert torch.equal(FrontEnd(mean, deviation)(padded, curves=torch.ones(2, BINS)), plain)


def test_channel_is_a_filter_of_the_waveform() -> None:
    """An equalisation and a telephone's band give noise the spectrum that a filter of that response gives it."""
    curve = 10 ** (interpolate(np.array([6.0, -6, 3, 0, -3, 6, -6, 2])) / 20) * limit_band(300.0, 3400.0)
    taps = firwin2(1025, FREQUENCIES, curve, fs=16_000)
    waveform = noise(80_000)
    filtered = np.convolve(waveform, taps, mode="same").astype(np.float32)
    frames = [torch.from_numpy(pad_reflect(samples))[None] for samples in (waveform, filtered)]
    simulated = FrontEnd()(frames[0], curves=torch.from_numpy(curve.astype(np.float32))[None])[0].mean(dim=0)
    expected = FrontEnd()(frames[1])[0].mean(dim=0)
    passed = curve > 0.1  # below that, what leaks from other bins is what the window shows
    assert np.abs(to_decibels((simulated / expected).numpy()[passed])).max() < 1


def draw(channel: Channel, seed: int) -> np.ndarray:
    """The factors of a crop."""
    factors = channel.draw(np.random.default_rng(seed))
    assert (factors.shape, factors.dtype) == ((BINS,), np.float32)
    return factors


def test_gains_are_drawn_evenly() -> None:
    """In decibels, up to either limit, the same for all frequencies."""
    curves = np.stack([to_decibels(draw(Channel(gain=6.0), seed)) for seed in range(DRAWS)])
    assert np.ptp(curves, axis=1).max() < 1e-5
    counts, _ = np.histogram(curves[:, 0], bins=4, range=(-6, 6))
    assert counts.sum() == DRAWS
    assert all(DRAWS / 4 * 0.7 < count < DRAWS / 4 * 1.3 for count in counts)


def test_equalisations_are_drawn_evenly() -> None:
    """Every point by itself, evenly up to either limit; what lies between two points is nearer to 0."""
    curves = np.stack([to_decibels(draw(Channel(equalisation=6.0), seed)) for seed in range(DRAWS)])
    assert np.abs(curves).max() < 6 + 1e-4
    for place in (0, BINS - 1):
        counts, _ = np.histogram(curves[:, place], bins=4, range=(-6.001, 6.001))
        assert all(DRAWS / 4 * 0.7 < count < DRAWS / 4 * 1.3 for count in counts)
    assert abs(np.corrcoef(curves[:, 0], curves[:, -1])[0, 1]) < 0.15
    middle = int(np.abs(MEL - MEL[-1] / 14).argmin())  # between the first two of eight points
    assert curves[:, middle].std() == pytest.approx(12 / math.sqrt(12) / math.sqrt(2), rel=0.1)


def test_bands_are_drawn() -> None:
    """A telephone's as often as another, whose upper edge is anywhere between 3.4 and 7 kHz."""
    telephone, edges = limit_band(300.0, 3400.0).astype(np.float32), []
    for seed in range(DRAWS):
        factors = draw(Channel(band_probability=1.0), seed)
        if not np.array_equal(factors, telephone):
            assert factors[0] == 1
            edges.append(np.interp(-math.sqrt(0.5), -factors, FREQUENCIES))
    assert 0.4 * DRAWS < len(edges) < 0.6 * DRAWS
    assert 3390 < min(edges) < 3500
    assert 6900 < max(edges) < 7010
    assert np.mean(edges) == pytest.approx(5200, abs=200)


def test_each_part_of_a_channel_is_drawn_by_itself() -> None:
    """With the probability of its own, all together one curve; where nothing is drawn, factors of exactly 1."""
    channel, seen = Channel(equalisation=6.0, gain=6.0, probability=0.5, band_probability=0.25), []
    for seed in range(DRAWS):
        factors = draw(channel, seed)
        slope = np.ptp(to_decibels(factors[11:100])) > 1e-4  # within every band
        seen.append((factors[-1] < 1e-2, slope, bool((factors != 1).any())))
    shares = np.mean(seen, axis=0)
    assert shares[0] == pytest.approx(0.25, abs=0.06)
    assert shares[2] == pytest.approx(1 - 0.5 * 0.5 * 0.75, abs=0.06)
    of_band = [sloped for banded, sloped, _ in seen if not banded]
    assert np.mean(of_band) == pytest.approx(0.5, abs=0.08)


# ------------------------------------------------------------------------------------------------------------------
# Masks
# ------------------------------------------------------------------------------------------------------------------
@given(
    st.integers(1, 60),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True, width=32), st.integers(0, 70)), min_size=1, max_size=3),
)
def test_masks_lie_where_they_say(size: int, masks: list[tuple[float, int]]) -> None:
    """Each over so many places, all of them within; together they cover what any of them does."""
    covered = find_masked(torch.tensor([masks]), size)
    assert covered.shape == (1, size)
    expected = set()
    for fraction, wanted in masks:
        width = min(wanted, size)
        alone = find_masked(torch.tensor([[(fraction, wanted)]]), size)[0].nonzero().flatten().tolist()
        assert len(alone) == width
        assert alone == list(range(alone[0], alone[0] + width)) if width else not alone
        if width:
            assert alone[0] == pytest.approx(fraction * (size - width + 1), abs=1.01)
        expected |= set(alone)
    assert covered[0].nonzero().flatten().tolist() == sorted(expected)


def test_masks_are_zero_and_nothing_else_is_touched() -> None:
    """Frames 3 and 4 of the first crop, 0 and 9 of the second; bins 5 to 7 and 2, whatever their number."""
    features = torch.randn(2, 10, 8)
    time = torch.tensor([[[3.5 / 9, 2], [0.3, 0]], [[0.0, 1], [0.99, 1]]])
    frequency = torch.tensor([[[0.999, 3]], [[2.5 / 8, 1]]])
    masked = mask_features(features, time, frequency)
    expected = features.clone()
    expected[0, 3:5], expected[1, 0], expected[1, 9] = 0, 0, 0
    expected[0, :, 5:], expected[1, :, 2] = 0, 0
    assert torch.equal(masked, expected)
    assert torch.equal(mask_features(features, time, None)[0, :3], features[0, :3])
    assert mask_features(features, None, None) is features


def test_masks_need_no_answer_of_the_device() -> None:
    """On a device that computes nothing, whatever asked for a value would fail."""
    features, masks = (torch.empty(shape, device="meta") for shape in ((2, 10, 8), (2, 3, 2)))
    assert mask_features(features, masks, masks).shape == (2, 10, 8)


def test_masks_are_drawn_evenly() -> None:
    """Widths from 0 to the greatest, both among them; every place where one fits, up to both ends."""
    drawn = np.concatenate([Masks(2, 3).draw(np.random.default_rng(seed)) for seed in range(DRAWS)])
    assert (drawn.shape, drawn.dtype) == ((2 * DRAWS, 2), np.float32)
    widths, counts = np.unique(drawn[:, 1], return_counts=True)
    assert widths.tolist() == [0, 1, 2, 3]
    assert all(0.7 < count / (2 * DRAWS / 4) < 1.3 for count in counts)
    three = torch.from_numpy(drawn[drawn[:, 1] == 3])[:, None]
    firsts = find_masked(three, 6).int().argmax(dim=1)
    found, counts = firsts.unique(return_counts=True)
    assert found.tolist() == [0, 1, 2, 3]
    assert all(0.6 < count / (len(three) / 4) < 1.4 for count in counts)
