"""Verification trials beyond the reading of a list: the lists that are known, and one for choosing an epoch by.

The best epoch of a verification network must be chosen by verification, on speakers that it is neither trained nor
tested on. VoxCeleb1 has no list for that, so one is made from a few of the `dev` speakers, who are then not trained on.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import combinations, product

import numpy as np

from data_objects.index import Index
from data_objects.lists import META, Speaker, TrialList, read_meta, speaker_of, video_of
from data_objects.silence import read_silent

# Official lists by what their names come down to (see `identify_list`): what they are called, and how many trials.
OFFICIAL = {
    "veritest": ("Vox1-O", 37_720),
    "veritest2": ("Vox1-O, cleaned", 37_611),
    "listtestall": ("Vox1-E", 581_480),
    "listtestall2": ("Vox1-E, cleaned", 579_818),
    "listtesthard": ("Vox1-H", 552_536),
    "listtesthard2": ("Vox1-H, cleaned", 550_894),
}
ALIASES = {"o": "veritest", "e": "listtestall", "h": "listtesthard"}  # vox1_O.txt, Vox1-E_cleaned.txt, ...
VOXCELEB1 = frozenset(f"id{number}" for number in range(10_001, 11_252))  # its speakers
MOST_VALIDATION_SPEAKERS = 40  # as many as VoxCeleb1's test speakers
SHARE_OF_SPEAKERS = 4  # of fewer speakers, one in so many
FEWEST_OF_NATIONALITY = 5  # speakers of one gender and nationality that are held against each other, as in Vox1-H
MOST_PAIRS = 2_000_000  # of one speaker: of more, those needed are drawn without making a list of all


def identify_list(name: str, trials: int) -> tuple[str, str]:
    """What a list's file name says that it is, and a warning where its number of trials says otherwise.

    Args:
        name: of the file, without folders.

    Returns:
        One of the names in OFFICIAL, empty where the file has no known name; and the warning, empty where there is
        none.
    """
    stem = re.sub(r"[^a-z0-9]", "", name.lower().rpartition(".")[0] or name.lower())
    alias = re.fullmatch(r"vox(?:celeb)?1([oeh])(original|o)?(clean(?:ed)?|2)?", stem)
    if alias:
        stem = ALIASES[alias[1]] + ("2" if alias[3] else "")
    if stem not in OFFICIAL:
        return "", ""
    title, expected = OFFICIAL[stem]
    if trials == expected:
        return title, ""
    return (
        title,
        f"{name} has the name of {title}, which has {expected:,} trials, but holds {trials:,}: it is not {title}",
    )


def claims_to_be_voxceleb1(index: Index) -> bool:
    """Whether a corpus has all of VoxCeleb1's 1,251 speakers by name: in its vox1_meta.csv, or without one, itself.

    A toy corpus, or a small one of other speakers, borrows the names of the lists and of some speakers. Who has but a
    part of VoxCeleb1's audio has its list of speakers even so.

    Raises:
        UserError: see `read_meta`.
    """
    meta = index.data_dir / META
    return VOXCELEB1.issubset(read_meta(meta) if meta.exists() else map(speaker_of, index.utterances))


DOUBTS = {  # kinds of trials that say less than they seem to: what is said of some
    "repeated": "compare two recordings that an earlier trial compares, in either order: each counts again",
    "same_utterance": "compare an utterance with itself",
    "same_recording": "compare a recording with itself, under two names",
    "contradicted": "compare a recording with itself, and say that it is of two speakers: one of the names is wrong",
    "silent": "compare an utterance that is silent: nothing but zeros",
}


def find_doubtful(trials: TrialList, index: Index, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Trials that say less than they seem to, (N,) bool for every kind in DOUBTS.

    Recordings are told apart by hashes of their samples, and where an index has none, by the utterances' names.

    Args:
        rows: (M,) of the trials' utterances in the index, which has all of them.

    Raises:
        UserError: see `read_silent`.
    """
    recordings = _number_recordings(index.audio[rows])
    silence = read_silent(index.feature_dir)
    silent = np.array([name in silence for name in trials.utterances], dtype=bool)
    enrolment, test = recordings[trials.enrolment], recordings[trials.test]
    pairs = np.minimum(enrolment, test) * len(recordings) + np.maximum(enrolment, test)
    repeated = np.ones(len(trials), dtype=bool)
    repeated[np.unique(pairs, return_index=True)[1]] = False
    same_utterance = trials.enrolment == trials.test
    same_recording = (enrolment == test) & ~same_utterance
    return {
        "repeated": repeated,
        "same_utterance": same_utterance,
        "same_recording": same_recording,
        "contradicted": same_recording & (trials.labels == 0),
        "silent": silent[trials.enrolment] | silent[trials.test],
    }


def _number_recordings(audio: np.ndarray) -> np.ndarray:
    """A number (M,) int64 below M for the recording of every utterance, by the hashes (M,) of their samples."""
    _, first, places = np.unique(audio, return_index=True, return_inverse=True)
    return np.where(audio == b"", np.arange(len(audio)), first[places])


