"""tools/recognize.py as its users run it: JSON lines out, decisions as the evaluation's calibration has them."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import Outcome, call_script, noise, write_audio
from tests.runs import copy_run, start
from utils.metrics.scoring import Calibration
from utils.system.files import hash_file

TOOL = "tools/recognize.py"


@pytest.fixture(scope="module")
def run(toy: Path, trained_apart: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was evaluated: it has scores and a calibration."""
    folder = copy_run(trained_apart, tmp_path_factory.mktemp("recognize"))
    arguments = ("--cfg", folder / "config.yaml", "--load_path", folder)
    assert call_script("evaluate_verification.py", *arguments, "EVAL.CALIBRATION", False).status == 0
    system = Calibration(8.0, -6.0, 0.5)  # so small a network's own would not always be one
    thresholds = {"thresholds": {"0.5": system.threshold(0.5)}}
    content = {"systems": {"cosine": system.as_dict() | thresholds}, "checkpoint": hash_file(folder / "best.pt")}
    (folder / "calibration.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def wavs(toy: Path) -> dict[str, list[Path]]:
    """The recordings of the test speakers."""
    lines = (toy / "veri_test.txt").read_text().split()
    found: dict[str, list[Path]] = {}
    for name in sorted({word for word in lines if "/" in word}):
        found.setdefault(name.split("/")[0], []).append(toy / "wav" / name)
    return found


def answers(outcome: Outcome) -> list[dict[str, Any]]:
    """The lines on standard output."""
    return [json.loads(line) for line in outcome.stdout.splitlines()]


def ask(*arguments: object) -> list[dict[str, Any]]:
    """What the tool answers when all is well."""
    outcome = call_script(TOOL, *arguments)
    assert outcome.status == 0, outcome.stderr
    return answers(outcome)


def refuse(*arguments: object) -> str:
    """The one line that the tool refuses with."""
    outcome = call_script(TOOL, *arguments)
    assert outcome.status == 2
    assert not outcome.stdout
    (line,) = [line for line in outcome.stderr.splitlines() if "recognize.py: error: " in line]
    return line


def test_compare_is_the_evaluation(toy: Path, run: Path) -> None:
    """Its scores to the last digit, and its decisions."""
    calibration = json.loads((run / "calibration.json").read_text())["systems"]["cosine"]
    for line in (run / "scores.txt").read_text().splitlines()[:6]:
        score, _, *pair = line.split()
        (found,) = ask("compare", run, *(toy / "wav" / name for name in pair))
        assert list(found) == ["score", "llr", "same", "threshold", "prior"]
        assert f"{found['score']:.8f}" == score
        assert found["llr"] == pytest.approx(calibration["scale"] * found["score"] + calibration["offset"])
        assert found["threshold"] == pytest.approx(calibration["thresholds"]["0.5"])
        assert found["same"] is (found["score"] >= found["threshold"])
        assert found["prior"] == 0.5


def test_no_calibration_no_decision(trained_dev: Path, wavs: dict[str, list[Path]]) -> None:
    """And how to get one."""
    outcome = call_script(TOOL, "compare", trained_dev, *wavs[min(wavs)][:2])
    (found,) = answers(outcome)
    assert found["same"] is found["llr"] is found["threshold"] is None
    assert "no decision: " in outcome.stderr
    assert "tools/recognize.py calibrate" in outcome.stderr


def test_voices(run: Path, wavs: dict[str, list[Path]], tmp_path: Path) -> None:
    """Enrolled, recognised, verified and forgotten; a file that cannot be used keeps no other from its answer."""
    voices = tmp_path / "voices"
    shared = (run, "--voices", voices)
    first, second = sorted(wavs)[:2]
    (said,) = ask("enrol", *shared, first, *wavs[first][:3], "--no_check")
    assert said == {"name": first, "recordings": 3, "voices": 1}
    assert "enrolled already" in refuse("enrol", *shared, first, wavs[first][3])
    ask("enrol", *shared, second, *wavs[second][:3], "--no_check")
    (said,) = ask("enrol", *shared, first, wavs[first][3], "--add", "--no_check")
    assert said["recordings"] == 4
    (tmp_path / "broken.wav").write_text("no audio")
    outcome = call_script(
        TOOL, "identify", *shared, wavs[first][0], tmp_path / "broken.wav", wavs[second][0], "--top", 1
    )
    found = answers(outcome)
    assert outcome.status == 1
    assert "1 of 3 files could not be used" in outcome.stderr
    assert list(found[0]) == ["file", "name", "score", "candidates"]
    assert found[1] == {"file": str(tmp_path / "broken.wav"), "error": found[1]["error"]}
    assert [len(found[place]["candidates"]) for place in (0, 2)] == [1, 1]
    assert set(found[0]["candidates"][0]) == {"name", "score", "llr"}
    assert found[0]["score"] == found[0]["candidates"][0]["score"]
    (strict,) = ask("identify", *shared, wavs[first][0], "--prior", "1e-30")
    assert strict["name"] is None
    (lax,) = ask("identify", *shared, wavs[first][0], "--prior", 1 - 1e-12)
    assert lax["name"] == lax["candidates"][0]["name"]
    (verified,) = ask("verify", *shared, first, wavs[first][0])
    assert (verified["name"], verified["file"]) == (first, str(wavs[first][0]))
    assert ask("remove", *shared, first) == [{"removed": first, "voices": 1}]
    assert f"nobody is enrolled as '{first}'; known are {second}" in refuse("verify", *shared, first, wavs[first][0])


def test_voices_of_another_network(run: Path, trained_dev: Path, wavs: dict[str, list[Path]], tmp_path: Path) -> None:
    """Refused, and the file left as it is; there must be one to identify by."""
    voices = tmp_path / "voices"
    assert "no such file of voices" in refuse("identify", run, "--voices", voices, wavs[min(wavs)][0])
    ask("enrol", run, "--voices", voices, "Ann", wavs[min(wavs)][0])
    before = voices.read_bytes()
    assert "another network" in refuse("enrol", trained_dev, "--voices", voices, "Bob", wavs[min(wavs)][1])
    assert voices.read_bytes() == before


def test_nothing_is_overwritten(run: Path, wavs: dict[str, list[Path]], tmp_path: Path) -> None:
    """Neither a network nor voices; what cannot be written to is said before the work."""
    good = wavs[min(wavs)][0]
    before = (run / "best.pt").read_bytes()
    assert "is there already" in refuse("export", run, run / "best.pt")
    assert (run / "best.pt").read_bytes() == before
    ask("enrol", run, "--voices", tmp_path / "voices", "Ann", good)
    assert "is there already" in refuse("embed", run, good, "--out", tmp_path / "voices")
    assert "there is no folder" in refuse("embed", run, good, "--out", tmp_path / "gone" / "out.npz")
    assert "there is no folder" in refuse("enrol", run, "--voices", tmp_path / "gone" / "voices", "Ann", good)
    assert "is there already" in refuse("enrol", run, "--voices", tmp_path, "Ann", good)


def test_enrolled_at_once(run: Path, wavs: dict[str, list[Path]], tmp_path: Path) -> None:
    """Four processes on one file of voices: none undoes what another does."""
    command = [sys.executable, TOOL, "enrol", run, "--voices", tmp_path / "voices"]
    started = [start(*command, name, wavs[min(wavs)][0]) for name in "abcd"]
    for process in started:
        _, said = process.communicate(timeout=100)
        assert process.returncode == 0, said
    with np.load(tmp_path / "voices") as file:
        assert sorted(name.decode() for name in file["names"]) == list("abcd")


def test_names_on_standard_output_are_ascii(run: Path, wavs: dict[str, list[Path]], tmp_path: Path) -> None:
    """JSON writes all others by their numbers: no terminal, no encoding is in the way."""
    outcome = call_script(TOOL, "enrol", run, "--voices", tmp_path / "voices", "Zoë \u4e2d", wavs[min(wavs)][0])
    assert outcome.stdout.isascii()
    assert answers(outcome)[0]["name"] == "Zoë \u4e2d"


def test_embed(run: Path, wavs: dict[str, list[Path]], tmp_path: Path) -> None:
    """Printed, or in a file: the same."""
    files = wavs[min(wavs)][:2]
    printed = ask("embed", run, *files)
    said = ask("embed", run, *files, "--out", tmp_path / "out.npz")
    assert [set(line) for line in printed + said] == 2 * [{"file", "seconds", "embedding"}] + 2 * [{"file", "seconds"}]
    with np.load(tmp_path / "out.npz") as kept:
        assert [name.decode() for name in kept["files"]] == list(map(str, files))
        assert kept["embeddings"].astype(np.float64).tolist() == [line["embedding"] for line in printed]


def write_pairs(path: Path, wavs: dict[str, list[Path]], count: int) -> Path:
    """All pairs of the first recordings of two speakers."""
    names = [(speaker, wav) for speaker in sorted(wavs)[:2] for wav in wavs[speaker][:count]]
    lines = [
        f'{int(names[a][0] == names[b][0])} "{names[a][1]}" "{names[b][1]}"'
        for b in range(len(names))
        for a in range(b)
    ]
    path.write_text("\n".join(lines) + "\n\n")
    return path


def test_calibrate(run: Path, wavs: dict[str, list[Path]], tmp_path: Path) -> None:
    """On one's own pairs: its figures, a warning that they are few, and decisions by it."""
    pairs, out = write_pairs(tmp_path / "pairs.txt", wavs, 6), tmp_path / "own.json"
    outcome = call_script(TOOL, "calibrate", run, pairs, "--out", out)
    assert outcome.status == 0, outcome.stderr
    (figures,) = answers(outcome)
    assert (figures["pairs"], figures["targets"]) == (66, 30)
    assert 0 <= figures["eer"] <= 50
    assert figures["min_cllr"] <= figures["cllr"]
    assert "30 pairs of one speaker and 36 of two: fewer than 100 of a kind" in outcome.stderr
    content = json.loads(out.read_text())
    assert content["checkpoint"] == hash_file(run / "best.pt")
    assert content["pairs"]["sha256"] == hash_file(pairs)
    (found,) = ask("compare", run, *wavs[min(wavs)][:2], "--calibration", out)
    assert found["threshold"] == pytest.approx(figures["threshold"])
    assert "own.json is there already" in refuse("calibrate", run, pairs, "--out", out)


def test_calibration_of_another_network(run: Path, trained_dev: Path, wavs: dict[str, list[Path]]) -> None:
    """By name."""
    pair = wavs[min(wavs)][:2]
    line = refuse("compare", trained_dev, *pair, "--calibration", run / "calibration.json")
    assert "is the calibration of another network" in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "pairs of one speaker"),
        ("1 a.wav\n", "line 1: expected is a line a pair"),
        ("yes a.wav b.wav\n", "line 1: expected"),
        ('1 "a.wav b.wav\n', "line 1: expected"),
        ("1 a.wav b.wav\n", "pairs of one speaker .1. and of two"),
        ("1 a.wav a.wav\n0 a.wav b.wav\n", "line 1: a file with itself"),
        ("1 a.wav ./a.wav\n0 a.wav b.wav\n", "line 1: a file with itself"),
        ("1 a.wav b.wav\n0 b.wav a.wav\n", "line 2: this pair stands in line 1 already"),
        ("1 a.wav gone.wav\n0 a.wav b.wav\n", "gone.wav: cannot be read"),
    ],
)
def test_pairs_that_will_not_do(run: Path, tmp_path: Path, text: str, message: str) -> None:
    """List, line and reason."""
    for seed, name in enumerate(("a.wav", "b.wav")):
        write_audio(tmp_path / name, noise(16_000, seed))
    (tmp_path / "pairs.txt").write_text(text)
    line = refuse("calibrate", run, tmp_path / "pairs.txt", "--out", tmp_path / "own.json")
    assert re.search(message, line), line
    assert not (tmp_path / "own.json").exists()


