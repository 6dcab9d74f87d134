"""The front end: waveforms to normalised features, on the device, for a whole batch.

Features are the magnitudes of a spectrogram, as in the paper, or what FRONTEND.FEATURE makes of them.

It is a module with buffers, saved in every checkpoint beside the network, so that a checkpoint turns a waveform into an
embedding with nothing else at hand.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks
from torchaudio.transforms import Spectrogram
from yacs.config import CfgNode

from data_objects.audio import FULL_SCALE, SAMPLE_RATE

N_FFT = 512
WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
BINS = N_FFT // 2 + 1
CONTEXT = N_FFT // 2  # samples that the first frame needs before its centre, and the last one after it
FEATURES = ("magnitude", "log_magnitude", "log_mel")
NORMS = ("corpus", "utterance_mean", "utterance_mean_deviation")
BANDS = 80  # of log_mel, where nothing is said
LOWEST = 20.0  # Hz, of the mel bands
# What is added before a logarithm is taken, so that digital silence has one. Rounding to 16 bits makes magnitudes of
# about 1e-4 (of a noise of variance 1 / 12 steps^2, under a window whose squares sum to 150); speech at -30 dBFS, ones
# of 0.4 in the root mean square over all bins. The widest of 80 mel bands sums eight bins' powers, to 1e-7 of rounding.
FLOORS = {"log_magnitude": 1e-4, "log_mel": 1e-6}
SMALLEST_DEVIATION = 1e-5  # to divide by, where it is measured here: what never changes becomes 0, or nearly
# What a checkpoint records of the front end, so that another one is refused rather than used. More is recorded only
# where it is not the usual one: see `settings_of`.
SETTINGS: dict[str, Any] = {
    "sample_rate": SAMPLE_RATE,
    "n_fft": N_FFT,
    "window": WINDOW,
    "hop": HOP,
    "feature": "magnitude",
    "padding": "reflect",
}


def settings_of(feature: str = "magnitude", bands: int = BANDS, norm: str = "corpus") -> dict[str, Any]:
    """What a checkpoint records of this front end: SETTINGS, and what is not as there."""
    settings = SETTINGS | {"feature": feature}
    if feature in FLOORS:
        settings["floor"] = FLOORS[feature]
    if feature == "log_mel":
        settings |= {"bands": bands, "lowest": LOWEST}
    return settings if norm == "corpus" else settings | {"norm": norm}


def front_end_settings(cfg: CfgNode) -> dict[str, Any]:
    """The front end that the settings ask for, as a checkpoint records it."""
    return settings_of(cfg.FRONTEND.FEATURE, cfg.FRONTEND.BANDS, cfg.FRONTEND.NORM)


def is_known(settings: Mapping[str, Any]) -> bool:
    """Whether this code has the front end that a checkpoint records."""
    feature, norm, bands = settings.get("feature"), settings.get("norm", "corpus"), settings.get("bands", BANDS)
    return (
        feature in FEATURES
        and norm in NORMS
        and isinstance(bands, int)
        and settings == settings_of(feature, bands, norm)
    )


def count_bins(settings: Mapping[str, Any]) -> int:
    """F, the numbers that a frame's features are."""
    return settings["bands"] if settings["feature"] == "log_mel" else BINS


