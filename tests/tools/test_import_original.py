"""A file as the authors' code writes it becomes a run folder that computes the same, and says what nobody knows."""

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import utils
from models import build_model
from models.base import SpeakerNetwork
from models.genotypes import PAPER_GENOTYPE, parse_genotype
from tests.helpers import call_script, noise
from tests.test_golden import FOLDER, NETWORKS, build_filled, by_name
from utils.recognition.recognizer import Recognizer
from utils.records.checkpoint import load_checkpoint
from utils.system.errors import UserError

SPEAKERS = ["id10003", "id10001", "id10002"]
BACK = (  # our names to the authors'
    (r"^stem_(\d)\.", r"stem\1."),
    (r"\.preprocess_older\.(?!conv_|norm)", ".preprocess0.op."),
    (r"\.preprocess_older\.", ".preprocess0."),
    (r"\.preprocess_newer\.", ".preprocess1.op."),
    (r"(\.operations\.\d+)\.(?!conv_|norm)", r"\1.op."),
    (r"\.operations\.", "._ops."),
    (r"\.norm\.", ".bn."),
)


class Original(NamedTuple):
    """What their module `utils` has as Genotype."""

    normal: list[tuple[str, int]]
    normal_concat: range
    reduce: list[tuple[str, int]]
    reduce_concat: range


Original.__module__, Original.__qualname__ = "utils", "Genotype"


@pytest.fixture(autouse=True)
def their_utils(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Their class, where pickles look for it."""
    monkeypatch.setattr(utils, "Genotype", Original, raising=False)
    yield


def as_theirs(network: SpeakerNetwork, prefix: str = "") -> dict[str, Tensor]:
    """A network's weights by the authors' names."""
    renamed = {}
    for name, value in network.state_dict().items():
        for pattern, replacement in BACK:
            name = re.sub(pattern, replacement, name)
        renamed[prefix + name] = value
    return renamed


def settled(architecture: dict[str, Any]) -> SpeakerNetwork:
    """A network with weights and statistics of its own."""
    torch.manual_seed(0)
    network = build_model(architecture)
    for value in network.state_dict().values():
        if value.dtype.is_floating_point:
            value.copy_(torch.rand_like(value) + 0.1 if value.dim() == 1 else value)
    return network.eval()


def write(folder: Path, network: SpeakerNetwork, prefix: str = "", **more: object) -> list[object]:
    """What the authors' code leaves; the arguments that import it."""
    content = {
        "epoch": 17,
        "state_dict": as_theirs(network, prefix),
        "best_acc1": 87.6,
        "path_helper": {"prefix": "logs"},
    }
    if genotype := network.architecture.get("genotype"):
        content["genotype"] = Original(*parse_genotype(genotype))
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content | more, folder / "checkpoint_best.pth")
    np.save(folder / "mean.npy", np.linspace(1, 0.1, 257, dtype=np.float32))
    np.save(folder / "std.npy", np.linspace(0.5, 2, 257, dtype=np.float32))
    for name in SPEAKERS:
        (folder / "merged" / name).mkdir(parents=True)
    return arguments(folder)


def arguments(folder: Path, **changes: object) -> list[object]:
    given = {
        "mean": folder / "mean.npy",
        "std": folder / "std.npy",
        "speakers": folder / "merged",
        "out": folder / "run",
    }
    options = [item for name, value in (given | changes).items() for item in (f"--{name}", value)]
    return [folder / "checkpoint_best.pth", *options]


def bring_in(arguments: list[object]) -> str:
    """Import, and what is said of it."""
    outcome = call_script("tools/import_original.py", *arguments)
    assert outcome.status == 0, outcome.stderr
    return outcome.last_line


def refuse(arguments: list[object]) -> str:
    """The line that it is refused with; nothing is left."""
    outcome = call_script("tools/import_original.py", *arguments)
    assert outcome.status == 2, outcome.stderr
    (line,) = outcome.stderr.splitlines()
    assert not Path(str(arguments[arguments.index("--out") + 1])).exists()
    return line


