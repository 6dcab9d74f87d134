"""What speech there is: the files of a corpus in folders of speakers, in a manifest, or in a Kaldi data folder."""

import codecs
import csv
import io
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_objects.audio import AUDIO_SUFFIXES
from data_objects.lists import SETS, SPLIT_PARTS, Speaker
from data_objects.names import encode, encode_path, name_utterance
from utils.system.errors import UserError
from utils.system.text import some

# Under DATA_DIR, as VoxCeleb1's and VoxCeleb2's archives have them; without any of them, DATA_DIR itself.
LAYOUTS = ("wav", "dev/wav", "test/wav", "aac", "dev/aac")
# A folder that holds one of these is an index, and no speaker; the second is there before the index is whole.
INDEX, INDEX_BEGUN = "utterances.csv", ".autospeech-index"
INDEX_HEAD = b"utterance,root,file,"
# What file managers, archives and storage devices leave beside files; macOS's ._x.wav is no audio.
JUNK_PREFIX = "._"
JUNK = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
JUNK |= {".DS_Store", ".Trashes", ".Spotlight-V100", ".fseventsd", ".git", "Thumbs.db", "desktop.ini"}
NO_TEXT = {  # how files begin that people take for text
    codecs.BOM_UTF16_LE: "text in UTF-16",
    codecs.BOM_UTF16_BE: "text in UTF-16",
    b"PK\x03\x04": "a spreadsheet's own file",
    b"\xd0\xcf\x11\xe0": "a spreadsheet's own file",
}
DELIMITERS = "\t,;"
COLUMNS = ("path", "speaker", "session", "gender", "nationality", "set", "part")  # of a manifest; two are needed
KNOWN_SETS, KNOWN_PARTS = ("", *SETS), ("", *SPLIT_PARTS.values())
GENDERS = {"male": "m", "female": "f"}
WAV_SCP, UTT2SPK, SPK2GENDER, SEGMENTS = "wav.scp", "utt2spk", "spk2gender", "segments"


@dataclass
class Found:
    """The speech that there is.

    Attributes:
        files: utterance -> its files, the one to be preferred first.
        unusable: (file, reason) of what is passed over.
        ignored: how many files are no audio by their suffix.
        details: what is known of speakers; their set may be empty.
        parts: utterance -> train, val or test, where a manifest says so.
        remarks: what the user should know, in lines.
    """

    files: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    unusable: list[tuple[Path, str]] = field(default_factory=list)
    ignored: int = 0
    details: dict[str, Speaker] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def find_corpus(data_dir: Path, manifest: Path | None = None) -> Found:
    """The speech of a corpus: a manifest's, a Kaldi data folder's, or all audio in folders of speakers.

    Args:
        manifest: a CSV or TSV file, or a Kaldi data folder; their relative paths are relative to data_dir.

    Raises:
        UserError: no such folder or file; nothing in it that can be used; a malformed line.
    """
    if not data_dir.is_dir():
        what = "is no folder" if data_dir.exists() else "no such folder"
        raise UserError(f"{what}: {data_dir}; give the folder that holds the speech")
    if manifest is None and (data_dir / WAV_SCP).is_file() != (data_dir / UTT2SPK).is_file():
        there, gone = (WAV_SCP, UTT2SPK) if (data_dir / WAV_SCP).is_file() else (UTT2SPK, WAV_SCP)
        raise UserError(f"{data_dir} has {there} and no {gone}: a Kaldi data folder has both")
    if manifest is None:
        return read_kaldi(data_dir, data_dir) if is_kaldi(data_dir) else find_utterances(data_dir)
    return read_kaldi(manifest, data_dir) if manifest.is_dir() else read_manifest(manifest, data_dir)


# ------------------------------------------------------------------------------------------------------------------
# Folders of speakers
# ------------------------------------------------------------------------------------------------------------------
def find_utterances(data_dir: Path) -> Found:
    """Every audio file in a folder of a speaker: under wav/, dev/wav/, ... or, without those, under data_dir itself.

    Raises:
        UserError: there is none.
    """
    roots = [data_dir / layout for layout in LAYOUTS if (data_dir / layout).is_dir()]
    found = Found()
    if roots:
        _remark_on_others(found, data_dir)
    roots = roots or [data_dir]
    for root in roots:
        for path in walk(root, found):
            _file_away(found, path, path.relative_to(root).parts)
    if not found.files:
        raise UserError(
            f"no audio ({' '.join(AUDIO_SUFFIXES)}) of the form SPEAKER/.../FILE.wav under {', '.join(map(str, roots))}"
        )
    for files in found.files.values():
        files.sort(key=lambda path: _preference(path, roots))
    return found


