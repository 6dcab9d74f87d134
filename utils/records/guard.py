"""The guard: who is trained on, chosen on and tested on, and what of it overlaps that must not.

A protocol gives every role its utterances. `check_training` looks before a network is trained, and refuses what would
make its results worthless; an evaluation has a `Protocol` too, and says what overlaps. What is found stands in every
checkpoint and every result.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_objects.corpus import Corpus
from data_objects.index import Index
from data_objects.lists import SUB_DIRS, speaker_of, video_of
from utils.records.checkpoint import Checkpoint
from utils.system.errors import UserError
from utils.system.logger import get_logger
from utils.system.text import some

TRAIN, VAL, HELD_OUT, TEST = "trained on", "validated on", "held out", "tested on"
# What the network of MODEL.PRETRAINED was trained on and chosen on, and the one that it was started from, and so on.
PRETRAINED, PRECHOSEN = "pretrained on", "chosen on in pretraining"
LEARNT_FROM = (TRAIN, HELD_OUT, PRETRAINED, PRECHOSEN)  # what a speaker tested on must be in none of, for verification
# What makes a speaker tested on no stranger. Speakers validated on were trained on too, unless their split is odd.
SEEN_IN = (*LEARNT_FROM, VAL)
UNKNOWN_PRETRAINING = (
    "the network was started from weights of MODEL.PRETRAINED of which nobody knows what they have learnt from: if "
    "speakers tested on are among it, the figures are not what they seem"
)
IMPORTED = "imported"  # in a checkpoint's protocol: the file of the authors' code that it was made of
UNKNOWN_CHOICE = (
    "the network was imported from the authors' code: nobody can vouch for what it was started from and chosen on "
    "(that code chooses on the test speakers), and its feature statistics are over all utterances, those of the test "
    "speakers among them"
)
UNTRAINED = "untrained_speakers"  # in a checkpoint's protocol: its classes that had nothing to train on
NAMED = 3  # examples of an overlap that a message gives
IDENTIFICATION, VERIFICATION = "identification", "verification"
PURPOSE = {"merged": IDENTIFICATION, "dev": VERIFICATION}  # of a training, by sub-directory
# What two roles must not share: a training is refused, an evaluation says so.
FORBIDDEN = {
    IDENTIFICATION: (
        ("utterances", TRAIN, VAL),
        ("utterances", TRAIN, TEST),
        ("utterances", VAL, TEST),
        ("utterances", PRETRAINED, VAL),
        ("utterances", PRETRAINED, TEST),
    ),
    VERIFICATION: (
        *(("speakers", role, TEST) for role in LEARNT_FROM),
        ("speakers", TRAIN, HELD_OUT),
        ("speakers", PRETRAINED, HELD_OUT),
        ("utterances", TRAIN, VAL),
    ),
}
# What they had better not share: it is warned of. Recordings are the same samples under two names.
DOUBTFUL = {
    IDENTIFICATION: tuple((kind, *pair) for kind in ("videos", "recordings") for pair in ((TRAIN, VAL), (TRAIN, TEST))),
    VERIFICATION: (
        ("videos", TRAIN, VAL),
        ("utterances", TRAIN, TEST),
        ("utterances", VAL, TEST),
        ("recordings", TRAIN, TEST),
        ("recordings", HELD_OUT, TEST),
    ),
}


@dataclass(frozen=True)
class Role:
    """What some utterances are used for.

    Attributes:
        audio: utterance -> a hash of its samples, empty where that is not known.
        known: speakers who are known to have this role, whether an index has their utterances or not.
    """

    name: str
    audio: Mapping[str, bytes]
    known: frozenset[str] = frozenset()

    @property
    def utterances(self) -> set[str]:
        return set(self.audio)

    @cached_property
    def speakers(self) -> set[str]:
        return {*map(speaker_of, self.audio), *self.known}

    @cached_property
    def videos(self) -> set[str]:
        return set(map(video_of, self.audio))

    def summary(self) -> dict[str, Any]:
        """Its numbers of speakers and utterances, and a sha256 of the utterances' names."""
        return {
            "speakers": len(self.speakers),
            "utterances": len(self.audio),
            "sha256": hash_text("\n".join(sorted(self.audio))),
        }


