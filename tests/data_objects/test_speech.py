"""An utterance in memory is, to the bit, what preprocessing and the loader make of its file."""

from pathlib import Path

import numpy as np
import pytest

from data_objects.audio import AudioError, read_audio
from data_objects.datasets import EvaluationWindows, count_windows
from data_objects.speech import read_speech
from tests.helpers import index_of, noise, write_audio, write_lists

FRAMES = 40
FILES = {  # name -> samples, rate, subtype
    "native.wav": (noise(23_456), 16_000, "PCM_16"),
    "quiet.wav": (noise(23_456, level=0.001), 16_000, "PCM_16"),
    "short.wav": (noise(5_000), 16_000, "PCM_16"),
    "exact.wav": (noise(39 * 160), 16_000, "PCM_16"),
    "stereo.wav": (np.stack([noise(30_000), noise(30_000, 1)], axis=1), 44_100, "PCM_24"),
    "float.wav": (1.5 * noise(20_000, level=0.5).clip(-1, 1), 8_000, "FLOAT"),
    "lossless.flac": (noise(20_000), 16_000, "PCM_16"),
    "lossy.mp3": (noise(40_000), 16_000, "MPEG_LAYER_III"),
}


@pytest.mark.parametrize("name", FILES)
def test_windows_are_those_of_the_index(tmp_path: Path, name: str) -> None:
    """And the gain."""
    samples, rate, subtype = FILES[name]
    path = write_audio(tmp_path / "wav" / "id10001" / "a" / name, samples, rate, subtype)
    write_audio(tmp_path / "wav" / "id10002" / "a" / "1.wav", noise(16_000, 9))
    utterance = f"id10001/a/{path.stem}.wav"
    write_lists(tmp_path, {utterance: 1, "id10002/a/1.wav": 1})
    index = index_of(tmp_path)
    row = index.row_of(utterance)
    windows, gain, _ = EvaluationWindows(index, FRAMES)[row]
    speech = read_speech(path)
    assert np.array_equal(speech.windows(FRAMES), windows)
    assert speech.windows(FRAMES).dtype == windows.dtype
    assert speech.gain == gain
    assert speech.gain.dtype == np.float32
    assert speech.count_windows(FRAMES) == len(windows) == count_windows(int(index.samples[row]), FRAMES)
    assert speech.seconds == index.samples[row] / 16_000
    assert not speech.is_silent


def test_samples_are_as_good_as_a_file(tmp_path: Path) -> None:
    """Of any rate, with or without channels, floating-point or whole numbers."""
    stereo, rate, _ = FILES["stereo.wav"]
    path = write_audio(tmp_path / "a.wav", stereo, rate, "FLOAT")
    assert np.array_equal(read_speech((stereo, rate)).samples, read_speech(path).samples)
    assert np.array_equal(read_speech((stereo.astype(np.float64), rate)).samples, read_speech(path).samples)
    whole = (noise(10_000) * 32_768).astype(np.int16)
    native = write_audio(tmp_path / "b.wav", whole)
    assert np.array_equal(read_speech((whole, 16_000)).samples, read_speech(native).samples)
    assert np.array_equal(read_speech((whole.astype(np.int32) << 16, 16_000)).samples, whole)
    assert np.array_equal(read_speech((whole[:, None], 16_000)).samples, whole)


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros(0, np.float32), 16_000, "no samples"),
        (noise(300), 16_000, "too short"),
        (np.full(1_000, np.nan), 16_000, "not finite"),
        (np.full(1_000, 300.0), 16_000, "out of range"),
        (noise(1_000), 1_000, "sampling rate"),
        (np.zeros((2, 2, 2)), 16_000, "must be"),
        (np.zeros((1, 16_000)), 16_000, r"must be \(N,\) or \(N, channels\)"),
        (np.zeros((16_000, 0)), 16_000, "must be"),
        (noise(1_000), "16000", "the rate must be a whole number"),
        (np.zeros(1_000, np.uint8), 16_000, "must be"),
        (np.zeros(1_000, complex), 16_000, "must be"),
    ],
)
def test_samples_that_are_none(samples: np.ndarray, rate: int, message: str) -> None:
    """In the words that preprocessing has."""
    with pytest.raises(AudioError, match=message):
        read_speech((samples, rate))


def test_refusals_are_those_of_preprocessing(tmp_path: Path) -> None:
    """The same words for the same file."""
    path = write_audio(tmp_path / "a.wav", noise(10_000))
    path.write_bytes(path.read_bytes()[:-100])
    messages = []
    for read in (read_audio, read_speech):
        with pytest.raises(AudioError) as caught:
            read(path)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_silence_is_told() -> None:
    """It has no gain."""
    speech = read_speech((np.zeros(8_000, np.int16), 16_000))
    assert speech.is_silent
    assert speech.gain == 1
