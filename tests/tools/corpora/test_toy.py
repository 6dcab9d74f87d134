"""The synthetic corpus: the same bytes every time, in VoxCeleb1's layouts, with its lists."""

from pathlib import Path

import soundfile

from data_objects.lists import read_lists, speaker_of, video_of
from data_objects.sources import find_utterances
from tests.helpers import call_script, run_script, snapshot

SMALL = ("--speakers", 4, "--videos", 3, "--utterances", 1)


def test_same_bytes_every_time_in_both_layouts(tmp_path: Path) -> None:
    """From processes of their own; the layout moves files and changes nothing else."""
    for name, layout in (("one", "wav"), ("other", "wav"), ("apart", "split")):
        run_script("tools/make_toy_corpus.py", tmp_path / name, *SMALL, "--layout", layout, check=True)
    one, other, apart = (snapshot(tmp_path / name) for name in ("one", "other", "apart"))
    assert one == other
    assert {path.partition("wav/")[0] for path in apart if path.endswith(".wav")} == {"dev/", "test/"}
    assert {path.removeprefix("dev/").removeprefix("test/"): content for path, content in apart.items()} == one
    test_speakers = {path.split("/")[2] for path in apart if path.startswith("test/")}
    lists = read_lists(tmp_path / "apart")
    assert test_speakers == {name for name, speaker in lists.speakers.items() if speaker.set == "test"}


def test_another_seed_is_another_corpus(tmp_path: Path) -> None:
    """Other videos, other sounds."""
    for seed in (0, 1):
        run_script("tools/make_toy_corpus.py", tmp_path / str(seed), *SMALL, "--seed", seed, check=True)
    assert not set(find_utterances(tmp_path / "0").files) & set(find_utterances(tmp_path / "1").files)


def test_utterances_are_as_in_voxceleb(toy_wavs: Path) -> None:
    """16 kHz mono 16-bit, 4 seconds or more; all different."""
    files = find_utterances(toy_wavs).files
    assert len(files) == 6 * 4 * 2
    for (path,) in files.values():
        sound = soundfile.info(path)
        assert (sound.samplerate, sound.channels, sound.subtype) == (16_000, 1, "PCM_16")
        assert sound.duration >= 4
    assert len({path.read_bytes() for (path,) in files.values()}) == len(files)


def test_lists(toy_wavs: Path) -> None:
    """They parse, name what is on disk, and every speaker has all parts, apart by videos."""
    lists, files = read_lists(toy_wavs), find_utterances(toy_wavs).files
    assert set(lists.split) == set(files)
    assert set(lists.speakers) == {speaker_of(utterance) for utterance in files}
    for speaker in lists.speakers:
        parts = {utterance: part for utterance, part in lists.split.items() if speaker_of(utterance) == speaker}
        assert set(parts.values()) == {"train", "val", "test"}
        assert len({(video_of(utterance), part) for utterance, part in parts.items()}) == 4


def test_trials(toy_wavs: Path) -> None:
    """Of the test speakers alone: as many of either kind, none within a video, none twice."""
    lists = read_lists(toy_wavs)
    assert {lists.speakers[speaker_of(utterance)].set for utterance in lists.trial_utterances} == {"test"}
    assert sum(trial.label for trial in lists.trials) * 2 == len(lists.trials)
    assert len({frozenset(trial[1:]) for trial in lists.trials}) == len(lists.trials)
    for label, enrolment, test in lists.trials:
        assert (speaker_of(enrolment) == speaker_of(test)) is bool(label)
        assert video_of(enrolment) != video_of(test)


def test_sizes_that_make_no_corpus(tmp_path: Path) -> None:
    """Too few speakers for trials of both kinds."""
    outcome = call_script("tools/make_toy_corpus.py", tmp_path / "toy", "--speakers", 2)
    assert outcome.status == 2
    assert "--speakers must be at least 4, not 2" in outcome.stderr
