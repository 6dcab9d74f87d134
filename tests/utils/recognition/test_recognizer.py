"""Embeddings and comparisons of recordings: an evaluation's, to the bit; no decision without a calibration."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from data_objects.corpus import Corpus
from data_objects.frontend import NORMS, front_end_settings, settings_of
from tests.helpers import index_of, noise, write_audio, write_corpus
from tests.networks import FRAMES, configured, save_run, settings
from utils.recognition.network import embed_utterances, load_trained
from utils.recognition.recognizer import Recognizer
from utils.records.checkpoint import load_checkpoint, save_checkpoint
from utils.system.errors import UserError
from utils.system.files import hash_file

LENGTHS = {
    f"id1000{speaker}/a/{number}.wav": 4_000 + 9_000 * number + speaker for speaker in (1, 2) for number in range(5)
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a small derived network."""
    return save_run(tmp_path_factory.mktemp("run"), "network")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of several lengths, indexed; one is quiet."""
    folder = write_corpus(tmp_path_factory.mktemp("corpus"), LENGTHS)
    write_audio(folder / "wav/id10001/a/3.wav", noise(31_000, level=0.002))
    index_of(folder)
    return folder


def with_calibration(run: Path, scale: float = 10.0, offset: float = -5.0, **content: object) -> Path:
    """A calibration.json in a run folder."""
    system = {"scale": scale, "offset": offset, "target_prior": 0.5}
    values = {"systems": {"cosine": system}, "checkpoint": hash_file(run / "best.pt")} | content
    (run / "calibration.json").write_text(json.dumps(values))
    return run / "calibration.json"


@pytest.mark.parametrize(
    ("kind", "front_end"),
    [
        ("network", {}),
        ("resnet18", {}),
        ("network", {"FEATURE": "log_magnitude", "NORM": "corpus"}),
        ("network", {"FEATURE": "magnitude", "NORM": "utterance_mean_deviation"}),
        ("resnet18", {"FEATURE": "log_mel", "BANDS": 40, "NORM": "utterance_mean"}),
    ],
)
def test_embeddings_are_those_of_an_evaluation(tmp_path: Path, corpus: Path, kind: str, front_end: dict) -> None:
    """To the bit, whichever are embedded together, and of a checkpoint alone."""
    chosen = {f"FRONTEND__{key}": value for key, value in front_end.items()}
    run = save_run(tmp_path / "run", kind, front_end_settings=front_end_settings(configured(**chosen)))
    small = {"MODEL__NAME": kind, "MODEL__LAYERS": 3, "DATASET__SUB_DIR": "merged", "EVAL__BATCH_SIZE": 4}
    cfg = settings(corpus, **small, **chosen)
    trained = load_trained(cfg, str(run), torch.device("cpu"))
    loaded = Corpus(cfg)
    rows = loaded.index.rows_of(sorted(LENGTHS))
    with torch.inference_mode():
        expected = embed_utterances(
            trained.network, trained.front_end, loaded, rows, torch.device("cpu"), are_alone=True
        ).numpy()
    recognizer = Recognizer.load(run, "cpu", too_short=0.1)
    files = [corpus / "wav" / name for name in sorted(LENGTHS)]
    assert recognizer.window_frames == FRAMES
    assert np.array_equal(recognizer.embed_many(files), expected)
    assert np.array_equal(np.stack(list(map(recognizer.embed, files))), expected)
    assert np.array_equal(recognizer.embed_many(files[::-1], progress=True)[::-1], expected)
    assert expected.shape == (10, recognizer.embedding_dim)


@pytest.mark.parametrize(
    ("trained", "now", "complaint"),
    [
        ({"FEATURE": "log_mel"}, {}, "FRONTEND.FEATURE log_mel (not magnitude)"),
        ({"FEATURE": "log_mel", "BANDS": 40}, {"FEATURE": "log_mel"}, "FRONTEND.BANDS 40 (not 80)"),
        ({}, {"NORM": "utterance_mean"}, "FRONTEND.NORM corpus (not utterance_mean)"),
    ],
)
def test_settings_of_another_front_end(tmp_path: Path, corpus: Path, trained: dict, now: dict, complaint: str) -> None:
    """An evaluation refuses them in a line, as it does those of another network."""
    own, other = ({f"FRONTEND__{key}": value for key, value in chosen.items()} for chosen in (trained, now))
    run = save_run(tmp_path, "network", front_end_settings=front_end_settings(configured(**own)))
    with pytest.raises(UserError, match=rf"holds another network: its front end has {re.escape(complaint)};") as raised:
        load_trained(settings(corpus, **other), str(run), torch.device("cpu"))
    assert "\n" not in str(raised.value)


def test_fingerprint_tells_front_ends_apart(tmp_path: Path) -> None:
    """Also where weights and statistics are the same."""
    runs = [save_run(tmp_path / norm, "network", front_end_settings=settings_of(norm=norm)) for norm in NORMS]
    assert len({Recognizer.load(run, "cpu").fingerprint for run in runs}) == len(NORMS)


def test_no_decision_without_a_calibration(run: Path, corpus: Path) -> None:
    """The score is shown, nothing is guessed."""
    recognizer = Recognizer.load(run)
    one, other = (corpus / "wav" / name for name in list(LENGTHS)[1:3])
    found = recognizer.compare(one, str(other))
    vectors = recognizer.embed_many([one, other]).astype(np.float64)
    assert found.score == pytest.approx(np.dot(*vectors) / math.prod(np.linalg.norm(vectors, axis=1)), abs=1e-6)
    assert found.as_dict() == {"score": found.score, "llr": None, "same": None, "threshold": None, "prior": None}
    assert recognizer.compare(one, one).score == pytest.approx(1)


def test_decisions(tmp_path: Path, corpus: Path) -> None:
    """By the calibration, at its prior or another one."""
    run = save_run(tmp_path, "network")
    file = with_calibration(run)
    even, rare = Recognizer.load(run), Recognizer.load(run, calibration=file, prior=0.01)
    assert (even.prior, rare.prior) == (0.5, 0.01)
    found = even.decide(0.6)
    assert (found.llr, found.same, found.threshold, found.prior) == (pytest.approx(1), True, pytest.approx(0.5), 0.5)
    assert rare.decide(0.6).threshold == pytest.approx((math.log(99) + 5) / 10)
    assert [rare.decide(score).same for score in (0.6, 0.95, 0.97)] == [False, False, True]
    assert even.decide(0.499).same is False
    with pytest.raises(UserError, match="between 0 and 1, not 1"):
        Recognizer.load(run, prior=1)


def test_calibration_of_another_network(tmp_path: Path) -> None:
    """Asked for by name it is refused; lying in the run folder it is left alone, and said so."""
    run = save_run(tmp_path, "network")
    file = with_calibration(run, checkpoint="another's")
    assert Recognizer.load(run).calibration is None
    with pytest.raises(UserError, match="calibration of another network"):
        Recognizer.load(run, calibration=file)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not JSON"), ("[]", "is no calibration"), ('{"systems": {}}', "no calibration of cosine")],
)
def test_file_that_is_no_calibration(tmp_path: Path, text: str, message: str) -> None:
    """One line that says what is expected."""
    run = save_run(tmp_path / "run", "network")
    file = tmp_path / "calibration.json"
    own = f'{{"checkpoint": "{hash_file(run / "best.pt")}", '
    file.write_text(text.replace("{", own, 1) if "systems" in text else text)
    with pytest.raises(UserError, match=message) as caught:
        Recognizer.load(run, calibration=file)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no such file"):
        Recognizer.load(run, calibration=tmp_path / "gone.json")


def test_calibration_of_other_systems(tmp_path: Path) -> None:
    """An evaluation by plda leaves one; recognition goes on without. Asked for by name, it is refused."""
    run = save_run(tmp_path, "network")
    file = with_calibration(run, systems={"plda": {"scale": 1.0, "offset": 0.0, "target_prior": 0.5}})
    assert Recognizer.load(run).calibration is None
    with pytest.raises(UserError, match="has no calibration of cosine scores"):
        Recognizer.load(run, calibration=file)


def test_calibration_of_other_windows(tmp_path: Path) -> None:
    """Scores of 60 frames say nothing of a threshold for 40."""
    run = save_run(tmp_path, "network")
    file = with_calibration(run, window_frames=FRAMES)
    assert Recognizer.load(run).calibration is not None
    with_calibration(run, window_frames=60)
    assert Recognizer.load(run).calibration is None
    with pytest.raises(UserError, match="is the calibration of windows of 60 frames, not of 40: make one with"):
        Recognizer.load(run, calibration=file)


@pytest.mark.parametrize(("scale", "offset"), [(0.0, 0.0), (-3.0, 0.0), (float("nan"), 0.0), (1.0, float("inf"))])
def test_calibration_that_decides_nothing(tmp_path: Path, scale: float, offset: float) -> None:
    """Refused, whoever wrote it."""
    run = save_run(tmp_path, "network")
    with_calibration(run, scale, offset)
    with pytest.raises(UserError, match="are no calibration"):
        Recognizer.load(run)


def test_limits_that_are_none(tmp_path: Path) -> None:
    """NaN seconds would let everything in."""
    run = save_run(tmp_path, "network")
    for limits in ({"too_short": float("nan")}, {"short": -1.0}):
        with pytest.raises(UserError, match="the shortest recordings are of some seconds"):
            Recognizer.load(run, **limits)


def test_recordings_that_are_refused(run: Path, tmp_path: Path) -> None:
    """Silent, too short, no audio, gone: by name; both limits can be set."""
    recognizer = Recognizer.load(run)
    silent = write_audio(tmp_path / "silent.wav", np.zeros(16_000, np.int16))
    short = write_audio(tmp_path / "short.wav", noise(6_000))
    (tmp_path / "text.wav").write_text("no audio")
    reasons = {
        silent: "silent: nothing but zeros",
        short: r"0.38 s are too short: 0.4 s are needed",
        tmp_path / "text.wav": "not audio",
        tmp_path / "gone.wav": "cannot be read: No such file",
    }
    for path, reason in reasons.items():
        with pytest.raises(UserError, match=rf"{path.name}: {reason}"):
            recognizer.embed(path)
    with pytest.raises(UserError, match="samples: not finite"):
        recognizer.embed((np.full(16_000, np.nan), 16_000))
    assert Recognizer.load(run, too_short=0.3).embed(short).shape == (recognizer.embedding_dim,)


def test_short_recordings_are_warned_of(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Below a second, or what is set."""
    for short, count in ((1.0, 1), (0.5, 0)):
        Recognizer.load(run, short=short).embed((noise(10_000), 16_000))
        assert capsys.readouterr().err.count("WARNING: samples: 0.62 s are short") == count


