"""Decoding to the file's end: whatever its header says, whatever it is encoded in, and nothing leaks or escapes."""

import os
import stat
import struct
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile

from data_objects.audio import AudioError, read_audio, read_blocks
from data_objects.decoding import FLAC_TOTAL, has_ffmpeg, needs_ffmpeg, opened
from data_objects.layouts import MOST_CHUNKS, Chunked, walk_chunks
from tests.helpers import ROOT, environment, noise, write_audio

W64_REST = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # of a chunk's 16-byte name, behind its first four
SECONDS = 4
SAMPLES = 16_000 * SECONDS


def encode(path: Path, samples: np.ndarray, container: str, subtype: str, **options: object) -> Path:
    """Write in small pieces: libsndfile's Vorbis encoder cannot take many samples at once."""
    with soundfile.SoundFile(path, "w", 16_000, 1, format=container, subtype=subtype, **options) as file:
        for begin in range(0, len(samples), 4_000):
            file.write(samples[begin : begin + 4_000])
    return path


def with_flac_total(path: Path, total: int) -> Path:
    """State another number of samples in a FLAC file's header."""
    content = bytearray(path.read_bytes())
    content[FLAC_TOTAL] = content[FLAC_TOTAL] & 0xF0 | total >> 32
    content[FLAC_TOTAL + 1 : FLAC_TOTAL + 5] = (total & 0xFFFF_FFFF).to_bytes(4, "big")
    path.write_bytes(content)
    return path


# ------------------------------------------------------------------------------------------------------------------
# Lengths that are not true
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("total", [0, 1_000, 60_000_000_000], ids=["unknown", "too few", "beyond all measure"])
def test_flac_is_decoded_to_its_end(tmp_path: Path, total: int) -> None:
    """A total that is unknown or cannot be true says nothing."""
    path = write_audio(tmp_path / "a.flac", noise(SAMPLES))
    before = read_audio(path)[0]
    assert np.array_equal(read_audio(with_flac_total(path, total))[0], before)


def test_flac_shorter_than_stated(tmp_path: Path) -> None:
    """A total that may be true is held against what came."""
    path = with_flac_total(write_audio(tmp_path / "a.flac", noise(SAMPLES)), SAMPLES + 1)
    with pytest.raises(AudioError, match=f"truncated: {SAMPLES} of {SAMPLES + 1} samples"):
        read_audio(path)


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32", "IMA_ADPCM"])
def test_codecs_that_cannot_be_sought_in(tmp_path: Path, subtype: str) -> None:
    """They can be decoded from beginning to end all the same."""
    path = encode(tmp_path / "a.wav", noise(SAMPLES), "WAV", subtype)
    assert len(read_audio(path)[0]) == pytest.approx(SAMPLES, abs=1_000)


