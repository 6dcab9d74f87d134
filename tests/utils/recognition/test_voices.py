"""Voices by name: enrolled, told apart from each other and from strangers, kept without a pickle."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import noise, write_audio
from tests.networks import save_run
from utils.recognition.recognizer import Recognizer
from utils.recognition.voices import Voices
from utils.system.errors import UserError
from utils.system.files import hash_file


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    """A small network whose scores are calibrated: at 0.5 one speaker is as likely as two."""
    run = save_run(tmp_path_factory.mktemp("run"), "network")
    system = {"scale": 20.0, "offset": -10.0, "target_prior": 0.5}
    content = {"systems": {"cosine": system}, "checkpoint": hash_file(run / "best.pt")}
    (run / "calibration.json").write_text(json.dumps(content))
    return Recognizer.load(run, "cpu")


def spread(recognizer: Recognizer, *angles: float) -> np.ndarray:
    """Embeddings (N, D) at these angles in degrees in a plane, of different lengths."""
    vectors = np.zeros((len(angles), recognizer.embedding_dim), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(np.radians(angles)), np.sin(np.radians(angles))
    return vectors * np.arange(1, len(angles) + 1, dtype=np.float32)[:, None]


def test_who_is_it(recognizer: Recognizer) -> None:
    """The nearest voice, where it is near enough; the candidates in order; nobody for a stranger."""
    voices = Voices(recognizer)
    voices.add("Ann", spread(recognizer, -10, 10))
    voices.add("王 芳", spread(recognizer, 90))
    found = voices.identify_embedding(spread(recognizer, 20)[0], top=5)
    assert (found.name, found.is_decided) == ("Ann", True)
    assert [candidate.name for candidate in found.candidates] == ["Ann", "王 芳"]
    assert found.score == found.candidates[0].score == pytest.approx(np.cos(np.radians(20)), abs=1e-5)
    assert found.candidates[1].llr == pytest.approx(20 * np.cos(np.radians(70)) - 10, abs=1e-3)
    stranger = voices.identify_embedding(spread(recognizer, 200)[0], top=1)
    assert (stranger.name, stranger.is_decided, len(stranger.candidates)) == (None, True, 1)


def test_without_a_calibration_nobody_is_named(tmp_path: Path) -> None:
    """Scores alone."""
    voices = Voices(Recognizer.load(save_run(tmp_path, "network")))
    voices.add("Ann", spread(voices.recognizer, 0))
    found = voices.identify_embedding(spread(voices.recognizer, 0)[0])
    assert (found.name, found.is_decided) == (None, False)
    assert found.candidates[0].llr is None
    assert found.score == pytest.approx(1)


def test_recordings_and_their_embeddings(recognizer: Recognizer, tmp_path: Path) -> None:
    """A voice of recordings is that of their embeddings; its own recording is of it."""
    files = [write_audio(tmp_path / f"{number}.wav", noise(20_000, number)) for number in range(3)]
    voices, same = Voices(recognizer), Voices(recognizer)
    voices.enrol("Ann", files)
    same.add("Ann", recognizer.embed_many(files))
    one = recognizer.embed(files[0])
    assert voices.identify_embedding(one) == same.identify_embedding(one) == voices.identify(files[0])
    assert voices.verify("Ann", files[0]).same is True
    assert voices.count("Ann") == 3
    with pytest.raises(UserError, match="no recordings of 'Bob'"):
        voices.enrol("Bob", [])


def test_two_people_under_one_name(recognizer: Recognizer) -> None:
    """Refused by recording, within what is enrolled at once and against what was before; unless told otherwise."""
    voices = Voices(recognizer)
    with pytest.raises(UserError, match=r"b.wav does not sound like the other recordings of 'Ann'.*--no_check"):
        voices.add("Ann", spread(recognizer, 0, 90, 1, 2), called=["a.wav", "b.wav", "c.wav", "d.wav"])
    assert "Ann" not in voices
    voices.add("Ann", spread(recognizer, 0, 3))
    with pytest.raises(UserError, match=r"'Ann' is enrolled already, by 2 recordings: add to them \(--add\)"):
        voices.add("Ann", spread(recognizer, 1))
    with pytest.raises(UserError, match=r"c.wav does not sound like"):
        voices.add("Ann", spread(recognizer, 90), add=True, called=["c.wav"])
    voices.add("Ann", spread(recognizer, 1), add=True)
    voices.add("Ann", spread(recognizer, 90), add=True, check=False)
    assert voices.count("Ann") == 4


def test_a_recording_that_is_unlike_the_others_is_warned_of(
    recognizer: Recognizer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it is rather somebody else's, but not ten to one."""
    Voices(recognizer).add("Ann", spread(recognizer, 0, 65), called=["a.wav", "b.wav"])
    assert "WARNING: b.wav sounds little like the other recordings of 'Ann'" in capsys.readouterr().err


