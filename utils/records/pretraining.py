"""The network that a training is started from: its weights, and what it had learnt from."""

from typing import Any, NamedTuple

import torch
import yaml
from torch import nn

from utils.records.checkpoint import BEST, FORMAT, find_checkpoint, read_tensors
from utils.records.guard import UNTRAINED
from utils.system.errors import UserError


class Pretraining(NamedTuple):
    """What the network of MODEL.PRETRAINED had learnt from, plain values.

    Attributes:
        networks: it, and the one that it was started from, and so on: of each sub_dir, the speakers trained on, and
            those chosen_on.
        is_known: whether that is all; nobody knows what a file of weights that is no checkpoint of ours has seen.
    """

    networks: list[dict[str, Any]]
    is_known: bool


def read_pretraining(path: str) -> Pretraining:
    """What the network in a file of MODEL.PRETRAINED had learnt from; nothing where the path is empty."""
    if not path:
        return Pretraining([], True)
    try:
        content = read_tensors(find_checkpoint(path, BEST, "MODEL.PRETRAINED"))
    except UserError:
        return Pretraining([], False)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return Pretraining([], False)
    protocol = content.get("protocol", {})
    untrained = set(protocol.get(UNTRAINED, ()))
    own = {
        "sub_dir": content["sub_dir"],
        "speakers": [name for name in content["speakers"] if name not in untrained],
        "chosen_on": protocol.get("validation_speakers", []),
    }
    before = yaml.safe_load(content["config"])["MODEL"].get("PRETRAINED", "")
    is_known = protocol.get("pretraining_known", not before)
    return Pretraining([own, *protocol.get("pretraining", [])], is_known)


def load_pretrained(network: nn.Module, path: str) -> None:
    """Start a network from the weights in a file: a checkpoint, a run folder, or a plain dictionary of tensors.

    A file for more than one input channel (ImageNet's three) has its first convolution summed over them: what the
    network would compute if every channel held the spectrogram. The classifier and the pooling's attention are taken
    over only where they fit.

    Raises:
        UserError: the file cannot be read, or weights other than theirs are missing or of another shape.
    """
    file = find_checkpoint(path, BEST, "MODEL.PRETRAINED")
    content = read_tensors(file)
    weights = content.get("model", content) if isinstance(content, dict) else {}
    own = network.state_dict()
    for name, value in own.items():
        given = weights.get(name)
        if isinstance(given, torch.Tensor) and given.dim() == 4 and value.shape[1] == 1 < given.shape[1]:
            given = given.sum(dim=1, keepdim=True)
        if isinstance(given, torch.Tensor) and given.shape == value.shape:
            own[name] = given
        elif not name.startswith(("classifier.", "pooling.")) and not name.endswith("num_batches_tracked"):
            found = "missing" if given is None else f"{tuple(given.shape)}"
            raise UserError(
                f"MODEL.PRETRAINED: {file} does not fit the network: {name} is {found}, needed is {tuple(value.shape)}"
            )
    network.load_state_dict(own)