@dataclass(frozen=True)
class Overlap:
    """What two roles have in common."""

    kind: str  # speakers, videos, utterances or recordings
    first: str
    second: str
    names: Sequence[str]

    def __str__(self) -> str:
        examples = some(self.names, NAMED)
        what = f"{self.kind} are" if len(self.names) > 1 else f"{self.kind[:-1]} is"
        return f"{len(self.names):,} {what} both {self.first} and {self.second} ({examples})"

    def summary(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "kind": self.kind,
            "between": [self.first, self.second],
            "number": len(self.names),
            "examples": list(self.names if self.kind == "speakers" else self.names[:NAMED]),
        }


@dataclass(frozen=True)
class Untrained:
    """Speakers of a role whom the classifier cannot know: they have no utterance in the train part.

    Attributes:
        names: theirs; utterances: how many they have in this role; speakers: how many the role has in all.
    """

    role: str
    names: Sequence[str]
    utterances: int
    speakers: int

    def __str__(self) -> str:
        examples = some(self.names, NAMED)
        were = "were" if len(self.names) > 1 else "was"
        return (
            f"{len(self.names):,} of the {self.speakers:,} speakers {self.role} {were} never trained on ({examples}), "
            "for want of an utterance in the train part: the classifier can only be wrong on their "
            f"{self.utterances:,} utterances"
        )

    def summary(self) -> dict[str, Any]:
        """Plain values."""
        return {"role": self.role, "speakers": list(self.names), "utterances": self.utterances}


