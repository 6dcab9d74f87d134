"""VoxCeleb1 as it lies on disk, and which utterance belongs to which part."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from data_objects.audio import AUDIO_SUFFIXES
from data_objects.lists import UTTERANCE, Lists, speaker_of, video_of
from utils.system.errors import UserError

LAYOUTS = ("wav", "dev/wav", "test/wav")  # under DATA_DIR; where an utterance is in several, the first counts
HOLD_OUT = 0.05  # of each dev speaker's videos, one at least: chosen on when training for verification


@dataclass
class Found:
    """What lies on disk."""

    files: dict[str, Path] = field(default_factory=dict)  # utterance -> file
    duplicates: list[Path] = field(default_factory=list)  # audio of an utterance that is there already
    misplaced: list[Path] = field(default_factory=list)  # audio whose path is not speaker/video/utterance
    ignored: int = 0  # files that are no audio by their suffix


def find_utterances(data_dir: Path) -> Found:
    """Every audio file under wav/, dev/wav/ and test/wav/.

    Raises:
        UserError: no such folder, none of the three in it, or no audio in them.
    """
    if not data_dir.is_dir():
        raise UserError(f"no such folder: {data_dir}; give the folder that holds wav/ and the lists of VoxCeleb1")
    roots = [data_dir / layout for layout in LAYOUTS if (data_dir / layout).is_dir()]
    if not roots:
        raise UserError(f"{data_dir} holds none of {', '.join(f'{layout}/' for layout in LAYOUTS)}: is it VoxCeleb1?")
    found = Found()
    for root in roots:
        for folder, subfolders, names in os.walk(root, followlinks=True):
            subfolders.sort()
            for path in (Path(folder, name) for name in sorted(names)):
                _file_away(found, path, PurePosixPath(path.relative_to(root).as_posix()))
    if not found.files:
        raise UserError(f"no audio of the form idNNNNN/VIDEO/NNNNN.wav under {', '.join(map(str, roots))}")
    return found


def _file_away(found: Found, path: Path, relative: PurePosixPath) -> None:
    utterance = str(relative.with_suffix(".wav"))
    if path.suffix.lower() not in AUDIO_SUFFIXES:
        found.ignored += 1
    elif not UTTERANCE.fullmatch(utterance):
        found.misplaced.append(path)
    elif utterance in found.files:
        found.duplicates.append(path)
    else:
        found.files[utterance] = path


def held_out_videos(utterances: Iterable[str]) -> set[str]:
    """The videos of each speaker that `dev` training chooses its best epoch on, and does not train on.

    5 % of a speaker's videos, one at least, none where there is but one; those whose names hash lowest, so the choice
    needs no seed. Whole videos, because utterances of one video share channel and noise.
    """
    videos: dict[str, set[str]] = defaultdict(set)
    for utterance in utterances:
        videos[speaker_of(utterance)].add(video_of(utterance))
    held_out: set[str] = set()
    for names in videos.values():
        if len(names) > 1:
            ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
            held_out.update(ranked[: max(1, round(HOLD_OUT * len(names)))])
    return held_out


def parts_of(utterances: list[str], lists: Lists) -> dict[str, tuple[str, str]]:
    """utterance -> (part in `merged`, part in `dev`), each train, val, test or empty.

    `merged` follows iden_split.txt. `dev` knows only speakers of the set dev: what `held_out_videos` picks is val, the
    rest is train.
    """
    held_out = held_out_videos(utterances)
    parts = {}
    for utterance in utterances:
        dev = "val" if video_of(utterance) in held_out else "train"
        is_dev = lists.speakers[speaker_of(utterance)].set == "dev"
        parts[utterance] = (lists.split.get(utterance, ""), dev if is_dev else "")
    return parts
