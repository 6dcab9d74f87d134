"""How a run takes its steps: decided by time, by steps that leave no trace, and for good."""

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch

from models.base import SpeakerNetwork
from tests.helpers import GENOTYPE, SCRATCH, SEARCH, call_script, options
from tests.networks import build_small, configured, derived
from tests.runs import metrics, only_run
from utils.records.checkpoint import load_checkpoint
from utils.system.errors import UserError
from utils.system.logger import get_logger
from utils.training import tuning
from utils.training.loop import make_step, take_gradients
from utils.training.tuning import Way, choose_way, draw_noise, keep_way, list_ways, time_ways, wants_tuning

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LAST, FIRST = (Way(layout) for layout in tuning.LAYOUTS)
GRAPHS, COMPILED = Way(graphs=True), Way(compiled=True)
NO_GRAPHS = "TRAIN.CUDA_GRAPHS True: a CPU has none; steps are launched one operation after the other"
SMALL = {"TRAIN__BATCH_SIZE": 2, "DATASET__PARTIAL_N_FRAMES": 40, "MODEL__DROP_PATH_PROB": 0.5}
SMALL |= {"TRAIN__ACCUMULATE": 2, "TRAIN__EMA": 0.9, "TRAIN__CLIP": 1.0}


def layout_of(network: SpeakerNetwork) -> str:
    """By a convolution whose weights tell."""
    weight = next(value for value in network.parameters() if value.dim() == 4 and min(value.shape) > 1)
    return "channels_last" if weight.is_contiguous(memory_format=torch.channels_last) else "channels_first"


def taken(network: SpeakerNetwork, made: list[Way]) -> Callable[[], object]:
    """A step that does nothing, of which is noted how it would be taken."""
    made.append(Way(layout_of(network), graphs=network._compiled is not None))
    return lambda: None


# ------------------------------------------------------------------------------------------------------------------
# Which ways there are
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("setting", "device", "wants"),
    [("auto", CPU, False), ("auto", CUDA, True), ("on", CPU, True), ("off", CUDA, False)],
)
def test_when_to_time_layouts(setting: str, device: torch.device, wants: bool) -> None:
    """By itself on GPUs alone."""
    cfg = configured(DEVICE_TUNING=setting)
    assert wants_tuning(cfg, device) == wants
    assert list_ways(cfg, build_small("resnet18"), device) == ([LAST, FIRST] if wants else [LAST], [])


def test_ways_of_a_derived_network() -> None:
    """What is left open multiplies; a CPU has no graphs, which is said."""
    cfg = configured(DEVICE_TUNING="off", TRAIN__COMPILE=True, TRAIN__CUDA_GRAPHS=True)
    network = build_small("network")
    assert list_ways(cfg, network, CUDA) == ([Way(compiled=True, graphs=True)], [])
    assert list_ways(cfg, network, CPU) == ([COMPILED], [NO_GRAPHS])
    cfg = auto()
    assert list_ways(cfg, network, CPU) == ([LAST, COMPILED], [])  # asked for, where it is possible
    ways, doubts = list_ways(cfg, network, CUDA)
    assert len(set(ways)) == len(ways) == 8
    assert not doubts
    cfg.DATASET.PARTIAL_N_FRAMES_MIN = 200  # both are made for a shape
    assert list_ways(cfg, network, CUDA) == ([LAST, FIRST], [])


def auto() -> object:
    """Settings that leave all open."""
    cfg = configured()
    cfg.TRAIN.COMPILE = cfg.TRAIN.CUDA_GRAPHS = "auto"
    return cfg


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is said before the first step, by its name; left open, it is not done."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    lacking = r"TRAIN.COMPILE needs a C\+\+ compiler, and no-such-compiler is not installed"
    network = build_small("network")
    with pytest.raises(UserError, match=lacking):
        list_ways(configured(TRAIN__COMPILE=True), network, CPU)
    ways, (doubt,) = list_ways(auto(), network, CPU)
    assert ways == [LAST]
    assert doubt.startswith("TRAIN.COMPILE needs a C++ compiler")


def test_only_derived_networks_are_compiled() -> None:
    """Left open, nothing else is; a baseline whose settings say so is refused, a search only warned."""
    cfg, supernet, baseline = configured(TRAIN__COMPILE=True), build_small("supernet"), build_small("resnet18")
    for network in (supernet, baseline):
        assert list_ways(auto(), network, CUDA) == ([LAST, FIRST], [])
    with pytest.raises(
        UserError, match=r"TRAIN.COMPILE True is for the network of a genotype, not for a resnet18: set"
    ):
        list_ways(cfg, baseline, CPU)
    ways, (doubt,) = list_ways(cfg, supernet, CPU)
    assert ways == [LAST]
    assert "not for a supernet" in doubt