def _remark_on_others(found: Found, data_dir: Path) -> None:
    known = {layout.split("/")[0] for layout in LAYOUTS}
    others = [path for path in sorted(data_dir.iterdir()) if path.is_dir() and path.name not in known]
    others = [path for path in others if not is_index(path) and not _is_junk(path.name)]
    if others:
        names = some([encode(path.name) for path in others], 5)
        found.remarks.append(f"folders beside {'/, '.join(sorted(known))}/ were not looked into: {names}")


def is_index(folder: Path) -> bool:
    """Whether preprocessing wrote into a folder; one that cannot be read is no index."""
    try:
        return (folder / INDEX_BEGUN).exists() or _is_table(folder / INDEX)
    except OSError:
        return False


def _is_table(path: Path) -> bool:
    """Whether a file is an index's, and not somebody's own of the same name."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(INDEX_HEAD)) == INDEX_HEAD


def _is_junk(name: str) -> bool:
    return name.startswith(JUNK_PREFIX) or name in JUNK


def walk(root: Path, found: Found) -> Iterator[Path]:
    """Every file below a folder. What cannot be read, and links that lead back up, are noted."""
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(root, frozenset())]
    while waiting:
        folder, above = waiting.pop()
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            found.unusable.append((folder, f"folder that cannot be read: {error.strerror}"))
            continue
        this = status.st_dev, status.st_ino
        if this in above:
            found.unusable.append((folder, "link to a folder that it is in"))
            continue
        junk = [entry for entry in entries if _is_junk(entry.name)]
        found.ignored += len(junk)
        kept = [entry for entry in entries if not _is_junk(entry.name)]
        folders = [Path(entry) for entry in kept if _is_folder(entry)]
        waiting += [(path, above | {this}) for path in folders if not is_index(path)]
        yield from (Path(entry) for entry in kept if not _is_folder(entry))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, say; reading it will say so
        return False


def _file_away(found: Found, path: Path, parts: tuple[str, ...]) -> None:
    if path.suffix.lower() not in AUDIO_SUFFIXES:
        found.ignored += 1
    elif len(parts) < 2:
        found.unusable.append((path, "not in a speaker's folder"))
    else:
        speaker, *sessions, _ = parts
        found.files[name_utterance(speaker, sessions, path.stem)].append(path)


def _preference(path: Path, roots: list[Path]) -> tuple[int, int, str]:
    """What can be read as it lies before what must be converted, then the first of the roots."""
    root = next((place for place, root in enumerate(roots) if path.is_relative_to(root)), 0)
    suffix = path.suffix.lower()
    kind = AUDIO_SUFFIXES.index(suffix) if suffix in AUDIO_SUFFIXES else len(AUDIO_SUFFIXES)
    return kind, root, path.name


# ------------------------------------------------------------------------------------------------------------------
# Manifests
# ------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Entry:
    """A line of a manifest."""

    number: int
    path: str
    speaker: str
    session: str = ""
    gender: str = ""
    nationality: str = ""
    set: str = ""
    part: str = ""


def read_manifest(file: Path, data_dir: Path) -> Found:
    """A CSV or TSV file with a header: path and speaker, and maybe session, gender, nationality, set, part.

    An utterance is called SPEAKER/SESSION/FILE.wav; where that is another one's name too, FILE is its whole path. Paths
    that differ by their suffix alone are files of one utterance, as in folders.

    Raises:
        UserError: missing, not text, malformed; a file named twice; a speaker of two genders or sets.
    """
    found = Found()
    entries = list(_read_entries(file, found))
    if not entries:
        raise UserError(f"{file} lists no file: expected a header (path,speaker,...) and a line a file")
    _check_encoding(file, data_dir, entries)
    names: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        names[_name(entry, Path(entry.path).stem)].append(entry)
    for name, of_name in names.items():
        is_one = len({_stem(entry) for entry in of_name}) == 1
        for entry in of_name:
            own = name if is_one else _name(entry, _stem(entry))
            if found.parts.setdefault(own, entry.part) != entry.part:
                raise UserError(f"{file}, line {entry.number}: {own[:80]} is of the part {found.parts[own]!r} already")
            found.files[own].append(data_dir / entry.path)
    for files in found.files.values():
        files.sort(key=lambda path: _preference(path, []))
    found.details = _details(file, entries)
    return found


def _stem(entry: Entry) -> str:
    """A file's whole path, without its suffix."""
    return os.path.normpath(Path(entry.path).with_suffix(""))


