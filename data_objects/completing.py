"""The lists of a corpus: those that are there, and in place of those that are not, what `data_objects.making` makes."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from data_objects.lists import (
    META,
    SPLIT,
    TRIALS,
    Lists,
    Speaker,
    TrialList,
    read_meta,
    read_split,
    read_trials,
    speaker_of,
    video_of,
)
from data_objects.making import (
    SESSIONS,
    choose_test_speakers,
    make_meta,
    make_split,
    make_trials,
    text_of_meta,
    text_of_split,
)
from data_objects.sources import Found
from data_objects.trials import VOXCELEB1
from utils.system.errors import UserError
from utils.system.files import hash_file, read_text, write_atomically
from utils.system.text import some

NAMES = (META, SPLIT, TRIALS)
# In the index's folder: sha256 and name, as sha256sum writes them, of each list that was made, and of those of DATA_DIR
# that say who is trained on.
MADE, USED = "made_lists.txt", "used_lists.txt"


@dataclass
class CorpusLists:
    """A corpus's lists, of which those that are missing are still to be written."""

    lists: Lists
    missing: set[str]  # names
    found: Found
    data_dir: Path
    out_dir: Path

    def write_missing(self, usable: set[str], audible: set[str]) -> Lists:
        """Write what is missing into the index's folder, in place of what an earlier run made; trials are made now.

        Args:
            usable: the utterances that the lists may name.
            audible: those that trials may.

        Returns:
            All lists. Where trials cannot be made there are none, which is remarked upon.
        """
        lists, texts = self.lists, {}
        if META in self.missing:
            speakers = set(map(speaker_of, usable))
            if gone := [name for name in lists.speakers if name not in speakers]:
                self.found.remarks.append(f"no file of {len(gone):,} speakers can be used: {some(gone, 5)}")
            known = {name: of_name for name, of_name in lists.speakers.items() if name in speakers}
            lists = replace(lists, speakers=known)
            texts[META] = text_of_meta(known)
        if SPLIT in self.missing:
            lists = replace(lists, split={name: part for name, part in lists.split.items() if name in usable})
            texts[SPLIT] = text_of_split(lists.split)
        if TRIALS in self.missing:
            try:
                trials = make_trials(audible, lists.speakers)
            except UserError as error:
                self.found.remarks.append(f"{error}; so there is no {TRIALS}: verification needs --trials")
            else:
                lists = replace(lists, trials=trials)
                texts[TRIALS] = trials.text()
        write_made(self.out_dir, texts)
        used = [name for name in (META, SPLIT) if name not in self.missing]
        write_atomically(self.out_dir / USED, _sums({name: hash_file(self.data_dir / name) for name in used}))
        self._remark_on_two_sessions(usable)
        hint = _official(lists)
        self.found.remarks += [f"made, since the corpus has none: {self.out_dir / name}{hint}" for name in texts]
        return lists

    def _remark_on_two_sessions(self, usable: set[str]) -> None:
        """What `held_out_videos` means where speakers have few sessions."""
        sessions: dict[str, set[str]] = defaultdict(set)
        for name in usable:
            sessions[speaker_of(name)].add(video_of(name))
        two = sum(len(own) == 2 for own in sessions.values())
        if 2 * two > len(sessions):
            self.found.remarks.append(
                f"{two:,} of {len(sessions):,} speakers have two sessions: training with SUB_DIR dev sets one of them "
                "aside to validate on, half of their speech"
            )


