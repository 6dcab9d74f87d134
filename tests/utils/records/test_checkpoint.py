"""Checkpoint files: whole or not at all, and nothing that can run code."""

from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from utils.records.checkpoint import (
    Checkpoint,
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