CONTAINERS = [
    ("WAV", "PCM_24"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AIFF", "IMA_ADPCM"),
    ("AU", "PCM_16"), ("NIST", "PCM_16"), ("NIST", "ULAW"), ("SVX", "PCM_16"), ("CAF", "PCM_16"), ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("WAV", "GSM610"), ("RIFX", "PCM_16"),
]  # fmt: skip


@pytest.mark.parametrize(("container", "subtype"), CONTAINERS)
def test_half_a_file_is_refused(tmp_path: Path, container: str, subtype: str) -> None:
    """Whatever the format: the whole is read, half of it is not taken for the whole."""
    options = {"endian": "BIG"} if container == "RIFX" else {}
    path = encode(tmp_path / "a.wav", noise(SAMPLES), container.replace("RIFX", "WAV"), subtype, **options)
    assert len(read_audio(path)[0]) == pytest.approx(SAMPLES, abs=1_500)
    content = path.read_bytes()
    for quarters in (1, 2, 3):
        path.write_bytes(content[: len(content) * quarters // 4])
        with pytest.raises(AudioError):
            read_audio(path)


def test_containers_that_tell_nothing_of_their_length(tmp_path: Path) -> None:
    """Whatever else libsndfile reads is refused by name, or half of it is."""
    refused = set()
    for container in soundfile.available_formats().keys() - {"RAW", "SD2", "MP3"}:
        path = encode(tmp_path / "a.wav", noise(SAMPLES), container, soundfile.default_subtype(container))
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(AudioError) as raised:
            read_audio(path)
        if "not audio of a kind that is read here" in str(raised.value):
            refused.add(container)
    assert {"VOC", "AVR", "MAT4", "MAT5", "PVF", "IRCAM", "PAF", "MPC2K"} <= refused
    assert not refused & {"WAV", "FLAC", "OGG", "AIFF", "AU", "CAF", "NIST", "W64", "RF64"}


@pytest.mark.parametrize("container", ["WAV", "W64", "NIST", "AU", "CAF", "AIFF", "RF64"])
@pytest.mark.parametrize("subtype", ["PCM_16", "ULAW"])
def test_what_follows_the_samples_is_none_of_them(tmp_path: Path, container: str, subtype: str) -> None:
    """A chunk of notes, say; libsndfile takes it for samples in some containers."""
    path = encode(tmp_path / "a.wav", noise(SAMPLES), container, subtype)
    before = read_audio(path)[0]
    notes = b"note" + bytes(4) + b"\x7f" * 1_000
    if container == "W64":
        notes = b"levl" + W64_REST + struct.pack("<Q", 24 + 1_000) + b"\x7f" * 1_000
    path.write_bytes(path.read_bytes() + notes)
    assert len(before) == SAMPLES
    assert np.array_equal(read_audio(path)[0], before)


def test_zeros_behind_a_header(tmp_path: Path) -> None:
    """What an interrupted download of a known size looks like: refused at once, not after a walk through all of it."""
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF" + bytes(4) + b"WAVE" + bytes(8 * MOST_CHUNKS + 1_000))
    with pytest.raises(AudioError, match="no data"):
        read_audio(path)
    with open(path, "rb") as file:
        assert sum(1 for _ in walk_chunks(file, Chunked("<4sI"))) == MOST_CHUNKS


def without_header_frame(path: Path) -> Path:
    """Drop the first frame of an MP3, which tells how many there are."""
    content = path.read_bytes()
    path.write_bytes(content[content.find(content[:2], 4) :])
    return path


def test_mp3_without_a_length(tmp_path: Path) -> None:
    """Its length is no guess from the first frame, be it loud or quiet."""
    quiet, loud = noise(SAMPLES, level=1e-6), noise(4 * SAMPLES)
    for name, samples in (("up.mp3", np.concatenate([quiet, loud])), ("down.mp3", np.concatenate([loud, quiet]))):
        path = encode(tmp_path / name, samples, "MP3", "MPEG_LAYER_III", bitrate_mode="VARIABLE")
        assert len(read_audio(path)[0]) == len(samples)
        assert len(read_audio(without_header_frame(path))[0]) == pytest.approx(len(samples), abs=2_500)


def test_two_mp3s_in_one_file(tmp_path: Path) -> None:
    """The first one's header does not count the second one's frames."""
    path = encode(tmp_path / "a.mp3", noise(20 * SAMPLES), "MP3", "MPEG_LAYER_III", bitrate_mode="CONSTANT")
    path.write_bytes(2 * path.read_bytes())
    with pytest.raises(AudioError, match="bytes follow the end of the stream"):
        read_audio(path)


# ------------------------------------------------------------------------------------------------------------------
# Files that are none
# ------------------------------------------------------------------------------------------------------------------
def test_what_is_no_regular_file(tmp_path: Path) -> None:
    """A pipe is not even opened: that would wait for ever."""
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "device.wav").symlink_to("/dev/zero")
    for name in ("pipe.wav", "folder.wav", "device.wav"):
        with pytest.raises(AudioError, match="not a regular file: "):
            read_audio(tmp_path / name)


def test_what_the_system_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reason in few words; no other error escapes, nor when memory is out."""
    with pytest.raises(AudioError, match="cannot be read: No such file"):
        read_audio(tmp_path / "none.wav")
    path = write_audio(tmp_path / "a.wav", noise(2_000), subtype="FLOAT")
    monkeypatch.setattr(soundfile.SoundFile, "read", mock.Mock(side_effect=MemoryError))
    with pytest.raises(AudioError, match="out of memory"):
        read_audio(path)


def test_errors_on_closing_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """libsndfile tells of some errors only when a file is closed."""
    path = write_audio(tmp_path / "a.flac", noise(2_000))
    error = soundfile.LibsndfileError(2)
    with monkeypatch.context() as patched:
        patched.setattr(soundfile.SoundFile, "__exit__", mock.Mock(side_effect=error))
        with pytest.raises(AudioError, match=r"^damaged: "):
            read_audio(path)


# ------------------------------------------------------------------------------------------------------------------
# Standard error
# ------------------------------------------------------------------------------------------------------------------
def test_notes_of_the_mp3_decoder_are_kept_out(tmp_path: Path) -> None:
    """Nothing of them on the terminal; what Python writes afterwards still comes."""
    path = encode(tmp_path / "a.mp3", noise(SAMPLES), "MP3", "MPEG_LAYER_III")
    path.write_bytes(path.read_bytes() + bytes(5_000) + path.read_bytes()[:3_000] + bytes(5_000))
    program = (
        "import os, sys; from pathlib import Path; from data_objects.audio import AudioError, read_audio\n"
        "try: read_audio(Path(sys.argv[1]))\nexcept AudioError: pass\nos.write(2, b'after')"
    )
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "after")


# ------------------------------------------------------------------------------------------------------------------
# ffmpeg
# ------------------------------------------------------------------------------------------------------------------
def fake_ffmpeg(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program of that name, and no other."""
    program = folder / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport struct, sys\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))


