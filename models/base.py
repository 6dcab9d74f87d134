"""What all networks have in common."""

from typing import Any

from torch import Tensor, nn


class SpeakerNetwork(nn.Module):
    """A network that embeds spectrograms and tells speakers apart.

    Attributes:
        architecture: plain values that `models.build_model` builds the same network from.
        embedding_dim: D.
        classifier: what makes logits of embeddings.
    """

    architecture: dict[str, Any]
    embedding_dim: int
    classifier: nn.Linear

    def embed(self, features: Tensor) -> Tensor:
        """Embeddings (B, D) of features (B, T, F)."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K) of features (B, T, F)."""
        return self.classifier(self.embed(features))
