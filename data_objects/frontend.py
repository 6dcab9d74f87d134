"""The front end: waveforms to normalised magnitude spectrograms, on the device, for a whole batch.

It is a module with buffers, saved in every checkpoint beside the network, so that a checkpoint turns a waveform into an
embedding with nothing else at hand.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torchaudio.transforms import Spectrogram

from data_objects.audio import FULL_SCALE, SAMPLE_RATE

N_FFT = 512
WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
BINS = N_FFT // 2 + 1
CONTEXT = N_FFT // 2  # samples that the first frame needs before its centre, and the last one after it
# What a checkpoint records of the front end, so that another one is refused rather than used.
SETTINGS = {
    "sample_rate": SAMPLE_RATE,
    "n_fft": N_FFT,
    "window": WINDOW,
    "hop": HOP,
    "feature": "magnitude",
    "padding": "reflect",
}


def count_frames(samples: int) -> int:
    """Frames of an utterance: they are centred on the samples 0, 160, 320, …"""
    return 1 + samples // HOP


def span(frames: int) -> int:
    """Samples between the centres of the first and the last of `frames` frames, their context added."""
    return (frames - 1) * HOP + 2 * CONTEXT


class FrontEnd(nn.Module):
    """Short-time Fourier magnitudes, normalised bin by bin.

    Args:
        mean, deviation: (257,) of the magnitudes over all frames of the utterances trained on; 0 and 1 where not given.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: np.ndarray | None = None, deviation: np.ndarray | None = None) -> None:
        super().__init__()
        # Periodic Hann window of 400 samples in the middle of 512; magnitude, neither power nor logarithm. The
        # waveform comes with its context, so nothing is padded here.
        self.spectrogram = Spectrogram(N_FFT, WINDOW, HOP, power=1, center=False)
        mean = np.zeros(BINS) if mean is None else mean
        deviation = np.ones(BINS) if deviation is None else deviation
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).clone())
        self.register_buffer("deviation", torch.as_tensor(deviation, dtype=torch.float32).clone())

    def forward(self, waveforms: Tensor, gains: Tensor | None = None, curves: Tensor | None = None) -> Tensor:
        """Features (B, T, 257) of waveforms (B, (T - 1) * 160 + 512) that begin 256 samples before frame 0's centre.

        Args:
            waveforms: float32 in [-1, 1], or int16 as in a file.
            gains: (B,) float32, the level gains of int16 ones.
            curves: (B, 257), factors of the magnitudes: the channels of `data_objects.spectral`.
        """
        if gains is not None:
            waveforms = waveforms * (gains / FULL_SCALE)[:, None]
        magnitudes = self.spectrogram(waveforms).transpose(1, 2)  # (B, 257, T) -> (B, T, 257)
        if curves is not None:
            magnitudes = magnitudes * curves[:, None]
        return (magnitudes - self.mean) / self.deviation


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
