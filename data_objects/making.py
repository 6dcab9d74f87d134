"""The lists that a corpus lacks, made of its names alone, so that they come out the same every time.

They have the form of the official ones: who is tested on (vox1_meta.csv), the parts of every speaker's utterances
(iden_split.txt), and trials among the test speakers (veri_test.txt).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from data_objects.lists import META_COLUMNS, SPLIT_PARTS, Speaker, TrialList, speaker_of, video_of
from data_objects.parts import ranked
from data_objects.trials import draw_alike, draw_targets, join_trials
from utils.system.errors import UserError

TEST_SHARE, FEWEST = 0.2, 2  # of the speakers, tested on
PART_SHARE = 0.1  # of a speaker's sessions (or utterances), to validate on, and to test on; one at least
SESSIONS = 3  # so many, and a session is in one part alone
MOST_TRIALS = 20_000
PART_CODES = {part: code for code, part in SPLIT_PARTS.items()}


def choose_test_speakers(utterances: Iterable[str], count: int | None) -> set[str]:
    """Speakers to test on, of those with two utterances or more.

    Args:
        count: how many; None: a fifth of all, but two at least; none where there are too few speakers for that.

    Raises:
        UserError: of so many, fewer than two would be left to train on, or have two utterances.
    """
    counts: dict[str, int] = defaultdict(int)
    for utterance in utterances:
        counts[speaker_of(utterance)] += 1
    candidates = [speaker for speaker, number in counts.items() if number > 1]
    wanted = max(FEWEST, round(TEST_SHARE * len(counts))) if count is None else count
    if not FEWEST <= wanted <= min(len(candidates), len(counts) - 2):
        if count is None:
            return set()
        raise UserError(
            f"--test_speakers {wanted}: of {len(counts)} speakers, {len(candidates)} have two utterances or more; "
            "two at least are needed to test on, and two to train on"
        )
    return set(ranked(candidates)[:wanted])


def make_meta(speakers: Iterable[str], details: dict[str, Speaker], test_speakers: set[str]) -> dict[str, Speaker]:
    """Every speaker with what is known of gender and nationality, in the set dev or test."""
    unknown = Speaker("", "", "")
    sets = {True: "test", False: "dev"}
    return {
        speaker: details.get(speaker, unknown)._replace(set=sets[speaker in test_speakers])
        for speaker in sorted(speakers)
    }


def make_split(utterances: Iterable[str]) -> tuple[dict[str, str], int]:
    """Parts of every speaker's utterances, and how many speakers have sessions that several parts share.

    A tenth of the sessions is validated on and another one tested on, one at least each; of speakers with fewer than
    three sessions, a tenth of the utterances.
    """
    parts: dict[str, str] = {}
    shared = 0
    for _, of_speaker in groupby(sorted(utterances), key=speaker_of):
        names = list(of_speaker)
        sessions = {video_of(name) for name in names}
        whole = len(sessions) >= SESSIONS
        shared += not whole and len(names) > 1
        drawn = _deal(sessions if whole else names)
        parts |= {name: drawn[video_of(name) if whole else name] for name in names}
    return parts, shared


def _deal(names: Sequence[str] | set[str]) -> dict[str, str]:
    """A part for each name: test and val where there are three, test where there are two."""
    few = max(1, round(PART_SHARE * len(names)))
    sizes = {"test": few if len(names) > 1 else 0, "val": few if len(names) > 2 else 0}
    order = [part for part, size in sizes.items() for _ in range(size)]
    return dict(zip(ranked(names), order + ["train"] * (len(names) - len(order)), strict=True))


def make_trials(utterances: Iterable[str], speakers: dict[str, Speaker]) -> TrialList:
    """Trials among the test speakers: as many of one speaker as of two, 20,000 at most.

    Targets are of two sessions wherever a speaker has two. Non-targets are of one gender, unless no two speakers are;
    those of whom it is not known are held against each other.

    Raises:
        UserError: nobody to test on, or too few utterances.
    """
    names: dict[str, list[str]] = defaultdict(list)
    for name in sorted(utterances):
        if speakers[speaker_of(name)].set == "test":
            names[speaker_of(name)].append(name)
    generator = np.random.default_rng(0)
    targets = draw_targets(names, MOST_TRIALS // 2, generator)
    if not targets or len(names) < FEWEST:
        raise UserError(
            f"no trials can be made of {len(names)} test speakers: two are needed, one of them with two utterances"
        )
    genders = {name: speakers[name].gender for name in names}
    others = draw_alike(names, genders, len(targets), generator)
    return join_trials(targets, others)


# ------------------------------------------------------------------------------------------------------------------
# Their text
# ------------------------------------------------------------------------------------------------------------------
def text_of_meta(speakers: dict[str, Speaker]) -> str:
    """vox1_meta.csv."""
    lines = [META_COLUMNS, *((name, name, *details) for name, details in speakers.items())]
    return "".join("\t".join(line) + "\n" for line in lines)


def text_of_split(parts: dict[str, str]) -> str:
    """iden_split.txt."""
    return "".join(f"{PART_CODES[part]} {utterance}\n" for utterance, part in parts.items() if part)
