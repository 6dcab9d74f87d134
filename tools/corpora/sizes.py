"""How much there is of everything in VoxCeleb1, and in a corpus of its form."""

from typing import NamedTuple

from utils.system.errors import UserError

UTTERANCES, SPEAKERS, TRIALS = 153_516, 1_251, 37_720
PARTS = (138_361, 6_904, 8_251)  # utterances to train on, to validate on and to test on (iden_split.txt)
TEST_SPEAKERS, BEFORE_THEM = 40, 269  # id10270 to id10309, and how many come before them
TEST_UTTERANCES, TRIAL_UTTERANCES = 4_874, 4_715
HOURS = 352


class Sizes(NamedTuple):
    """How many there are of everything."""

    utterances: int
    speakers: int
    trials: int
    parts: tuple[int, int, int]
    test_speakers: int
    before_them: int
    test_utterances: int
    trial_utterances: int


def check_utterances(utterances: int, speakers: int, least: int) -> None:
    """Refuse --utterances that are fewer than `least` for each of --speakers."""
    if utterances < least * speakers:
        raise UserError(f"--utterances must be at least {least} a speaker, {least * speakers}, not {utterances}")


def scale_sizes(utterances: int = UTTERANCES, speakers: int = SPEAKERS, trials: int | None = None) -> Sizes:
    """VoxCeleb1's numbers, in proportion to the number of utterances or speakers.

    Raises:
        UserError: numbers of speakers that their names cannot have; fewer than 10 utterances a speaker; a number of
            trials that cannot be half of the same speaker with every trial utterance enrolled.
    """
    if not 4 <= speakers <= 89_999:
        raise UserError(f"--speakers must be from 4 to 89999, not {speakers}")
    check_utterances(utterances, speakers, 10)
    train, val = (round(count * utterances / UTTERANCES) for count in PARTS[:2])
    test_speakers = max(2, round(TEST_SPEAKERS * speakers / SPEAKERS))
    test_utterances = max(10 * test_speakers, round(TEST_UTTERANCES * utterances / UTTERANCES))
    trial_utterances = max(2 * test_speakers, round(TRIAL_UTTERANCES * test_utterances / TEST_UTTERANCES))
    if trials is None:
        trials = trial_utterances * TRIALS // TRIAL_UTTERANCES
    if trials % 2 or trials < 2 * trial_utterances:
        least = f"{2 * trial_utterances}, two for each trial utterance"
        raise UserError(f"--trials must be even, and at least {least}, not {trials}")
    before_them = min(round(BEFORE_THEM * speakers / SPEAKERS), speakers - test_speakers)
    parts = (train, val, utterances - train - val)
    return Sizes(utterances, speakers, trials, parts, test_speakers, before_them, test_utterances, trial_utterances)