HEADER = "sys.stdout.buffer.write(struct.pack('>4s5I', b'.snd', 24, 0xFFFFFFFF, 6, 16000, 2))\n"


def test_ffmpeg_is_told_of_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "a.m4a").write_bytes(b"sound")
    assert not has_ffmpeg()
    with pytest.raises(AudioError, match=r"^cannot be decoded: ffmpeg is not installed"):
        read_audio(tmp_path / "a.m4a")


def test_ffmpeg_decodes_what_nothing_else_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks, the mean of the channels; the file's name is no option and no address."""
    fake_ffmpeg(tmp_path, monkeypatch, "assert sys.argv[5].startswith('file:')\nassert '-nostdin' in sys.argv\n"
                f"{HEADER}sys.stdout.buffer.write(struct.pack('>2f', 0.5, 0.25) * 2000000)")  # fmt: skip
    path = tmp_path / "a.m4a"
    path.write_bytes(b"sound")
    assert has_ffmpeg()
    blocks = list(read_blocks(path))
    assert len(blocks) > 2
    assert sum(map(len, blocks)) == 2_000_000
    assert all((block == 0.375).all() for block in blocks)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("sys.exit('first\\nlast words')", "ffmpeg: last words"),
        (f"{HEADER}sys.stdout.buffer.write(bytes(8000))\nsys.exit('gone wrong')", "ffmpeg: gone wrong"),
        (f"{HEADER}sys.stdout.buffer.write(bytes(8000))\nsys.stderr.write('partial file')", "ffmpeg: partial file"),
        (f"{HEADER}sys.stdout.buffer.write(bytes(8001))", "ffmpeg: ended early"),
        ("pass", "ffmpeg: ended early, status 0"),
        ("sys.stdout.buffer.write(b'x' * 10**6)", "ffmpeg: "),
    ],
)
def test_ffmpeg_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str) -> None:
    """At once, in the middle, or without a word."""
    fake_ffmpeg(tmp_path, monkeypatch, script)
    (tmp_path / "a.m4a").write_bytes(b"sound")
    with pytest.raises(AudioError, match=f"cannot be decoded: {reason}"):
        read_audio(tmp_path / "a.m4a")


def test_ffmpeg_is_ended_with_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that would write for ever does not outlive the first bad sample."""
    fake_ffmpeg(tmp_path, monkeypatch, f"{HEADER}while True: sys.stdout.buffer.write(struct.pack('>2f', 9, 9) * 9999)")
    (tmp_path / "a.m4a").write_bytes(b"sound")
    with pytest.raises(AudioError, match="samples out of range"):
        read_audio(tmp_path / "a.m4a")


@pytest.mark.parametrize(("name", "expected"), [("a.M4A", True), ("a.aac", True), ("a.mp4", True), ("a.wav", False)])
def test_what_needs_ffmpeg(name: str, expected: bool) -> None:
    assert needs_ffmpeg(Path(name)) is expected
    assert not needs_ffmpeg(Path("a.mp3"))


def test_nothing_stays_open(tmp_path: Path) -> None:
    """No file, no pipe, also where reading is given up in the middle."""
    mp3 = encode(tmp_path / "a.mp3", noise(50 * SAMPLES), "MP3", "MPEG_LAYER_III")
    flac = write_audio(tmp_path / "a.flac", noise(SAMPLES))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for path in (mp3, flac):
        with opened(path) as source:
            next(source.blocks)
    assert before == (len(os.listdir("/proc/self/fd")) if before else 0)