def hash_text(text: str) -> str:
    """sha256 of a text; names on disk need not be valid Unicode."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def role_of_rows(name: str, index: Index, rows: Iterable[int]) -> Role:
    """The role of these rows of an index."""
    return Role(name, {index.utterances[row]: bytes(index.audio[row]) for row in rows})


def role_of_utterances(name: str, index: Index, utterances: Iterable[str]) -> Role:
    """The role of these utterances, which the index need not have."""
    rows = {utterance: index.row_of(utterance) for utterance in utterances}
    return Role(name, {name: b"" if row is None else bytes(index.audio[row]) for name, row in rows.items()})


def find_overlaps(roles: Mapping[str, Role], pairs: Iterable[tuple[str, str, str]]) -> list[Overlap]:
    """What the pairs (kind, role, other role) have in common; roles that there are not have nothing."""
    found = []
    for kind, first, second in pairs:
        if first in roles and second in roles and (names := _common(roles[first], roles[second], kind)):
            found.append(Overlap(kind, first, second, names))
    return found


def _common(first: Role, second: Role, kind: str) -> list[str]:
    if kind != "recordings":
        return sorted(getattr(first, kind) & getattr(second, kind))
    name_of = {digest: name for name, digest in first.audio.items() if digest}
    pairs = ((name_of[digest], name) for name, digest in second.audio.items() if digest in name_of)
    return sorted(f"{own} = {other}" for own, other in pairs if own != other)


def find_untrained(roles: Mapping[str, Role]) -> list[Untrained]:
    """The speakers to be identified, in validation and test, whom nothing in the train part is of."""
    found = []
    for role in (roles[name] for name in (VAL, TEST) if name in roles and TRAIN in roles):
        if names := sorted(role.speakers - roles[TRAIN].speakers):
            missing = set(names)
            count = sum(speaker_of(utterance) in missing for utterance in role.audio)
            found.append(Untrained(role.name, names, count, len(role.speakers)))
    return found


@dataclass
class Protocol:
    """Who takes which part in a training or an evaluation.

    Attributes:
        purpose: identification or verification: what must be apart depends on it.
        roles: by name; HELD_OUT are the speakers that the best epoch of a verification network is chosen on.
        forbidden, doubtful: the overlaps found.
        untrained: who is to be identified, but was never trained on.
    """

    purpose: str
    roles: dict[str, Role]
    forbidden: list[Overlap] = field(init=False)
    doubtful: list[Overlap] = field(init=False)
    untrained: list[Untrained] = field(init=False)

    def __post_init__(self) -> None:
        self.forbidden = find_overlaps(self.roles, FORBIDDEN[self.purpose])
        self.doubtful = find_overlaps(self.roles, DOUBTFUL[self.purpose])
        self.untrained = find_untrained(self.roles) if self.purpose == IDENTIFICATION else []

    @property
    def doubts(self) -> list[str]:
        """What is to be warned of, forbidden or not."""
        return [str(doubt) for doubt in (*self.forbidden, *self.doubtful, *self.untrained)]

    @property
    def seen_speakers(self) -> set[str]:
        """The speakers tested on that the network has learnt from or was chosen on, in whatever role."""
        seen = (self.roles[name].speakers for name in SEEN_IN if name in self.roles)
        return self.roles[TEST].speakers & set().union(*seen)

    @property
    def is_speaker_disjoint(self) -> bool:
        """Whether there are none."""
        return not self.seen_speakers

    def summary(self) -> dict[str, Any]:
        """Plain values, for checkpoints and results."""
        return {
            "purpose": self.purpose,
            "roles": {name: role.summary() for name, role in self.roles.items()},
            "overlap": [overlap.summary() for overlap in self.forbidden + self.doubtful],
            "untrained": [untrained.summary() for untrained in self.untrained],
        }

    def __str__(self) -> str:
        parts = (f"{name} {len(role.speakers):,} / {len(role.audio):,}" for name, role in self.roles.items())
        found = "; ".join(self.doubts) or "no overlap that matters"
        return f"speakers / utterances: {', '.join(parts)}; {found}"


def roles_of_network(
    index: Index,
    sub_dir: str,
    speakers: Sequence[str],
    held_out: Sequence[str] = (),
    pretraining: Sequence[Mapping[str, Any]] = (),
    known: Sequence[str] = (),
) -> dict[str, Role]:
    """What of an index a network is trained and chosen on.

    Args:
        speakers: its classes, not all of whom need have something to train on; held_out: those that it was chosen on.
        pretraining: of the networks that it was started from: see `utils.records.pretraining.Pretraining`.
        known: speakers trained on, whether the index has their utterances or not.
    """
    trained_on = role_of_rows(TRAIN, index, _rows_of(index, index.rows(sub_dir, "train"), speakers))
    roles = {
        TRAIN: Role(TRAIN, trained_on.audio, frozenset(known)),
        VAL: role_of_rows(VAL, index, _rows_of(index, index.rows(sub_dir, "val"), speakers)),
    }
    if held_out:
        roles[HELD_OUT] = _role_of_speakers(HELD_OUT, index, np.arange(len(index)), held_out)
    if pretraining:
        parts = [
            _role_of_speakers(PRETRAINED, index, index.rows(entry["sub_dir"], "train"), entry["speakers"])
            for entry in pretraining
        ]
        audio = {name: digest for part in parts for name, digest in part.audio.items()}
        roles[PRETRAINED] = Role(PRETRAINED, audio, frozenset().union(*(part.known for part in parts)))
        roles[PRECHOSEN] = Role(PRECHOSEN, {}, frozenset().union(*(entry["chosen_on"] for entry in pretraining)))
    return roles


def _role_of_speakers(name: str, index: Index, rows: np.ndarray, speakers: Sequence[str]) -> Role:
    """The role of those of the rows that are of some speakers, who have it in any case."""
    return Role(name, role_of_rows(name, index, _rows_of(index, rows, speakers)).audio, frozenset(speakers))


def _rows_of(index: Index, rows: np.ndarray, speakers: Sequence[str]) -> np.ndarray:
    """Those of the rows that are of some speakers."""
    return rows[index.labels(sorted(speakers))[rows] >= 0]


def check_training(corpus: Corpus, pretraining: Sequence[Mapping[str, Any]] = ()) -> Protocol:
    """The protocol of a training, if it holds.

    For verification, tested on are the speakers outside `dev` and the trials of DATA_DIR's veri_test.txt.

    Args:
        pretraining: of the networks that it is started from: see `utils.records.pretraining.Pretraining`.

    Raises:
        UserError: it does not: what must be apart is not, by name.
    """
    roles = roles_of_network(corpus.index, corpus.sub_dir, corpus.speakers, corpus.validation_speakers, pretraining)
    protocol = Protocol(PURPOSE[corpus.sub_dir], roles | {TEST: _test_role(corpus)})
    if protocol.forbidden:
        raise UserError(
            f"SUB_DIR {corpus.sub_dir} of {corpus.data_dir} is no sound protocol: "
            f"{'; '.join(map(str, protocol.forbidden))}: {_remedy(protocol)}"
        )
    return protocol


def _remedy(protocol: Protocol) -> str:
    if any({PRETRAINED, PRECHOSEN} & {overlap.first, overlap.second} for overlap in protocol.forbidden):
        return "start from another network (MODEL.PRETRAINED), or from none"
    if protocol.purpose == IDENTIFICATION:
        return "mend iden_split.txt and run data_preprocess.py again"
    return "say Set test of them in vox1_meta.csv, or take them out of veri_test.txt, and run data_preprocess.py again"


def _test_role(corpus: Corpus) -> Role:
    index = corpus.index
    if corpus.sub_dir == "merged":
        return role_of_rows(TEST, index, index.rows("merged", "test"))
    test_trials = corpus.test_trials()
    of_trials = role_of_utterances(TEST, index, test_trials.utterances if test_trials is not None else ())
    return Role(TEST, {**role_of_rows(TEST, index, index.rows("dev", "")).audio, **of_trials.audio})


def check_index(checkpoint: Checkpoint, index: Index, path: Path, allow_change: bool) -> None:
    """Refuse another index than the one that a network was trained with.

    Raises:
        UserError: it is another, and `allow_change` does not say that it may be.
    """
    if checkpoint.index in index.fingerprints() or IMPORTED in checkpoint.protocol:  # which never had one
        return
    message = (
        f"{path} was trained with another index (sha256 {checkpoint.index[:12]}) than {index.feature_dir} holds now "
        f"({index.fingerprint[:12]})"
    )
    if not allow_change:
        raise UserError(
            f"{message}: evaluate with the index of the training, or give --allow_index_change if you know why it "
            "changed"
        )
    get_logger().warning(f"{message}: what it was trained on is looked up in the index of now")


def roles_of_checkpoint(checkpoint: Checkpoint, index: Index) -> dict[str, Role]:
    """What a network was trained and chosen on: its utterances as the index has them, its speakers by its own lists.

    `is_training_known` says whether the utterances are those of then.
    """
    protocol = checkpoint.protocol
    lists = (
        protocol.get("validation_speakers", ()),
        protocol.get("pretraining", ()),
        _trained_speakers(checkpoint, index),
    )
    return roles_of_network(index, checkpoint.sub_dir, checkpoint.speakers, *lists)


def _trained_speakers(checkpoint: Checkpoint, index: Index) -> Sequence[str]:
    """The speakers trained on, as far as it is the checkpoint that tells; else its index does, or they are its classes.

    A checkpoint of before did not tell which of its classes had nothing to train on.
    """
    if UNTRAINED in checkpoint.protocol:
        untrained = set(checkpoint.protocol[UNTRAINED])
        return [name for name in checkpoint.speakers if name not in untrained]
    return () if checkpoint.index in index.fingerprints() else checkpoint.speakers


def count_common(protocol: Protocol, kind: str, first: str, second: str) -> int:
    """How many speakers, videos, utterances or recordings two roles have in common."""
    return sum(len(overlap.names) for overlap in find_overlaps(protocol.roles, [(kind, first, second)]))


def is_pretraining_known(checkpoint: Checkpoint) -> bool:
    """Whether it is known what the network was started from, if anything."""
    before = yaml.safe_load(checkpoint.config)["MODEL"].get("PRETRAINED", "")
    return checkpoint.protocol.get("pretraining_known", not before)


def doubts_of(checkpoint: Checkpoint) -> list[str]:
    """What nobody knows of a network, and so of its figures."""
    if IMPORTED in checkpoint.protocol:
        return [UNKNOWN_CHOICE]
    return [] if is_pretraining_known(checkpoint) else [UNKNOWN_PRETRAINING]


def is_training_known(checkpoint: Checkpoint, protocol: Protocol) -> bool:
    """Whether the utterances trained on are in the index as they were then: by the hashes of their names."""
    then = checkpoint.protocol.get("roles", {})
    return all(protocol.roles[name].summary()["sha256"] == then.get(name, {}).get("sha256") for name in (TRAIN, VAL))


assert set(PURPOSE) == set(SUB_DIRS)
