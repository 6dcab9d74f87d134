"""tools/benchmark.py scale: what it reports, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_objects.lists import read_lists, speaker_of
from tests.helpers import call_script, snapshot
from tests.tools.benchmarks.cases import on_linux, refusal
from tools.benchmarks import processes, scale
from tools.corpora.simulated import make_corpus
from tools.corpora.sizes import scale_sizes

TOOL = "tools/benchmark.py"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated corpus without files; tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("simulated") / "small"
    make_corpus(folder, scale_sizes(utterances=600, speakers=30))
    return folder


@on_linux
@pytest.mark.parametrize("is_given", [False, True])
def test_benchmark_of_scale(small: Path, capsys, monkeypatch: pytest.MonkeyPatch, is_given: bool) -> None:
    """The steps in order, on a corpus that is given or made; what it counts is what there is."""
    monkeypatch.setattr(processes, "run_case", lambda measure, case, name: measure(case))
    before = snapshot(small)
    options = ("--data_dir", small) if is_given else ("--utterances", 600, "--speakers", 30)
    report = json.loads(call_script(TOOL, "scale", *options, "--rounds", 2, "--json").stdout)
    counts = [report[key] for key in ("utterances", "speakers", "batch", "trials", "trial_utterances")]
    assert counts == [600, 30, 96, 152, 19]
    assert list(report["steps"]) == list(scale.STEPS)
    for taken in report["steps"].values():
        assert taken["seconds"] > 0
        assert taken["peak_mb"] >= taken["kept_mb"] - 1  # the system counts pages by the batch
    assert 0 < report["eer"] < 1
    assert 0 < report["min_dcf"] <= 1
    assert snapshot(small) == before
    scale.print_report(report)
    assert "600 utterances of 30 speakers, 152 trials of 19 utterances" in capsys.readouterr().out


def test_scores_of_the_benchmark(small: Path) -> None:
    """Embeddings that tell the speakers apart have no errors: names are mapped to rows as they should be."""
    trials = read_lists(small).trials
    speakers = [speaker_of(name) for name in sorted({name for trial in trials for name in trial[1:]})]
    embeddings = np.eye(2, dtype=np.float32)[[int(speaker == speakers[0]) for speaker in speakers]]
    assert scale.score(trials, embeddings) == (0, 0)
    assert scale.score(trials, embeddings[::-1].copy())[0] > 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--rounds", 0), "--rounds must be at least 1, not 0"),
        (("--speakers", 3), "--speakers must be at least 4, not 3"),
        (("--utterances", 400), "--utterances must be at least 10 a speaker, 12510, not 400"),
    ],
)
def test_benchmark_of_scale_refuses_what_cannot_be(options: tuple, reason: str) -> None:
    """In one line."""
    assert reason in refusal(call_script(TOOL, "scale", *options))
