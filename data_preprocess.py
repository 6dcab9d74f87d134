"""Step 1: index a corpus.

    python data_preprocess.py /path/to/VoxCeleb1
    python data_preprocess.py /path/to/VoxCeleb1 -s        # go on where an interrupted run stopped

DATA_DIR holds wav/ (or the archives apart, dev/wav/ and test/wav/) and vox1_meta.csv, iden_split.txt, veri_test.txt.
Every utterance is read once; DATA_DIR/feature/ gets utterances.csv, stats.npz and rejected.csv. The wavs stay where
they are; only those that are not 16 kHz mono 16-bit PCM get a converted copy, in feature/wav/.
"""

import argparse
import os
from pathlib import Path

from tqdm import tqdm

from utils.runtime import run_script


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path, help="folder of VoxCeleb1")
    parser.add_argument("--out_dir", type=Path, help="where the index goes (default: DATA_DIR/feature)")
    parser.add_argument("--num_workers", type=int, default=os.cpu_count(), help="processes (default: all cores)")
    parser.add_argument(
        "-s", "--skip_existing", action="store_true", help="take over what an interrupted run has done already"
    )
    args = parser.parse_args()
    if args.num_workers < 0:
        parser.error(f"--num_workers must be 0 or more, not {args.num_workers}")
    return args


def main() -> None:
    args = parse_args()
    from data_objects.index import build_index, plan_tasks
    from data_objects.voxceleb import find_utterances, read_lists

    found = find_utterances(args.data_dir)
    lists = read_lists(args.data_dir)
    out_dir = args.out_dir or args.data_dir / "feature"
    tasks, strangers = plan_tasks(found, lists, args.data_dir, out_dir)
    unusable = list_unusable(found, strangers, args.data_dir)
    total = sum(len(task.utterances) for task in tasks)
    with tqdm(total=total, unit="utterance", desc="reading", disable=None) as progress:
        report = build_index(tasks, unusable, out_dir, args.num_workers, args.skip_existing, progress.update)
    print(summarize(report, found, lists, out_dir))


def list_unusable(found, strangers, data_dir) -> list[tuple[str, str]]:
    """(file, reason) of audio that is not even decoded."""
    reasons = [
        (found.misplaced, "not of the form idNNNNN/VIDEO/NNNNN.wav"),
        (found.duplicates, "a second file of an utterance"),
        (strangers, "speaker not in vox1_meta.csv"),
    ]
    return [(str(path.relative_to(data_dir)), reason) for paths, reason in reasons for path in paths]


def summarize(report, found, lists, out_dir) -> str:
    """What the user should know at the end."""
    from data_objects.audio import SAMPLE_RATE
    from data_objects.frontend import count_frames
    from data_objects.index import count_reasons
    from data_objects.voxceleb import META, SPLIT, TRIALS, speaker_of

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
    ]
    if report.reused_speakers:
        lines.append(f"taken over from an earlier run: {report.reused_speakers:,} speakers")
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(main)
