"""tools/benchmark.py launches: every path that a GPU takes runs on a device that stands in for one, and is counted."""

import re

import pytest
import torch

from tests.helpers import call_script
from tools.benchmarks.launches import META, changed, count_embedding, count_search, count_training, standing_in
from tools.benchmarks.measure import build_settings

SMALL = build_settings({"layers": 3, "channels": 4, "frames": 70})
LARGE = build_settings({"layers": 8, "channels": 16, "frames": 300})
COPIES = 4  # of a batch: waveforms, gains, labels, which are reversed


# What a search of 8 cells launches in an iteration on the paths of this seed; 8,484 before pooling's running statistics
# were renewed together, batches left uncounted, and inner products taken in one go. It may only fall.
SEARCH = 5_970
# What a training step of the paper's network launches.
TRAINING = 950


def test_an_iteration_of_the_search() -> None:
    """Its launches may only fall. The host waits once for each step's paths, which alpha decides."""
    counted = count_search(changed(LARGE, TRAIN__DROPPATH_PROB=0.3))
    assert 5_000 < counted.launches.total() <= SEARCH
    assert counted.waits == 2
    assert counted.copies == 2 * (COPIES + 2)  # noise and drop-path


def test_a_training_step() -> None:
    """Its launches may only fall, and nothing waits."""
    counted = count_training(changed(LARGE, MODEL__DROP_PATH_PROB=0.2))
    assert 900 < counted.launches.total() <= TRAINING
    assert (counted.waits, counted.copies) == (0, COPIES + 1)


@pytest.mark.parametrize(
    ("settings", "waits"),
    [
        ({"SEARCH__GRADIENT": "sampled", "SEARCH__SPACE": "s3", "TRAIN__PRECISION": "bf16"}, 2),
        ({"SEARCH__SAMPLING": "softmax", "SEARCH__STEM": "network"}, 0),
        ({"SEARCH__PATHS": "genotypes"}, 5),
        ({"SEARCH__COST_WEIGHT": 1.0, "SEARCH__COST_TARGET": 0.1}, 4),
    ],
    ids=["sampled", "softmax", "genotypes", "target of cost"],
)
def test_every_search_runs(settings: dict[str, object], waits: int) -> None:
    """Nothing mixes devices or needs numbers, but what chooses paths."""
    assert count_search(changed(SMALL, **settings)).waits == waits


@pytest.mark.parametrize(
    "settings",
    [
        {"MODEL__POOLING": "attentive", "TRAIN__LOSS": "aam"},
        {"TRAIN__PRECISION": "bf16", "TRAIN__LABEL_SMOOTHING": 0.0},
        {"MODEL__NAME": "resnet18"},
        {"MODEL__NAME": "vggm"},
    ],
    ids=["modern", "bf16", "resnet18", "vggm"],
)
def test_every_training_runs_without_waiting(settings: dict[str, object]) -> None:
    """A GPU is never idle for the host's sake."""
    counted = count_training(changed(SMALL, **settings))
    assert counted.launches.total() > 100
    assert counted.waits == 0


def test_embedding_waits_once_a_batch() -> None:
    """For the embeddings."""
    assert count_embedding(SMALL).waits == 1


def test_what_needs_numbers_is_refused() -> None:
    """As is what mixes devices; the host's copies are counted where they are answered."""
    x = torch.zeros(3, device=META)
    with standing_in() as counted:
        for needs in (lambda: x.sum().item(), lambda: x[x > 0], lambda: bool(x.any()), x.cpu, x.tolist):
            with pytest.raises((RuntimeError, NotImplementedError)):
                needs()
        with pytest.raises(RuntimeError, match="device cpu is not on the expected device"):
            x + torch.zeros(3)
        counted.forget()
        _ = (x + 1).view(3, 1)[:2]
        assert counted.figures() == {"launches": 1, "waits": 0, "copies": 0}
        torch.zeros(3).to(META)
        assert counted.figures() == {"launches": 1, "waits": 0, "copies": 1}
    with standing_in(lambda asked: torch.ones(asked.shape)) as counted:
        assert x.cpu().tolist() == [1, 1, 1] and x.tolist() == [1, 1, 1]
    assert counted.figures() == {"launches": 0, "waits": 2, "copies": 0}


def test_table() -> None:
    """A row a kind of step."""
    sizes = ("--layers", 3, "--channels", 2, "--train_channels", 4, "--frames", 70)
    outcome = call_script("tools/benchmark.py", "launches", *sizes)
    assert outcome.status == 0, outcome.stderr
    rows = [re.split(r"  +", line) for line in outcome.stdout.splitlines()]
    counts = {row[0]: int(row[1].replace(",", "")) for row in rows if len(row) == 4 and row[0]}
    assert counts["search, sampled"] < counts["search, exact"] < counts["search, dense"]
    assert {"training", "training, vggm", "embedding a batch"} < set(counts)
