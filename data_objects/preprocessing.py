"""Preprocessing: what data_preprocess.py does, from the wavs and the lists to the index (see `data_objects.index`)."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

from tqdm import tqdm

from data_objects.audio import SAMPLE_RATE
from data_objects.building import BuildReport, build_index
from data_objects.completing import complete_lists
from data_objects.decoding import has_ffmpeg, needs_ffmpeg
from data_objects.frontend import count_frames
from data_objects.lists import META, SPLIT, TRIALS, Lists, speaker_of, video_of
from data_objects.parts import dev_parts, parts_of
from data_objects.sources import Found, find_corpus
from data_objects.speaker_tasks import SECOND, Planned, SpeakerTask
from utils.system.errors import UserError
from utils.system.text import printable


def plan_tasks(
    found: Found, lists: Lists, data_dir: Path, out_dir: Path, skip_existing: bool = False
) -> tuple[list[SpeakerTask], list[Path]]:
    """A task for every speaker on disk, and the files of speakers that vox1_meta.csv does not know."""
    known = sorted(name for name in found.files if speaker_of(name) in lists.speakers)
    parts = parts_of(known, lists)
    make = partial(SpeakerTask, data_dir=data_dir, out_dir=out_dir, skip_existing=skip_existing)
    strangers = [path for name, paths in found.files.items() if name not in parts for path in paths]
    return list(_tasks_of(found, parts, data_dir, make)), strangers


def plan_added(
    found: Found, lists: Lists, taken: dict[str, str], make: Callable[..., SpeakerTask], data_dir: Path
) -> list[SpeakerTask]:
    """A task for every speaker of a corpus that is added: all are `dev`, and nobody is tested on.

    What cannot be used is noted in `found`: speakers that are tested on, and utterances that are there already.

    Args:
        taken: parts in `dev` of the utterances that are there already; what is added joins them. An utterance of a
            session that is there goes with it, for the sessions that are chosen on are not trained on.
        make: of the speaker and the utterances, a task.
    """
    tested = {name for name, speaker in lists.speakers.items() if speaker.set == "test"}
    tested |= set(map(speaker_of, lists.trial_utterances))
    usable = []
    for name, paths in found.files.items():
        reason = "speaker that is tested on" if speaker_of(name) in tested else SECOND if name in taken else ""
        if reason:
            found.unusable += [(path, reason) for path in paths]
        else:
            usable.append(name)
    sessions = {video_of(name): part for name, part in taken.items() if part}
    parts = {name: sessions.get(video_of(name), part) for name, part in dev_parts(sorted(usable)).items()}
    taken.update(parts)
    return list(_tasks_of(found, {name: ("", part) for name, part in parts.items()}, data_dir, make))


def _tasks_of(
    found: Found, parts: dict[str, tuple[str, str]], data_dir: Path, make: Callable[..., SpeakerTask]
) -> Iterator[SpeakerTask]:
    """A task for every speaker of utterances in order."""
    for speaker, names in groupby(parts, key=speaker_of):
        files = ((name, [_relative(path, data_dir) for path in found.files[name]]) for name in names)
        yield make(speaker, [Planned(name, paths, *parts[name]) for name, paths in files])


def _relative(path: Path, data_dir: Path) -> str:
    """A file relative to data_dir if it lies there, else absolute."""
    return (path.relative_to(data_dir) if path.is_relative_to(data_dir) else path.absolute()).as_posix()


def count_reasons(rejected: list[tuple[str, str]]) -> Counter[str]:
    """How many files were rejected for each reason; details behind a colon do not count."""
    return Counter(reason.split(":", 1)[0] for _, reason in rejected)


def preprocess(
    data_dir: Path,
    out_dir: Path | None,
    num_workers: int,
    skip_existing: bool,
    manifest: Path | None = None,
    added_dirs: Sequence[Path] = (),
    test_speakers: int | None = None,
) -> str:
    """What data_preprocess.py does: index a corpus, with a progress bar.

    Args:
        out_dir: where the index goes; None: DATA_DIR/feature.
        num_workers: see `build_index`.
        skip_existing: take over the speakers that an earlier run finished and whose files have not changed.
        manifest: see `find_corpus`.
        added_dirs: folders of corpora that are trained on, too.
        test_speakers: how many to test on, where no list says who; None: a fifth.

    Returns:
        What the user should know at the end, in lines.

    Raises:
        UserError: see `find_corpus`, `complete_lists` and `build_index`.
    """
    out_dir = out_dir or data_dir / "feature"
    found = find_corpus(data_dir, manifest)
    corpus = complete_lists(found, data_dir, out_dir, test_speakers)
    lists = corpus.lists
    tasks, strangers = plan_tasks(found, lists, data_dir, out_dir, skip_existing)
    found.unusable += [(path, f"speaker not in {META}") for path in strangers]
    taken = dict.fromkeys(found.files, "")
    taken |= {utterance.name: utterance.dev for task in tasks for utterance in task.utterances}
    added: list[SpeakerTask] = []
    others = [find_corpus(place) if not place.is_file() else find_corpus(place.parent, place) for place in added_dirs]
    _check_place(out_dir, [data_dir, *added_dirs], [found, *others])
    _check_decoders([found, *others])
    for number, (folder, other) in enumerate(zip(added_dirs, others, strict=True), start=1):
        make = partial(SpeakerTask, data_dir=data_dir, out_dir=out_dir, skip_existing=skip_existing, corpus=number)
        tasks_of_other = plan_added(other, lists, taken, make, data_dir)
        count = sum(len(task.utterances) for task in tasks_of_other)
        found.remarks.append(
            f"added from {folder}: {count:,} utterances of {len(tasks_of_other):,} speakers, if usable"
        )
        added += tasks_of_other
        found.unusable += other.unusable
        found.ignored += other.ignored
        found.remarks += [f"{folder}: {remark}" for remark in other.remarks]
    unusable = [(_relative(path, data_dir), reason) for path, reason in found.unusable]
    total = sum(len(task.utterances) for task in (*tasks, *added))
    with tqdm(total=total, unit="utterance", desc="reading", disable=None) as progress:
        report = build_index(tasks, unusable, out_dir, num_workers, progress.update, added, lists.trial_utterances)
    usable = {row.utterance for row in report.rows} & found.files.keys()
    lists = corpus.write_missing(usable, usable - set(report.silent))
    return _summarize(report, found, lists, out_dir)


def _check_place(out_dir: Path, data_dirs: Iterable[Path], sources: Iterable[Found]) -> None:
    """Raises a UserError where what is written into the index's folder could come over the recordings themselves."""
    whole = out_dir.resolve()
    for data_dir in data_dirs:
        if data_dir.resolve().is_relative_to(whole):
            raise UserError(f"--out_dir {out_dir} holds the corpus {data_dir}: give a folder of its own to the index")
    inside = f"{out_dir}{os.sep}", f"{whole}{os.sep}"
    for path in (path for found in sources for files in found.files.values() for path in files):
        if str(path).startswith(inside):
            raise UserError(f"{path} lies in the index's folder, {out_dir}: give another one with --out_dir")