@pytest.mark.parametrize(
    ("kept", "ways", "goes_on"),
    [
        (Way("channels_first", True, True), [LAST], FIRST),
        (Way("channels_first", True, True), [LAST, COMPILED], Way("channels_first", True)),
        (LAST, [COMPILED], COMPILED),
        (LAST, [LAST, GRAPHS], LAST),
        (LAST, [GRAPHS], LAST),  # nobody has tried them
    ],
)
def test_run_goes_on_as_it_began(kept: Way, ways: Sequence[Way], goes_on: Way) -> None:
    """But for what the settings, or the machine, have changed."""
    assert keep_way(kept, ways) == goes_on


# ------------------------------------------------------------------------------------------------------------------
# Timing
# ------------------------------------------------------------------------------------------------------------------
def test_ways_are_timed_on_copies() -> None:
    """Each without its first steps; network, gradients and generators stay as they were."""
    cfg, network = configured(**SMALL), derived(layers=3, channels=4, num_classes=2)
    network.drop_path_probability = 0.5  # drawn by the generator that the run draws by
    before, generator = {name: value.clone() for name, value in network.state_dict().items()}, torch.get_rng_state()
    made: list[Way] = []
    time, per_step = 0.0, {LAST: 2.0, FIRST: 1.0}

    def make(twin: SpeakerNetwork) -> Callable[[], object]:
        taken(twin, made)
        assert twin is not network
        return make_step(cfg, twin)

    def read_clock(device: torch.device) -> float:
        nonlocal time
        time += per_step[made[-1]]
        return time

    assert time_ways(network, [LAST, FIRST], make, CPU, read_clock) == per_step
    assert made == [LAST, FIRST]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), generator)
    assert choose_way(per_step) == (
        FIRST,
        "steps timed: channels_last: 2 s; channels_first: 1 s; taken: channels_first",
    )
    assert "channels_last, compiled, CUDA graphs: 2 s" in choose_way({Way(compiled=True, graphs=True): 2.0})[1]


def test_way_that_fails_is_passed_over(warnings: list[str]) -> None:
    """And told of; where graphs fail that were asked for, steps are taken without; an error if nothing is left.

    What failed is let go of before the next way is tried, though an error holds what it was raised over.
    """
    network, made, alive = derived(layers=3, channels=4, num_classes=2), [], []

    def make(failing: set[Way], twin: SpeakerNetwork) -> Callable[[], object]:
        assert all(earlier() is None for earlier in alive)
        alive.append(weakref.ref(twin))
        step = taken(twin, made)
        if made[-1] in failing:
            try:
                raise ValueError(twin)
            except ValueError as cause:
                raise AssertionError("no\nroom") from cause
        return step

    for ways, failing, tried in (
        ([LAST, GRAPHS], {GRAPHS}, [LAST, GRAPHS]),
        ([GRAPHS], {GRAPHS}, [GRAPHS, LAST]),
        ([LAST, FIRST], {LAST}, [LAST, FIRST]),
    ):
        made.clear()
        warnings.clear()
        assert set(time_ways(network, ways, partial(make, failing), CPU)) == set(tried) - failing
        assert made == tried
        (failed,) = failing
        assert warnings == [f"{failed} is passed over: AssertionError: no room"]
    with pytest.raises(AssertionError):
        time_ways(network, [LAST, FIRST], partial(make, {LAST, FIRST}), CPU)


def test_way_that_fails_elsewhere(monkeypatch: pytest.MonkeyPatch, warnings: list[str]) -> None:
    """In one process of several: in none of them it is taken. A search, whose steps wait for each other, ends."""
    made: list[Way] = []
    monkeypatch.setattr(tuning, "agree", lambda *numbers: (int(made[-1] == LAST),))
    network = derived(layers=3, channels=4, num_classes=2)
    assert set(time_ways(network, [LAST, FIRST], lambda twin: taken(twin, made), CPU)) == {FIRST}
    assert warnings == ["channels_last is passed over: it fails in another process"]
    monkeypatch.setattr(tuning, "processes", lambda: 2)

    def fail(supernet: SpeakerNetwork) -> Callable[[], object]:
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError):
        time_ways(build_small("supernet"), [LAST, FIRST], fail, CPU)


def test_graphs_that_are_not_recorded(warnings: list[str]) -> None:
    """torch.compile records none on a CPU, and goes on in silence: that is no way with CUDA graphs."""
    cfg, network = configured(**SMALL), derived(layers=3, channels=4, num_classes=2)
    assert set(time_ways(network, [GRAPHS], partial(make_step, cfg), CPU)) == {LAST}
    (warning,) = warnings
    assert warning.startswith("channels_last, CUDA graphs is passed over: ")
    assert "not record" in warning


