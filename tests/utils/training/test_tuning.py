"""DEVICE_TUNING: the layout is decided by time, by steps that leave no trace, and stays with a run."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from models.base import SpeakerNetwork
from tests.helpers import GENOTYPE, SCRATCH, SEARCH, call_script, options
from tests.networks import configured, derived
from tests.runs import metrics, only_run
from utils.records.checkpoint import load_checkpoint
from utils.training import tuning
from utils.training.loop import make_step
from utils.training.tuning import choose_layout, lay_out, time_layouts, wants_tuning

CPU = torch.device("cpu")
SECONDS = {"channels_last": 2.0, "channels_first": 1.0}


def layout_of(network: SpeakerNetwork) -> str:
    """By a convolution whose weights tell."""
    weight = next(value for value in network.parameters() if value.dim() == 4 and min(value.shape) > 1)
    return "channels_last" if weight.is_contiguous(memory_format=torch.channels_last) else "channels_first"


def test_layouts_are_timed_on_copies() -> None:
    """Each in its layout, without its first steps; network, gradients and generators stay as they were."""
    cfg = configured(TRAIN__BATCH_SIZE=2, DATASET__PARTIAL_N_FRAMES=40, MODEL__DROP_PATH_PROB=0.5)
    network = derived(layers=3, channels=4, num_classes=2)
    network.drop_path_probability = 0.5  # drawn by the generator that the run draws by
    before, generator = {name: value.clone() for name, value in network.state_dict().items()}, torch.get_rng_state()
    seen: list[str] = []
    time = 0.0

    def make(twin: SpeakerNetwork) -> Callable[[], object]:
        seen.append(layout_of(twin))
        assert twin is not network
        return make_step(cfg, twin)

    def read_clock(device: torch.device) -> float:
        nonlocal time
        time += SECONDS[seen[-1]]
        return time

    assert time_layouts(network, make, CPU, read_clock) == SECONDS
    assert seen == list(SECONDS)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), generator)
    assert choose_layout(SECONDS) == (
        "channels_first",
        "DEVICE_TUNING: channels_last 2 s a step, channels_first 1 s a step; channels_first is taken",
    )


@pytest.mark.parametrize(
    ("setting", "device", "wants"),
    [("auto", "cpu", False), ("auto", "cuda", True), ("on", "cpu", True), ("off", "cuda", False)],
)
def test_when_to_tune(setting: str, device: str, wants: bool) -> None:
    """By itself on GPUs alone."""
    assert wants_tuning(configured(DEVICE_TUNING=setting), torch.device(device)) == wants


def test_layout_changes_nothing_but_rounding() -> None:
    """An optimizer that holds the weights goes on with them."""
    network = derived(layers=3, channels=4, num_classes=2).eval()
    held, x = list(network.parameters()), torch.randn(2, 40, 257)
    logits = {}
    for layout in ("channels_first", "channels_last"):
        lay_out(network, layout)
        assert layout_of(network) == layout
        logits[layout] = network(x)
    torch.testing.assert_close(logits["channels_first"], logits["channels_last"], rtol=1e-4, atol=1e-5)
    assert all(one is other for one, other in zip(held, network.parameters(), strict=True))


@pytest.mark.parametrize(
    ("script", "given"),
    [("train", ("--cfg", SCRATCH, "--text_arch", GENOTYPE)), ("search", ("--cfg", SEARCH))],
)
def test_run_keeps_its_layout(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, given: tuple[str, ...]
) -> None:
    """It is logged, and a run that goes on neither measures again nor changes.

    Measuring leaves no trace: where the usual layout is taken, the run is the one without.
    """
    monkeypatch.setattr(tuning, "WARM_UP", 0)
    monkeypatch.setattr(tuning, "STEPS", 1)
    figures = {}
    for chosen in (*tuning.LAYOUTS, "off"):
        seconds = {layout: float(layout != chosen) for layout in tuning.LAYOUTS}
        monkeypatch.setattr("utils.training.state.time_layouts", partial(faked, time_layouts, seconds))
        tuned = "off" if chosen == "off" else "on"
        settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path / chosen, DEVICE_TUNING=tuned)
        assert call_script(f"{script}.py", *given, *settings).status == 0
        run_dir = only_run(tmp_path / chosen, script)
        (figures[chosen],) = metrics(run_dir)
        assert (f"{chosen} is taken" in (run_dir / "log.txt").read_text()) == (tuned == "on")
        kept = load_checkpoint(run_dir / "last.pt", (script,)).layout
        assert kept == ("channels_first" if chosen == "channels_first" else "channels_last")
    assert figures["channels_last"]["train_loss"] == figures["off"]["train_loss"]
    assert figures["channels_first"]["train_loss"] == pytest.approx(figures["off"]["train_loss"], rel=0.02)
    run_dir = only_run(tmp_path / "channels_first", script)
    monkeypatch.setattr("utils.training.state.time_layouts", None)
    again = "--cfg", run_dir / "config.yaml", "--load_path", run_dir, "TRAIN.END_EPOCH", 2
    outcome = call_script(f"{script}.py", *again)
    assert outcome.status == 0, outcome.stderr
    checkpoint = load_checkpoint(run_dir / "last.pt", (script,))
    assert (checkpoint.layout, checkpoint.epoch) == ("channels_first", 2)


def faked(measure: Callable[..., dict[str, float]], seconds: dict[str, float], *arguments: object) -> dict[str, float]:
    """Steps are taken, and their times made up."""
    assert set(measure(*arguments)) == set(seconds)
    return seconds
