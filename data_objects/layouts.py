"""What the headers of uncompressed audio say of the samples: where they lie, and whether the file holds them all."""

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SAMPLE_RATE = 16_000  # Hz
UNKNOWN_LENGTH = 0x7FFF_0000  # sizes from here on are what streaming writers put in place of a length they do not know
OGG_TAIL = 2 * 65_307  # bytes: of the largest page twice, so that the last one lies within it


class AudioError(Exception):
    """Why a file cannot be used, in a few words; preprocessing lists it."""


@dataclass(frozen=True)
class WavLayout:
    """Where a wav file's samples lie, by its header."""

    sample_rate: int  # Hz
    channels: int
    bits: int
    is_pcm: bool
    offset: int  # bytes from the file's start to the first sample
    declared_bytes: int  # of samples, as the header says

    @property
    def is_native(self) -> bool:
        """Whether the samples can be read as they lie: 16 kHz mono, 16-bit PCM."""
        return (self.sample_rate, self.channels, self.bits, self.is_pcm) == (SAMPLE_RATE, 1, 16, True)


def read_wav_layout(path: Path) -> WavLayout | None:
    """The layout of a RIFF wav file; None for a file of another kind.

    Raises:
        AudioError: a RIFF file without a format or a data chunk.
    """
    with open(path, "rb") as file:
        riff, _, wave = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        if riff != b"RIFF" or wave != b"WAVE":
            return None
        layout = None
        for chunk in walk_chunks(file, Chunked("<4sI")):
            if chunk.name == b"fmt " and chunk.size >= 16:
                code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", file.read(16).ljust(16, b"\0"))
                layout = (rate, channels, bits, code == 1)
            elif chunk.name == b"data":
                if layout is None:
                    break
                return WavLayout(*layout, offset=chunk.offset, declared_bytes=chunk.size)
    raise AudioError("truncated: the wav header has no data")


@dataclass(frozen=True)
class Chunked:
    """How a format lays out its chunks."""

    header: str  # struct format of name and size
    start: int = 12  # bytes from the file's start to the first chunk
    alignment: int = 2
    counts_itself: bool = False  # whether a size counts the chunk's header, too


@dataclass(frozen=True)
class Chunk:
    """One chunk, as its header says."""

    name: bytes
    offset: int  # bytes from the file's start to its content
    size: int  # bytes of content


@dataclass(frozen=True)
class Stated:
    """What a header says of the samples' place."""

    offset: int  # bytes from the file's start
    size: int  # bytes
    field: str = ""  # struct format of the size, which lies right before the samples; empty where it does not


W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
CHUNKED = {
    b"RIFF": Chunked("<4sI"),
    b"RIFX": Chunked(">4sI"),
    b"RF64": Chunked("<4sI"),
    b"BW64": Chunked("<4sI"),
    b"FORM": Chunked(">4sI"),  # AIFF, AIFC and IFF
    b"riff": Chunked("<16sQ", start=40, alignment=8, counts_itself=True),  # W64
    b"caff": Chunked(">4sQ", start=8, alignment=1),
}
MOST_CHUNKS = 10_000  # of a file; more are none: what lies behind the header is zeros, say
SAMPLE_CHUNKS = (b"data", b"SSND", b"BODY")


def walk_chunks(file: BinaryIO, kind: Chunked) -> Iterator[Chunk]:
    """The chunks of a file, in order; the first MOST_CHUNKS of them."""
    length, place = struct.calcsize(kind.header), kind.start
    file.seek(place)
    for _ in range(MOST_CHUNKS):
        if len(header := file.read(length)) < length:
            return
        name, size = struct.unpack(kind.header, header)
        size = max(size - length, 0) if kind.counts_itself else size
        yield Chunk(name[:4], place + length, size)
        place += length + size + -size % kind.alignment
        file.seek(min(place, 2**62))


