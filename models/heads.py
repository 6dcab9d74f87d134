"""What turns an embedding into logits: a linear classifier, or a cosine one for margin losses (TRAIN.LOSS aam)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize


class CosineClassifier(nn.Linear):
    """Scaled cosines: logits (B, K) = scale * cos(theta), theta the angles between embeddings (B, D) and K weights.

    Deng et al., ArcFace, CVPR 2019, section 2.1. Without a margin: that is the loss's business, in training alone (see
    `utils.training.losses.AdditiveAngularMargin`), so that what identifies a speaker is the nearest of the weights.

    With sub-centres, a class's cosine is the greatest of several weights': Deng et al., Sub-center ArcFace, ECCV 2020,
    section 3.2.

    Args:
        scale: s, the length that all embeddings are brought to.
        subcenters: weights of each class, which lie one behind the other.
    """

    def __init__(self, embedding_dim: int, num_classes: int, scale: float, subcenters: int = 1) -> None:
        super().__init__(embedding_dim, num_classes * subcenters, bias=False)
        self.out_features = num_classes
        self.scale = scale
        self.subcenters = subcenters

    def reset_parameters(self) -> None:
        """Directions drawn evenly; of a length of about 1, which decides how far a step of Adam's turns them."""
        nn.init.normal_(self.weight, 0, self.in_features**-0.5)

    def forward(self, embeddings: Tensor) -> Tensor:
        # Not in bfloat16: 30 times a cosine of 8 bits would be off by a tenth.
        with torch.autocast(embeddings.device.type, enabled=False):
            dtype = torch.promote_types(embeddings.dtype, torch.float32)
            cosines = linear(normalize(embeddings.to(dtype)), normalize(self.weight))
            if self.subcenters > 1:
                cosines = cosines.unflatten(1, (-1, self.subcenters)).amax(dim=2)  # (B, K, sub-centres) -> (B, K)
            return self.scale * cosines

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, scale={self.scale}, subcenters={self.subcenters}"


def build_classifier(
    embedding_dim: int, num_classes: int, cosine_scale: float | None, subcenters: int = 1
) -> nn.Linear:
    """The last layer: a `CosineClassifier` of this scale, or a linear layer with bias where it is None."""
    if cosine_scale is None:
        return nn.Linear(embedding_dim, num_classes)
    return CosineClassifier(embedding_dim, num_classes, cosine_scale, subcenters)
