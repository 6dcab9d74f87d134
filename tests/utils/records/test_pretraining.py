"""Weights to start from: what is taken over, and what does not fit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from data_objects.frontend import settings_of
from models import build_model
from models.base import SpeakerNetwork
from models.resnet import resnet18
from tests.networks import save_run
from utils.records.checkpoint import Checkpoint, identity_of, load_checkpoint, save_checkpoint
from utils.records.pretraining import load_pretrained
from utils.system.errors import UserError

OWN = ["a", "b", "c", "d", "e"]  # the classes of a network


def imagenet_like() -> dict[str, Tensor]:
    """Weights as published for three input channels and a thousand classes under another name."""
    weights = resnet18(2).state_dict()
    weights["conv1.weight"] = torch.randn(64, 3, 7, 7)
    del weights["classifier.weight"], weights["classifier.bias"]
    return weights | {"fc.weight": torch.randn(1000, 512), "fc.bias": torch.randn(1000)}


def test_pretrained_weights_of_three_channels(tmp_path: Path) -> None:
    """The first convolution is summed over its input channels; the classifier stays as it was drawn."""
    weights = imagenet_like()
    torch.save(weights, tmp_path / "weights.pt")
    network = resnet18(5)
    classifier = network.classifier.weight.clone()
    load_pretrained(network, str(tmp_path / "weights.pt"), OWN)
    torch.testing.assert_close(network.conv1.weight, weights["conv1.weight"].sum(dim=1, keepdim=True))
    assert torch.equal(network.layer4[1].conv2.weight, weights["layer4.1.conv2.weight"])
    assert torch.equal(network.classifier.weight, classifier)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"layer2.0.conv1.weight": torch.zeros(1, 2, 3, 3)}, r"layer2\.0\.conv1\.weight is \(1, 2, 3, 3\).*\(128, 64"),
        ({"layer3.0.bn1.weight": None}, r"layer3\.0\.bn1\.weight is missing"),
    ],
)
def test_pretrained_weights_that_do_not_fit(tmp_path: Path, change: dict, complaint: str) -> None:
    """The error names the file, the weight and both shapes."""
    weights = {name: value for name, value in (imagenet_like() | change).items() if value is not None}
    torch.save(weights, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=rf"weights\.pt.*{complaint}"):
        load_pretrained(resnet18(5), str(tmp_path / "weights.pt"), OWN)


def test_weights_from_a_network_without_attention(tmp_path: Path) -> None:
    """Its layers are taken over; the attention stays as it was drawn."""
    weights = resnet18(5).state_dict()
    torch.save(weights, tmp_path / "weights.pt")
    network = resnet18(5, pooling="attentive")
    drawn = network.pooling.hidden.weight.clone()
    load_pretrained(network, str(tmp_path / "weights.pt"), OWN)
    assert torch.equal(network.conv1.weight, weights["conv1.weight"])
    assert torch.equal(network.pooling.hidden.weight, drawn)


# ------------------------------------------------------------------------------------------------------------------
# Checkpoints, which say what they are
# ------------------------------------------------------------------------------------------------------------------
def checkpoint_of(folder: Path, speakers: list[str], kind: str = "network", **options: Any) -> Checkpoint:
    """A checkpoint of a small network for these five speakers, written as best.pt."""
    checkpoint = load_checkpoint(save_run(folder, kind, **options) / "best.pt", ("train", "train_baseline"))
    checkpoint.speakers = speakers
    checkpoint.identity = identity_of(checkpoint)
    save_checkpoint(checkpoint, folder / "best.pt")
    return checkpoint


def another(checkpoint: Checkpoint, **changes: object) -> SpeakerNetwork:
    """A network like a checkpoint's, but for these values, with weights of its own."""
    torch.manual_seed(1)
    return build_model(checkpoint.architecture | changes)


