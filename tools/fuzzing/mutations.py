"""Ways to break a text or a file. All draws come from the given generator."""

import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple


class Sample(NamedTuple):
    """A file to read: a seed, or a case made of seeds."""

    suffix: str
    data: bytes


TOKENS: tuple[bytes, ...] = (
    *(b"", b"0", b"-1", b"1e999", b"-1e308", b"nan", b"NaN", b"inf", b"-inf", b".nan", b".inf", b"9" * 400),
    *(b"9" * 5000, b"18446744073709551616", b"0x7fffffff", b"1_0", b"0o17", b"07", b"1.5", b"True", b"None", b"null"),
    *(b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\x80", b"\xc3", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\xc2\x85", b"\x0c"),
    *(b"\r", b"\r\n", b"\t", b"\x1b[31m", b"\x1b]0;x\x07", b"\x7f", b"..", b"../../x", b"/", b"\\", b"\\d", b"'"),
    *(b"x" * 20_000, b"(" * 300, b"[" * 3000, b"{" * 3000, b"-" * 3000, b"[]" * 500, b"1if 1else 2", b"1[0]", b"1()"),
    *(
        b"&a",
        b"*a",
        b"<<: ",
        b"!!python/name:os",
        b"!!binary x",
        b"!!float x",
        b"!!set",
        b"? ",
        b": ",
        b"- ",
        b"|",
        b"%",
    ),
    *(b"2024-02-30", b"2024-13-45 99:99:99", b"1:60:60", b"0b", b"\xd9\xa1\xd9\xa2", b"\xc2\xb2", b"%s", b"{}", b"#"),
    *(b"range(2, 6)", b"range(0, 9" + b"9" * 30 + b")", b"1j", b"...", b"b''", b"f'{x}'", b"{[]: 1}", b"*x", b"a.b"),
)
INTERESTING = (0, 1, 2, 3, 7, 8, 15, 16, 24, 32, 127, 128, 255, 256, 400, 32_767, 32_768, 65_535, 16_000, 192_001)
WIDE = (2**31 - 1, 2**31, 2**32 - 1, 0x7FFF_0000, 2**63 - 1, 2**63, 2**64 - 1, 2**36 - 1, 2**40)
HEADER = 256  # bytes at a file's start that are broken most
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac")
Mutation = Callable[[Random, bytes], bytes]


def span(draw: Random, data: bytes, longest: int = 16) -> tuple[int, int]:
    """A part of the data: from, to."""
    start = draw.randrange(len(data) + 1)
    return start, min(len(data), start + draw.randint(1, longest))


def flip(draw: Random, data: bytes) -> bytes:
    place = draw.randrange(len(data) or 1)
    return data[:place] + bytes([draw.randrange(256)]) + data[place + 1 :]


def remove(draw: Random, data: bytes) -> bytes:
    start, end = span(draw, data)
    return data[:start] + data[end:]


def double(draw: Random, data: bytes) -> bytes:
    start, end = span(draw, data, 64)
    return data[:end] + data[start:end] * draw.choice((1, 1, 2, 50)) + data[end:]


def swap(draw: Random, data: bytes) -> bytes:
    start, end = span(draw, data)
    return data[:start] + data[start:end][::-1] + data[end:]


def insert(draw: Random, data: bytes) -> bytes:
    place = draw.randrange(len(data) + 1)
    return data[:place] + draw.choice(TOKENS) + data[place:]


def replace_token(draw: Random, data: bytes) -> bytes:
    """Another token in place of what stands between two separators."""
    separators = b" \t\n,:()[]='\"/"
    start = end = draw.randrange(len(data) or 1)
    while start and data[start - 1] not in separators:
        start -= 1
    while end < len(data) and data[end] not in separators:
        end += 1
    return data[:start] + draw.choice(TOKENS) + data[end:]


def lines(draw: Random, data: bytes) -> bytes:
    """Lines shuffled, doubled, dropped, or one of them cut."""
    rows = data.split(b"\n")
    place = draw.randrange(len(rows))
    deed = draw.randrange(4)
    if deed == 0:
        draw.shuffle(rows)
    elif deed == 1:
        rows.insert(draw.randrange(len(rows)), rows[place])
    elif deed == 2:
        del rows[place]
    else:
        rows[place] = rows[place][: draw.randrange(len(rows[place]) + 1)]
    return b"\n".join(rows)


def cut(draw: Random, data: bytes) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


TEXT_MUTATIONS: tuple[Mutation, ...] = (flip, remove, double, swap, insert, insert, lines, lines, cut) + (
    replace_token,
) * 5


def mutate_text(draw: Random, seeds: Sequence[Sample]) -> Sample:
    """A seed broken once to four times; now and then two seeds spliced before."""
    suffix, data = draw.choice(seeds)
    if draw.random() < 0.1:
        data = cut(draw, data) + draw.choice(seeds).data[draw.randrange(len(data) + 1) :]
    for _ in range(draw.choice((1, 1, 1, 2, 3, 4))):
        data = draw.choice(TEXT_MUTATIONS)(draw, data)
    return Sample(suffix, data)


def field(draw: Random, data: bytes) -> bytes:
    """A field of 8 to 64 bits with a number on an edge of what it can hold, or a bit away."""
    code = draw.choice("BHIQ")
    raw = struct.pack(draw.choice("<>") + "Q", draw.choice(INTERESTING + WIDE))
    size = struct.calcsize(code)
    raw = raw[:size] if draw.random() < 0.5 else raw[-size:]
    place = draw.randrange(min(len(data), HEADER) or 1)
    return data[:place] + raw + data[place + size :]


def flip_header(draw: Random, data: bytes) -> bytes:
    return flip(draw, data[:HEADER]) + data[HEADER:]


def remove_header(draw: Random, data: bytes) -> bytes:
    return remove(draw, data[:HEADER]) + data[HEADER:]


def append(draw: Random, data: bytes) -> bytes:
    return data + draw.randbytes(draw.choice((1, 7, 1000)))


def zero(draw: Random, data: bytes) -> bytes:
    start, end = span(draw, data, draw.choice((8, 512)))
    return data[:start] + bytes(end - start) + data[end:]


FILE_MUTATIONS: tuple[Mutation, ...] = (
    (field,) * 6 + (flip_header,) * 4 + (remove_header, flip, double, cut, append, zero)
)


def mutate_audio(draw: Random, seeds: Sequence[Sample]) -> Sample:
    """A sound file broken once to four times, mostly in its header; now and then under another suffix."""
    suffix, data = draw.choice(seeds)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 4))):
        data = draw.choice(FILE_MUTATIONS)(draw, data)
    return Sample(draw.choice(SUFFIXES) if draw.random() < 0.05 else suffix, data)