ARCHITECTURES = {
    "derived": {"kind": "network", "layers": 3, "channels": 4, "num_classes": 3, "genotype": NETWORKS[0]["genotype"]},
    "resnet18": {"kind": "resnet18", "num_classes": 3},
    "resnet34": {"kind": "resnet34", "num_classes": 3},
}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_computes_the_same(tmp_path: Path, name: str, prefix: str) -> None:
    """Embeddings to the last bit, classes in order, statistics; whether it was saved from DataParallel or not."""
    network = settled(ARCHITECTURES[name])
    said = bring_in(write(tmp_path, network, prefix))
    assert f"3 speakers of merged, {len(network.state_dict()):,} tensors" in said
    recognizer = Recognizer.load(tmp_path / "run", "cpu")
    checkpoint = recognizer.trained.checkpoint
    assert checkpoint.architecture == ARCHITECTURES[name]
    assert checkpoint.speakers == sorted(SPEAKERS)
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in checkpoint.model.items())
    features = torch.rand(2, 60, 257)
    again = build_model(checkpoint.architecture)
    again.load_state_dict(checkpoint.model)
    with torch.inference_mode():
        assert torch.equal(again.eval().embed(features), network.embed(features))
    np.testing.assert_array_equal(recognizer.trained.front_end.mean, np.load(tmp_path / "mean.npy"))
    np.testing.assert_array_equal(recognizer.trained.front_end.deviation, np.load(tmp_path / "std.npy"))
    assert recognizer.embed((noise(16_000), 16_000)).shape == (recognizer.embedding_dim,)


@pytest.mark.parametrize("description", NETWORKS, **by_name)
def test_golden_networks(tmp_path: Path, description: dict) -> None:
    """The networks whose numbers the authors' code computed come back to the last bit."""
    network = build_filled(description, "network").float().eval()
    (tmp_path / "speakers.txt").write_text(
        "\n".join(f"s{number:05d}" for number in range(len(network.classifier.weight)))
    )
    write(tmp_path, network)
    bring_in(arguments(tmp_path, speakers=tmp_path / "speakers.txt", sub_dir="dev"))
    checkpoint = load_checkpoint(tmp_path / "run" / "best.pt", ("train",))
    assert checkpoint.sub_dir == "dev"
    assert checkpoint.architecture["layers"] == network.architecture["layers"]
    assert parse_genotype(checkpoint.architecture["genotype"]) == parse_genotype(network.architecture["genotype"])
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in checkpoint.model.items())


def test_numbers_of_numpy_are_left_alone(tmp_path: Path) -> None:
    """Their best figures are such; a file is not refused for them."""
    write(tmp_path, settled(ARCHITECTURES["resnet18"]), best_eer=np.float64(8.95), best=np.float32(1))
    bring_in(arguments(tmp_path))


def test_genotype_that_is_not_in_the_file(tmp_path: Path) -> None:
    """It is asked for; another one's wiring needs other weights."""
    network = settled(ARCHITECTURES["derived"])
    write(tmp_path, network, genotype=None)
    assert "give the one that it was trained with as --text_arch" in refuse(arguments(tmp_path))
    bring_in(arguments(tmp_path, text_arch=network.architecture["genotype"]))
    assert Recognizer.load(tmp_path / "run").trained.checkpoint.architecture == network.architecture


def test_network_that_the_authors_code_trained(tmp_path: Path) -> None:
    """Under its own names, after a step of its own training: weights to the last bit, and what it computes of them.

    Embeddings and logits are equal to the last bit, too, on the kind of machine that computed them; others may round.
    """
    with np.load(FOLDER / "original_checkpoint.npz") as file:
        weights = {name.removeprefix("network/"): torch.from_numpy(file[name]) for name in file.files if "/" in name}
        features, embeddings, logits = (file[f"network:{name}"] for name in ("features", "embeddings", "logits"))
    write(tmp_path, settled(ARCHITECTURES["derived"]), state_dict=weights, genotype=Original(*PAPER_GENOTYPE))
    (tmp_path / "names.txt").write_text("\n".join("abcdef"))
    assert "198 tensors" in bring_in(arguments(tmp_path, speakers=tmp_path / "names.txt", sub_dir="merged"))
    checkpoint = load_checkpoint(tmp_path / "run" / "best.pt", ("train",))
    network = build_model(checkpoint.architecture)
    network.load_state_dict(checkpoint.model)
    network.eval()
    with torch.inference_mode():
        network.to(memory_format=torch.contiguous_format)  # as that code has it
        found = network.embed(torch.from_numpy(features))
        np.testing.assert_allclose(found, embeddings, rtol=0, atol=1e-6)
        np.testing.assert_allclose(network.classifier(found), logits, rtol=0, atol=1e-6)
    values = zip(checkpoint.model.values(), weights.values(), strict=True)
    assert all(torch.equal(own, theirs) for own, theirs in values)


