"""Which utterance belongs to which part."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from data_objects.lists import Lists, speaker_of, video_of

HOLD_OUT = 0.05  # of each dev speaker's videos, one at least: chosen on when training for verification


def ranked(names: Iterable[str]) -> list[str]:
    """Names in an order that is as good as random, and of nothing but the names."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode(errors="surrogateescape")).digest())


def dev_parts(utterances: Iterable[str]) -> dict[str, str]:
    """train or val of each utterance that is `dev`: `held_out_videos` says."""
    utterances = list(utterances)
    held_out = held_out_videos(utterances)
    return {name: "val" if video_of(name) in held_out else "train" for name in utterances}


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
            held_out.update(ranked(names)[: max(1, round(HOLD_OUT * len(names)))])
    return held_out


def parts_of(utterances: list[str], lists: Lists) -> dict[str, tuple[str, str]]:
    """utterance -> (part in `merged`, part in `dev`), each train, val, test or empty.

    `merged` follows iden_split.txt. `dev` knows only speakers of the set dev: what `held_out_videos` picks is val, the
    rest is train.
    """
    dev = dev_parts(utterances)
    is_dev = {name: speaker.set == "dev" for name, speaker in lists.speakers.items()}
    return {name: (lists.split.get(name, ""), dev[name] if is_dev[speaker_of(name)] else "") for name in utterances}
