"""The network that a genotype derives to: a stem, stacked cells, global average pooling, a linear classifier."""

from torch import Tensor, cat, nn

from models.genotypes import INPUTS, Gene, Genotype
from models.operations import FactorizedReduce, Identity, ReLUConvNorm, build_operation, drop_path


class Cell(nn.Module):
    """One cell: its two inputs are brought to `channels`, each node sums two operations, the nodes are concatenated.

    Maps (B, C_older, T', F') and (B, C_newer, T, F) to (B, 4 channels, T/s, F/s), s = 2 for a reduction cell.
    """

    def __init__(
        self,
        genes: tuple[Gene, ...],
        channels_older: int,
        channels_newer: int,
        channels: int,
        reduction: bool,
        previous_reduction: bool,
    ) -> None:
        super().__init__()
        if previous_reduction:  # the older input is twice as large as the newer one
            self.preprocess_older = FactorizedReduce(channels_older, channels)
        else:
            self.preprocess_older = ReLUConvNorm(channels_older, channels)
        self.preprocess_newer = ReLUConvNorm(channels_newer, channels)
        self.sources = [source for _, source in genes]
        self.operations = nn.ModuleList(
            build_operation(name, channels, 2 if reduction and source < INPUTS else 1, affine=True)
            for name, source in genes
        )

    def forward(self, older: Tensor, newer: Tensor, drop_path_probability: float) -> Tensor:
        states = [self.preprocess_older(older), self.preprocess_newer(newer)]
        outputs = []
        for source, operation in zip(self.sources, self.operations, strict=True):
            if len(outputs) == 2:
                states.append(outputs[0] + outputs[1])
                outputs = []
            output = operation(states[source])
            if self.training and not isinstance(operation, Identity):
                output = drop_path(output, drop_path_probability)
            outputs.append(output)
        states.append(outputs[0] + outputs[1])
        return cat(states[INPUTS:], dim=1)


class Network(nn.Module):
    """The derived network.

    Args:
        genotype: the two cells.
        channels: C, the first cell's number of channels; doubled at each of the two reduction cells.
        layers: number of cells; cells layers//3 and 2*layers//3 are reductions.
        num_classes: K.

    `drop_path_probability` is set by the training loop every epoch.
    """

    def __init__(self, genotype: Genotype, channels: int, layers: int, num_classes: int) -> None:
        super().__init__()
        self.stem_0 = nn.Sequential(
            nn.Conv2d(1, channels // 2, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels // 2),
            nn.ReLU(),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.stem_1 = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.cells = nn.ModuleList()
        older, newer, previous_reduction = channels, channels, True  # stem_1 halves stem_0's output
        for layer in range(layers):
            reduction = layer in reduction_layers(layers)
            channels = 2 * channels if reduction else channels
            genes = genotype.reduce if reduction else genotype.normal
            self.cells.append(Cell(genes, older, newer, channels, reduction, previous_reduction))
            older, newer, previous_reduction = newer, 4 * channels, reduction
        self.embedding_dim = newer
        self.classifier = nn.Linear(newer, num_classes)
        self.drop_path_probability = 0.0

    def embed(self, features: Tensor) -> Tensor:
        """Embeddings (B, D) of features (B, T, F): the last cell's output averaged over time and frequency."""
        older = self.stem_0(features.unsqueeze(1))  # (B, 1, T, F) -> (B, C, T/4, F/4)
        newer = self.stem_1(older)  # (B, C, T/8, F/8)
        for cell in self.cells:
            older, newer = newer, cell(older, newer, self.drop_path_probability)
        return newer.mean(dim=(2, 3))

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K) of features (B, T, F)."""
        return self.classifier(self.embed(features))


def reduction_layers(layers: int) -> tuple[int, int]:
    """The positions of the two reduction cells among `layers` cells."""
    return layers // 3, 2 * layers // 3
