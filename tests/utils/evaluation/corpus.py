"""What tests of evaluations have in common: the names and lengths of a small corpus, and its trials."""

from data_objects.lists import TrialList, speaker_of

SPEAKERS = ("id10001", "id10002", "id10003", "id10004")
LENGTHS = {
    f"{speaker}/{video}/0000{number}.wav": 16_000 * (2 + place + 2 * number)
    for place, speaker in enumerate(SPEAKERS)
    for video in ("a", "b")
    for number in (1, 2)
}
NAMES = sorted(LENGTHS)


def all_trials() -> TrialList:
    """Every pair of utterances."""
    pairs = [(a, b) for place, a in enumerate(NAMES) for b in NAMES[place + 1 :]]
    return TrialList.of((int(speaker_of(a) == speaker_of(b)), a, b) for a, b in pairs)
