"""What is fuzzed: for each target its seeds, how they are broken, and what reads them."""

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import soundfile

from config import all_keys, default_config, load_config
from data_objects.audio import read_audio
from data_objects.lists import META_COLUMNS, read_meta, read_split, read_trials
from data_objects.sources import UTT2SPK, WAV_SCP, read_kaldi, read_manifest
from models.genotypes import PAPER_GENOTYPE, SEARCH_SPACES, parse_genotype, random_genotype
from tools.fuzzing.mutations import HEADER, Sample, mutate_audio, mutate_text
from utils.system.files import ROOT


@dataclass(frozen=True)
class Target:
    """Something that users hand in.

    Attributes:
        seeds: sound inputs.
        run: reads the file of a case.
        mutate: makes a case of the seeds.
        group: texts or files, whose counts are given apart.
    """

    seeds: Callable[[], list[Sample]]
    run: Callable[[Path], object]
    mutate: Callable[[Random, Sequence[Sample]], Sample] = mutate_text
    group: str = "texts"


def make_case(target: Target, name: str, seeds: Sequence[Sample], seed: int, number: int) -> Sample:
    """The case of this number: the same whatever ran before it."""
    return target.mutate(Random(f"{seed}/{name}/{number}"), seeds)


UTTERANCES = [f"id1000{speaker}/video{speaker}/0000{number}.wav" for speaker in (1, 2, 3) for number in (1, 2)]


def text_seed(lines: Sequence[str], suffix: str = ".txt") -> list[Sample]:
    return [Sample(suffix, "".join(f"{line}\n" for line in lines).encode())]


def trial_seeds() -> list[Sample]:
    return text_seed([f"{place % 2} {UTTERANCES[place]} {UTTERANCES[place - 1]}" for place in range(6)])


def split_seeds() -> list[Sample]:
    return text_seed([f"{place % 3 + 1} {name}" for place, name in enumerate(UTTERANCES)])


def meta_seeds() -> list[Sample]:
    people = [f"id1000{place}\tA_Name\tm\tUK\t{part}" for place, part in enumerate(("dev", "dev", "test"))]
    return text_seed(["\t".join(META_COLUMNS), *people], ".csv")


def genotype_seeds() -> list[Sample]:
    generator = np.random.default_rng(0)
    drawn = [random_genotype(SEARCH_SPACES[space], generator) for space in SEARCH_SPACES]
    return [Sample(".txt", str(genotype).encode()) for genotype in (PAPER_GENOTYPE, *drawn)]


def config_seeds() -> list[Sample]:
    files = sorted((ROOT / "exps").rglob("*.yaml"))
    shipped = [Sample(".yaml", path.read_bytes()) for path in files if path.parent.name != "options"]  # several in one
    return [*shipped, Sample(".yaml", default_config().dump().encode())]


def option_seeds() -> list[Sample]:
    """KEY and VALUE in a line each, every key's own default."""
    cfg, pairs = default_config(), []
    for key in all_keys():
        value: object = cfg
        for part in key.split("."):
            value = value[part]  # type: ignore[index]
        pairs.append((key, str(value)))
    return [Sample(".txt", f"{key}\n{value}".encode()) for key, value in pairs]


def as_argument(data: bytes) -> str:
    """What a shell would hand on: bytes that are no UTF-8 as lone surrogates, no NUL."""
    return data.replace(b"\0", b"").decode("utf-8", "surrogateescape")


def run_genotype(path: Path) -> object:
    return parse_genotype(as_argument(path.read_bytes()))


def run_options(path: Path) -> object:
    return load_config(ROOT / "exps" / "mini" / "scratch.yaml", as_argument(path.read_bytes()).split("\n"))