def complete_lists(found: Found, data_dir: Path, out_dir: Path, test_speakers: int | None) -> CorpusLists:
    """The lists of data_dir, and in place of missing ones what is made of a manifest's columns and of the names.

    Args:
        out_dir: the index's folder, into which what is made will be written.
        test_speakers: how many to test on; None: a fifth.

    Raises:
        UserError: a list is malformed; `test_speakers` where it is known who is tested on, or too many of them; a file
            of a list's name, which is not what an earlier run made, is where one would be written.
    """
    missing = {name for name in NAMES if not (data_dir / name).exists()}
    for name in sorted(missing - made_lists(out_dir)):
        if (out_dir / name).exists():
            raise UserError(
                f"{out_dir / name} is not as an earlier run made it, and would be overwritten: put it into {data_dir}, "
                "where it is used, or take it away"
            )
    trials = None if TRIALS in missing else read_trials(data_dir / TRIALS)
    if META in missing:
        chosen = _test_speakers(found, trials, test_speakers)
        if not chosen:
            found.remarks.append(
                "nobody is tested on: that takes two speakers with two utterances each, and two more to train on; "
                "identification works without, verification by trials of yours (--trials)"
            )
        speakers = make_meta(map(speaker_of, found.files), found.details, chosen)
    elif test_speakers is not None:
        raise UserError(f"--test_speakers: {data_dir / META} says who is tested on; take it away to have it made")
    else:
        speakers = read_meta(data_dir / META)
        if any(any(speaker) for speaker in found.details.values()):
            found.remarks.append(f"{META} is there: what the manifest says of speakers is not used")
    if trials is not None and (trained_on := [name for name in trials.speakers if _is_dev(speakers.get(name))]):
        found.remarks.append(
            f"{len(trained_on):,} speakers of {TRIALS} ({trained_on[0]}, ...) are not in the set test: training with "
            "SUB_DIR dev has them, so it cannot be tested by these trials"
        )
    if SPLIT not in missing and any(found.parts.values()):
        found.remarks.append(f"{SPLIT} is there: what the manifest says of parts is not used")
    split = _split(found) if SPLIT in missing else read_split(data_dir / SPLIT)
    return CorpusLists(Lists(speakers, split, trials), missing, found, data_dir, out_dir)


def _is_dev(speaker: Speaker | None) -> bool:
    return speaker is not None and speaker.set == "dev"


def _test_speakers(found: Found, trials: TrialList | None, count: int | None) -> set[str]:
    sets = {name: speaker.set for name, speaker in found.details.items() if speaker.set}
    if count is not None and (sets or trials is not None):
        raise UserError("--test_speakers: the manifest's column set, or the trials, say already who is tested on")
    if sets:
        return {name for name, of_name in sets.items() if of_name == "test"}
    return choose_test_speakers(found.files, count) if trials is None else set(trials.speakers)


def _split(found: Found) -> dict[str, str]:
    if any(found.parts.values()):
        return {name: part for name, part in found.parts.items() if part}
    parts, shared = make_split(found.files)
    if shared:
        found.remarks.append(
            f"{shared:,} speakers have fewer than {SESSIONS} sessions: utterances of one are in several parts of "
            f"{SPLIT}, and Top-1 will be flattered by what they share"
        )
    return parts


def _official(lists: Lists) -> str:
    """What to say where the names are those of VoxCeleb1's speakers."""
    if not lists.speakers.keys() <= VOXCELEB1:
        return ""
    return " (VoxCeleb1 comes with one: put it there, or no figure can be held against a published one)"


def made_lists(folder: Path) -> set[str]:
    """The names of the lists of an index's folder that are still as an earlier run made them.

    Raises:
        UserError: what that run noted cannot be read.
    """
    if not (folder / MADE).exists():
        return set()
    noted = _read_sums(folder / MADE)
    there = {name: folder / name for name in NAMES if name in noted}
    return {name for name, path in there.items() if path.is_file() and hash_file(path) == noted[name]}


def write_made(folder: Path, texts: dict[str, str]) -> None:
    """Write lists (name -> text), note that they are made, and remove what was made before."""
    for name in made_lists(folder):
        (folder / name).unlink()
    contents = {name: text.encode(errors="surrogateescape") for name, text in texts.items()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    write_atomically(folder / MADE, _sums(digests))
    for name, content in contents.items():
        write_atomically(folder / name, content)
    if not texts:
        (folder / MADE).unlink()


def changed_lists(data_dir: Path, out_dir: Path) -> list[str]:
    """The names of lists in DATA_DIR that are not what the index was made by; none where an older version made it.

    Raises:
        UserError: what that run noted cannot be read.
    """
    if not (out_dir / USED).exists():
        return []
    noted = _read_sums(out_dir / USED)
    there = {name: data_dir / name for name in (META, SPLIT) if (data_dir / name).is_file()}
    return [name for name, path in there.items() if noted.get(name) != hash_file(path)]


def _sums(digests: dict[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items())


def _read_sums(path: Path) -> dict[str, str]:
    """Hashes by name."""
    lines = read_text(path, "expected is what preprocessing wrote").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
