"""How utterances are named: SPEAKER/SESSION.../FILE.wav, without whitespace, and whatever the file system calls them.

Lists are separated by whitespace, and names end up in terminals, pages and spreadsheets. So each part of a name keeps
its letters, digits, `-`, `_` and `.`, and everything else is written as `%` and two hexadecimal digits a byte of UTF-8,
as in addresses of the web: `Zoë Müller` is `Zoë%20Müller`, and `decode` gives the name back, to the byte. VoxCeleb's
names stay as they are.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

PLAIN = re.compile(r"[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]+)*")
LONGEST = 200  # bytes of a file's name that is made of a name; file systems take 255


def encode(name: str) -> str:
    """A part of a name (of a speaker, a session or a file, as `os.fsdecode` gives it) as lists write it."""
    if PLAIN.fullmatch(name):
        return name
    if not name.strip("."):  # . and .. are folders
        return "%2E" * len(name)
    return "".join(character if _is_kept(character) else _escape(character) for character in name)


def _is_kept(character: str) -> bool:
    return character in "-_." or unicodedata.category(character)[0] in "LNM"  # letters, numbers, their marks


def _escape(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape"))


def decode(text: str) -> str:
    """The part of a name that `encode` wrote."""
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def encode_path(path: str) -> str:
    """A path of parts, each encoded."""
    return "/".join(map(encode, path.split("/")))


def canonical(utterance: str) -> str:
    """An utterance's name as the index has it, however much of it a list has encoded."""
    parts = utterance.removesuffix(".wav").split("/")  # the suffix is no part of the file's name: see `name_utterance`
    return "/".join(map(canonical_part, parts)) + utterance[len(utterance.removesuffix(".wav")) :]


def canonical_part(part: str) -> str:
    """A part of a name, a speaker's say, likewise."""
    return part if PLAIN.fullmatch(part) else encode(decode(part))


def name_utterance(speaker: str, sessions: Iterable[str], stem: str) -> str:
    """The name of an utterance by the names of its speaker, its session's folders and its file without suffix."""
    return "/".join([*map(encode, (speaker, *sessions)), f"{encode(stem)}.wav"])


def file_name(part: str) -> str:
    """A part of a name as a file's: one that is too long is cut, and told apart by a hash."""
    if len(part.encode()) <= LONGEST:
        return part
    return f"{part[: LONGEST // 8]}~{hashlib.sha256(part.encode()).hexdigest()[:16]}"  # ~ is in no name