def test_rows_of_the_classifier_are_the_speakers_own(tmp_path: Path) -> None:
    """By name, wherever they stand; of whom the checkpoint does not know, or was not trained on, as they were drawn."""
    before = checkpoint_of(tmp_path, ["c", "x", "a", "e", "y"])
    before.protocol["untrained_speakers"] = ["e"]
    save_checkpoint(before, tmp_path / "best.pt")
    network = another(before)
    drawn = {name: value.clone() for name, value in network.classifier.state_dict().items()}
    said = load_pretrained(network, str(tmp_path), OWN)
    for name, value in network.classifier.state_dict().items():
        given = before.model[f"classifier.{name}"]
        assert torch.equal(value, torch.stack([given[2], drawn[name][1], given[0], drawn[name][3], drawn[name][4]]))
    assert "the classifier drawn anew for 3 of 5 speakers" in said
    assert f"{len(before.model) - 2:,} tensors taken over" in said
    assert all(
        torch.equal(value, before.model[name])
        for name, value in network.state_dict().items()
        if not name.startswith("classifier.")
    )


@pytest.mark.parametrize("subcenters", [1, 3])
def test_directions_of_a_cosine_classifier_are_the_speakers_own(tmp_path: Path, subcenters: int) -> None:
    """All of a speaker's sub-centres; another scale is no obstacle."""
    aam = {"loss": "aam", "scale": 30.0, "subcenters": subcenters}
    before = checkpoint_of(tmp_path, ["c", "x", "a", "e", "y"], **aam)
    network = another(before, scale=20.0)
    drawn = network.classifier.weight.detach().clone().unflatten(0, (5, subcenters))
    said = load_pretrained(network, str(tmp_path), OWN)
    given = before.model["classifier.weight"].unflatten(0, (5, subcenters))
    expected = torch.stack([given[2], drawn[1], given[0], drawn[3], given[3]])
    assert torch.equal(network.classifier.weight.unflatten(0, (5, subcenters)), expected)
    assert "the classifier drawn anew for 2 of 5 speakers" in said


def test_another_number_of_subcentres_is_drawn_anew(tmp_path: Path) -> None:
    """Which of them would be whose, nobody can say; the log does not keep it back."""
    before = checkpoint_of(tmp_path, OWN, loss="aam", scale=30.0, subcenters=2)
    network = another(before, subcenters=3)
    drawn = network.classifier.weight.clone()
    assert "the classifier drawn anew; left over in the file: classifier.weight" in load_pretrained(
        network, str(tmp_path), OWN
    )
    assert torch.equal(network.classifier.weight, drawn)


def test_rows_for_embeddings_of_another_pooling_are_drawn_anew(tmp_path: Path) -> None:
    """Though they are as long: of 12 channels an average has 192 values, as correlations have."""
    checkpoint = checkpoint_of(tmp_path, OWN)
    architecture = checkpoint.architecture | {"channels": 12}
    checkpoint.architecture, checkpoint.model = architecture, build_model(architecture).state_dict()
    checkpoint.identity = identity_of(checkpoint)
    save_checkpoint(checkpoint, tmp_path / "best.pt")
    network = another(checkpoint, pooling="correlation", bins=257)
    assert network.classifier.weight.shape == checkpoint.model["classifier.weight"].shape
    drawn = network.classifier.weight.clone()
    assert "the classifier drawn anew; left over" in load_pretrained(network, str(tmp_path), OWN)
    assert torch.equal(network.classifier.weight, drawn)


def test_rows_of_other_people_are_never_taken(tmp_path: Path) -> None:
    """As many classes, other names; nor of a file that has no names."""
    before = checkpoint_of(tmp_path, ["v", "w", "x", "y", "z"])
    torch.save(before.model, tmp_path / "weights.pt")
    for file in (tmp_path, tmp_path / "weights.pt"):
        network = another(before)
        drawn = network.classifier.weight.clone()
        said = load_pretrained(network, str(file), OWN)
        assert torch.equal(network.classifier.weight, drawn)
        assert "the classifier drawn anew; left over in the file: classifier.weight, classifier.bias" in said


def test_all_speakers_shared(tmp_path: Path) -> None:
    """Another order of them is no obstacle."""
    before = checkpoint_of(tmp_path, OWN[::-1])
    network = another(before)
    assert "the classifier's 5 speakers, too" in load_pretrained(network, str(tmp_path), OWN)
    assert torch.equal(network.classifier.weight, before.model["classifier.weight"].flip(0))


