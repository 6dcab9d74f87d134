"""What a network must beat: moments of cepstra over an utterance, projected by linear discriminant analysis.

Nothing of it is learnt by gradients: see `utils.training.fitting`.
"""

import torch
from torch import Tensor, nn
from torchaudio.functional import create_dct, melscale_fbanks

from models.base import BINS, SpeakerNetwork
from models.heads import CosineClassifier

SAMPLE_RATE = 16_000  # of the front end
CEPSTRA, BANDS = 29, 40
LOWEST = 20.0  # Hz, of the bands
LOUD = 70  # per cent of the frames, the loudest ones, count
FLOOR = 1e-10  # of power, and of a variance
MOMENTS = 2 * CEPSTRA + CEPSTRA * (CEPSTRA - 1) // 2
WINDOW = 1000  # frames that see most utterances whole, of more of which there are several windows
LARGEST = 120  # dimensions of an embedding; one less than there are speakers, where these are fewer
SCALE = 30.0  # of a classifier's cosines


class Moments(SpeakerNetwork):
    """Means, log deviations and correlations of mel cepstra over the loudest frames: (B, 464) of features (B, T, 257).

    Attributes:
        spectral_mean, spectral_deviation: (257,) of the front end that the features come from: they are undone.
    """

    embedding_dim = MOMENTS
    spectral_mean: Tensor
    spectral_deviation: Tensor
    bands: Tensor
    cosines: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("spectral_mean", torch.zeros(BINS))
        self.register_buffer("spectral_deviation", torch.ones(BINS))
        bands = melscale_fbanks(BINS, LOWEST, SAMPLE_RATE / 2, BANDS, SAMPLE_RATE)
        self.register_buffer("bands", bands, persistent=False)  # (257, 40)
        self.register_buffer("cosines", create_dct(CEPSTRA, BANDS, "ortho"), persistent=False)  # (40, 29)

    def undo(self, mean: Tensor, deviation: Tensor) -> None:
        """Take features to be normalised by these (257,), as the front end does it."""
        self.spectral_mean.copy_(mean)
        self.spectral_deviation.copy_(deviation)

    def embed(self, features: Tensor) -> Tensor:
        """The moments (B, 464) of features (B, T, 257)."""
        magnitudes = features.float() * self.spectral_deviation + self.spectral_mean
        logarithms = (magnitudes.square() @ self.bands).clamp(min=FLOOR).log()  # (B, T, 40)
        count = (LOUD * features.size(1) + 99) // 100
        loudest = logarithms.mean(dim=2).topk(count, dim=1).indices  # (B, T')
        cepstra = (logarithms @ self.cosines).gather(1, loudest[:, :, None].expand(-1, -1, CEPSTRA))  # (B, T', 29)
        mean = cepstra.mean(dim=1)
        centred = cepstra - mean[:, None]
        deviation = centred.square().mean(dim=1).clamp(min=FLOOR).sqrt()
        standard = centred / deviation[:, None]
        correlations = standard.transpose(1, 2) @ standard / count  # (B, 29, 29)
        row, column = torch.triu_indices(CEPSTRA, CEPSTRA, offset=1, device=features.device)
        return torch.cat([mean, deviation.log(), correlations[:, row, column]], dim=1)


class Statistics(Moments):
    """Embeddings (B, D) of features (B, T, 257): the moments, less their mean, projected.

    Args:
        num_classes: K; D is 120, or K - 1 where that is less.

    Attributes:
        mean, projection: (464,) and (464, D). Until they are fitted, D of the moments are what comes out.
        classifier: the direction of every speaker's embeddings.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.embedding_dim = min(LARGEST, max(1, num_classes - 1))
        self.mean = nn.Parameter(torch.zeros(MOMENTS))
        self.projection = nn.Parameter(torch.eye(MOMENTS, self.embedding_dim))
        self.classifier = CosineClassifier(self.embedding_dim, num_classes, SCALE)
        self.requires_grad_(False)

    def embed(self, features: Tensor) -> Tensor:
        """Embeddings (B, D) of features (B, T, 257)."""
        return (super().embed(features) - self.mean) @ self.projection