def choose_validation_speakers(index: Index, count: int, seed: int, *, several_first: bool = False) -> list[str]:
    """Speakers of `dev` to hold out, sorted: the best epoch is chosen by their trials.

    Args:
        count: how many; -1: 40, or a quarter of the speakers where that is fewer, or none where a quarter is one.
        seed: draws them, among those with two utterances or more.
        several_first: of those, all that have several sessions are drawn before the others.

    Raises:
        ValueError: too few are left to train on, or have two utterances.
    """
    utterances = _utterances_by_speaker(index)
    candidates = sorted(speaker for speaker, names in utterances.items() if len(names) > 1)
    if count < 0:
        count = min(MOST_VALIDATION_SPEAKERS, len(utterances) // SHARE_OF_SPEAKERS, len(candidates))
    if count in (0, 1):  # one speaker has nobody to be told from
        return []
    if count > min(len(candidates), len(utterances) - 2):
        raise ValueError(f"{len(utterances)} dev speakers, {len(candidates)} of them with two utterances or more")
    order = np.random.default_rng((seed, len(candidates))).permutation(len(candidates))
    drawn = [candidates[place] for place in order]
    if several_first:
        drawn.sort(key=lambda speaker: _count_sessions(utterances[speaker]) < 2)
    return sorted(drawn[:count])


def count_sessions(index: Index) -> dict[str, int]:
    """How many sessions (videos) every speaker of `dev` has, sorted by name."""
    return {speaker: _count_sessions(names) for speaker, names in _utterances_by_speaker(index).items()}


def _count_sessions(names: Iterable[str]) -> int:
    return len(set(map(video_of, names)))


def _utterances_by_speaker(index: Index, speakers: list[str] | None = None) -> dict[str, list[str]]:
    """The utterances in `dev`, train and val part, of its speakers, or of these."""
    utterances: dict[str, list[str]] = defaultdict(list)
    for part in ("train", "val"):
        for row in index.rows("dev", part):
            name = index.utterances[row]
            if speakers is None or speaker_of(name) in speakers:
                utterances[speaker_of(name)].append(name)
    return {speaker: sorted(names) for speaker, names in sorted(utterances.items())}


def build_validation_trials(
    index: Index, speakers: list[str], count: int, seed: int, kinds: Mapping[str, str] | None = None
) -> TrialList:
    """Trials among the utterances of held-out `dev` speakers: half of the same speaker, half of different ones.

    Every speaker has about as many target trials, of two videos wherever there are two, so that a network is not
    praised for knowing a recording by its channel. Non-target trials are of random speakers and utterances. None
    occurs twice.

    Args:
        count: trials at most; fewer where there are not so many pairs.
        seed: draws them.
        kinds: of the speakers (see `kinds_of`): non-target trials are of two of one kind. The target trials are the
            same with and without. None: of any two.
    """
    utterances = _utterances_by_speaker(index, speakers)
    generator = np.random.default_rng((seed, len(speakers), count))
    targets = draw_targets(utterances, count // 2, generator)
    if kinds is None:
        others = draw_non_targets(utterances, len(targets), generator)
    else:
        others = draw_alike(utterances, kinds, len(targets), generator)
    return join_trials(targets, others)


def kinds_of(speakers: Iterable[str], details: Mapping[str, Speaker]) -> dict[str, str]:
    """What kind of speaker each is: those of one kind are hard to tell apart.

    That is gender and nationality, as in Vox1-H (Chung, Nagrani and Zisserman, "VoxCeleb2", Interspeech 2018), where
    five or more have both in common; else gender alone. Whoever would be alone of a kind then is of the most frequent
    one of that gender. What is not known is a gender and a nationality of its own.
    """
    unknown = Speaker("", "", "")
    known = {name: details.get(name, unknown)[:2] for name in speakers}
    both = {name: tuple(text if text.strip("-") else "" for text in texts) for name, texts in known.items()}
    counts = Counter(both.values())
    kinds = {name: kind if counts[kind] >= FEWEST_OF_NATIONALITY else (kind[0], "") for name, kind in both.items()}
    counts = Counter(kinds.values())
    for name, kind in kinds.items():
        if counts[kind] == 1:
            kinds[name] = max((other for other in counts if other[0] == kind[0]), key=lambda other: counts[other])
    return {name: " ".join(filter(None, kind)) for name, kind in kinds.items()}


def join_trials(targets: Iterable[tuple[str, str]], others: Iterable[tuple[str, str]]) -> TrialList:
    """The list of target and non-target pairs, by their names."""
    trials = [(1, *pair) for pair in targets] + [(0, *pair) for pair in others]
    return TrialList.of(sorted(trials, key=lambda trial: (trial[1], trial[2])))


def draw_targets(utterances: dict[str, list[str]], count: int, generator: np.random.Generator) -> list[tuple[str, str]]:
    """Pairs of utterances of one speaker, as evenly as the speakers have them."""
    if sum(len(names) ** 2 for names in utterances.values()) // 2 > MOST_PAIRS:
        return _draw_by_number(list(utterances.values()), count, generator)
    left = {speaker: pairs_of_one(names, generator) for speaker, names in utterances.items()}
    drawn: list[tuple[str, str]] = []
    while len(drawn) < count and any(left.values()):
        for pairs in left.values():
            if pairs and len(drawn) < count:
                drawn.append(pairs.pop())
    return drawn


def pairs_of_one(names: list[str], generator: np.random.Generator) -> list[tuple[str, str]]:
    """A speaker's pairs of utterances in random order: of two videos, if there are such."""
    pairs = list(combinations(names, 2))
    across = [pair for pair in pairs if video_of(pair[0]) != video_of(pair[1])]
    pairs = across or pairs
    return [pairs[place] for place in generator.permutation(len(pairs))]


def _draw_by_number(utterances: list[list[str]], count: int, generator: np.random.Generator) -> list[tuple[str, str]]:
    """Such pairs of all speakers; the memory is that of the utterances, not of all their pairs."""
    numbered = list(map(NumberedPairs, utterances))
    shares = even_shares(np.array([pairs.count for pairs in numbered]), count)
    return [pair for pairs, share in zip(numbered, shares, strict=True) for pair in pairs.draw(int(share), generator)]


def even_shares(sizes: np.ndarray, count: int) -> np.ndarray:
    """How many to take of each, (N,) int64: as many of all, to one, but of those that have fewer all of theirs."""
    shares, left = np.zeros(len(sizes), dtype=np.int64), count
    for rank, place in enumerate(np.argsort(sizes, kind="stable")):
        shares[place] = min(int(sizes[place]), left // (len(sizes) - rank))
        left -= int(shares[place])
    return shares


class NumberedPairs:
    """All pairs of a speaker's utterances, of two videos if there are such, none of which is made before it is drawn.

    The utterances stand video by video. Each makes pairs with those of the videos before its own, and all pairs are
    numbered in this order.
    """

    def __init__(self, names: list[str]) -> None:
        self.names = sorted(names, key=lambda name: (video_of(name), name))
        videos = np.unique([video_of(name) for name in self.names], return_inverse=True)[1]
        partners = np.searchsorted(videos, videos)  # (N,) how many utterances stand before its video
        self.partners = partners if partners.any() else np.arange(len(self.names))
        self.ends = np.cumsum(self.partners)
        self.count = int(self.ends[-1])

    def draw(self, count: int, generator: np.random.Generator) -> list[tuple[str, str]]:
        """`count` pairs, at most self.count, in random order, none twice."""
        drawn = generator.choice(self.count, count, replace=False) if count else np.zeros(0, np.int64)
        later = np.searchsorted(self.ends, drawn, side="right")
        earlier = drawn - (self.ends - self.partners)[later]
        pairs = ((self.names[a], self.names[b]) for a, b in zip(earlier, later, strict=True))
        return [(min(pair), max(pair)) for pair in pairs]


def draw_non_targets(
    utterances: dict[str, list[str]], count: int, generator: np.random.Generator
) -> list[tuple[str, str]]:
    """Pairs of utterances of two speakers, each pair of speakers as likely as the others."""
    speakers = list(utterances)
    sizes = np.array([len(utterances[speaker]) for speaker in speakers])
    every = (int(sizes.sum()) ** 2 - int((sizes**2).sum())) // 2
    if every <= 4 * count:  # drawing until enough are new could take long
        pairs = [pair for a, b in combinations(speakers, 2) for pair in product(utterances[a], utterances[b])]
        return [pairs[place] for place in generator.permutation(every)[:count]]
    drawn: dict[tuple[str, str], None] = {}
    while len(drawn) < count:
        first, second = np.sort(generator.choice(len(speakers), 2, replace=False))
        places = generator.integers(sizes[[first, second]])
        drawn[utterances[speakers[first]][places[0]], utterances[speakers[second]][places[1]]] = None
    return list(drawn)


def draw_alike(
    utterances: dict[str, list[str]], kinds: Mapping[str, str], count: int, generator: np.random.Generator
) -> list[tuple[str, str]]:
    """Pairs of utterances of two speakers of one kind, as many of a kind as its share of the utterances.

    A speaker who is alone of a kind has none; where all are, they are of any two. Fewer where there are not so many.
    """
    groups: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for speaker, names in utterances.items():
        groups[kinds[speaker]][speaker] = names
    able = [group for group in groups.values() if len(group) > 1] or [utterances]
    sizes = [sum(map(len, group.values())) for group in able]
    shares = np.diff(np.round(np.cumsum([0, *sizes]) / sum(sizes) * count).astype(int))
    return [
        pair
        for group, share in zip(able, shares, strict=True)
        for pair in draw_non_targets(group, int(share), generator)
    ]