def _check_decoders(sources: Iterable[Found]) -> None:
    """Raises a UserError for files that need ffmpeg where it is not installed, before hours have gone."""
    files = (files for found in sources for files in found.files.values())
    lone = [own[0] for own in files if all(map(needs_ffmpeg, own))]
    if lone and not has_ffmpeg():
        raise UserError(
            f"{len(lone):,} files ({lone[0]}, ...) are read by ffmpeg, which is not installed: install it, or convert "
            "them to wav or flac"
        )


def _summarize(report: BuildReport, found: Found, lists: Lists, out_dir: Path) -> str:
    """What the user should know at the end."""
    rows = report.rows
    usable = {row.utterance for row in rows}
    speakers = {speaker_of(utterance) for utterance in usable}
    hours = sum(row.samples for row in rows) / SAMPLE_RATE / 3600
    short = sum(count_frames(row.samples) < 300 for row in rows)
    lines = [
        f"{len(rows):,} utterances of {len(speakers):,} speakers, {hours:.2f} hours -> {out_dir}",
        f"rejected: {len(report.rejected):,}" + (f" (listed in {out_dir / 'rejected.csv'})" if report.rejected else ""),
        *(f"  {count:,} {reason}" for reason, count in count_reasons(report.rejected).most_common()),
        f"converted to 16 kHz mono: {sum(row.root == 'feature' for row in rows):,}; "
        f"shorter than 300 frames, will be tiled: {short:,}; silent: {len(report.silent):,}; "
        f"other files left alone: {found.ignored:,}",
        f"in {SPLIT} but not usable or not on disk: {len(lists.split.keys() - usable):,} of {len(lists.split):,}",
        f"in {TRIALS} but not usable or not on disk: {len(lists.trial_utterances - usable):,} of "
        f"{len(lists.trial_utterances):,} utterances",
        f"in {META} but without an utterance: {len(lists.speakers.keys() - speakers):,} of {len(lists.speakers):,} "
        "speakers",
        f"not in {SPLIT}, so not used with SUB_DIR merged: {len(usable - lists.split.keys()):,}",
        *found.remarks,
    ]
    if report.reused_speakers:
        lines.append(f"taken over from an earlier run: {report.reused_speakers:,} speakers")
    return printable("\n".join(lines))
