"""What makes one embedding of the frames that a network's last layer has: (B, C, T, F) -> (B, D)."""

import torch
from torch import Tensor, nn

HIDDEN = 64  # nodes of the attention's hidden layer, as in the paper
SMALLEST_VARIANCE = 1e-6  # the root of 0 has no gradient


class AveragePooling(nn.Module):
    """The mean over time and frequency: (B, C, T, F) -> (B, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embedding_dim = channels

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class AttentiveStatistics(nn.Module):
    """Attentive statistics pooling: mean and deviation over time, weighted by what attention finds telling.

    Okabe, Koshinaka, Shinoda, Attentive statistics pooling for deep speaker embedding, Interspeech 2018, equations 2
    to 6: with h_t the mean over frequency of frame t,

        e_t = v . tanh(W h_t + b),  alpha = softmax(e) over t,
        mean = sum_t alpha_t h_t,  deviation = sqrt(sum_t alpha_t (h_t - mean)^2 + epsilon).

    (B, C, T, F) -> (B, 2C), the mean before the deviation. The paper's k, a number added to every e_t, would change no
    alpha and is left out; its variance, sum_t alpha_t h_t^2 - mean^2, is the same but for rounding, by which it can
    fall below 0. Statistics are taken in float32 under bfloat16 autocast too.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embedding_dim = 2 * channels
        self.hidden = nn.Linear(channels, HIDDEN)
        self.score = nn.Linear(HIDDEN, 1, bias=False)

    def attend(self, frames: Tensor) -> Tensor:
        """Weights (B, T, 1), whose sum over time is 1, of frames (B, T, C)."""
        scores = self.score(self.hidden(frames).tanh())
        return scores.to(_precise(frames)).softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        frames = x.mean(dim=3).transpose(1, 2)  # (B, C, T, F) -> (B, T, C)
        weights = self.attend(frames)
        frames = frames.to(weights.dtype)
        mean = (weights * frames).sum(dim=1)
        variance = (weights * (frames - mean[:, None]).square()).sum(dim=1)
        return torch.cat([mean, (variance + SMALLEST_VARIANCE).sqrt()], dim=1)


def _precise(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


POOLINGS: dict[str, type[AveragePooling] | type[AttentiveStatistics]] = {
    "average": AveragePooling,
    "attentive": AttentiveStatistics,
}
