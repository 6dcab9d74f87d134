"""tools/benchmark.py preprocess: what it counts, what it reports, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest

from data_objects.sources import find_utterances
from tests.helpers import call_script
from tests.tools.benchmarks.cases import on_linux, refusal
from tools.benchmarks import preprocess
from tools.corpora.simulated import make_corpus
from tools.corpora.sizes import scale_sizes

TOOL = "tools/benchmark.py"


@on_linux
def test_benchmark_of_preprocessing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Hours and processes are counted, and the report's ratios are those of its figures."""
    corpus = tmp_path / "corpus"
    make_corpus(corpus, scale_sizes(40, 4), "sparse")
    shutil.rmtree(corpus / "feature")
    taken = preprocess.preprocess(corpus, tmp_path / "out", workers=1)
    hours = sum(path.stat().st_size - 44 for (path,) in find_utterances(corpus).files.values()) / 32_000 / 3600
    assert taken["hours"] == pytest.approx(hours)
    assert taken["hours_a_minute"] == pytest.approx(hours / taken["seconds"] * 60)
    assert taken["processes"] >= 2
    assert taken["peak_mb"] > 100
    assert not (corpus / "feature").exists()

    folders = []

    def pretend(data_dir: Path, out_dir: Path, workers: int) -> dict:
        folders.append(sorted(path.name for path in (data_dir / "wav").iterdir()))
        return taken | {"hours_a_minute": 30.0 * workers}

    monkeypatch.setattr(preprocess, "preprocess", pretend)
    options = ("--data_dir", corpus, "--workers", 1, 4, "--json")
    report = json.loads(call_script(TOOL, "preprocess", *options).stdout)
    assert folders == [["id10001", "id10002", "id10003", "id10004"], ["id10001", "id10003"]] * 2
    assert [run["speedup"] for run in report["runs"]] == [1, 4]
    assert [run["voxceleb1_hours"] for run in report["runs"]] == pytest.approx([352 / 1800, 352 / 7200])
    preprocess.print_report(report)
    assert "hours/minute" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--workers", -1), "--workers must be at least 0, not -1"),
        (("--minutes", 5), "--minutes must be at least 5.5, not 5.0"),
    ],
)
def test_benchmark_of_preprocessing_refuses_what_cannot_be(options: tuple, reason: str) -> None:
    """In one line."""
    assert reason in refusal(call_script(TOOL, "preprocess", *options))


def test_folder_without_lists(tmp_path: Path) -> None:
    """It is no corpus."""
    assert "has no vox1_meta.csv" in refusal(call_script(TOOL, "preprocess", "--data_dir", tmp_path))


def test_numbers_of_workers() -> None:
    """Powers of two, and all cores."""
    assert preprocess.numbers_of_workers(1) == [1]
    assert preprocess.numbers_of_workers(6) == [1, 2, 4, 6]
    assert preprocess.numbers_of_workers(8) == [1, 2, 4, 8]
