"""VGG-M on spectrograms: Nagrani, Chung and Zisserman, VoxCeleb, Interspeech 2017, table 3."""

from typing import Any

from torch import Tensor, nn

from models.base import SpeakerNetwork
from models.heads import build_classifier
from models.norms import Norm

SHORTEST = 65  # frames; shorter inputs vanish in the pooling


def _conv_norm(channels_in: int, channels_out: int, kernel: tuple[int, int], **geometry: Any) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, kernel, bias=False, **geometry),
        Norm(channels_out),
        nn.ReLU(),
    ]


class VGGM(SpeakerNetwork):
    """The layers of table 3, with time before frequency.

    The paper's input has 512 frequency bins, ours 257: the first convolution therefore strides by 1 along frequency
    instead of 2, and from its output on (254 there, 253 here) every size along frequency is the table's, down to the 9
    that fc6 spans. So every layer has the table's number of weights.

    Args:
        num_classes: K.
        cosine_scale: of a cosine classifier's logits; None for a linear classifier.
        subcenters: of each class of a cosine classifier.
    """

    embedding_dim = 1024

    def __init__(self, num_classes: int, cosine_scale: float | None = None, subcenters: int = 1) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *_conv_norm(1, 96, (7, 7), stride=(2, 1), padding=1),  # conv1: (T, F) 300 x 257 -> 148 x 253
            nn.MaxPool2d(3, stride=2),  # mpool1: 73 x 126
            *_conv_norm(96, 256, (5, 5), stride=2, padding=1),  # conv2: 36 x 62
            nn.MaxPool2d(3, stride=2),  # mpool2: 17 x 30
            *_conv_norm(256, 384, (3, 3), padding=1),  # conv3
            *_conv_norm(384, 256, (3, 3), padding=1),  # conv4
            *_conv_norm(256, 256, (3, 3), padding=1),  # conv5
            nn.MaxPool2d((3, 5), stride=(2, 3)),  # mpool5: 8 x 9
            *_conv_norm(256, 4096, (1, 9)),  # fc6: 8 x 1
            nn.AdaptiveAvgPool2d(1),  # apool6
            *_conv_norm(4096, 1024, (1, 1)),  # fc7
        )
        self.classifier = build_classifier(self.embedding_dim, num_classes, cosine_scale, subcenters)  # fc8
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def embed(self, features: Tensor) -> Tensor:
        """Embeddings (B, 1024) of features (B, T, 257), T of SHORTEST or more: the output of fc7."""
        return self.convolutions(features.unsqueeze(1)).flatten(1)
