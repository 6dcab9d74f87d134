"""What stands in two places is the same in both: names of settings, and what the code has by them."""

import re
from itertools import combinations

import numpy as np
import pytest

from config import BACKENDS, CHOICES
from data_objects.lists import TrialList, speaker_of
from models import count_parameters
from models.genotypes import SEARCH_SPACES
from models.operations import OPERATIONS, PARAMETER_FREE, build_operation
from models.pooling import POOLINGS
from models.supernet import GRADIENTS
from tests.helpers import call_script
from utils.evaluation.systems import Background, score_lists
from utils.evaluation.verification import METRICS
from utils.recognition.embeddings import Embeddings
from utils.reports.verification import NOTES, SYSTEMS, format_table


@pytest.mark.parametrize(
    ("key", "registry"),
    [("SEARCH.SPACE", SEARCH_SPACES), ("SEARCH.GRADIENT", GRADIENTS), ("MODEL.POOLING", POOLINGS)],
)
def test_settings_choose_among_what_there_is(key: str, registry: dict[str, object]) -> None:
    """All of it, and nothing else."""
    assert set(CHOICES[key]) == set(registry)


def test_every_space_can_be_measured() -> None:
    """The benchmark's option lists them."""
    shown = call_script("tools/benchmark.py", "search", "--help").stdout
    (spaces,) = re.findall(r"^  --space \{(.+?)\}", shown, re.MULTILINE)
    assert set(spaces.split(",")) == set(SEARCH_SPACES)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_without_weights_are_listed(name: str) -> None:
    """A search's `parameter_free_share` counts by the list."""
    weights = count_parameters(build_operation(name, channels=4, stride=1, affine=True))
    assert (name in PARAMETER_FREE) is (weights == 0)


def test_every_back_end_scores_and_has_a_title() -> None:
    """What EVAL.BACKENDS takes is computed, and has a name in the report."""
    names = [f"id1000{speaker}/a/0000{number}.wav" for speaker in range(6) for number in range(3)]
    trials = TrialList.of((int(speaker_of(a) == speaker_of(b)), a, b) for a, b in combinations(names[:9], 2))
    vectors = np.random.default_rng(0).standard_normal((len(names), 8)).astype(np.float32)
    scores = score_lists(
        Embeddings(np.array([name.encode() for name in names]), vectors),
        [trials],
        BACKENDS,
        Background(names[9:], 2, names[9:], 100),
    )
    assert tuple(scores) == BACKENDS
    assert all(np.isfinite(of_lists[0]).all() for of_lists in scores.values())
    assert set(SYSTEMS) == set(BACKENDS)


def test_every_metric_has_a_table_and_a_column_of_its_own() -> None:
    """What has a title stands in one of the report's tables, and on the console where it says so."""
    shown = {key: metric for key, metric in METRICS.items() if metric.title}
    assert {metric.table for metric in shown.values()} == set(NOTES)
    assert len({metric.title for metric in shown.values()}) == len(shown)
    numbers = ("trials", "speakers", "speaker_overlap", "speaker_disjoint")
    entry = {"title": "list", "systems": {"cosine": dict.fromkeys(METRICS, 0.5)}} | dict.fromkeys(numbers, 1)
    console = format_table({"lists": {"list": entry}}).splitlines()[0]
    for metric in shown.values():
        assert (metric.title in console) is metric.on_console
