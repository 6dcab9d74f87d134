"""What makes one embedding (B, D) of a network's maps (B, C, T, F): the features, C being 1, and on to the last."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.norms import Norm

Shape = tuple[int, int]  # channels and frequency bins of a map
HIDDEN = 64  # nodes of the attention's hidden layer, as in the paper
SMALLEST_VARIANCE = 1e-6  # the root of 0 has no gradient
COORDINATES = 36  # that a map's frames are projected to
MOMENTS = 2 * COORDINATES + COORDINATES * (COORDINATES - 1) // 2
EMBEDDING = 192  # values of an embedding made of correlations
DROPOUT = 0.3  # of them, before the embedding is made
FLOOR = 1e-4  # of the variance of a coordinate, which is about 1 over a batch


class Pooling(nn.Module):
    """What all have in common.

    Args:
        shapes: of the maps.

    Attributes:
        embedding_dim: D.
    """

    embedding_dim: int

    def __init__(self, shapes: Sequence[Shape]) -> None:
        super().__init__()

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """An embedding (B, D) of maps (B, C, T, F), whose sizes differ."""
        raise NotImplementedError


class AveragePooling(Pooling):
    """The mean of the last map over time and frequency: D = C."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        super().__init__(shapes)
        self.embedding_dim = shapes[-1][0]

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return maps[-1].mean(dim=(2, 3))


class AttentiveStatistics(Pooling):
    """Attentive statistics pooling: mean and deviation over time, weighted by what attention finds telling.

    Okabe, Koshinaka, Shinoda, Attentive statistics pooling for deep speaker embedding, Interspeech 2018, equations 2
    to 6: with h_t the mean over frequency of frame t,

        e_t = v . tanh(W h_t + b),  alpha = softmax(e) over t,
        mean = sum_t alpha_t h_t,  deviation = sqrt(sum_t alpha_t (h_t - mean)^2 + epsilon).

    Of the last map: D = 2C, the mean before the deviation. The paper's k, a number added to every e_t, would change no
    alpha and is left out; its variance, sum_t alpha_t h_t^2 - mean^2, is the same but for rounding, by which it can
    fall below 0. Statistics are taken in float32 under bfloat16 autocast too.
    """

    def __init__(self, shapes: Sequence[Shape]) -> None:
        super().__init__(shapes)
        channels = shapes[-1][0]
        self.embedding_dim = 2 * channels
        self.hidden = nn.Linear(channels, HIDDEN)
        self.score = nn.Linear(HIDDEN, 1, bias=False)

    def attend(self, frames: Tensor) -> Tensor:
        """Weights (B, T, 1), whose sum over time is 1, of frames (B, T, C)."""
        scores = self.score(self.hidden(frames).tanh())
        return scores.to(_precise(frames)).softmax(dim=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        frames = maps[-1].mean(dim=3).transpose(1, 2)  # (B, C, T, F) -> (B, T, C)
        weights = self.attend(frames)
        frames = frames.to(weights.dtype)
        mean = (weights * frames).sum(dim=1)
        variance = (weights * (frames - mean[:, None]).square()).sum(dim=1)
        return torch.cat([mean, (variance + SMALLEST_VARIANCE).sqrt()], dim=1)


class ShareDropout(nn.Module):
    """Dropout of a process's share of a batch: together, all processes drop what one process alone would.

    Attributes:
        shares: this process's place among those that share a batch, and their number; each draws for all of them.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.shares = (0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (B, D) in evaluation; in training 0 where something is dropped, the rest divided by its probability."""
        if not self.training:
            return x
        place, processes = self.shares
        keep = 1 - self.probability
        factors = x.new_empty(x.size(0) * processes, x.size(1)).bernoulli_(keep).div_(keep)
        return x * factors[place * x.size(0) : (place + 1) * x.size(0)]


class MapMoments(nn.Module):
    """Means, log deviations and correlations over time of what a map's frames are projected to: (B, C, T, F) -> (B, M).

    One convolution that spans all bins makes of every frame a few coordinates, x_t. With m their mean over time and
    s = sqrt(mean_t (x_t - m)^2 + 1e-4) their deviation, it gives m, log s, and above the diagonal the correlations

        mean_t (x_ti - m_i) (x_tj - m_j) / (s_i s_j),

    which are near 0 where a coordinate hardly moves. They are taken in float32 under bfloat16 autocast too.
    """

    pairs: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels, bins = shape
        self.project = nn.Sequential(nn.Conv2d(channels, COORDINATES, (1, bins), bias=False), Norm(COORDINATES))
        self.register_buffer("pairs", torch.triu_indices(COORDINATES, COORDINATES, offset=1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        frames = self.project(x).squeeze(3)  # (B, C, T, F) -> (B, 36, T)
        with torch.autocast(x.device.type, enabled=False):
            frames = frames.to(_precise(frames))
            mean = frames.mean(dim=2)
            centred = frames - mean[:, :, None]
            deviation = (centred.square().mean(dim=2) + FLOOR).sqrt()
            standard = centred / deviation[:, :, None]
            correlations = standard @ standard.transpose(1, 2) / frames.size(2)  # (B, 36, 36)
            correlations = correlations[:, self.pairs[0], self.pairs[1]]
            return torch.cat([mean, deviation.log(), correlations], dim=1)


class Correlations(Pooling):
    """How what the maps see goes together over time, at every depth: an embedding of D = 192.

    The moments of every map but the last, and the mean of that one, in which there is little time left to correlate
    over: each is normalised over the batch, since some vary a hundred times as much as others, and a linear layer makes
    an embedding of all of them, some of which are dropped in training. Correlations of channels, in place of means and
    deviations: Stafylakis, Rohdin and Burget, Speaker embeddings by modeling channel-wise correlations, Interspeech
    2021. It reads shallow maps and the features, too, as multi-layer feature aggregation reads shallow layers
    (Desplanques et al., ECAPA-TDNN, Interspeech 2020, section 3.3).
    """

    def __init__(self, shapes: Sequence[Shape]) -> None:
        super().__init__(shapes)
        self.moments = nn.ModuleList(MapMoments(shape) for shape in shapes[:-1])
        size = shapes[-1][0] + MOMENTS * (len(shapes) - 1)
        layers = Norm(size, affine=False), nn.Flatten(), ShareDropout(DROPOUT), nn.Linear(size, EMBEDDING)
        self.embed = nn.Sequential(*layers)
        self.embedding_dim = EMBEDDING

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        pooled = [moments(x) for moments, x in zip(self.moments, maps[:-1], strict=True)]
        return self.embed(torch.cat([*pooled, maps[-1].mean(dim=(2, 3))], dim=1)[:, :, None, None])


def _precise(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


POOLINGS: dict[str, type[Pooling]] = {
    "average": AveragePooling,
    "attentive": AttentiveStatistics,
    "correlation": Correlations,
}