def test_the_worst_is_blamed(recognizer: Recognizer) -> None:
    """Of those that are new: what was enrolled before can do nothing for them."""
    voices = Voices(recognizer)
    voices.add("Ann", spread(recognizer, 0))
    with pytest.raises(UserError, match=r"^new\.wav does not sound like"):
        voices.add("Ann", spread(recognizer, 90), add=True, called=["new.wav"])
    with pytest.raises(UserError, match=r"^worse\.wav does not sound like"):
        voices.add(
            "Bob", spread(recognizer, 0, 80, 2, 175, 4), called=["a.wav", "bad.wav", "c.wav", "worse.wav", "e.wav"]
        )


def test_names_that_look_alike_are_one(recognizer: Recognizer) -> None:
    """Spaces around them, and letters that are put together, tell nobody apart."""
    voices = Voices(recognizer)
    voices.add("Zo\u00eb", spread(recognizer, 0))
    assert " Zoe\u0308 " in voices
    with pytest.raises(UserError, match="is enrolled already"):
        voices.add("Zoe\u0308 ", spread(recognizer, 0))
    voices.remove("Zoe\u0308")
    assert voices.names == []


@pytest.mark.parametrize("shape", [(1, 5), (0, None), (None,), (1, None, 1)])
def test_embeddings_that_are_none(recognizer: Recognizer, shape: tuple) -> None:
    """Of another network, none at all, one that is no set of them; nor such that are no numbers."""
    size = recognizer.embedding_dim
    embeddings = np.ones([size if length is None else length for length in shape], np.float32)
    with pytest.raises(UserError, match=rf"a voice takes embeddings \(N, {size}\)"):
        Voices(recognizer).add("Ann", embeddings)
    with pytest.raises(UserError, match="finite numbers"):
        Voices(recognizer).add("Ann", np.full((1, size), np.nan, np.float32))


def test_file_that_is_a_link(recognizer: Recognizer, tmp_path: Path) -> None:
    """It stays one."""
    (tmp_path / "link").symlink_to(tmp_path / "voices")
    Voices(recognizer).save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert len(Voices.load(tmp_path / "voices", recognizer)) == 0


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x1b[31m", "x" * 201])
def test_names_that_are_none(recognizer: Recognizer, name: str) -> None:
    """They would break a terminal, or a table."""
    with pytest.raises(UserError, match="is no name for a voice") as caught:
        Voices(recognizer).add(name, spread(recognizer, 0))
    assert str(caught.value).isprintable()


def test_unknown_names(recognizer: Recognizer) -> None:
    """Who is known is said."""
    voices = Voices(recognizer)
    with pytest.raises(UserError, match="nobody is enrolled yet"):
        voices.identify_embedding(spread(recognizer, 0)[0])
    voices.add("Ann", spread(recognizer, 0))
    for act in (voices.remove, lambda name: voices.verify(name, (noise(16_000), 16_000))):
        with pytest.raises(UserError, match="nobody is enrolled as 'Bob'; known are Ann"):
            act("Bob")
    voices.remove("Ann")
    assert voices.names == []


def test_file_of_voices(recognizer: Recognizer, tmp_path: Path) -> None:
    """It comes back as it was, holds no pickle, and is refused to another network."""
    voices, path = Voices(recognizer), tmp_path / "voices"
    voices.add("王 芳", spread(recognizer, 0, 10))
    voices.add("Ann", spread(recognizer, 90))
    voices.save(path)
    loaded = Voices.load(path, recognizer)
    assert loaded.names == ["王 芳", "Ann"]
    one = spread(recognizer, 40)[0]
    assert loaded.identify_embedding(one) == voices.identify_embedding(one)
    with np.load(path, allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)
    other = Recognizer.load(save_run(tmp_path / "other", "network", pooling="attentive"))
    with pytest.raises(UserError, match="holds voices as another network hears them"):
        Voices.load(path, other)
    Voices(recognizer).save(path)
    assert len(Voices.load(path, recognizer)) == 0


def test_file_that_is_none(recognizer: Recognizer, tmp_path: Path) -> None:
    """Damaged, of another kind, a pickle: one line, and nothing of it is run."""
    path = tmp_path / "voices"
    with pytest.raises(UserError, match=r"no such file of voices: .*enrol somebody first"):
        Voices.load(path, recognizer)
    voices = Voices(recognizer)
    voices.add("Ann", spread(recognizer, 0))
    voices.save(path)
    content = path.read_bytes()

    class Bomb:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "ran",)

    for damaged in (b"", b"text", content[: len(content) // 2], pickle.dumps(Bomb())):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is no file of voices, or damaged"):
            Voices.load(path, recognizer)
    np.savez(path.with_suffix(".npz"), format=np.array([Bomb()], dtype=object))
    with pytest.raises(UserError, match="is no file of voices"):
        Voices.load(path.with_suffix(".npz"), recognizer)
    assert not (tmp_path / "ran").exists()
