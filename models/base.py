"""What all networks have in common."""

from typing import Any, NamedTuple

from torch import Tensor, nn

from models.norms import Norm
from models.operations import ReLUFirst

BINS = 257  # of a frame's features, as the paper has them


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

    def share_batches(self, place: int, processes: int) -> None:
        """Draw what is random for whole batches, of which this process, one of so many, has its share."""
        module: Any
        for module in self.modules():
            if hasattr(module, "shares"):
                module.shares = (place, processes)

    def embed(self, features: Tensor) -> Tensor:
        """Embeddings (B, D) of features (B, T, F)."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K) of features (B, T, F)."""
        return self.classifier(self.embed(features))


def build_stems(channels: int) -> tuple[nn.Sequential, ReLUFirst]:
    """The derived network's stem: (B, 1, T, F) to (B, C, T/4, F/4), and that to (B, C, T/8, F/8)."""
    stem_0 = nn.Sequential(
        nn.Conv2d(1, channels // 2, 3, stride=2, padding=1, bias=False),
        Norm(channels // 2),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1, bias=False),
        Norm(channels),
    )
    stem_1 = ReLUFirst(
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False),
        Norm(channels),
    )
    return stem_0, stem_1


def halve(count: int) -> int:
    """How many frames or bins a stride of 2 leaves: every second one, the first among them; of all operations here."""
    return (count + 1) // 2


class CellPlan(NamedTuple):
    """A cell's place in a stack.

    Attributes:
        older, newer: channels of its two inputs.
        channels: C, of its nodes; it gives 4 C.
        reduction: whether it halves time and frequency; previous_reduction: whether the cell before does, so that the
            older input is twice as large as the newer one.
    """

    older: int
    newer: int
    channels: int
    reduction: bool
    previous_reduction: bool


def plan_cells(layers: int, channels: int, stem_channels: int, previous_reduction: bool) -> list[CellPlan]:
    """A stack of cells: numbers layers//3 and 2*layers//3 are reductions, and double the channels."""
    plans: list[CellPlan] = []
    older, newer = stem_channels, stem_channels
    for layer in range(layers):
        reduction = layer in (layers // 3, 2 * layers // 3)
        channels = 2 * channels if reduction else channels
        plans.append(CellPlan(older, newer, channels, reduction, previous_reduction))
        older, newer, previous_reduction = newer, 4 * channels, reduction
    return plans
