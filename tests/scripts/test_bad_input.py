"""Mistakes a user can make: one line that says what is wrong and where, exit status 2, and nothing half-written."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers import (
    GENOTYPE,
    SCRATCH,
    SEARCH,
    SPEAKERS,
    SPLIT,
    Outcome,
    call_script,
    noise,
    options,
    preprocess,
    run_script,
    write_audio,
    write_lists,
    write_small_corpus,
)
from utils.records.checkpoint import load_checkpoint, save_checkpoint

TRAINING = {
    "search.py": ("--cfg", SEARCH),
    "train.py": ("--cfg", SCRATCH, "--text_arch", GENOTYPE),
    "train_baseline.py": ("--cfg", "exps/mini/resnet18.yaml"),
}
EVALUATION = ("evaluate_identification.py", "evaluate_verification.py")
SMALL = {"TRAIN__BATCH_SIZE": 2}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An indexed corpus; tests must leave it as it is."""
    folder = write_small_corpus(tmp_path_factory.mktemp("corpus"))
    preprocess(folder)
    return folder


@pytest.fixture
def own_corpus(tmp_path: Path) -> Path:
    """A corpus to spoil, not indexed yet."""
    return write_small_corpus(tmp_path / "corpus")


@pytest.fixture(scope="module")
def run_dir(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained network's run folder."""
    settings = options(DATASET__DATA_DIR=corpus, OUT_DIR=tmp_path_factory.mktemp("runs"), **SMALL)
    outcome = call_script("train.py", *TRAINING["train.py"], *settings)
    return Path(json.loads(outcome.last_line)["run_dir"])


@pytest.fixture(scope="module")
def search_dir(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search's run folder."""
    out = tmp_path_factory.mktemp("searches")
    call_script("search.py", *TRAINING["search.py"], *options(DATASET__DATA_DIR=corpus, OUT_DIR=out, **SMALL))
    return next((out / "search").iterdir())


def assert_one_line(outcome: Outcome, script: str, *parts: object) -> None:
    """Exit status 2, nothing on standard output, and one line on standard error that holds all `parts`."""
    assert outcome.status == 2, outcome
    assert outcome.stdout == ""
    assert outcome.stderr.endswith("\n")
    assert len(outcome.stderr.splitlines()) == 1, outcome.stderr
    assert outcome.stderr.startswith(f"{Path(script).name}: error: ")
    for part in parts:
        assert str(part) in outcome.stderr


def assert_refused(tmp_path: Path, script: str, arguments: tuple, *parts: object, **settings: object) -> None:
    """The script refuses with one line, and no run folder is made."""
    out = tmp_path / "runs"
    outcome = call_script(script, *arguments, *options(**({"OUT_DIR": out, **SMALL} | settings)))
    assert_one_line(outcome, script, *parts)
    assert not out.exists()


# ------------------------------------------------------------------------------------------------------------------
# Where the data is
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("script", TRAINING)
@pytest.mark.parametrize("state", ["not set", "missing", "a file", "not preprocessed"])
def test_training_without_data(tmp_path: Path, script: str, state: str) -> None:
    """DATA_DIR that is no preprocessed folder; the error names it, and the command to run where one helps."""
    folder = tmp_path / "corpus"
    parts = [folder]
    if state == "a file":
        folder.touch()
    if state == "not preprocessed":
        folder.mkdir()
        parts = [f"python data_preprocess.py {folder}"]
    data_dir = "" if state == "not set" else folder
    parts = ["DATASET.DATA_DIR is not set"] if state == "not set" else parts
    assert_refused(tmp_path, script, TRAINING[script], *parts, DATASET__DATA_DIR=data_dir)


@pytest.mark.parametrize("script", EVALUATION)
def test_evaluation_without_data(tmp_path: Path, run_dir: Path, script: str) -> None:
    """The same for a trained network."""
    arguments = ("--cfg", SCRATCH, "--load_path", run_dir)
    assert_refused(tmp_path, script, arguments, "no such folder", DATASET__DATA_DIR=tmp_path / "nowhere")


def test_index_elsewhere_is_named(tmp_path: Path, own_corpus: Path) -> None:
    """Where FEATURE_DIR is set, the command to run writes the index there."""
    elsewhere = tmp_path / "elsewhere"
    command = f"python data_preprocess.py {own_corpus} --out_dir {elsewhere}"
    places = {"DATASET__DATA_DIR": own_corpus, "DATASET__FEATURE_DIR": elsewhere}
    assert_refused(tmp_path, "train.py", TRAINING["train.py"], command, **places)


@pytest.mark.parametrize("state", ["missing", "a file", "without wav", "without audio"])
def test_preprocessing_without_data(tmp_path: Path, state: str) -> None:
    """DATA_DIR that holds no corpus."""
    folder = tmp_path / "corpus"
    if state == "a file":
        folder.touch()
    elif state != "missing":
        write_lists(folder, SPLIT)
        (folder / ("wav" if state == "without audio" else "music")).mkdir()
    assert_one_line(call_script("data_preprocess.py", folder), "data_preprocess.py", folder)
    assert not (folder / "feature").exists()


def test_preprocessing_to_a_place_that_is_taken(tmp_path: Path, own_corpus: Path) -> None:
    """The index's folder cannot be made."""
    taken = tmp_path / "taken"
    taken.touch()
    assert_one_line(call_script("data_preprocess.py", own_corpus, "--out_dir", taken), "data_preprocess.py", taken)


# ------------------------------------------------------------------------------------------------------------------
# Lists
# ------------------------------------------------------------------------------------------------------------------
FORM = "SPEAKER/SESSION/FILE.wav"
LISTS = ("vox1_meta.csv", "iden_split.txt", "veri_test.txt")
# list, the line to add, what the error says besides file and line number
MALFORMED = [
    ("iden_split.txt", "4 id10001/train/00002.wav", f"1|2|3 {FORM}"),
    ("iden_split.txt", "1", f"1|2|3 {FORM}"),
    ("iden_split.txt", "1 00002.wav", f"1|2|3 {FORM}"),
    ("iden_split.txt", "1 id10001/train/00001.wav", "twice"),
    ("veri_test.txt", "2 id10001/train/00001.wav id10001/val/00001.wav", f"1|0 {FORM} {FORM}"),
    ("veri_test.txt", "1 id10001/train/00001.wav", f"1|0 {FORM} {FORM}"),
    ("veri_test.txt", "1 id10001/train/00001.wav /secret.wav", f"1|0 {FORM} {FORM}"),
    ("vox1_meta.csv", "id10004,name,f,UK,dev", "VoxCeleb1 ID<TAB>"),
    ("vox1_meta.csv", "id10004\tname\tf\tUK\tvalidation", "dev or test"),
    ("vox1_meta.csv", "id10001\tname\tf\tUK\tdev", "twice"),
]


@pytest.mark.parametrize(("name", "line", "complaint"), MALFORMED)
def test_preprocessing_with_a_malformed_list(own_corpus: Path, name: str, line: str, complaint: str) -> None:
    """The error names the file, the line and what was expected there."""
    path = own_corpus / name
    number = len(path.read_text().splitlines()) + 1
    with open(path, "a") as file:
        file.write(f"{line}\n")
    outcome = call_script("data_preprocess.py", own_corpus)
    assert_one_line(outcome, "data_preprocess.py", f"{path}, line {number}: ", complaint)
    assert not (own_corpus / "feature").exists()


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\x00\x01"], ids=["empty", "blank", "binary"])
def test_preprocessing_with_a_list_that_is_none(own_corpus: Path, name: str, content: bytes) -> None:
    """A list that is empty or no text is named, with its form."""
    (own_corpus / name).write_bytes(content)
    form = "VoxCeleb1 ID<TAB>VGGFace1 ID" if name == "vox1_meta.csv" else FORM
    assert_one_line(call_script("data_preprocess.py", own_corpus), "data_preprocess.py", own_corpus / name, form)
    assert not (own_corpus / "feature").exists()


def test_trials_of_one_kind(own_corpus: Path) -> None:
    """They have no error rate."""
    write_lists(own_corpus, SPLIT, [(1, *list(SPLIT)[:2])])
    assert_one_line(call_script("data_preprocess.py", own_corpus), "data_preprocess.py", "veri_test.txt", "label 1")


def test_folders_in_place_of_files(tmp_path: Path, corpus: Path, run_dir: Path) -> None:
    """Each is told to be one, with what is needed there."""
    arguments = ("--cfg", SCRATCH, "--load_path", run_dir, "--trials", tmp_path)
    parts = (f"{tmp_path} is a folder", FORM)
    assert_refused(tmp_path, "evaluate_verification.py", arguments, *parts, DATASET__DATA_DIR=corpus)
    assert_refused(tmp_path, "train_baseline.py", ("--cfg", tmp_path), f"{tmp_path} is a folder", "YAML")
    arguments = ("--cfg", SCRATCH, "--text_arch", tmp_path)
    assert_refused(tmp_path, "train.py", arguments, tmp_path, "a folder that holds no genotype.txt")


@pytest.mark.parametrize(("content", "complaint"), [(None, "missing list"), ("1 a b\n", "line 1: expected")])
def test_verification_with_a_bad_list(
    tmp_path: Path, own_corpus: Path, run_dir: Path, content: str | None, complaint: str
) -> None:
    """The trials are read anew when a network is evaluated."""
    preprocess(own_corpus)
    trials = own_corpus / "veri_test.txt"
    trials.unlink()
    if content is not None:
        trials.write_text(content)
    arguments = ("--cfg", SCRATCH, "--load_path", run_dir)
    assert_refused(tmp_path, "evaluate_verification.py", arguments, trials, complaint, DATASET__DATA_DIR=own_corpus)


def test_verification_without_the_utterances(tmp_path: Path, own_corpus: Path, run_dir: Path) -> None:
    """No error rate is made up from trials whose utterances are missing."""
    preprocess(own_corpus)
    own, other = "id10003/train/00001.wav", "id10004/gone/00001.wav"
    write_lists(own_corpus, SPLIT, [(1, own, "id10003/gone/00001.wav"), (0, own, other)], SPEAKERS[-2:])
    arguments = ("--cfg", SCRATCH, "--load_path", run_dir, "--allow_index_change")  # it is this index for once
    for allowed, part in (((), "--allow_missing"), (("--allow_missing",), "do not hold trials of both kinds")):
        outcome = call_script(
            "evaluate_verification.py", *arguments, *allowed, *options(DATASET__DATA_DIR=own_corpus, **SMALL)
        )
        assert (outcome.status, outcome.stdout) == (2, "")
        assert "2 of 2 trials" in outcome.stderr
        assert part in outcome.stderr


# ------------------------------------------------------------------------------------------------------------------
# Audio
# ------------------------------------------------------------------------------------------------------------------
def spoil(folder: Path) -> dict[str, str]:
    """Add utterances that cannot be used to a corpus; returns a part of the reason for each."""
    folder = folder / "wav" / "id10001" / "spoiled"
    whole = write_audio(folder / "00002.wav", noise(16_000)).read_bytes()
    (folder / "00001.wav").write_bytes(b"")
    (folder / "00002.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "00003.wav").write_text("this is no audio")
    write_audio(folder / "00004.wav", np.full(16_000, np.nan, np.float32), subtype="FLOAT")
    write_audio(folder / "00005.wav", noise(399))
    (folder / "00006.wav").symlink_to(folder / "nowhere.wav")
    (folder / "00007.wav").write_bytes(whole[:30])
    reasons = ("empty", "truncated", "not audio", "not finite", "too short", "No such file", "truncated")
    return {f"wav/id10001/spoiled/{number:05d}.wav": reason for number, reason in enumerate(reasons, start=1)}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_bad_audio_is_listed_and_the_rest_used(own_corpus: Path, num_workers: int) -> None:
    """Every file that is rejected stands in rejected.csv with its reason; what can be converted is."""
    reasons = spoil(own_corpus)
    odd = own_corpus / "wav" / "id10001" / "odd"
    write_audio(odd / "00001.wav", noise(16_000).reshape(-1, 2))
    write_audio(odd / "00002.wav", noise(8_000), rate=8_000)
    outcome = call_script("data_preprocess.py", own_corpus, "--num_workers", num_workers)
    with open(own_corpus / "feature" / "rejected.csv", newline="") as file:
        rejected = {row["file"]: row["reason"] for row in csv.DictReader(file)}
    assert list(rejected) == list(reasons)
    for file, reason in reasons.items():
        assert reason in rejected[file]
    assert "rejected: 7" in outcome.stdout
    assert "2 truncated" in outcome.stdout
    assert "converted to 16 kHz mono: 2" in outcome.stdout
    assert (own_corpus / "feature" / "wav" / "id10001" / "odd" / "00002.wav").is_file()
    with open(own_corpus / "feature" / "utterances.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(SPLIT) + 2


def test_corpus_of_bad_audio_alone(own_corpus: Path) -> None:
    """Nothing to index: an error, with the list of reasons but no index."""
    for path in (own_corpus / "wav").rglob("*.wav"):
        path.write_bytes(b"")
    rejected = own_corpus / "feature" / "rejected.csv"
    outcome = call_script("data_preprocess.py", own_corpus, "--num_workers", 0)
    assert_one_line(outcome, "data_preprocess.py", "no utterance can be used", rejected)
    assert len(rejected.read_text().splitlines()) == 1 + len(SPLIT)
    assert not (own_corpus / "feature" / "utterances.csv").exists()


def test_short_utterances_are_counted_and_evaluated(tmp_path: Path, run_dir: Path) -> None:
    """Shorter than a window: told in the summary, and not left out of the results."""
    folder = write_small_corpus(tmp_path / "corpus", samples=48_000)
    write_audio(folder / "wav" / "id10001" / "test" / "00001.wav", noise(4_000))
    outcome = call_script("data_preprocess.py", folder, "--num_workers", 0)
    assert "shorter than 300 frames, will be tiled: 1;" in outcome.stdout
    copy = tmp_path / "run"
    copy.mkdir()
    (copy / "best.pt").write_bytes((run_dir / "best.pt").read_bytes())
    settings = options(DATASET__DATA_DIR=folder)
    arguments = ("--cfg", SCRATCH, "--load_path", copy, "--allow_index_change")
    outcome = call_script("evaluate_identification.py", *arguments, *settings)
    assert json.loads(outcome.last_line)["utterances"] == len(SPEAKERS)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_audio_that_went_after_indexing(tmp_path: Path, own_corpus: Path, num_workers: int) -> None:
    """The error names the file and what to do, in one line, also where a loader process met it."""
    preprocess(own_corpus)
    gone = own_corpus / "wav" / "id10002" / "train" / "00001.wav"
    gone.unlink()
    settings = options(
        DATASET__DATA_DIR=own_corpus, OUT_DIR=tmp_path / "runs", DATASET__NUM_WORKERS=num_workers, TRAIN__BATCH_SIZE=3
    )
    outcome = run_script("train.py", *TRAINING["train.py"], *settings)
    about = ("parameters", "protocol")  # what the run is comes first
    lines = [line for line in outcome.stderr.splitlines() if not any(word in line for word in about)]
    last = Outcome(outcome.status, outcome.stdout, "".join(f"{line}\n" for line in lines))
    assert_one_line(last, "train.py", gone, "data_preprocess.py")


# ------------------------------------------------------------------------------------------------------------------
# Genotypes
# ------------------------------------------------------------------------------------------------------------------
BAD_GENOTYPES = {
    "unknown operation": (GENOTYPE.replace("sep_conv_3x3", "conv_9x9"), "unknown operation 'conv_9x9'"),
    "no operation": (GENOTYPE.replace("max_pool_3x3", "none"), "unknown operation 'none'"),
    "later node": (GENOTYPE.replace("('dil_conv_5x5', 1)", "('dil_conv_5x5', 2)", 1), "node 2"),
    "an edge too few": (GENOTYPE.replace("('dil_conv_5x5', 1), ", "", 1), "found 7"),
    "half of it": (GENOTYPE[:50], "not a genotype"),
    "cut short without its name": (GENOTYPE.removeprefix("Genotype"), "no genotype"),
    "missing file": ("genotypes/best.txt", "'genotypes/best.txt'"),
    "a list as an operation": (GENOTYPE.replace("'sep_conv_3x3'", "[]"), "[]"),
}


@pytest.mark.parametrize(("text", "complaint"), BAD_GENOTYPES.values(), ids=BAD_GENOTYPES)
def test_training_a_bad_genotype(tmp_path: Path, corpus: Path, text: str, complaint: str) -> None:
    """What is wrong with it is said before anything is made."""
    arguments = ("--cfg", SCRATCH, "--text_arch", text)
    assert_refused(tmp_path, "train.py", arguments, complaint, DATASET__DATA_DIR=corpus)


def test_code_in_a_genotype_is_not_run(tmp_path: Path, corpus: Path) -> None:
    """A genotype is data, wherever it comes from."""
    trace = tmp_path / "trace"
    text = GENOTYPE.replace("'max_pool_3x3'", f"__import__('pathlib').Path({str(trace)!r}).touch()")
    arguments = ("--cfg", SCRATCH, "--text_arch", text)
    assert_refused(tmp_path, "train.py", arguments, "literals", DATASET__DATA_DIR=corpus)
    assert not trace.exists()


# ------------------------------------------------------------------------------------------------------------------
# Checkpoints
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("script", EVALUATION)
def test_evaluating_a_search(tmp_path: Path, corpus: Path, search_dir: Path, script: str) -> None:
    """A supernet is refused, with the way on."""
    arguments = ("--cfg", SCRATCH, "--load_path", search_dir / "last.pt")
    parts = (search_dir / "last.pt", "search.py", "train.py")
    assert_refused(tmp_path, script, arguments, *parts, DATASET__DATA_DIR=corpus)


def write_no_checkpoint(path: Path, kind: str, checkpoint: bytes) -> None:
    """Write a file that is no checkpoint."""
    if kind == "another dictionary":
        torch.save({"epoch": 3, "state_dict": {}}, path)
    elif kind == "pickled code":
        torch.save({"path": Path("/")}, path)
    else:
        path.write_bytes({"text": b"weights", "empty": b"", "cut short": checkpoint[: len(checkpoint) // 2]}[kind])


@pytest.mark.parametrize("script", EVALUATION)
@pytest.mark.parametrize("kind", ["text", "empty", "cut short", "another dictionary", "pickled code"])
def test_evaluating_no_checkpoint(tmp_path: Path, corpus: Path, run_dir: Path, script: str, kind: str) -> None:
    """A file that is something else is named."""
    path = tmp_path / "model.pt"
    write_no_checkpoint(path, kind, (run_dir / "best.pt").read_bytes())
    arguments = ("--cfg", SCRATCH, "--load_path", path)
    assert_refused(tmp_path, script, arguments, path, "not a checkpoint", DATASET__DATA_DIR=corpus)


@pytest.mark.parametrize("state", ["missing", "an empty folder"])
def test_evaluating_nothing(tmp_path: Path, corpus: Path, state: str) -> None:
    """A path with nothing behind it is named."""
    path = tmp_path / "run"
    if state != "missing":
        path.mkdir()
    arguments = ("--cfg", SCRATCH, "--load_path", path)
    assert_refused(tmp_path, "evaluate_verification.py", arguments, path, DATASET__DATA_DIR=corpus)


@pytest.mark.parametrize("script", EVALUATION)
@pytest.mark.parametrize(
    ("change", "parts"), [({"MODEL__LAYERS": 4}, "layers 3 4"), ({"MODEL__NAME": "vggm"}, "network vggm")]
)
def test_evaluating_with_other_settings(
    tmp_path: Path, corpus: Path, run_dir: Path, script: str, change: dict, parts: str
) -> None:
    """Settings of another network than the checkpoint's: both values are told."""
    arguments = ("--cfg", SCRATCH, "--load_path", run_dir)
    parts = (run_dir / "best.pt", *parts.split())
    assert_refused(tmp_path, script, arguments, *parts, DATASET__DATA_DIR=corpus, **change)


def test_evaluating_a_baseline_as_a_network(tmp_path: Path, corpus: Path, run_dir: Path) -> None:
    """A baseline's checkpoint with a network's settings."""
    trained = load_checkpoint(run_dir / "best.pt", ("train",))
    architecture = {"kind": "resnet18", "num_classes": len(SPEAKERS)}
    path = tmp_path / "baseline.pt"
    save_checkpoint(dataclasses.replace(trained, script="train_baseline", architecture=architecture), path)
    arguments = ("--cfg", SCRATCH, "--load_path", path)
    parts = (path, "resnet18", "network")
    assert_refused(tmp_path, "evaluate_identification.py", arguments, *parts, DATASET__DATA_DIR=corpus)


def test_identification_by_a_network_that_never_saw_the_test_speakers(
    tmp_path: Path, corpus: Path, run_dir: Path
) -> None:
    """It has no class for them."""
    trained = load_checkpoint(run_dir / "best.pt", ("train",))
    path = tmp_path / "dev.pt"
    save_checkpoint(dataclasses.replace(trained, sub_dir="dev"), path)
    arguments = ("--cfg", SCRATCH, "--load_path", path)
    parts = (path, "dev", "evaluate_verification.py")
    assert_refused(tmp_path, "evaluate_identification.py", arguments, *parts, DATASET__DATA_DIR=corpus)


def test_going_on_with_another_script(tmp_path: Path, corpus: Path, search_dir: Path) -> None:
    """A search cannot go on as a training run."""
    arguments = (*TRAINING["train.py"], "--load_path", search_dir)
    assert_refused(tmp_path, "train.py", arguments, search_dir, "search.py", DATASET__DATA_DIR=corpus)


@pytest.mark.parametrize("change", [{"MODEL__LAYERS": 4}, {"MODEL__INIT_CHANNELS": 8}, {"DATASET__SUB_DIR": "dev"}])
def test_going_on_with_other_settings(tmp_path: Path, corpus: Path, run_dir: Path, change: dict) -> None:
    """A run goes on with its own network and its own data."""
    before = (run_dir / "log.txt").read_bytes()
    arguments = (*TRAINING["train.py"], "--load_path", run_dir)
    assert_refused(tmp_path, "train.py", arguments, run_dir / "last.pt", DATASET__DATA_DIR=corpus, **change)
    assert (run_dir / "log.txt").read_bytes() == before


# ------------------------------------------------------------------------------------------------------------------
# Settings
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize("script", TRAINING)
def test_cuda_where_there_is_none(tmp_path: Path, corpus: Path, script: str) -> None:
    """DEVICE cuda is not replaced by the CPU in silence."""
    assert_refused(tmp_path, script, TRAINING[script], "DEVICE is cuda", DATASET__DATA_DIR=corpus, DEVICE="cuda")


@pytest.mark.parametrize("script", TRAINING)
def test_batch_larger_than_the_data(tmp_path: Path, corpus: Path, script: str) -> None:
    """Both numbers, and the part."""
    settings = {"DATASET__DATA_DIR": corpus, "TRAIN__BATCH_SIZE": 5}
    assert_refused(tmp_path, script, TRAINING[script], "TRAIN.BATCH_SIZE 5", "4 utterances of the train", **settings)


@pytest.mark.parametrize("script", TRAINING)
def test_number_of_classes_that_is_not_the_number_of_speakers(tmp_path: Path, corpus: Path, script: str) -> None:
    """Both numbers."""
    settings = {"DATASET__DATA_DIR": corpus, "MODEL__NUM_CLASSES": 1251}
    assert_refused(tmp_path, script, TRAINING[script], "1251", "4 speakers", **settings)


def test_unknown_baseline(tmp_path: Path, corpus: Path) -> None:
    """The valid names are listed."""
    arguments = TRAINING["train_baseline.py"]
    settings = {"DATASET__DATA_DIR": corpus, "MODEL__NAME": "resnet50"}
    parts = ("'resnet50'", "resnet18, resnet34, vggm")
    assert_refused(tmp_path, "train_baseline.py", arguments, *parts, **settings)


@pytest.mark.parametrize("config", ["exps/mini/resnet18.yaml", SEARCH])
def test_training_a_genotype_with_the_settings_of_another_network(tmp_path: Path, corpus: Path, config: str) -> None:
    """Refused at once: the evaluation at the end of the run would refuse it."""
    arguments = ("--cfg", config, "--text_arch", GENOTYPE)
    assert_refused(tmp_path, "train.py", arguments, "MODEL.NAME", DATASET__DATA_DIR=corpus)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("DATASET.PARTIAL_N_FRAMES", {"DATASET__PARTIAL_N_FRAMES": 64}),
        ("TRAIN.BATCH_SIZE", {"DATASET__PARTIAL_N_FRAMES": 80, "TRAIN__BATCH_SIZE": 1}),
    ],
)
def test_batches_that_vggm_cannot_take(tmp_path: Path, corpus: Path, key: str, change: dict) -> None:
    """Its pooling needs more frames than other networks, its norms after pooling more than one utterance."""
    arguments = ("--cfg", "exps/baseline/vggm.yaml")
    settings = {"DATASET__DATA_DIR": corpus, "MODEL__NUM_CLASSES": 0, "DATASET__NUM_WORKERS": 0, **change}
    assert_refused(tmp_path, "train_baseline.py", arguments, key, **settings)


@pytest.mark.parametrize(
    ("extra", "parts"),
    [
        (["TRAIN.LEARNING_RATE", "1"], ["TRAIN.LEARNING_RATE", "TRAIN.LR"]),
        (["TRAIN.LR", "fast"], ["TRAIN.LR", "a number", "'fast'"]),
        (["TRAIN.LR"], ["TRAIN.LR", "KEY VALUE"]),
        (["DATASET.SUB_DIR", "all"], ["DATASET.SUB_DIR", "merged, dev"]),
        (["TRAIN.BATCH_SIZE", "0"], ["TRAIN.BATCH_SIZE", "at least 1"]),
    ],
)
def test_bad_option(extra: list[str], parts: list[str]) -> None:
    """The key and what is valid."""
    assert_one_line(call_script("train.py", *TRAINING["train.py"], *extra), "train.py", *parts)


@pytest.mark.parametrize("script", [*TRAINING, *EVALUATION, "tools/summarize.py"])
def test_missing_config(tmp_path: Path, script: str) -> None:
    """Every script with --cfg names the file that is not there."""
    missing = tmp_path / "missing.yaml"
    required = {"train.py": ("--text_arch", GENOTYPE)} | dict.fromkeys(EVALUATION, ("--load_path", "run"))
    assert_one_line(call_script(script, "--cfg", missing, *required.get(script, ())), script, missing)


def test_toy_corpus_over_another_folder(tmp_path: Path) -> None:
    """Nothing is overwritten."""
    (tmp_path / "precious.txt").touch()
    assert_one_line(call_script("tools/make_toy_corpus.py", tmp_path), "make_toy_corpus.py", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"TRAIN__WD": 0.5}, "TRAIN.WD 0.0 (now 0.5)"),
        ({"SEED": 99}, "SEED 3 (now 99)"),
        ({"DATASET__PARTIAL_N_FRAMES": 80}, "DATASET.PARTIAL_N_FRAMES 64 (now 80)"),
    ],
)
def test_going_on_under_other_settings(
    tmp_path: Path, corpus: Path, run_dir: Path, change: dict[str, object], told: str
) -> None:
    """Half of them would not even take effect, since the optimizer's state holds its own."""
    arguments = (*TRAINING["train.py"], "--load_path", run_dir)
    assert_refused(tmp_path, "train.py", arguments, told, run_dir / "config.yaml", DATASET__DATA_DIR=corpus, **change)


def test_going_on_from_the_best_epoch(tmp_path: Path, corpus: Path, run_dir: Path) -> None:
    """A run goes on from its last epoch; another checkpoint is not replaced by it in silence."""
    arguments = (*TRAINING["train.py"], "--load_path", run_dir / "best.pt")
    assert_refused(tmp_path, "train.py", arguments, "last.pt", run_dir, DATASET__DATA_DIR=corpus)


@pytest.mark.parametrize("script", ["search.py", "train_baseline.py"])
def test_epochs_to_keep_of_what_has_none(tmp_path: Path, corpus: Path, script: str) -> None:
    """A supernet is no network to verify by, and statistics are fitted in one go."""
    arguments = TRAINING[script] if script == "search.py" else ("--cfg", "exps/baseline/statistics.yaml")
    settings = {"DATASET__DATA_DIR": corpus, "MODEL__NUM_CLASSES": 0, "TRAIN__KEEP_EPOCHS": 1}
    assert_refused(tmp_path, script, arguments, "TRAIN.KEEP_EPOCHS is for train.py", "leave it at 0", **settings)


def test_searching_with_the_settings_of_a_baseline(tmp_path: Path, corpus: Path) -> None:
    """A baseline's YAML says nothing of a search."""
    settings = {"DATASET__DATA_DIR": corpus, "MODEL__NUM_CLASSES": 0}
    assert_refused(tmp_path, "search.py", ("--cfg", "exps/mini/resnet18.yaml"), "train_baseline.py", **settings)
