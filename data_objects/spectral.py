"""Augmentation of spectra: the channel that speech came through, and masks.

Both are drawn where crops are loaded, as a few numbers that travel with a crop, and applied on the device to the whole
batch: a channel to the front end's magnitudes, masks to its features.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_objects.audio import SAMPLE_RATE
from data_objects.frontend import BINS, N_FFT

FREQUENCIES = np.arange(BINS) * (SAMPLE_RATE / N_FFT)  # Hz, of the bins
POINTS = 8  # of an equalisation
TELEPHONE = 300.0, 3400.0  # Hz
LOW_PASS = 3400.0, 7000.0  # Hz, between which its edge is drawn
LOW_ORDER, HIGH_ORDER = 4, 16  # of the filters at a band's lower and upper edge: 24 and 96 dB an octave


@dataclass(frozen=True)
class Channel:
    """What microphones, telephones and codecs do to a spectrum. It comes after the room and its noise.

    Attributes:
        equalisation: dB, that a frequency is raised or lowered by at most; gain: dB, the same of all frequencies
            together. 0: none.
        probability: of either, drawn by itself.
        band_probability: that the crop is limited to a band: that of a telephone, or as often one with an upper edge
            alone.
    """

    equalisation: float = 0.0
    gain: float = 0.0
    probability: float = 1.0
    band_probability: float = 0.0

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """The factors (257,) float32 of a crop's magnitudes; 1 where nothing is drawn."""
        decibels, band = np.zeros(BINS), np.ones(BINS)
        if self.equalisation and generator.random() < self.probability:
            decibels += interpolate(generator.uniform(-self.equalisation, self.equalisation, POINTS))
        if self.gain and generator.random() < self.probability:
            decibels += generator.uniform(-self.gain, self.gain)
        if self.band_probability and generator.random() < self.band_probability:
            is_telephone, upper = generator.random() < 0.5, generator.uniform(*LOW_PASS)
            band = limit_band(*TELEPHONE) if is_telephone else limit_band(0.0, upper)
        return (10 ** (decibels / 20) * band).astype(np.float32)


def to_mel(frequencies: np.ndarray) -> np.ndarray:
    """Hz on the mel scale, by O'Shaughnessy's formula."""
    return 2595 * np.log10(1 + frequencies / 700)


_MELS = to_mel(FREQUENCIES)


def interpolate(decibels: np.ndarray) -> np.ndarray:
    """Decibels (257,) of all bins, linear in mel between those of points (P,) from 0 Hz to the highest frequency.

    Evenly spaced in mel, since what colours speech goes by octaves rather than by Hz: evenly spaced in Hz, eight points
    would leave the first two formants of many vowels to a single line.
    """
    return np.interp(_MELS, np.linspace(0, _MELS[-1], len(decibels)), decibels)


def limit_band(lower: float, upper: float) -> np.ndarray:
    """Factors (257,) of the band between two edges in Hz, at which they are -3 dB; a lower edge of 0 is none.

    The responses of Butterworth filters: flat within the band, and beyond it falling by 24 and 96 dB an octave.
    """
    response = 1 / np.sqrt(1 + (FREQUENCIES / upper) ** (2 * HIGH_ORDER))
    if lower:
        ratio = (FREQUENCIES / lower) ** LOW_ORDER
        response *= ratio / np.sqrt(1 + ratio**2)
    return response


@dataclass(frozen=True)
class Masks:
    """Masks over time or frequency (Park et al., SpecAugment, Interspeech 2019, section 2).

    Attributes:
        count: of masks; widest: frames or bins of one at most. A width is drawn evenly from 0 to it.
    """

    count: int
    widest: int

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """The masks (M, 2) float32 of a crop: how far along the places where it fits each stands, in [0, 1] (1 by
        rounding alone), and its width."""
        widths = generator.integers(self.widest + 1, size=self.count)
        return np.stack([generator.random(self.count), widths], axis=1).astype(np.float32)


def find_masked(masks: Tensor, size: int) -> Tensor:
    """Which of `size` frames or bins masks (B, M, 2), as `Masks` draws them, cover: (B, size) bool."""
    fraction, width = masks.unbind(-1)  # (B, M) each
    width = width.clamp(max=size)
    first = (fraction * (size - width + 1)).floor().minimum(size - width)  # rounding may reach what lies beyond
    places = torch.arange(size, device=masks.device)
    is_within = (places >= first[..., None]) & (places < (first + width)[..., None])  # (B, M, size)
    return is_within.any(dim=1)


def mask_features(features: Tensor, time_masks: Tensor | None, frequency_masks: Tensor | None) -> Tensor:
    """Features (B, T, F), 0 where a mask lies, which is their mean.

    Args:
        time_masks, frequency_masks: (B, M, 2), see `find_masked`; None: there are none.
    """
    if time_masks is not None:
        features = features.masked_fill(find_masked(time_masks, features.shape[1])[:, :, None], 0)
    if frequency_masks is not None:
        features = features.masked_fill(find_masked(frequency_masks, features.shape[2])[:, None, :], 0)
    return features