@pytest.mark.parametrize(
    ("before", "now", "taken", "said"),
    [
        ("", "0.9 1.1", {0: 4, 1: 3, 2: 2, 3: 1, 4: 0}, "drawn anew for 10 of 15 classes"),
        ("0.9 1.1", "", {0: 4, 1: 3, 2: 2, 3: 1, 4: 0}, "'s 5 speakers, too"),
        (
            "1.1 0.9",
            "0.9",
            {row: (4 - row) + 10 * (row // 5) + 5 * (row // 5) for row in range(10)},
            "'s 10 classes, too",
        ),
    ],
)
def test_rows_of_speeds(tmp_path: Path, before: str, now: str, taken: dict[int, int], said: str) -> None:
    """Those of the speakers are taken over; those of them at a speed, where both were trained at it."""
    given = checkpoint_of(tmp_path, OWN[::-1], **({"speeds": before} if before else {}))
    network = another(given, speeds=now)
    drawn = network.classifier.weight.clone()
    assert f"the classifier{said if said[0] == chr(39) else ' ' + said}" in load_pretrained(network, str(tmp_path), OWN)
    for row, value in enumerate(network.classifier.weight):
        expected = given.model["classifier.weight"][taken[row]] if row in taken else drawn[row]
        assert torch.equal(value, expected)


@pytest.mark.parametrize("changes", [{"loss": "aam", "scale": 30.0}, {"pooling": "attentive"}])
def test_another_head_is_drawn_anew(tmp_path: Path, changes: dict) -> None:
    """A cosine classifier's rows are no linear one's; attention makes embeddings twice as long."""
    before = checkpoint_of(tmp_path, OWN)
    network = another(before, **changes)
    drawn = {name: value.clone() for name, value in network.state_dict().items()}
    said = load_pretrained(network, str(tmp_path), OWN)
    assert all(
        torch.equal(value, drawn[name])
        for name, value in network.state_dict().items()
        if name.startswith(("classifier.", "pooling."))
    )
    assert ("pooling.hidden.weight, pooling.hidden.bias, pooling.score.weight drawn anew" in said) == (
        "pooling" in changes
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"layers": 4}, "its layers is 3, this one's is 4"),
        ({"channels": 8}, "its channels is 4, this one's is 8"),
        ({"genotype": None}, r"its genotype is Genotype\(.*this one's is Genotype\("),
        ({"kind": "resnet18"}, "its kind is network, this one's is resnet18"),
    ],
)
def test_another_network_is_refused(tmp_path: Path, change: dict, complaint: str) -> None:
    """Other wiring may have the same names and shapes; both are named."""
    before = checkpoint_of(tmp_path, OWN)
    if "genotype" in change:
        swapped = before.architecture["genotype"].replace("('dil_conv_5x5', 1)", "('dil_conv_5x5', 0)", 1)
        assert swapped != before.architecture["genotype"]
        change = {"genotype": swapped}
    with pytest.raises(UserError, match=rf"MODEL.PRETRAINED: .*best.pt holds another network: {complaint}") as caught:
        load_pretrained(another(before, **change), str(tmp_path), OWN)
    assert "\n" not in str(caught.value)


def test_another_front_end_is_refused(tmp_path: Path) -> None:
    """Weights for other features are not for these; of the same, they are taken over."""
    settings = settings_of("log_mel", norm="utterance_mean")
    before = checkpoint_of(tmp_path, OWN, front_end_settings=settings)
    complaint = r"FRONTEND.FEATURE log_mel \(not magnitude\), FRONTEND.NORM utterance_mean \(not corpus\): set"
    with pytest.raises(UserError, match=rf"MODEL.PRETRAINED: .* another front end, {complaint}") as caught:
        load_pretrained(another(before), str(tmp_path), OWN)
    assert "\n" not in str(caught.value)
    assert "classifier's 5 speakers, too" in load_pretrained(another(before), str(tmp_path), OWN, settings)


def test_class_list_that_was_changed(tmp_path: Path) -> None:
    """Its rows would be other people's."""
    before = checkpoint_of(tmp_path, OWN)
    before.speakers = OWN[::-1]
    save_checkpoint(before, tmp_path / "best.pt")
    with pytest.raises(UserError, match="its class list has been changed since it was trained"):
        load_pretrained(another(before), str(tmp_path), OWN)


@pytest.mark.parametrize("content", [{"conv1.weight": "text"}, {"model": [1]}, [1, 2], {"model": None}])
def test_files_that_hold_no_weights(tmp_path: Path, content: object) -> None:
    """One line."""
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"does not fit the network: conv1\.weight is missing"):
        load_pretrained(resnet18(5), str(tmp_path / "weights.pt"), OWN)
