"""The network that a training is started from: its weights, and what it had learnt from."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from torch import Tensor

from data_objects.frontend import SETTINGS, differing_front_end
from models import USUAL
from models.base import SpeakerNetwork
from utils.records.checkpoint import (
    BEST,
    FORMAT,
    ORIGINAL,
    Checkpoint,
    check_front_end,
    check_identity,
    checkpoint_of,
    find_checkpoint,
    is_original,
    read_tensors,
)
from utils.records.guard import UNTRAINED
from utils.system.errors import UserError
from utils.system.text import some

CLASSIFIER, POOLING, COUNTER = "classifier.", "pooling.", "num_batches_tracked"
OF_CLASSES = ("subcenters", "pooling")  # options without which alike a row is of something else
Class = tuple[str, Fraction]  # a speaker, and at which speed


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


def load_pretrained(
    network: SpeakerNetwork, path: str, speakers: Sequence[str], front_end_settings: Mapping[str, Any] = SETTINGS
) -> str:
    """Start a network from the weights in a file: a checkpoint, a run folder, or a plain dictionary of tensors.

    A file for more than one input channel (ImageNet's three) has its first convolution summed over them: what the
    network would compute if every channel held the spectrogram. The pooling's layers are taken over where they fit;
    the classifier's row of a speaker where a checkpoint of ours was trained on a speaker of that name, by the same kind
    of classifier with as many sub-centres; of a speaker at another speed (AUGMENT.SPEED_CLASSES), where it was trained
    at that speed, too. All else must be there and fit.

    Args:
        speakers: the classes of the network, without those of other speeds.
        front_end_settings: of the front end that it is trained with; see `data_objects.frontend.settings_of`.

    Returns:
        What was taken over, what is as it was drawn, and what of the file is left over, in a line.

    Raises:
        UserError: the file cannot be read, is of another network or front end, or weights other than theirs are missing
            or of another shape.
    """
    file = find_checkpoint(path, BEST, "MODEL.PRETRAINED")
    content = read_tensors(file)
    if is_original(content):
        raise UserError(f"MODEL.PRETRAINED: {ORIGINAL.format(file)}")
    weights = content.get("model", content) if isinstance(content, dict) else {}
    weights = weights if isinstance(weights, dict) else {}
    is_ours = isinstance(content, dict) and content.get("format") == FORMAT
    if is_ours:
        checkpoint = checkpoint_of(content, file, ("search", "train", "train_baseline"))
        _check_network(network, checkpoint.architecture, file)
        _check_features(checkpoint, front_end_settings, file)
        check_identity(checkpoint, file)  # rows by name need the names that it was trained with
    own = network.state_dict()
    taken = [name for name in own if not name.startswith(CLASSIFIER) and _take(own, weights, name, file)]
    architecture = getattr(network, "architecture", {})
    classes, shared = list_classes(speakers, architecture), 0
    if is_ours and all(_option(checkpoint.architecture, name) == _option(architecture, name) for name in OF_CLASSES):
        shared = _take_rows(own, weights, classes, _trained_classes(content), _option(architecture, "subcenters"))
    network.load_state_dict(own)
    drawn = [name for name in own if name not in taken and not name.startswith(CLASSIFIER)]
    drawn = [name for name in drawn if not name.endswith(COUNTER)]
    left = [name for name in weights if name not in taken and not (shared and name.startswith(CLASSIFIER))]
    return _describe(taken, drawn, left, shared, len(classes), "speakers" if classes[-1][1] == 1 else "classes")


def _check_network(network: SpeakerNetwork, found: dict[str, Any], file: Path) -> None:
    """Refuse the weights of other wiring, which may have the same names and shapes."""
    for name in ("kind", "genotype", "layers", "channels"):
        if found.get(name) != network.architecture.get(name):
            raise UserError(
                f"MODEL.PRETRAINED: {file} holds another network: its {name} is {found.get(name)}, this one's is "
                f"{network.architecture.get(name)}; start from a network of the same"
            )


def _check_features(checkpoint: Checkpoint, expected: Mapping[str, Any], file: Path) -> None:
    """Refuse weights for other features."""
    check_front_end(checkpoint, file)
    if differing := differing_front_end(checkpoint.front_end_settings, expected):
        raise UserError(
            f"MODEL.PRETRAINED: {file} was trained with another front end, {differing}: set FRONTEND as there, or "
            "start from another network"
        )


def _take(own: dict[str, Tensor], weights: dict[str, Any], name: str, file: Path) -> bool:
    """Take a tensor over if it fits; whether it did. What need not be there may be missing."""
    given, value = weights.get(name), own[name]
    if isinstance(given, Tensor) and given.dim() == 4 and value.shape[1] == 1 < given.shape[1]:
        given = given.sum(dim=1, keepdim=True)
    if isinstance(given, Tensor) and given.shape == value.shape:
        own[name] = given
        return True
    if not name.startswith(POOLING) and not name.endswith(COUNTER):
        found = f"{tuple(given.shape)}" if isinstance(given, Tensor) else "missing"
        raise UserError(
            f"MODEL.PRETRAINED: {file} does not fit the network: {name} is {found}, needed is {tuple(value.shape)}"
        )
    return False


def list_classes(speakers: Sequence[str], architecture: dict[str, Any]) -> list[Class]:
    """Who every row of a network's classifier stands for: the speakers, then all of them at its first speed, ..."""
    speeds = architecture.get("speeds", USUAL["speeds"]).split()
    return [(speaker, speed) for speed in (Fraction(1), *map(Fraction, speeds)) for speaker in speakers]


def _trained_classes(content: dict[str, Any]) -> dict[Class, int]:
    """The rows of a checkpoint's classifier by what they stand for, of the speakers that it was trained on."""
    untrained = set(content.get("protocol", {}).get(UNTRAINED, ()))
    classes = list_classes(content["speakers"], content["architecture"])
    return {(name, speed): row for row, (name, speed) in enumerate(classes) if name not in untrained}


def _option(architecture: dict[str, Any], name: str) -> Any:
    """What an architecture has of one of its options."""
    return architecture.get(name, USUAL[name])


def _take_rows(
    own: dict[str, Tensor],
    weights: dict[str, Any],
    classes: Sequence[Class],
    rows: dict[Class, int],
    subcenters: int,
) -> int:
    """Take the classifier's rows, as many as there are sub-centres, of the classes that both have; returns how many
    classes that are."""
    names = [name for name in own if name.startswith(CLASSIFIER)]
    there = [name for name in weights if name.startswith(CLASSIFIER)]
    if names != there or any(own[name].shape[1:] != weights[name].shape[1:] for name in names):
        return 0  # a cosine classifier has no bias
    pairs = [(row, rows[own_class]) for row, own_class in enumerate(classes) if own_class in rows]
    if pairs:
        here, other = map(list, zip(*pairs, strict=True))
        for name in names:
            own[name] = own[name].clone()
            blocks, given = (values.unflatten(0, (-1, subcenters)) for values in (own[name], weights[name]))
            blocks[here] = given[other]
    return len(pairs)


def _describe(taken: list[str], drawn: list[str], left: list[str], shared: int, classes: int, of_what: str) -> str:
    """A line for the log."""
    parts = [f"{len(taken):,} tensors taken over"]
    if drawn:
        parts.append(f"{', '.join(drawn)} drawn anew")
    new = f"drawn anew for {classes - shared:,} of {classes:,} {of_what}" if shared else "drawn anew"
    parts.append(f"the classifier {new}" if shared < classes else f"the classifier's {classes:,} {of_what}, too")
    if left:
        parts.append(f"left over in the file: {some(left, 5)}")
    return f"MODEL.PRETRAINED: {'; '.join(parts)}"
