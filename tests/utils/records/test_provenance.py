"""Results, and that none is written without saying where it comes from."""

import dataclasses
import inspect
import json
from pathlib import Path

import pytest

from utils.records.provenance import Provenance, package_versions, prepare_folder, remove_earlier, write_results
from utils.system.errors import UserError

COMPLETE = Provenance(
    command="python evaluate_verification.py",
    checkpoint={"file": "best.pt", "sha256": "1" * 64, "epoch": 3, "best": {}},
    protocol={"roles": {"trained on": {"speakers": 2, "utterances": 4, "sha256": "2" * 64}}},
    index={"folder": "feature", "sha256": "3" * 64, "sha256_at_training": "3" * 64},
    trials={"veri_test": {"file": "veri_test.txt", "sha256": "4" * 64}},
    skipped_trials=0,
    config={"SEED": 3},
    training_config={"SEED": 3},
    packages=package_versions(),
    code={"config.py": "5" * 16},
    machine={"device": "CPU"},
)


def test_written_with_its_provenance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file holds both, standard output the figures that were asked for."""
    write_results(tmp_path / "results.json", {"eer": 1.5, "trials": 8}, COMPLETE, keys=("eer",))
    content = json.loads((tmp_path / "results.json").read_text())
    assert (content["eer"], content["trials"]) == (1.5, 8)
    assert content["provenance"] == dataclasses.asdict(COMPLETE)
    assert json.loads(capsys.readouterr().out) == {"eer": 1.5}


def test_there_is_no_way_around_it() -> None:
    """The provenance is no option."""
    assert inspect.signature(write_results).parameters["provenance"].default is inspect.Parameter.empty
    assert all(entry.default is dataclasses.MISSING for entry in dataclasses.fields(Provenance))
    with pytest.raises(TypeError):
        write_results(Path("results.json"), {"eer": 1.5})


EMPTY = {"trials", "skipped_trials"}  # what identification does not have


@pytest.mark.parametrize("name", [entry.name for entry in dataclasses.fields(Provenance) if entry.name not in EMPTY])
def test_nothing_may_be_left_out(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is missing is named; nothing is written or printed."""
    partial = dataclasses.replace(COMPLETE, **{name: type(getattr(COMPLETE, name))()})
    with pytest.raises(ValueError, match=f"no {name}"):
        write_results(tmp_path / "results.json", {"eer": 1.5}, partial)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"protocol": {"roles": {}, "overlap": []}}, "protocol.roles"),
        ({"trials": {"veri_test": {"file": "veri_test.txt", "sha256": ""}}}, "trials.veri_test.sha256"),
    ],
)
def test_nor_its_parts(tmp_path: Path, change: dict, complaint: str) -> None:
    """Who was trained on; which trials."""
    with pytest.raises(ValueError, match=complaint):
        write_results(tmp_path / "results.json", {"eer": 1.5}, dataclasses.replace(COMPLETE, **change))


def test_versions_of_what_computes() -> None:
    """Of Python and of each package that figures depend on."""
    versions = package_versions()
    assert {"python", "torch", "torchaudio", "numpy", "scipy", "scikit-learn"} <= set(versions)
    assert "not installed" not in versions.values()


def test_what_an_earlier_evaluation_left(tmp_path: Path) -> None:
    """Its files go where the new one does not write them again; nobody else's do."""
    (tmp_path / "pictures").mkdir()
    for name in ("scores-first.txt", "scores.txt", "pictures/det.png", "scores-mine.txt"):
        (tmp_path / name).touch()
    outside = tmp_path.parent / f"{tmp_path.name}-outside.txt"
    outside.touch()
    listed = ["scores-first.txt", "scores.txt", "pictures/det.png", "gone.txt", f"../{outside.name}"]
    (tmp_path / "results.json").write_text(json.dumps({"files": listed}))
    assert remove_earlier(tmp_path / "results.json", [tmp_path / "scores.txt"]) == ["scores.txt"]
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
        "scores.txt",
        "scores-mine.txt",
        "results.json",
    }
    assert outside.exists()
    for content in ("", "[]", "{}"):
        (tmp_path / "results.json").write_text(content)
        assert remove_earlier(tmp_path / "results.json", []) == []


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """One line that names it, and the option."""
    (tmp_path / "taken").touch()
    with pytest.raises(UserError, match="--out_dir"):
        prepare_folder(tmp_path / "taken" / "results")
