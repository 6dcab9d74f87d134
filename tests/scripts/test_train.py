"""train.py: what it leaves, which epoch it chooses, what it may be started from."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from data_objects.lists import read_trials
from tests.helpers import GENOTYPE, SCRATCH, call_script, noise, options, write_audio
from tests.runs import LONG, RUN_FILES, files, metrics
from utils.records.checkpoint import load_checkpoint
from utils.records.guard import HELD_OUT, TEST, TRAIN, VAL
from utils.system.files import hash_file


def test_run_folder_of_a_training(trained: tuple[dict, Path]) -> None:
    """The last line printed is what results.json holds."""
    figures, run_dir = trained
    assert files(run_dir) == RUN_FILES | {"events", "best.pt", "results.json"}
    kept = json.loads((run_dir / "results.json").read_text())
    provenance = kept.pop("provenance")
    assert kept == figures
    assert provenance["checkpoint"]["sha256"] == hash_file(run_dir / "best.pt")
    assert list(figures) == ["run_dir", "parameters", "epoch", "val_top1", "top1", "top5", "utterances"]
    assert figures["utterances"] == 6 * 2


def test_learning_rate_falls_by_half_a_cosine(uninterrupted: Callable[[str], Path]) -> None:
    """From TRAIN.LR, in the first epoch, towards TRAIN.LR_MIN at the end; alpha's stays."""
    for script, name in (("train", "lr"), ("search", "lr_weights")):
        epochs, lines = LONG[script]["TRAIN__END_EPOCH"], metrics(uninterrupted(script))
        expected = [0.001 + 0.009 * (1 + math.cos(math.pi * epoch / epochs)) / 2 for epoch in range(epochs)]
        assert [line[name] for line in lines] == pytest.approx(expected)
    assert {line["lr_alpha"] for line in lines} == {0.01}


def test_best_epoch_is_chosen_on_speakers_held_out(trained_apart: Path) -> None:
    """By their equal error rate, whatever Top-1 is; their trials lie beside the run."""
    figures = [line for line in metrics(trained_apart) if "val_eer" in line]
    assert len(figures) > 1
    best = min(figures, key=lambda line: (line["val_eer"], line["val_min_dcf"], line["epoch"]))
    results = json.loads((trained_apart / "results.json").read_text())
    assert results["epoch"] == best["epoch"]
    assert results["val_eer"] == best["val_eer"]
    protocol = json.loads((trained_apart / "protocol.json").read_text())
    trials = read_trials(trained_apart / "validation_trials.txt")
    checkpoint = load_checkpoint(trained_apart / "best.pt", ("train",))
    assert trials.speakers == protocol["validation_speakers"] == checkpoint.protocol["validation_speakers"]
    assert hash_file(trained_apart / "validation_trials.txt") == protocol["validation_trials"]
    assert len(trials.speakers) == len(checkpoint.speakers) == 2
    assert not set(trials.speakers) & set(checkpoint.speakers)
    assert {role: entry["speakers"] for role, entry in protocol["roles"].items()} == {
        TRAIN: 2,
        VAL: 2,
        HELD_OUT: 2,
        TEST: 2,
    }


