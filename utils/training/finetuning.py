"""Training that starts from another network's weights: what stands still at first, and what learns more slowly.

The head, classifier and pooling, is what may be drawn anew; all else, the backbone, is taken over (see
`utils.records.pretraining.load_pretrained`).
"""

from torch import nn

from models.base import SpeakerNetwork
from utils.system.processes import processes

HEAD = ("classifier", "pooling")  # children of every network


def split_parameters(network: SpeakerNetwork) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters of head and backbone."""
    named = list(network.named_parameters())
    is_head = [name.partition(".")[0] in HEAD for name, _ in named]
    parameters = [parameter for _, parameter in named]
    head = [parameter for parameter, own in zip(parameters, is_head, strict=True) if own]
    return head, [parameter for parameter, own in zip(parameters, is_head, strict=True) if not own]


def freeze(network: SpeakerNetwork, is_frozen: bool) -> None:
    """Let the backbone stand still, or learn. In training mode it stands still where its norms do, too.

    Several processes compute its gradients all the same, and `accumulated_step` drops them: which parameters have
    gradients, DistributedDataParallel must know from the beginning.
    """
    for parameter in split_parameters(network)[1]:
        parameter.requires_grad_(not is_frozen or processes() > 1)
    if is_frozen:
        for name, child in network.named_children():
            if name not in HEAD:
                child.eval()
