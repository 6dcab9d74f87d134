"""How utterances are named: one word whatever is in a name, and back again."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_objects.names import canonical, decode, encode, encode_path, file_name, name_utterance

NAMES = {
    "id10001": "id10001",
    "-7XjM_z.1": "-7XjM_z.1",
    "Zoë Müller": "Zoë%20Müller",
    "王芳": "王芳",
    "<script>": "%3Cscript%3E",
    "=1+1": "%3D1%2B1",
    "a\nb": "a%0Ab",
    "\x1b[31m": "%1B%5B31m",
    "a%20b": "a%2520b",
    "..": "%2E%2E",
    "\u202e": "%E2%80%AE",
    os.fsdecode(b"caf\xe9"): "caf%E9",
}


@pytest.mark.parametrize(("name", "written"), NAMES.items(), ids=NAMES.values())
def test_names(name: str, written: str) -> None:
    """Letters and digits of any writing stay; what separates, obeys or is no text does not."""
    assert encode(name) == written
    assert decode(written) == name


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name and b"/" not in name))
def test_every_name_that_a_file_can_have(name: bytes) -> None:
    """It is one word of one line, no folder, and gives the bytes back."""
    written = encode(name.decode("utf-8", "surrogateescape"))
    assert written.split() == [written]
    assert written.splitlines() == [written]
    assert written not in (".", "..")
    assert not set(written) & set("/<>&\"'=+@;,|`$\\")
    assert written.isprintable() or any(not character.isascii() for character in written)
    assert decode(written).encode("utf-8", "surrogateescape") == name


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_lists_may_write_a_name_either_way(name: str) -> None:
    """What a list encodes more than it must is the same name; encoded once, a name stays as it is."""
    utterance = name_utterance(name, [], "1")
    assert canonical(utterance) == utterance
    everything = "".join(f"%{byte:02x}" for byte in name.encode())
    assert canonical(f"{everything}/1.wav") == utterance


@given(st.text(st.sampled_from(".%w2Ea "), min_size=1, max_size=8))
def test_suffix_is_no_part_of_a_name(stem: str) -> None:
    """A file of dots alone is written and read back as such."""
    utterance = name_utterance(".wav", [stem], stem)
    assert canonical(utterance) == utterance


def test_long_names_of_files() -> None:
    """They fit a file system, and stay apart."""
    long = [encode("é ü" * 100 + end) for end in "ab"]
    names = [file_name(name) for name in long]
    assert len(set(names)) == 2
    assert all(len(name.encode()) < 250 for name in names)
    assert file_name("id10001") == "id10001"


def test_paths() -> None:
    """Part by part; an absolute one stays absolute."""
    assert encode_path("/a b/c") == "/a%20b/c"