def differing_front_end(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """What one known front end has and another one shall, as text: FRONTEND.FEATURE log_mel (not magnitude), ..."""
    has, shall = ({"bands": BANDS, "norm": "corpus", **settings} for settings in (found, expected))
    names = [name for name in ("feature", "bands", "norm") if has[name] != shall[name]]
    return ", ".join(f"FRONTEND.{name.upper()} {has[name]} (not {shall[name]})" for name in names)


def count_frames(samples: int) -> int:
    """Frames of an utterance: they are centred on the samples 0, 160, 320, …"""
    return 1 + samples // HOP


def span(frames: int) -> int:
    """Samples between the centres of the first and the last of `frames` frames, their context added."""
    return (frames - 1) * HOP + 2 * CONTEXT


class FrontEnd(nn.Module):
    """Short-time Fourier magnitudes, what features are made of them, and their norm.

    Args:
        mean, deviation: (F,) of the features over all frames of the utterances trained on, for the norm `corpus`; 0 and
            1 where not given.
        settings: which feature and norm; see `settings_of`.

    Attributes:
        bins: F, 257 but for log_mel.
    """

    mean: Tensor
    deviation: Tensor
    bands: Tensor

    def __init__(
        self,
        mean: np.ndarray | None = None,
        deviation: np.ndarray | None = None,
        settings: Mapping[str, Any] = SETTINGS,
    ) -> None:
        super().__init__()
        # Periodic Hann window of 400 samples in the middle of 512; magnitude, neither power nor logarithm. The
        # waveform comes with its context, so nothing is padded here.
        self.spectrogram = Spectrogram(N_FFT, WINDOW, HOP, power=1, center=False)
        self.settings, self.bins = dict(settings), count_bins(settings)
        self._feature, self._norm = settings["feature"], settings.get("norm", "corpus")
        mean = np.zeros(self.bins) if mean is None else mean
        deviation = np.ones(self.bins) if deviation is None else deviation
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).clone())
        self.register_buffer("deviation", torch.as_tensor(deviation, dtype=torch.float32).clone())
        if self._feature == "log_mel":
            bands = melscale_fbanks(BINS, LOWEST, SAMPLE_RATE / 2, self.bins, SAMPLE_RATE)
            self.register_buffer("bands", bands, persistent=False)  # (257, F)

    @property
    def needs_measuring(self) -> bool:
        """Whether it is normalised by statistics that preprocessing does not leave."""
        return self._norm == "corpus" and self._feature != "magnitude"

    def forward(self, waveforms: Tensor, gains: Tensor | None = None, curves: Tensor | None = None) -> Tensor:
        """Features (B, T, F) of waveforms (B, (T - 1) * 160 + 512) that begin 256 samples before frame 0's centre.

        They are float32 under autocast too.

        Args:
            waveforms: float32 in [-1, 1], or int16 as in a file.
            gains: (B,) float32, the level gains of int16 ones.
            curves: (B, 257), factors of the magnitudes: the channels of `data_objects.spectral`.
        """
        device = waveforms.device.type
        if device != "meta" and torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return self.forward(waveforms, gains, curves)
        magnitudes = self.magnitudes(waveforms, gains)
        if curves is not None:
            magnitudes = magnitudes * curves[:, None]
        return self.normalise(self.extract(magnitudes))

    def magnitudes(self, waveforms: Tensor, gains: Tensor | None = None) -> Tensor:
        """Magnitudes (B, T, 257); see `forward` for the arguments."""
        if gains is not None:
            waveforms = waveforms * (gains / FULL_SCALE)[:, None]
        return self.spectrogram(waveforms).transpose(1, 2)  # (B, 257, T) -> (B, T, 257)

    def extract(self, magnitudes: Tensor) -> Tensor:
        """Features (B, T, F), not normalised yet, of magnitudes (B, T, 257); logarithms are natural."""
        if self._feature == "log_magnitude":
            return (magnitudes + FLOORS[self._feature]).log()
        if self._feature == "log_mel":
            return (magnitudes.square() @ self.bands + FLOORS[self._feature]).log()  # (B, T, 257) -> (B, T, F)
        return magnitudes

    def normalise(self, features: Tensor) -> Tensor:
        """Features (B, T, F) by the corpus's mean and deviation, or by their own over the T frames."""
        if self._norm == "corpus":
            return (features - self.mean) / self.deviation
        centred = features - features.mean(dim=1, keepdim=True)
        if self._norm == "utterance_mean":
            return centred
        return centred / centred.square().mean(dim=1, keepdim=True).sqrt().clamp(min=SMALLEST_DEVIATION)


def pad_reflect(waveform: np.ndarray) -> np.ndarray:
    """A whole utterance (N,) with the context that its first and last frames need: (N + 512,).

    N must be at least 257. Mirrored at the ends, as librosa does.
    """
    return np.pad(waveform, CONTEXT, mode="reflect")


def tile(waveform: np.ndarray, frames: int) -> np.ndarray:
    """An utterance (N,) repeated until it holds `frames` frames; a longer one as it is.

    Deviation: the original repeats every frame, which slows the speech down.
    """
    needed = (frames - 1) * HOP
    if len(waveform) >= needed:
        return waveform
    return np.tile(waveform, math.ceil(needed / len(waveform)))[:needed]


def reverse_time(features: Tensor, reverse: Tensor) -> Tensor:
    """Features (B, T, F) with the frames of the utterances chosen by reverse (B,) bool in reversed order."""
    return torch.where(reverse[:, None, None], features.flip(1), features)
