"""benchmark.py recognition: what it counts, and that it runs."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import call_script, index_of, write_small_corpus
from tests.networks import save_run
from tools.benchmarks.recognition import outcome, recognise, shares
from utils.recognition.recognizer import Recognizer
from utils.system.files import hash_file


def calibrated(folder: Path, offset: float) -> Path:
    """A run folder with a network whose scores are worth 20 · score + offset."""
    run = save_run(folder, "network")
    system = {"scale": 20.0, "offset": offset, "target_prior": 0.5}
    content = {"systems": {"cosine": system}, "checkpoint": hash_file(run / "best.pt")}
    (run / "calibration.json").write_text(json.dumps(content))
    return run


@pytest.mark.parametrize(
    ("offset", "counts"),
    [
        (-19.0, {"right": 8, "missed": 0, "confused": 0, "rejected": 8, "false_alarms": 0}),
        (5.0, {"right": 8, "missed": 0, "confused": 0, "rejected": 0, "false_alarms": 8}),
        (-30.0, {"right": 0, "missed": 8, "confused": 0, "rejected": 8, "false_alarms": 0}),
    ],
)
def test_counts(tmp_path: Path, offset: float, counts: dict[str, int]) -> None:
    """Each speaker is known once and unknown once; the utterances enrolled are not counted."""
    recognizer = Recognizer.load(calibrated(tmp_path, offset), "cpu")
    vectors = {f"s{place}": list(np.tile(row, (3, 1))) for place, row in enumerate(np.eye(4, 16, dtype=np.float32))}
    vectors = {
        speaker: [np.pad(own, (0, recognizer.embedding_dim - 16)) for own in rows] for speaker, rows in vectors.items()
    }
    assert recognise(recognizer, vectors, 1, 0) == counts
    assert sum(shares(counts)[name] for name in ("right", "missed", "confused")) == 100


def test_outcomes() -> None:
    """Of known and of unknown voices."""
    assert [outcome(name, "a", True) for name in ("a", "b", None)] == ["right", "confused", "missed"]
    assert [outcome(name, "a", False) for name in ("b", None)] == ["false_alarms", "rejected"]


def test_it_runs(tmp_path: Path) -> None:
    """On a corpus; it needs a calibration, and enough utterances."""
    corpus = write_small_corpus(tmp_path / "corpus")
    index_of(corpus)
    run = calibrated(tmp_path / "run", -5.0)
    command = ("tools/benchmark.py", "recognition", "--run", run, "--data_dir", corpus, "--enrolment")
    outcome = call_script(*command, 1, "--json")
    assert outcome.status == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert (report["speakers"], report["recordings"], sum(report["counts"].values())) == (2, 6, 8)
    assert report["real_time_factor"] > 0
    assert "known voices: 4 recordings" in call_script(*command, 1).stdout
    assert "fewer than 2 speakers" in call_script(*command, 3).stderr
    (run / "calibration.json").unlink()
    assert "no decisions" in call_script(*command, 1).stderr