def test_timed_step_is_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """All batches that it is of, the optimizer's step, the average's."""
    calls: list[str] = []
    for name in ("loop.take_gradients", "loop.clip_grad_norm_", "averaging.MovingAverage.update"):
        module, _, function = name.partition(".")
        target = f"utils.training.{module}.{function}"
        before = {"take_gradients": take_gradients}.get(function, lambda *arguments: None)

        def note(*arguments: object, name: str = function, before: Callable = before) -> object:
            calls.append(name)
            return before(*arguments)

        monkeypatch.setattr(target, note)
    make_step(configured(**SMALL), derived(layers=3, channels=4, num_classes=2))()
    assert calls == ["take_gradients", "take_gradients", "clip_grad_norm_", "MovingAverage.update"]


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is warned of."""
    said: list[str] = []
    monkeypatch.setattr(get_logger(), "warning", said.append)
    return said


@pytest.mark.parametrize("way", [FIRST, GRAPHS], ids=str)
def test_way_changes_nothing_but_rounding(way: Way) -> None:
    """Loss, gradients and norms' statistics; an optimizer that holds the weights goes on with them.

    On a CPU, torch.compile traces what it would record as CUDA graphs, and then launches it one by one.
    """
    features, outcomes = torch.randn(2, 40, 257), []
    for taken_way in (LAST, way):
        torch.manual_seed(0)
        network = derived(layers=3, channels=4, num_classes=2).train()
        network.drop_path_probability = 0.5
        held = list(network.parameters())
        taken_way.take(network)
        assert layout_of(network) == taken_way.layout
        loss = network(features).square().sum()
        loss.backward()
        assert all(one is other for one, other in zip(held, network.parameters(), strict=True))
        outcomes.append([loss, *(parameter.grad for parameter in held), *network.buffers()])
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------------------------------------------------------
# Runs
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("script", "given"),
    [("train", ("--cfg", SCRATCH, "--text_arch", GENOTYPE)), ("search", ("--cfg", SEARCH))],
)
def test_run_keeps_its_way(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, given: tuple[str, ...]
) -> None:
    """It is logged, and a run that goes on neither measures again nor changes.

    Measuring leaves no trace: where the usual layout is taken, the run is the one without.
    """
    monkeypatch.setattr(tuning, "WARM_UP", 0)
    monkeypatch.setattr(tuning, "STEPS", 1)
    figures = {}
    for chosen in (LAST, FIRST, None):
        seconds = {way: float(way != chosen) for way in (LAST, FIRST)}
        monkeypatch.setattr("utils.training.state.time_ways", partial(faked, seconds))
        out = tmp_path / str(chosen)
        way = {"DEVICE_TUNING": "on"} if chosen else {"DEVICE_TUNING": "off", "TRAIN__CUDA_GRAPHS": True}
        outcome = call_script(f"{script}.py", *given, *options(DATASET__DATA_DIR=toy, OUT_DIR=out, **way))
        assert outcome.status == 0, outcome.stderr
        assert ("TRAIN.CUDA_GRAPHS True: " in outcome.stderr) == (chosen is None)
        run_dir = only_run(out, script)
        (figures[chosen],) = metrics(run_dir)
        assert (f"taken: {chosen}\n" in (run_dir / "log.txt").read_text()) == bool(chosen)
        kept = load_checkpoint(run_dir / "last.pt", (script,))
        assert Way(kept.layout, kept.compiled, kept.graphs) == (chosen or LAST)
    assert figures[LAST]["train_loss"] == figures[None]["train_loss"]
    assert figures[FIRST]["train_loss"] == pytest.approx(figures[None]["train_loss"], rel=0.02)
    run_dir = only_run(tmp_path / str(FIRST), script)
    monkeypatch.setattr("utils.training.state.time_ways", None)
    again = "--cfg", run_dir / "config.yaml", "--load_path", run_dir, "TRAIN.END_EPOCH", 2
    outcome = call_script(f"{script}.py", *again)
    assert outcome.status == 0, outcome.stderr
    checkpoint = load_checkpoint(run_dir / "last.pt", (script,))
    assert (checkpoint.layout, checkpoint.epoch) == ("channels_first", 2)


def faked(seconds: dict[Way, float], *arguments: object) -> dict[Way, float]:
    """Steps are taken, and their times made up."""
    assert time_ways(*arguments).keys() == seconds.keys()
    return seconds


@pytest.mark.parametrize(("feature", "bins"), [("magnitude", 257), ("log_mel", 80)])
def test_noise_has_the_shape_of_features(feature: str, bins: int) -> None:
    """As many bins as the front end gives."""
    cfg = configured(FRONTEND__FEATURE=feature, TRAIN__BATCH_SIZE=2, DATASET__PARTIAL_N_FRAMES=40)
    assert draw_noise(cfg, CPU)[0].shape == (2, 40, bins)