def read_stated(path: Path) -> Stated | None:
    """Where the samples lie and how many bytes they take, by the header of an uncompressed format.

    Knows RIFF, RIFX, RF64, BW64, W64, AIFF, AIFC, IFF, CAF, AU and NIST SPHERE; None for others.
    """
    with open(path, "rb") as file:
        magic = file.read(16)
        if kind := CHUNKED.get(magic[:4]):
            return _stated_by_chunks(file, kind) if magic[:4] != b"riff" or magic == W64_RIFF else None
        file.seek(0)
        if magic[:4] in (b".snd", b"dns."):
            order = ">" if magic[:4] == b".snd" else "<"
            return Stated(*struct.unpack(f"{order}2I", magic[4:12])) if len(magic) >= 12 else None
        return _stated_by_sphere(file.read(16_384)) if magic[:7] == b"NIST_1A" else None


def _stated_by_chunks(file: BinaryIO, kind: Chunked) -> Stated | None:
    long_size = None  # RF64 keeps the size beyond 32 bits in a chunk of its own
    for chunk in walk_chunks(file, kind):
        if chunk.name == b"ds64":
            long_size = int.from_bytes(file.read(16)[8:], "little")
        elif chunk.name in SAMPLE_CHUNKS:
            size = long_size if long_size is not None and chunk.size == 0xFFFF_FFFF else chunk.size
            return Stated(chunk.offset, size, kind.header[0] + "I" if kind.header.endswith("I") else "")
    return None


def _stated_by_sphere(header: bytes) -> Stated | None:
    fields = dict(re.findall(rb"^(\w+) -(?:i|s\d+) (\d+)$", header, re.MULTILINE))
    try:
        values = [int(fields[name]) for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
        offset = int(header.split(b"\n")[1])
    except (KeyError, IndexError, ValueError):
        return None
    if b"shorten" in header[:offset]:  # compressed: bytes say nothing of samples
        return None
    return Stated(offset, values[0] * values[1] * values[2])


def check_complete(path: Path) -> Stated | None:
    """Hold the length that a header states against the file's size; returns what is stated, if anything is.

    Raises:
        AudioError: the file is shorter than its header says, or an Ogg file does not end where its stream does.
    """
    with open(path, "rb") as file:
        if file.read(4) == b"OggS":
            _check_ogg(file)
            return None
    stated = read_stated(path)
    if stated is not None:
        present = path.stat().st_size - stated.offset
        is_known = stated.size < UNKNOWN_LENGTH or present >= UNKNOWN_LENGTH
        if present < stated.size and is_known and stated.size < 2**62:
            raise AudioError(f"truncated: {max(present, 0)} of {stated.size} bytes of samples")
    return stated


def _check_ogg(file: BinaryIO) -> None:
    """The last page is whole, and says that the stream ends with it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - OGG_TAIL, 0))
    tail = file.read()
    page = tail[max(tail.rfind(b"OggS\0"), 0) :]
    segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
    is_whole = len(page) > 26 and len(segments) == page[26] and len(page) >= 27 + len(segments) + sum(segments)
    if not is_whole or not page[5] & 4:
        raise AudioError("truncated: the Ogg stream does not end")


def has_unstated_samples(path: Path, stated: Stated) -> bool:
    """Whether samples lie where the header states none: streaming writers put 0 where they do not know the length."""
    size = path.stat().st_size
    return stated.size == 0 and stated.field != "" and size > stated.offset and not _only_chunks(path, stated)


def _only_chunks(path: Path, stated: Stated) -> bool:
    """Whether what lies behind empty samples is further chunks, to the file's end."""
    size, end = path.stat().st_size, stated.offset
    with open(path, "rb") as file:
        for chunk in walk_chunks(file, Chunked(f"{stated.field[0]}4sI", start=stated.offset)):
            if not (chunk.name.isascii() and chunk.name.decode("ascii").isprintable()):
                return False
            end = chunk.offset + chunk.size
    return end <= size <= end + 1
