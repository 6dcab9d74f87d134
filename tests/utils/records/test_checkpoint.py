"""Checkpoint files: whole or not at all, nothing that can run code, and of the network that the settings describe."""

from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models import describe
from tests.networks import configured
from utils.records.checkpoint import (
    Checkpoint,
    check_architecture,
    find_checkpoint,
    generator_states,
    load_checkpoint,
    restore_generators,
    save_checkpoint,
)
from utils.system.errors import UserError


def make_checkpoint(epoch: int = 1) -> Checkpoint:
    """A small one."""
    return Checkpoint(
        script="train",
        architecture={"kind": "network", "num_classes": 2},
        model={"weight": torch.arange(6.0).view(2, 3)},
        front_end={"mean": torch.zeros(3)},
        front_end_settings={"n_fft": 512},
        optimizers={"weights": {"state": {0: {"step": torch.tensor(5.0)}}, "param_groups": [{"lr": 0.1}]}},
        generators=generator_states(),
        epoch=epoch,
        step=10,
        best={"top1": 50.0},
        config="SEED: 3\n",
        sub_dir="merged",
        speakers=["id10001", "id10002"],
        index="0" * 64,
    )


# ------------------------------------------------------------------------------------------------------------------
# Files
# ------------------------------------------------------------------------------------------------------------------
def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """With weights_only, so no class of ours and no code is in it; and nothing else is left in the folder."""
    save_checkpoint(make_checkpoint(), tmp_path / "last.pt")
    torch.load(tmp_path / "last.pt", weights_only=True)
    loaded, expected = load_checkpoint(tmp_path / "last.pt", ("train",)), make_checkpoint()
    assert torch.equal(loaded.model.pop("weight"), expected.model.pop("weight"))
    assert (loaded.epoch, loaded.speakers, loaded.best) == (1, expected.speakers, expected.best)
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("broken", ["torch.save", "os.fsync", "pathlib.Path.replace"])
def test_interrupted_save_leaves_the_earlier_checkpoint(tmp_path: Path, broken: str) -> None:
    """Wherever it breaks off."""
    path = tmp_path / "last.pt"
    save_checkpoint(make_checkpoint(epoch=1), path)
    with mock.patch(broken, side_effect=OSError("broken")), pytest.raises((OSError, UserError), match="broken"):
        save_checkpoint(make_checkpoint(epoch=2), path)
    assert load_checkpoint(path, ("train",)).epoch == 1


def test_which_file_a_path_means(tmp_path: Path) -> None:
    """A file itself, or the last or best of a run folder."""
    for name in ("last.pt", "best.pt"):
        save_checkpoint(make_checkpoint(), tmp_path / name)
        assert find_checkpoint(tmp_path, name) == tmp_path / name
        assert find_checkpoint(tmp_path / name, "best.pt") == tmp_path / name
    with pytest.raises(UserError, match="no such file or folder"):
        find_checkpoint(tmp_path / "nowhere", "last.pt")


@given(st.binary(max_size=80) | st.binary(max_size=40).map(lambda content: b"\x80\x02" + content))
@hypothesis_settings(max_examples=200)
def test_garbage_raises_nothing_but_user_errors(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Any file may be named by mistake."""
    path = tmp_path_factory.getbasetemp() / "garbage.pt"
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        load_checkpoint(path, ("train",))
    assert len(str(raised.value).splitlines()) == 1


def test_generators_go_on_where_they_were() -> None:
    """What the model draws after a checkpoint is what it would have drawn."""
    states = generator_states()
    drawn = torch.rand(5)
    torch.rand(3)
    restore_generators(states)
    assert torch.equal(torch.rand(5), drawn)


# ------------------------------------------------------------------------------------------------------------------
# Another network
# ------------------------------------------------------------------------------------------------------------------
CHANGES = [("MODEL.POOLING", "attentive", "pooling", "average"), ("TRAIN.LOSS", "aam", "loss", "softmax")]


@pytest.mark.parametrize(("key", "value", "name", "usual"), CHANGES)
def test_checkpoint_of_another_head_is_refused_by_name(tmp_path, key: str, value: str, name: str, usual: str) -> None:
    """In both directions; one from before there was a choice is one of the usual."""
    checkpoint = make_checkpoint()
    plain, other = ({**describe(configured(**settings), "network")} for settings in ({}, {key: value}))
    checkpoint.architecture = plain
    check_architecture(plain, checkpoint, tmp_path)
    with pytest.raises(UserError, match=f"its {name} is {usual}, the settings say {value}"):
        check_architecture(other, checkpoint, tmp_path)
    checkpoint.architecture = other
    check_architecture(other, checkpoint, tmp_path)
    with pytest.raises(UserError, match=f"its {name} is {value}, the settings say {usual}"):
        check_architecture(plain, checkpoint, tmp_path)


def test_checkpoint_of_another_scale_is_refused(tmp_path) -> None:
    """Logits would be others."""
    checkpoint = make_checkpoint()
    checkpoint.architecture = describe(configured(TRAIN__LOSS="aam"), "network")
    with pytest.raises(UserError, match=r"its scale is 30\.0, the settings say 20\.0"):
        check_architecture(describe(configured(TRAIN__LOSS="aam", TRAIN__SCALE=20.0), "network"), checkpoint, tmp_path)