def test_every_evaluation_says_what_nobody_knows(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the log and in the results; it may be evaluated on an index that is none of its own."""
    names = sorted(path.name for path in (toy / "wav").iterdir())
    architecture = ARCHITECTURES["derived"] | {"num_classes": len(names)}
    write(tmp_path, settled(architecture))
    (tmp_path / "names.txt").write_text("\n".join(names))
    bring_in(arguments(tmp_path, speakers=tmp_path / "names.txt", sub_dir="merged", frames=40))
    run = tmp_path / "run"
    for script, kind in (
        ("evaluate_verification.py", "verification"),
        ("evaluate_identification.py", "identification"),
    ):
        settings = ("--cfg", run / "config.yaml", "--load_path", run, "DATASET.DATA_DIR", toy)
        outcome = call_script(script, *settings, "DATASET.NUM_WORKERS", 0)
        assert outcome.status == 0, outcome.stderr
        assert "nobody can vouch for what it was started from and chosen on" in outcome.stderr
        assert "nobody can vouch" in (run / kind / "report.html").read_text()
    Recognizer.load(run)
    assert "nobody can vouch" in capsys.readouterr().err


def test_what_starts_from_it_does_not_know_either(tmp_path: Path, toy: Path) -> None:
    """A training that is fine-tuned from it carries the doubt on."""
    names = sorted(path.name for path in (toy / "wav").iterdir())
    write(tmp_path, settled({"kind": "resnet18", "num_classes": len(names)}))
    (tmp_path / "names.txt").write_text("\n".join(names))
    bring_in(arguments(tmp_path, speakers=tmp_path / "names.txt", sub_dir="merged"))
    from utils.records.pretraining import read_pretraining

    pretraining = read_pretraining(str(tmp_path / "run"))
    assert not pretraining.is_known
    assert pretraining.networks[0]["speakers"] == names


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    """Whatever it is called; nor by what refuses it elsewhere."""
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple:
            return Path.touch, (ran,)

    write(tmp_path, settled(ARCHITECTURES["derived"]), optimizer=Bomb())
    line = refuse(arguments(tmp_path))
    assert "is no checkpoint of the authors' code, or damaged: it wants " in line
    with pytest.raises(UserError):
        load_checkpoint(tmp_path / "checkpoint_best.pth", ("train",))
    (tmp_path / "checkpoint_best.pth").write_bytes(pickle.dumps(Bomb()))
    refuse(arguments(tmp_path))
    assert not ran.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_file_is_named_where_a_checkpoint_is_needed(tmp_path: Path, legacy: bool) -> None:
    """And so is the tool, for both forms that PyTorch has had; a baseline's file has no genotype to betray it."""
    for name in ("derived", "resnet18"):
        write(tmp_path / name, settled(ARCHITECTURES[name]))
        file = tmp_path / name / "checkpoint_best.pth"
        if legacy:
            content = torch.load(file, weights_only=False)
            torch.save(content, file, _use_new_zipfile_serialization=False)
        with pytest.raises(UserError, match=r"is a checkpoint of the authors' code: 'python tools/import_original.py'"):
            load_checkpoint(file, ("train",))
        bring_in(arguments(tmp_path / name))


def test_files_that_do_not_go_together(tmp_path: Path) -> None:
    """One line each: which, and what is needed."""
    network = settled(ARCHITECTURES["derived"])
    write(tmp_path, network)
    short, zero = tmp_path / "short.npy", tmp_path / "zero.npy"
    np.save(short, np.ones(256))
    np.save(zero, np.zeros(257))
    assert "--mean: " in (line := refuse(arguments(tmp_path, mean=short)))
    assert "must hold 257 finite numbers" in line
    assert "has a deviation of 0" in refuse(arguments(tmp_path, std=zero))
    assert "is no .npy file of numbers" in refuse(arguments(tmp_path, std=tmp_path / "gone.npy"))
    (tmp_path / "merged" / "id10004").mkdir()
    assert "names 4 speakers, " in (line := refuse(arguments(tmp_path)))
    assert "3 classes: give those that it was trained on" in line
    assert "no such folder or file" in refuse(arguments(tmp_path, speakers=tmp_path / "gone"))
    (tmp_path / "merged" / "id10004").rmdir()
    (tmp_path / "merged").rename(tmp_path / "speakers")
    assert "say whether it was trained on merged or dev" in refuse(arguments(tmp_path, speakers=tmp_path / "speakers"))
    bring_in(arguments(tmp_path, speakers=tmp_path / "speakers", sub_dir="dev"))
    outcome = call_script(
        "tools/import_original.py", *arguments(tmp_path, speakers=tmp_path / "speakers", sub_dir="dev")
    )
    assert "is there already: name a new folder" in outcome.stderr


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"cells.0.preprocess1.op.1.weight": None}, "has no tensor for cells.0.preprocess_newer.1.weight"),
        ({"classifier.weight": None}, "has no classifier"),
        ({"more": torch.zeros(1)}, "has 1 tensors more than the network: more"),
        ({"stem1.1.weight": torch.zeros(1)}, r"stem_1.1.weight is \(1,\), needed is \(4, 4, 3, 3\)"),
        ({"stem0.3.weight": None}, "no stem and cells"),
    ],
)
def test_weights_that_are_not_the_networks(tmp_path: Path, change: dict, complaint: str) -> None:
    """By name, as we call them."""
    network = settled(ARCHITECTURES["derived"])
    weights = {name: value for name, value in (as_theirs(network) | change).items() if value is not None}
    write(tmp_path, network, state_dict=weights)
    assert re.search(complaint, refuse(arguments(tmp_path)))