def test_pretrained_on_the_test_speakers(
    toy: Path, trained: tuple[dict, Path], trained_apart: Path, tmp_path: Path
) -> None:
    """A network for verification must not be started from one that knows the test speakers, or those held out."""
    genotype = load_checkpoint(trained[1] / "best.pt", ("train",)).architecture["genotype"]
    settings = {"DATASET__DATA_DIR": toy, "DATASET__SUB_DIR": "dev", "OUT_DIR": tmp_path}
    arguments = ("--cfg", SCRATCH, "--text_arch", genotype)
    outcome = call_script("train.py", *arguments, *options(MODEL__PRETRAINED=trained[1], **settings))
    assert outcome.status == 2
    assert "2 speakers are both pretrained on and tested on (id10005, id10006)" in outcome.stderr
    assert not list(tmp_path.iterdir())
    arguments = ("--cfg", SCRATCH, "--text_arch", GENOTYPE)
    for number, start in enumerate((trained_apart, tmp_path / "weights.pt")):
        checkpoint = load_checkpoint(trained_apart / "best.pt", ("train",))
        torch.save(checkpoint.model, tmp_path / "weights.pt")  # without a word of where it comes from
        fresh = settings | {"OUT_DIR": tmp_path / str(number), "DATASET__VAL_SPEAKERS": 2}
        outcome = call_script("train.py", *arguments, *options(MODEL__PRETRAINED=start, **fresh))
        assert outcome.status == 0, outcome.stderr
        (run_dir,) = (tmp_path / str(number) / "train").iterdir()
        protocol = load_checkpoint(run_dir / "last.pt", ("train",)).protocol
        own = {"sub_dir": "dev", "speakers": checkpoint.speakers, "chosen_on": protocol["validation_speakers"]}
        assert (protocol["pretraining"], protocol["pretraining_known"]) == (
            ([own], True) if number == 0 else ([], False)
        )
        outcome = call_script("evaluate_verification.py", "--cfg", run_dir / "config.yaml", "--load_path", run_dir)
        assert outcome.status == 0, outcome.stderr
        kept = json.loads((run_dir / "results-verification.json").read_text())
        assert kept["provenance"]["protocol"]["pretraining_known"] is (number == 0)
        assert ("nobody knows what they have learnt from" in outcome.stderr) is (number == 1)


@pytest.mark.parametrize("held_out", [2, 0])
def test_verification_where_nobody_has_two_sessions(tmp_path: Path, held_out: int) -> None:
    """As in flat folders and Kaldi's: the speakers held out choose the epoch; without them the remedy is told."""
    for place in range(6):
        for number in range(4):
            write_audio(tmp_path / "flat" / f"s{place}" / f"{number}.wav", noise(16_000, 10 * place + number))
    assert call_script("data_preprocess.py", tmp_path / "flat", "--num_workers", 0).status == 0
    settings = {"DATASET__DATA_DIR": tmp_path / "flat", "DATASET__SUB_DIR": "dev", "OUT_DIR": tmp_path / "runs"}
    settings |= {"DATASET__VAL_SPEAKERS": held_out, "TRAIN__BATCH_SIZE": 2}
    outcome = call_script("train.py", "--cfg", SCRATCH, "--text_arch", GENOTYPE, *options(**settings))
    if held_out:
        assert outcome.status == 0, outcome.stderr
        figures = json.loads(outcome.last_line)
        assert "val_eer" in figures
        assert "val_top1" not in figures
    else:
        assert outcome.status == 2
        assert "hold speakers out to choose the best epoch by (DATASET.VAL_SPEAKERS)" in outcome.stderr


def test_large_margin_fine_tuning(toy: Path, trained_otherwise: Path, tmp_path: Path) -> None:
    """The shipped second stage takes all over from a run: what embeds, and what tells its speakers apart."""
    first = load_checkpoint(trained_otherwise / "best.pt", ("train",))
    settings = {"TRAIN__SUBCENTERS": 2, "AUGMENT__NOISE_DIR": "", "AUGMENT__RIR_DIR": ""}
    settings |= {"MODEL__PRETRAINED": trained_otherwise, "DATASET__PARTIAL_N_FRAMES": 96, "DATASET__NUM_WORKERS": 0}
    command = ("--cfg", "exps/scratch/large_margin.yaml", "--text_arch", GENOTYPE)
    outcome = call_script("train.py", *command, *options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path, **settings))
    assert outcome.status == 0, outcome.stderr
    taken = f"{len(first.model) - 1} tensors taken over; the classifier's {len(first.speakers)} speakers, too\n"
    assert f"MODEL.PRETRAINED: {taken}" in outcome.stderr
    second = load_checkpoint(Path(json.loads(outcome.last_line)["run_dir"]) / "best.pt", ("train",))
    for name in ("classifier.weight", "stem_0.0.weight"):  # two steps or so, of a ten-thousandth each
        moved = (second.model[name] - first.model[name]).abs().max()
        assert 0 < moved < 0.001