def test_refusals(run: Path, searched: tuple[Outcome, Path], wavs: dict[str, list[Path]], tmp_path: Path) -> None:
    """One line each: a silent file, one too short, a folder of a search, a prior that is none, no list."""
    good = wavs[min(wavs)][0]
    silent = write_audio(tmp_path / "silent.wav", np.zeros(16_000, np.int16))
    short = write_audio(tmp_path / "short.wav", noise(5_000))
    assert "silent.wav: silent" in refuse("compare", run, good, silent)
    assert "short.wav: 0.31 s are too short" in refuse("compare", run, good, short)
    ask("compare", run, good, short, "--too_short", 0.3, "--short", 0.3)
    assert "RUN: no best.pt in" in refuse("compare", searched[1], good, good)
    assert "the prior is a probability" in refuse("compare", run, good, good, "--prior", 2)
    assert "no such list" in refuse("calibrate", run, tmp_path / "gone.txt", "--out", tmp_path / "own.json")


def test_export(run: Path, tmp_path: Path) -> None:
    """One file, and what it holds."""
    pytest.importorskip("onnxscript")
    (said,) = ask("export", run, tmp_path / "net.onnx")
    assert said["bytes"] == (tmp_path / "net.onnx").stat().st_size
    assert said["metadata"]["threshold"]
