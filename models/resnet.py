"""ResNet-18 and ResNet-34 on spectrograms (He et al., CVPR 2016), as the AutoSpeech baselines have them."""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import relu

from models.base import BINS, SpeakerNetwork, halve
from models.heads import build_classifier
from models.norms import Norm
from models.pooling import POOLINGS


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: (B, C_in, T, F) -> (B, C_out, T/s, F/s)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = Norm(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = Norm(channels_out)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), Norm(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        return relu(residual + self.downsample(x))


class ResNet(SpeakerNetwork):
    """A residual network with one input channel.

    Args:
        blocks: number of basic blocks in each of the four stages (64, 128, 256, 512 channels).
        num_classes: K.
        pooling: which of `models.pooling.POOLINGS` makes the embedding of the features and the four stages' outputs.
        bins: F, which a pooling may need to know.
        cosine_scale: of a cosine classifier's logits; None for a linear classifier.
        subcenters: of each class of a cosine classifier.

    The first convolution has padding 2, where the usual network has 3: so do the published baselines. The layers bear
    the names that published weights files use, so that MODEL.PRETRAINED can load one.
    """

    def __init__(
        self,
        blocks: tuple[int, int, int, int],
        num_classes: int,
        pooling: str = "average",
        cosine_scale: float | None = None,
        subcenters: int = 1,
        bins: int = BINS,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=2, bias=False)
        self.bn1 = Norm(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(blocks[0], 64, 64, stride=1)
        self.layer2 = _stage(blocks[1], 64, 128, stride=2)
        self.layer3 = _stage(blocks[2], 128, 256, stride=2)
        self.layer4 = _stage(blocks[3], 256, 512, stride=2)
        shapes = [(1, bins), (64, halve((bins - 1) // 2))]
        for channels in (128, 256, 512):
            shapes.append((channels, halve(shapes[-1][1])))
        self.pooling = POOLINGS[pooling](shapes)
        self.embedding_dim = self.pooling.embedding_dim
        self.classifier = build_classifier(self.embedding_dim, num_classes, cosine_scale, subcenters)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if self.classifier.bias is not None:  # a cosine classifier has initialised itself
            nn.init.normal_(self.classifier.weight, 0, 0.01)
            nn.init.zeros_(self.classifier.bias)

    def embed(self, features: Tensor) -> Tensor:
        """Embeddings (B, D) of features (B, T, F): 512 values with average pooling, with attentive 1024."""
        maps = [features.unsqueeze(1)]
        x = self.maxpool(relu(self.bn1(self.conv1(maps[0]))))  # (B, 64, T/4, F/4)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            maps.append(x := stage(x))
        return self.pooling(maps)  # the last one (B, 512, T/32, F/32)


def _stage(count: int, channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels_out, stride)
    return nn.Sequential(first, *(BasicBlock(channels_out, channels_out, 1) for _ in range(count - 1)))


def resnet18(num_classes: int, **options: Any) -> ResNet:
    """ResNet-18: 11,812,003 parameters with 1,251 classes; options as of `ResNet`."""
    return ResNet((2, 2, 2, 2), num_classes, **options)


def resnet34(num_classes: int, **options: Any) -> ResNet:
    """ResNet-34: 21,920,163 parameters with 1,251 classes; options as of `ResNet`."""
    return ResNet((3, 4, 6, 3), num_classes, **options)