def test_networks_that_cannot_be_used(tmp_path: Path) -> None:
    """Another front end, a broken network, nothing at all."""
    run = save_run(tmp_path / "run", "network")
    checkpoint = load_checkpoint(run / "best.pt", ("train",))
    checkpoint.front_end_settings = checkpoint.front_end_settings | {"hop": 80}
    save_checkpoint(checkpoint, tmp_path / "hop.pt")
    with pytest.raises(UserError, match="its front end is"):
        Recognizer.load(tmp_path / "hop.pt")
    with pytest.raises(UserError, match="RUN: no such file or folder"):
        Recognizer.load(tmp_path / "gone")
    broken = load_checkpoint(run / "best.pt", ("train",))
    next(value for name, value in broken.model.items() if name.endswith("norm.running_var")).fill_(float("nan"))
    save_checkpoint(broken, tmp_path / "nan.pt")
    with pytest.raises(UserError, match="embeddings are not finite"):
        Recognizer.load(tmp_path / "nan.pt").embed((noise(16_000), 16_000))


def test_fingerprint_is_of_the_network(tmp_path: Path, run: Path) -> None:
    """The same for the same weights, wherever they lie; another for others."""
    assert Recognizer.load(run).fingerprint == Recognizer.load(run / "best.pt").fingerprint
    checkpoint = load_checkpoint(run / "best.pt", ("train",))
    checkpoint.epoch += 1
    save_checkpoint(checkpoint, tmp_path / "later.pt")
    assert Recognizer.load(tmp_path / "later.pt").fingerprint == Recognizer.load(run).fingerprint
    checkpoint.model["classifier.bias"][0] += 1
    save_checkpoint(checkpoint, tmp_path / "other.pt")
    assert Recognizer.load(tmp_path / "other.pt").fingerprint != Recognizer.load(run).fingerprint