def _name(entry: Entry, stem: str) -> str:
    return name_utterance(entry.speaker, [entry.session] if entry.session else [], stem)


def _read_entries(file: Path, found: Found) -> Iterator[Entry]:
    text = _read_text(file)
    header = text.split("\n", 1)[0]
    delimiter = next((mark for mark in DELIMITERS if mark in header), ",")
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    seen: dict[str, int] = {}
    try:
        columns = [cell.strip().lower() for cell in next(lines, [])]
        _check_header(file, columns, found)
        for cells in lines:
            if any(cell.strip() for cell in cells):
                yield _parse(file, lines.line_num, columns, cells, seen)
    except csv.Error as error:
        reason = str(error).replace("\t", "tab")
        raise UserError(f"{file}, line {lines.line_num}: {reason}; expected UTF-8, CSV or TSV") from error


def _read_text(file: Path) -> str:
    """A file's text; names in it may be bytes that are no UTF-8.

    Raises:
        UserError: it cannot be read, or is no such text.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    for start, kind in NO_TEXT.items():
        if content.startswith(start):
            raise UserError(f"{file} is {kind}: save it as text in UTF-8 (a spreadsheet calls it CSV UTF-8)")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _check_encoding(file: Path, data_dir: Path, entries: Iterable[Entry]) -> None:
    """Names on disk need not be UTF-8; a manifest that is not, and names nothing that there is, is Latin-1, say.

    Raises:
        UserError: naming the first line.
    """
    strange = [entry for entry in entries if not _is_utf8(entry.path + entry.speaker)]
    if strange and not any(os.path.exists(data_dir / entry.path) for entry in strange):  # False for what no name can be
        raise UserError(
            f"{file}, line {strange[0].number}: not UTF-8, and no file has the name that it would be: save it as text "
            "in UTF-8 (a spreadsheet calls it CSV UTF-8)"
        )


def _is_utf8(text: str) -> bool:
    return not any("\udc80" <= character <= "\udcff" for character in text)


def _check_header(file: Path, columns: list[str], found: Found) -> None:
    if not {"path", "speaker"} <= set(columns) or len(set(columns)) < len(columns):
        raise UserError(
            f"{file}, line 1: expected a header with the columns path and speaker (and maybe "
            f"{', '.join(COLUMNS[2:])}), each once, found {','.join(columns)[:80]!r}"
        )
    if others := [encode(column) for column in columns if column not in COLUMNS]:
        found.remarks.append(f"columns of {file.name} that are not used: {', '.join(others)}")


def _parse(file: Path, number: int, columns: list[str], cells: list[str], seen: dict[str, int]) -> Entry:
    """A line's entry; `seen` is where each path stands."""
    if len(cells) != len(columns):
        raise UserError(f"{file}, line {number}: {len(cells)} cells where the header has {len(columns)}")
    given = {column: cell for column, cell in zip(columns, cells, strict=True) if column in COLUMNS}
    given = {column: cell if column == "path" else cell.strip() for column, cell in given.items()}
    entry = Entry(number, **given)
    for column in ("path", "speaker"):
        if not getattr(entry, column).strip() or "\0" in getattr(entry, column):
            raise UserError(f"{file}, line {number}: no {column}")
    if not Path(entry.path).name:
        raise UserError(f"{file}, line {number}: {entry.path[:80]!r} is the path of no file")
    for column, valid in (("set", KNOWN_SETS), ("part", KNOWN_PARTS)):
        if getattr(entry, column) not in valid:
            raise UserError(
                f"{file}, line {number}: {column} must be {', '.join(valid[1:])} or empty, "
                f"not {getattr(entry, column)[:80]!r}"
            )
    path = os.path.normpath(entry.path)
    if path in seen:
        raise UserError(f"{file}, line {number}: {encode_path(path)[:80]} stands in line {seen[path]} already")
    seen[path] = number
    return entry


