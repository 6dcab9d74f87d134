"""Measuring in blocks gives what the whole in one piece gives."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from data_objects import audio, measuring
from data_objects.audio import AudioError, level_gain, read_audio, read_blocks
from data_objects.frontend import FrontEnd, pad_reflect
from data_objects.measuring import Samples, frame_sums, measure, write_copy
from tests.helpers import ROOT, environment, noise, write_audio

OFFSET = 44


@pytest.mark.parametrize("count", [400, 15_999, 16_000, 16_001, 16_320, 16_480, 100_003, 128_000])
def test_blocks_are_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Hash and gain to the bit, the frames' sums but for their last digits."""
    path = write_audio(tmp_path / "a.wav", noise(count, level=0.01))
    samples = read_audio(path)[0]
    monkeypatch.setattr(measuring, "BLOCK", 16_000)
    level = measure(Samples(path, OFFSET, count))
    assert level.audio == hashlib.blake2b(samples.tobytes(), digest_size=8).hexdigest()
    assert repr(level.gain) == repr(level_gain(samples))
    sums, frames = frame_sums(Samples(path, OFFSET, count), level.gain)
    levelled = torch.from_numpy(pad_reflect(samples * np.float32(level.gain)))
    magnitudes = FrontEnd()(levelled[None])[0].numpy().astype(np.float64)
    expected = np.stack([magnitudes.sum(axis=0), np.square(magnitudes).sum(axis=0)])
    assert frames == len(magnitudes)
    np.testing.assert_allclose(sums, expected, rtol=1e-6)
    assert count > 16_000 or np.array_equal(sums, expected)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 12_345])
def test_resampling_in_blocks_is_that_of_the_whole(tmp_path: Path, rate: int) -> None:
    """To the bit, and of the same length."""
    librosa = pytest.importorskip("librosa")
    for count in (3 * rate + 1, 30 * rate + 7):
        path = write_audio(tmp_path / "a.wav", noise(count), rate=rate, subtype="FLOAT")
        expected = librosa.resample(soundfile.read(path, dtype="float32")[0], orig_sr=rate, target_sr=16_000)
        assert np.array_equal(np.concatenate(list(read_blocks(path))), expected)


def test_a_long_file_comes_in_blocks(tmp_path: Path) -> None:
    """None of them larger than what a minute takes."""
    path = write_audio(tmp_path / "a.flac", np.stack([noise(2_000_000)] * 2, axis=1))
    blocks = list(read_blocks(path))
    assert max(map(len, blocks)) <= 480_000
    assert sum(map(len, blocks)) == 2_000_000


def test_channels_that_cancel_out_are_silent(tmp_path: Path) -> None:
    """What counts is what training reads, the mean."""
    samples = noise(2_000)
    path = write_audio(tmp_path / "a.wav", np.stack([samples, -samples], axis=1), subtype="FLOAT")
    count = write_copy(tmp_path / "copy.wav", read_blocks(path))
    level = measure(Samples(tmp_path / "copy.wav", OFFSET, count))
    assert (level.is_silent, level.gain) == (True, 1)
    write_audio(tmp_path / "b.wav", np.r_[np.zeros(1_999), 1 / 32_768].astype(np.float32))
    assert not measure(Samples(tmp_path / "b.wav", OFFSET, 2_000)).is_silent


def test_nothing_stays_of_a_copy_that_fails(tmp_path: Path) -> None:
    """A file that turns out bad in its last block leaves no copy."""
    samples = noise(1_100_000)
    samples[-1] = np.nan
    path = write_audio(tmp_path / "a.wav", samples, subtype="FLOAT")
    with pytest.raises(AudioError, match="not finite"):
        write_copy(tmp_path / "out" / "copy.wav", read_blocks(path))
    assert list((tmp_path / "out").iterdir()) == []


def test_memory_is_flat(tmp_path: Path) -> None:
    """Twenty minutes take little more than what the imports took; in one piece they took 800 MB."""
    path = tmp_path / "wav" / "id10001" / "a" / "00001.wav"
    path.parent.mkdir(parents=True)
    with soundfile.SoundFile(path, "w", 16_000, 1, subtype="PCM_16") as file:
        for _ in range(20):
            file.write(noise(60 * 16_000))
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from data_objects.speaker_tasks import Planned, SpeakerTask, process_speaker\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "folder, name, before = Path(sys.argv[1]), 'id10001/a/00001.wav', peak()\n"
        "process_speaker(SpeakerTask('id10001', [Planned(name, ['wav/' + name], 'train', 'train')], folder, folder))\n"
        "print((peak() - before) // 1024)"
    )
    (tmp_path / "parts").mkdir()
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=100)
    assert int(done.stdout) < 250, done.stderr  # MB


def test_public_reader_agrees(tmp_path: Path) -> None:
    """Whole or in blocks, the same samples."""
    path = write_audio(tmp_path / "a.wav", noise(5_000), rate=8_000)
    assert np.array_equal(audio.read_audio(path)[0], np.concatenate(list(read_blocks(path))))