def test_networks_that_we_do_not_know(tmp_path: Path) -> None:
    """No genotype and no ResNet; no weights at all."""
    network = settled(ARCHITECTURES["resnet18"])
    weights = {name: value for name, value in as_theirs(network).items() if not name.startswith("layer4")}
    write(tmp_path, network, state_dict=weights)
    assert "no ResNet-18 or -34" in refuse(arguments(tmp_path))
    torch.save({"model": weights}, tmp_path / "checkpoint_best.pth")
    assert "it has no state_dict of finite tensors" in refuse(arguments(tmp_path))


@pytest.mark.parametrize("value", [torch.full((3,), float("nan")), torch.zeros(3, dtype=torch.complex64), "text", 3])
def test_weights_that_are_no_numbers(tmp_path: Path, value: object) -> None:
    """Refused as they are read."""
    network = settled(ARCHITECTURES["resnet18"])
    write(tmp_path, network, state_dict=as_theirs(network) | {"classifier.bias": value})
    assert "no state_dict of finite tensors" in refuse(arguments(tmp_path))


def test_names_with_spaces(tmp_path: Path) -> None:
    """A name a line."""
    write(tmp_path, settled(ARCHITECTURES["resnet18"]))
    (tmp_path / "names.txt").write_text("Ann Lee\nBob Lee\n\nCarl\n")
    bring_in(arguments(tmp_path, speakers=tmp_path / "names.txt", sub_dir="dev"))
    checkpoint = load_checkpoint(tmp_path / "run" / "best.pt", ("train_baseline",))
    assert checkpoint.speakers == ["Ann%20Lee", "Bob%20Lee", "Carl"]


def test_it_is_named_where_a_training_starts_from_it(tmp_path: Path) -> None:
    """And so is the tool."""
    write(tmp_path, settled(ARCHITECTURES["resnet18"]))
    from utils.records.pretraining import load_pretrained

    with pytest.raises(UserError, match=r"MODEL.PRETRAINED: .* is a checkpoint of the authors' code"):
        load_pretrained(build_model(ARCHITECTURES["resnet18"]), str(tmp_path / "checkpoint_best.pth"), SPEAKERS)