def _details(file: Path, entries: Iterable[Entry]) -> dict[str, Speaker]:
    """What a manifest says of its speakers, in any of their lines."""
    details: dict[str, Speaker] = {}
    for entry in entries:
        speaker = encode(entry.speaker)
        gender = tidy(entry.gender)
        said = Speaker(GENDERS.get(gender.lower(), gender), tidy(entry.nationality), entry.set)
        known = details.setdefault(speaker, said)
        for name, before, now in zip(Speaker._fields, known, said, strict=True):
            if before and now and before != now:
                raise UserError(
                    f"{file}, line {entry.number}: the {name} of {speaker[:80]} is {now}, but was {before} before"
                )
        details[speaker] = Speaker(*(before or now for before, now in zip(known, said, strict=True)))
    return details


def tidy(text: str) -> str:
    """A word or two for a list's column: letters, digits and single spaces, nothing that does harm anywhere."""
    kept = "".join(character if character.isalnum() or character in "-_." else " " for character in text)
    return " ".join(kept.split())[:40]


# ------------------------------------------------------------------------------------------------------------------
# Kaldi
# ------------------------------------------------------------------------------------------------------------------
def is_kaldi(folder: Path) -> bool:
    """Whether a folder is a Kaldi data folder."""
    return (folder / WAV_SCP).is_file() and (folder / UTT2SPK).is_file()


def read_kaldi(folder: Path, data_dir: Path) -> Found:
    """A Kaldi data folder: wav.scp, utt2spk and maybe spk2gender. An utterance is called SPEAKER/UTTERANCE-ID.wav.

    Raises:
        UserError: a file is missing or malformed; an entry of wav.scp is a command, which is never run; segments.
    """
    if not is_kaldi(folder):
        raise UserError(f"{folder} is no Kaldi data folder: {WAV_SCP} and {UTT2SPK} are needed")
    if (folder / SEGMENTS).exists():
        raise UserError(f"{folder / SEGMENTS}: segments of recordings are not read: cut them into files of their own")
    speakers = _read_table(folder / UTT2SPK, "UTTERANCE-ID SPEAKER")
    found = Found()
    heard = _read_table(folder / WAV_SCP, "UTTERANCE-ID PATH")
    for number, (utterance, path) in enumerate(heard.items(), start=1):
        if path.endswith("|") or path.startswith("|"):
            raise UserError(
                f"{folder / WAV_SCP}: {encode(utterance)[:80]} (entry {number}) is a command, {tidy(path)!r}: commands "
                "are never run: write the audio to files and name these"
            )
        if utterance not in speakers:
            found.unusable.append((data_dir / path, f"utterance not in {UTT2SPK}"))
        else:
            found.files[name_utterance(speakers[utterance], [], utterance)] = [data_dir / path]
    if missing := len(speakers.keys() - heard):
        found.remarks.append(f"{missing:,} utterances of {UTT2SPK} are not in {WAV_SCP}")
    if (folder / SPK2GENDER).is_file():
        genders = _read_table(folder / SPK2GENDER, "SPEAKER m|f")
        found.details = {encode(name): Speaker(tidy(gender), "", "") for name, gender in genders.items()}
    if not found.files:
        raise UserError(f"{folder}: no utterance of {WAV_SCP} is in {UTT2SPK}")
    return found


def _read_table(file: Path, expected: str) -> dict[str, str]:
    """Lines of a key and a value, which may have spaces in it."""
    table: dict[str, str] = {}
    for number, line in enumerate(_read_text(file).split("\n"), start=1):
        words = line.strip().split(None, 1)
        if not words:
            continue
        if len(words) != 2 or "\0" in line:
            raise UserError(f"{file}, line {number}: expected '{expected}', found {line[:80]!r}")
        if words[0] in table:
            raise UserError(f"{file}, line {number}: {encode(words[0])[:80]} stands in the file twice")
        table[words[0]] = words[1]
    return table
