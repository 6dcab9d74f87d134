"""Reading and levelling audio: what is read as it lies, what is converted, what is rejected and why."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from data_objects.audio import (
    FULL_SCALE,
    LEVEL,
    SAMPLE_RATE,
    SHORTEST,
    AudioError,
    level_gain,
    read_audio,
    read_samples,
    read_wav_layout,
    write_wav,
)
from tests.helpers import noise, write_audio


def quantised(samples: np.ndarray) -> np.ndarray:
    """Samples as 16-bit numbers."""
    return np.round(samples * FULL_SCALE).clip(-FULL_SCALE, FULL_SCALE - 1).astype("<i2")


def wav_bytes(samples: np.ndarray, before: bytes = b"", declared: int | None = None) -> bytes:
    """A 16 kHz mono wav file of 16-bit samples, with chunks `before` the data and a length that may be untrue."""
    data = samples.tobytes()
    declared = len(data) if declared is None else declared
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
    body = b"WAVE" + form + before + struct.pack("<4sI", b"data", declared) + data
    return struct.pack("<4sI", b"RIFF", min(len(body), 2**32 - 1)) + body


# ------------------------------------------------------------------------------------------------------------------
# Files that lie as they should
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "before", [b"", struct.pack("<4sI6s", b"LIST", 6, b"INFO\0\0"), struct.pack("<4sI4s", b"LIST", 3, b"odd\0")]
)
def test_native_wav_is_read_as_it_lies(tmp_path: Path, before: bytes) -> None:
    """16 kHz mono 16-bit PCM: the samples exactly, and where they begin, also behind other chunks."""
    path, samples = tmp_path / "native.wav", quantised(noise(1_000))
    path.write_bytes(wav_bytes(samples, before))
    decoded, layout = read_audio(path)
    assert decoded.dtype == np.float32
    assert np.array_equal(decoded, samples / np.float32(FULL_SCALE))
    assert layout.is_native
    assert layout.offset == 44 + len(before)
    assert np.array_equal(read_samples(path, layout.offset, 100, 50), samples[100:150])


@pytest.mark.parametrize("declared", [0xFFFF_FFFF, 0x7FFF_FFFF, 0])
def test_wav_of_a_streaming_writer(tmp_path: Path, declared: int) -> None:
    """A header that could not know the length is no truncation."""
    path, samples = tmp_path / "streamed.wav", quantised(noise(1_000))
    path.write_bytes(wav_bytes(samples, declared=declared))
    decoded, _ = read_audio(path)
    assert np.array_equal(decoded, samples / np.float32(FULL_SCALE))


@pytest.mark.parametrize(("endian", "subtype"), [("LITTLE", "PCM_24"), ("BIG", "PCM_16")])
def test_other_wavs_of_a_streaming_writer(tmp_path: Path, endian: str, subtype: str) -> None:
    """A length of 0 with samples behind it, where the samples are not read as they lie."""
    path = tmp_path / "streamed.wav"
    soundfile.write(path, noise(1_000), SAMPLE_RATE, subtype=subtype, endian=endian, format="WAV")
    content, before = path.read_bytes(), read_audio(path)[0]
    place = content.index(b"data") + 4
    path.write_bytes(content[:place] + bytes(4) + content[place + 4 :])
    assert np.array_equal(read_audio(path)[0], before)


def test_chunks_behind_no_samples_are_no_samples(tmp_path: Path) -> None:
    """A wav that is truly empty, with a comment behind."""
    path = tmp_path / "empty.wav"
    path.write_bytes(wav_bytes(np.zeros(0, "<i2")) + struct.pack("<4sI4000s", b"LIST", 4_000, b"INFO"))
    with pytest.raises(AudioError, match="no samples"):
        read_audio(path)


def test_reading_past_the_end(tmp_path: Path) -> None:
    """A file that was cut after indexing is not read as if nothing had happened."""
    path = tmp_path / "short.wav"
    path.write_bytes(wav_bytes(quantised(noise(500))))
    assert len(read_samples(path, 44, 400, 100)) == 100
    with pytest.raises(AudioError, match="500 samples where 501"):
        read_samples(path, 44, 400, 101)


def test_written_wav_is_native(tmp_path: Path) -> None:
    """Converted copies are read like everything else; nothing else is left in the folder."""
    path, samples = tmp_path / "folder" / "copy.wav", noise(1_000)
    layout = write_wav(path, samples)
    assert layout.is_native
    assert layout == read_wav_layout(path)
    decoded = read_samples(path, layout.offset, 0, len(samples)) / FULL_SCALE
    assert np.abs(decoded - samples).max() <= 1 / FULL_SCALE
    assert [file.name for file in path.parent.iterdir()] == ["copy.wav"]


# ------------------------------------------------------------------------------------------------------------------
# Files that are converted
# ------------------------------------------------------------------------------------------------------------------
def tone(seconds: float, rate: int) -> np.ndarray:
    """A 440 Hz sine."""
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_other_rates_are_resampled(tmp_path: Path, rate: int) -> None:
    """The same sound at 16 kHz: as long, and as high."""
    decoded, layout = read_audio(write_audio(tmp_path / "tone.wav", tone(0.5, rate), rate))
    expected = tone(0.5, SAMPLE_RATE)
    assert layout is None
    assert len(decoded) == len(expected)
    inner = slice(1_000, -1_000)  # the ends ring
    assert np.abs(decoded[inner] - expected[inner]).max() < 0.01


def test_stereo_is_averaged(tmp_path: Path) -> None:
    """Both channels count."""
    stereo = np.stack([noise(1_000, seed=1), noise(1_000, seed=2)], axis=1)
    decoded, layout = read_audio(write_audio(tmp_path / "stereo.wav", stereo, subtype="FLOAT"))
    assert layout is None
    assert decoded == pytest.approx(stereo.mean(axis=1), abs=1e-7)


@pytest.mark.parametrize(
    ("name", "subtype", "accuracy"),
    [("a.wav", "FLOAT", 0), ("a.wav", "PCM_24", 2**-23), ("a.wav", "PCM_U8", 2**-7), ("a.flac", "PCM_16", 2**-15)],
)
def test_other_formats_are_decoded(tmp_path: Path, name: str, subtype: str, accuracy: float) -> None:
    """As exactly as the format allows, and never read as if they were 16-bit samples."""
    samples = noise(1_000)
    decoded, layout = read_audio(write_audio(tmp_path / name, samples, subtype=subtype))
    assert layout is None
    assert np.abs(decoded - samples).max() <= accuracy


# ------------------------------------------------------------------------------------------------------------------
# Files that are rejected
# ------------------------------------------------------------------------------------------------------------------
WHOLE = wav_bytes(quantised(noise(1_000)))
REJECTED = {
    "empty": (b"", "empty file"),
    "text": (b"no audio at all\n" * 50, "not audio"),
    "cut within the samples": (WHOLE[:1_000], "truncated: 956 of 2000 bytes"),
    "cut within the header": (WHOLE[:40], "truncated"),
    "cut after the first word": (WHOLE[:4], "not audio"),
    "no samples": (wav_bytes(np.zeros(0, "<i2")), "no samples"),
    "too short": (wav_bytes(quantised(noise(SHORTEST - 1))), "too short: 399 samples"),
}


@pytest.mark.parametrize(("content", "reason"), REJECTED.values(), ids=REJECTED)
def test_rejected(tmp_path: Path, content: bytes, reason: str) -> None:
    """The reason is told in a few words."""
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=reason):
        read_audio(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_rejected(tmp_path: Path, value: float) -> None:
    """One of them would spoil the statistics of the whole corpus."""
    samples = noise(1_000)
    samples[500] = value
    with pytest.raises(AudioError, match="not finite"):
        read_audio(write_audio(tmp_path / "bad.wav", samples, subtype="FLOAT"))


def test_truncated_flac_is_rejected(tmp_path: Path) -> None:
    """Its header tells how long it should be."""
    path = write_audio(tmp_path / "bad.flac", noise(20_000))
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(AudioError):
        read_audio(path)


def test_shortest_utterance_is_accepted(tmp_path: Path) -> None:
    """One analysis window."""
    path = tmp_path / "short.wav"
    path.write_bytes(wav_bytes(quantised(noise(SHORTEST))))
    assert len(read_audio(path)[0]) == SHORTEST


@st.composite
def spoiled_wavs(draw: st.DrawFn) -> bytes:
    """A wav file with a few bytes of its header overwritten, except for the rate, and perhaps cut short."""
    content = bytearray(WHOLE)
    places = st.integers(0, 43).filter(lambda place: place not in range(24, 28))
    for place, value in draw(st.dictionaries(places, st.integers(0, 255), max_size=3)).items():
        content[place] = value
    return bytes(content[: draw(st.sampled_from([len(content), 60, 40, 20]))])


@given(spoiled_wavs())
@example(WHOLE[:20] + b"\x40" + WHOLE[21:31] + b"\x23" + WHOLE[32:])  # a codec that libsndfile cannot seek in
def test_spoiled_file_raises_nothing_but_audio_errors(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """One bad file must not end the preprocessing of a hundred thousand good ones."""
    path = tmp_path_factory.getbasetemp() / "spoiled.wav"
    path.write_bytes(content)
    try:
        read_audio(path)
    except AudioError as error:
        assert str(error)


# ------------------------------------------------------------------------------------------------------------------
# Level
# ------------------------------------------------------------------------------------------------------------------
@given(st.floats(1e-4, 0.9), st.integers(0, 5))
def test_level(rms: float, seed: int) -> None:
    """Quieter than -30 dBFS: scaled up to it exactly; louder: left alone, never scaled down."""
    samples = noise(2_000, seed).astype(np.float64)
    samples *= rms / np.sqrt(np.mean(samples**2))
    gain = level_gain(samples)
    assert gain == (1 if rms >= LEVEL else pytest.approx(LEVEL / rms))
    assert 20 * np.log10(LEVEL) == pytest.approx(-30)


def test_silence_is_left_alone() -> None:
    """No division by zero."""
    assert level_gain(np.zeros(1_000, np.float32)) == 1


# ------------------------------------------------------------------------------------------------------------------
# Numbers that cannot be
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rate", [1, 3_999, 192_001])
def test_rates_of_damaged_headers(tmp_path: Path, rate: int) -> None:
    """Resampling from them would take all memory, or make an hour of a second."""
    path = write_audio(tmp_path / "odd.wav", noise(2_000), rate=rate)
    with pytest.raises(AudioError, match=f"sampling rate out of range: {rate} Hz"):
        read_audio(path)


def test_floats_of_another_scale(tmp_path: Path) -> None:
    """Floats as large as 16-bit numbers would ruin the statistics of the whole corpus."""
    path = write_audio(tmp_path / "integers.wav", noise(2_000) * FULL_SCALE, subtype="FLOAT")
    with pytest.raises(AudioError, match="samples out of range"):
        read_audio(path)