# format, subtype, suffix, rate, channels
SOUNDS: tuple[tuple[str, str, str, int, int], ...] = (
    *(("WAV", subtype, ".wav", 16_000, 1) for subtype in ("PCM_16", "PCM_24", "PCM_U8", "FLOAT", "DOUBLE", "ULAW")),
    *(("WAV", subtype, ".wav", 8_000, 1) for subtype in ("ALAW", "GSM610", "MS_ADPCM", "IMA_ADPCM", "G721_32")),
    *((kind, "PCM_16", ".wav", 44_100, 2) for kind in ("WAVEX", "RF64", "W64", "AIFF")),
    *((kind, "PCM_16", ".wav", 16_000, 1) for kind in ("WAVEX", "RF64", "W64", "AIFF", "AU", "NIST", "CAF")),
    *(("FLAC", "PCM_16", ".flac", rate, channels) for rate, channels in ((16_000, 1), (48_000, 2))),
    *(("OGG", "VORBIS", ".ogg", rate, channels) for rate, channels in ((16_000, 1), (44_100, 2))),
    ("OGG", "OPUS", ".opus", 48_000, 1),
    *(("MP3", "MPEG_LAYER_III", ".mp3", rate, channels) for rate, channels in ((16_000, 1), (44_100, 2))),
)


def sound(kind: str, subtype: str, rate: int, channels: int, endian: str = "FILE") -> bytes:
    """An eighth of a second of soft noise in a format."""
    samples = 0.1 * np.random.default_rng(0).standard_normal((rate // 8, channels)).clip(-3, 3)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype, endian=endian)
    return without_chance(file.getvalue())


def without_chance(data: bytes) -> bytes:
    """The same sound without what the writer draws: the time in a PEAK chunk, the serial number of Ogg's pages."""
    if (peak := data[:HEADER].find(b"PEAK")) >= 0:
        return data[: peak + 12] + bytes(4) + data[peak + 16 :]
    if not data.startswith(b"OggS"):
        return data
    pages = [b"OggS" + rest for rest in data.split(b"OggS")[1:]]
    pages = [page[:14] + bytes(4) + page[18:22] + bytes(4) + page[26:] for page in pages]  # serial number, checksum
    return b"".join(page[:22] + struct.pack("<I", checksum(page)) + page[26:] for page in pages)


def checksum(page: bytes) -> int:
    """Ogg's: a CRC of 32 bits, polynomial 0x04C11DB7, that begins with 0."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7) & 0xFFFF_FFFF if value & 0x8000_0000 else value << 1
    return value


def audio_seeds() -> list[Sample]:
    rifx = Sample(".wav", sound("WAV", "PCM_16", 16_000, 1, "BIG"))
    return [Sample(suffix, sound(kind, subtype, rate, count)) for kind, subtype, suffix, rate, count in SOUNDS] + [rifx]


def manifest_seeds() -> list[Sample]:
    header = "path,speaker,session,gender,nationality,set,part"
    lines = [f"a/{place}.wav,Zoë M{place},s {place},f,UK,{part},train" for place, part in enumerate(("dev", "test"))]
    return [
        *text_seed([header, *lines], ".csv"),
        *text_seed([line.replace(",", "\t") for line in (header, *lines)], ".tsv"),
        *text_seed(["path,speaker", '"a ""b"", c.wav",p1', "/d.flac,p2"], ".csv"),
    ]


def kaldi_seeds() -> list[Sample]:
    return text_seed([f"utterance{place} /speech/{place}.wav" for place in range(4)])


def run_manifest(path: Path) -> object:
    return read_manifest(path, path.parent)


def run_kaldi(path: Path) -> object:
    """A case is wav.scp and utt2spk in one."""
    folder = path.parent / "kaldi"
    folder.mkdir(exist_ok=True)
    for name in (WAV_SCP, UTT2SPK):
        (folder / name).write_bytes(path.read_bytes())
    return read_kaldi(folder, folder)


TARGETS: dict[str, Target] = {
    "lists-trials": Target(trial_seeds, read_trials),
    "lists-split": Target(split_seeds, read_split),
    "lists-meta": Target(meta_seeds, read_meta),
    "manifests": Target(manifest_seeds, run_manifest),
    "kaldi": Target(kaldi_seeds, run_kaldi),
    "genotypes": Target(genotype_seeds, run_genotype),
    "config-files": Target(config_seeds, load_config),
    "config-options": Target(option_seeds, run_options),
    "audio": Target(audio_seeds, read_audio, mutate_audio, "files"),
}
