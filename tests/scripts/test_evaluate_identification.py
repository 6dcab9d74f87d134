"""evaluate_identification.py: its figures, and networks that it is not for."""

import json
from pathlib import Path

import numpy as np

from tests.helpers import (
    SCRATCH,
    SPEAKERS,
    SPLIT,
    call_script,
    options,
    preprocess,
    run_script,
    write_audio,
    write_corpus,
    write_small_corpus,
)
from tests.runs import copy_best, copy_run

IDENTIFICATION = ["top1", "top5", "utterances", "speakers"]


def test_identification(trained: tuple[dict, Path], tmp_path: Path) -> None:
    """The last line printed, results-identification.json, and the same figures as at the end of the training."""
    figures, run_dir = trained[0], copy_run(trained[1], tmp_path)
    arguments = ("--cfg", run_dir / "config.yaml", "--load_path", run_dir)
    outcome = run_script("evaluate_identification.py", *arguments, check=True)
    printed = json.loads(outcome.last_line)
    assert list(printed) == IDENTIFICATION
    assert (printed["utterances"], printed["speakers"]) == (12, 6)
    assert (printed["top1"], printed["top5"]) == (figures["top1"], figures["top5"])
    kept = json.loads((run_dir / "results-identification.json").read_text())
    assert {name: kept[name] for name in IDENTIFICATION} == printed


def test_corpus_of_other_speakers(toy: Path, trained_paper: Path, tmp_path: Path) -> None:
    """A class list that is not the corpus's is refused by name, whatever is allowed."""
    corpus = write_small_corpus(tmp_path / "corpus")
    preprocess(corpus)
    arguments = ("--cfg", SCRATCH, "--load_path", copy_best(trained_paper, tmp_path), "--allow_index_change")
    outcome = call_script("evaluate_identification.py", *arguments, *options(DATASET__DATA_DIR=corpus))
    assert outcome.status == 2
    assert "its class list of 6 speakers is not that of" in outcome.stderr


def test_speakers_that_were_never_trained_on(tmp_path: Path) -> None:
    """A split that trains on two of four speakers: it is said what cannot work, and who was really trained on."""
    split = {name: part for name, part in SPLIT.items() if part > 1 or name.startswith(SPEAKERS[:2])}
    data_dir = write_corpus(tmp_path / "corpus", dict.fromkeys(split, 16_000), split, test_speakers=SPEAKERS[2:])
    write_audio(data_dir / "wav" / "id10001/test/00001.wav", np.zeros(16_000, dtype=np.float32))
    preprocess(data_dir)
    settings = options(DATASET__DATA_DIR=data_dir, OUT_DIR=tmp_path / "runs", TRAIN__BATCH_SIZE=2)
    outcome = call_script("train_baseline.py", "--cfg", "exps/mini/resnet18.yaml", *settings)
    run_dir = Path(json.loads(outcome.last_line)["run_dir"])
    missing = "were never trained on (id10003, id10004)"
    assert f"WARNING: 2 of the 4 speakers validated on {missing}" in outcome.stderr
    assert f"WARNING: 2 of the 4 speakers tested on {missing}" in outcome.stderr
    assert "4 speakers (2 with something to train on)" in outcome.stderr
    assert "trained on 2 / 2" in outcome.stderr
    assert "no overlap that matters" not in outcome.stderr
    protocol = json.loads((run_dir / "protocol.json").read_text())
    assert protocol["roles"]["trained on"]["speakers"] == 2
    assert protocol["untrained_speakers"] == ["id10003", "id10004"]
    command = ("evaluate_identification.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir, "EVAL.REPORT")
    outcome = call_script(*command, True)
    assert f"WARNING: 2 of the 4 speakers tested on {missing}" in outcome.stderr
    results = json.loads((run_dir / "results-identification.json").read_text())
    assert results["test_speakers_never_trained_on"] == 2
    assert results["silent_utterances"] == 1
    assert any("1 of the 4 utterances tested on are silent" in warning for warning in results["warnings"])
    assert any(missing in warning for warning in results["warnings"])
    assert missing in (run_dir / "identification" / "report.html").read_text()
    call_script(*command, False)
    assert not (run_dir / "identification").exists()
    assert (run_dir / "accuracy_per_speaker.csv").exists()
    outcome = call_script("evaluate_verification.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir)
    assert "both trained on and tested on" not in outcome.stderr  # the trials are of the two others


def test_evaluation_with_windows_of_another_length(toy: Path, trained: tuple[dict, Path], tmp_path: Path) -> None:
    """Settings that disagree with the training are refused; windows that are meant to be others are warned of."""
    arguments = ("--cfg", SCRATCH, "--load_path", copy_best(trained[1], tmp_path))
    refused = options(DATASET__DATA_DIR=toy, DATASET__PARTIAL_N_FRAMES=100)
    outcome = call_script("evaluate_identification.py", *arguments, *refused)
    assert outcome.status == 2
    assert "was trained on crops of 64 frames, the settings say DATASET.PARTIAL_N_FRAMES 100" in outcome.stderr
    settings = options(DATASET__DATA_DIR=toy, EVAL__WINDOW_FRAMES=100)
    outcome = call_script("evaluate_identification.py", *arguments, *settings)
    assert "WARNING: the network was trained on crops of 64 frames and is evaluated on windows of 100" in outcome.stderr
    assert json.loads((tmp_path / "results-identification.json").read_text())["window_frames"] == 100
