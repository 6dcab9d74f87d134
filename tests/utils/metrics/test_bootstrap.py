"""Intervals against trials that are repeated in earnest, and against the truth that they are to hold."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from utils.metrics import bootstrap
from utils.metrics.bootstrap import (
    WeightedTrials,
    identification_intervals,
    middle,
    verification_intervals,
    verification_replicates,
)
from utils.metrics.rates import act_dcf, cllr, equal_error_rate, min_dcf

PRIORS = (0.01, 0.05, 0.6)


# ------------------------------------------------------------------------------------------------------------------
# Weighted trials
# ------------------------------------------------------------------------------------------------------------------
def figures_of(scores: np.ndarray, labels: np.ndarray, llrs: np.ndarray) -> dict[str, float]:
    """What utils.metrics says."""
    figures = {"eer": equal_error_rate(scores, labels), "cllr": cllr(llrs, labels)}
    figures |= {f"min_dcf_{prior}": min_dcf(scores, labels, prior) for prior in PRIORS}
    return figures | {f"act_dcf_{prior}": act_dcf(llrs, labels, prior) for prior in PRIORS}


def repeated_figures(
    scores: np.ndarray, labels: np.ndarray, pairs: np.ndarray, weights: np.ndarray
) -> dict[str, float] | None:
    """The figures of trials that are in the list as often as they count; None without trials of both kinds."""
    times = [weights[one] if one == other else weights[one] * weights[other] for one, other in pairs]
    scores, labels = np.repeat(scores, times), np.repeat(labels, times)
    return figures_of(scores, labels, 9 * scores + 0.5) if len(set(labels)) == 2 else None


def simulate(
    trials: int, speakers: int, generator: np.random.Generator, spread: float = 0.5, levels: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels and speakers of trials; speakers differ by `spread`, scores are multiples of 1 / `levels`."""
    one = generator.integers(speakers, size=trials)
    labels = generator.integers(2, size=trials)
    other = np.where(labels == 1, one, (one + generator.integers(1, speakers, size=trials)) % speakers)
    effects = generator.normal(0, spread, speakers)
    scores = generator.normal(0, 1, trials) + 2 * labels + effects[one] + effects[other]
    return (np.round(scores * levels) / levels if levels else scores), labels, np.stack([one, other], axis=1)


def check_against_repeated(scores: np.ndarray, labels: np.ndarray, pairs: np.ndarray, weights: np.ndarray) -> int:
    """How many replicates were compared."""
    trials = WeightedTrials(scores, labels, pairs, 9 * scores + 0.5, PRIORS)
    usable = (trials.totals(weights) > 0).all(axis=0)
    expected = [repeated_figures(scores, labels, pairs, column) for column in weights.T.astype(int)]
    assert [figures is not None for figures in expected] == usable.tolist()
    if usable.any():
        found = trials.figures(weights[:, usable])
        assert set(found) == set(trials.names)
        for place, figures in enumerate(filter(None, expected)):
            assert {name: values[place] for name, values in found.items()} == pytest.approx(figures, abs=1e-9)
    return int(usable.sum())


@st.composite
def weighted_trials(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Few scores, so that many are equal; every speaker occurs; weights of three replicates, many of them 0."""
    speakers, count = draw(st.integers(2, 6)), draw(st.integers(2, 40))
    codes = st.integers(0, speakers - 1)
    pairs = np.array(draw(st.lists(st.tuples(codes, codes), min_size=count, max_size=count)))
    pairs = np.unique(pairs, return_inverse=True)[1].reshape(-1, 2)
    labels = (pairs[:, 0] == pairs[:, 1]).astype(int)
    assume(0 < labels.sum() < count)
    scores = np.array(draw(st.lists(st.integers(-4, 4), min_size=count, max_size=count))) / 4
    row = st.lists(st.integers(0, 3), min_size=3, max_size=3)
    weights = [draw(row) for _ in range(pairs.max() + 1)]
    return scores, labels, pairs, np.array(weights, dtype=np.float64)


@given(weighted_trials())
def test_weights_are_repetitions(data: tuple) -> None:
    """Trials that count three times are trials that are there three times."""
    check_against_repeated(*data)


@pytest.mark.parametrize(("trials", "levels"), [(300, 0), (5000, 0), (5000, 3), (5000, 40), (20_000, 1)])
def test_weights_are_repetitions_across_blocks(trials: int, levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With many blocks, with blocks of one score longer than what is worked on at once, and without some speakers."""
    monkeypatch.setattr(bootstrap, "ROWS", 64)
    generator = np.random.default_rng(trials + levels)
    data = simulate(trials, 12, generator, levels=levels)
    weights = np.concatenate([np.ones((12, 1)), generator.multinomial(12, np.full(12, 1 / 12), size=8).T], axis=1)
    assert check_against_repeated(*data, weights) == 9


@pytest.mark.parametrize("levels", [0, 7])
def test_each_speaker_once(levels: int) -> None:
    """The figures of the trials themselves."""
    scores, labels, pairs = simulate(3000, 20, np.random.default_rng(1), levels=levels)
    llrs = 2 * scores - 1
    found = WeightedTrials(scores, labels, pairs, llrs, PRIORS).figures(np.ones((20, 1)))
    assert {name: value[0] for name, value in found.items()} == pytest.approx(figures_of(scores, labels, llrs))


# ------------------------------------------------------------------------------------------------------------------
# Intervals
# ------------------------------------------------------------------------------------------------------------------
def test_intervals_are_those_of_repeated_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quantiles of what comes of drawing speakers and repeating their trials, in batches of any size."""
    monkeypatch.setattr(bootstrap, "REPLICATES", 7)
    scores, labels, pairs = simulate(400, 8, np.random.default_rng(2))
    names = 10 * pairs + 3  # numbers of speakers may be any
    options = {"llrs": 9 * scores + 0.5, "target_priors": PRIORS, "replicates": 20, "seed": 5}
    intervals = verification_intervals(scores, labels, names, level=0.8, **options)

    generator = np.random.default_rng(5)
    draws = [generator.multinomial(8, np.full(8, 1 / 8), size=size) for size in (7, 7, 6)]
    replicates = [repeated_figures(scores, labels, pairs, weights) for weights in np.concatenate(draws)]
    assert None not in replicates
    assert set(intervals) == set(replicates[0])
    for name, interval in intervals.items():
        expected = np.quantile([figures[name] for figures in replicates], [0.1, 0.9])
        assert interval == pytest.approx(expected), name
    assert verification_intervals(scores, labels, names, level=0.8, **options) == intervals
    assert verification_intervals(scores, labels, names, **options)["eer"][1] > intervals["eer"][1]


def test_differences_of_two_systems_are_paired() -> None:
    """Replicate by replicate, of the same speakers: an interval of the difference is narrower than the figures' own."""
    scores, labels, pairs = simulate(400, 12, np.random.default_rng(3), spread=1.5)
    others = scores + np.random.default_rng(4).normal(0, 0.3, len(scores))
    drawn = [
        verification_replicates(own, labels, pairs, target_priors=(), replicates=30, seed=5) for own in (scores, others)
    ]
    weights = np.random.default_rng(5).multinomial(12, np.full(12, 1 / 12), size=30)
    expected = [[repeated_figures(own, labels, pairs, row)["eer"] for row in weights] for own in (scores, others)]
    assert [list(one) for one in drawn] == [["eer"], ["eer"]]
    difference = drawn[1]["eer"] - drawn[0]["eer"]
    assert difference == pytest.approx(np.subtract(*reversed(expected)))
    widths = [np.ptp(middle(values)) for values in (difference, drawn[0]["eer"], drawn[1]["eer"])]
    assert 0 < widths[0] < min(widths[1:])
    assert verification_replicates(scores[:9], labels[:9], pairs[:9] % 3, replicates=30)["eer"] is None


def test_names_of_the_intervals() -> None:
    """Those of likelihood ratios with likelihood ratios alone."""
    scores, labels, pairs = simulate(200, 6, np.random.default_rng(3))
    assert list(verification_intervals(scores, labels, pairs, replicates=3)) == ["eer", "min_dcf_0.01", "min_dcf_0.05"]
    with_llrs = verification_intervals(scores, labels, pairs, llrs=scores, target_priors=(0.3,), replicates=3)
    assert list(with_llrs) == ["eer", "min_dcf_0.3", "act_dcf_0.3", "cllr"]
    for low, high in with_llrs.values():
        assert type(low) is float
        assert low <= high


def test_replicates_without_trials_of_both_kinds_are_drawn_again() -> None:
    """Here a speaker of five has all target trials, and a third of the draws does not have it."""
    pairs = np.array([[0, 0], [0, 0], [0, 1], [1, 2], [2, 3], [3, 4]])
    scores, labels = np.array([3.0, 1.0, 2.0, 0.0, 0.0, 0.0]), np.array([1, 1, 0, 0, 0, 0])
    intervals = verification_intervals(scores, labels, pairs, replicates=200)
    assert all(np.isfinite(ends).all() for ends in intervals.values())


def test_too_few_speakers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No interval, rather than a narrow one; nor where trials of both kinds do not come together."""
    scores, labels, pairs = simulate(200, 4, np.random.default_rng(4))
    assert set(verification_intervals(scores, labels, pairs, llrs=scores).values()) == {None}
    assert len(verification_intervals(scores, labels, pairs, llrs=scores)) == 6
    one = verification_intervals(np.array([1.0, 2.0]), np.array([0, 1]), np.zeros((2, 2), dtype=int))
    assert one == {"eer": None, "min_dcf_0.01": None, "min_dcf_0.05": None}
    monkeypatch.setattr(bootstrap, "DRAWS", 0)
    scores, labels, pairs = simulate(200, 6, np.random.default_rng(4))
    assert verification_intervals(scores, labels, pairs)["eer"] is None


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [([0.1, 0.2], [1, 1], "both kinds"), ([0.1, 0.2], [0, 0], "both kinds"), ([0.1, np.nan], [0, 1], "finite")],
)
def test_trials_that_have_no_figures(scores: list[float], labels: list[int], message: str) -> None:
    """Are refused."""
    with pytest.raises(ValueError, match=message):
        verification_intervals(np.array(scores), np.array(labels), np.array([[0, 1], [2, 3]]))


def test_verification_intervals_hold_the_truth() -> None:
    """About 95 of 100, where speakers differ much; drawing trials would make it less than a half."""
    generator = np.random.default_rng(0)
    truth = equal_error_rate(*simulate(400_000, 20_000, generator, spread=1.0)[:2])
    held, widths, naive = 0, [], []
    for seed in range(60):
        scores, labels, pairs = simulate(2000, 30, generator, spread=1.0)
        low, high = verification_intervals(scores, labels, pairs, target_priors=(), replicates=200, seed=seed)["eer"]
        held += low <= truth <= high
        widths.append(high - low)
        naive.append(2 * 1.96 * np.sqrt(truth * (1 - truth) / 2000))
    assert 51 <= held <= 60
    assert np.mean(widths) > 1.5 * np.mean(naive)


# ------------------------------------------------------------------------------------------------------------------
# Identification
# ------------------------------------------------------------------------------------------------------------------
def test_identification_by_repeating() -> None:
    """The quantiles of the accuracy of speakers' utterances, repeated as often as they are drawn."""
    generator = np.random.default_rng(6)
    speakers = generator.integers(9, size=120)
    correct = {"top1": generator.random(120) < 0.6, "top5": generator.random(120) < 0.9}
    intervals = identification_intervals(correct, speakers, replicates=50, seed=8, level=0.9)
    draws = np.random.default_rng(8).multinomial(9, np.full(9, 1 / 9), size=50)
    for name, right in correct.items():
        replicates = [np.repeat(right, weights[speakers]).mean() for weights in draws]
        assert intervals[name] == pytest.approx(np.quantile(replicates, [0.05, 0.95]))
    named = np.array([f"id{speaker}" for speaker in speakers])
    assert identification_intervals(correct, named, replicates=50, seed=8, level=0.9) == intervals


def test_identification_of_few_speakers_or_of_no_errors() -> None:
    """None, and an interval without width."""
    right = np.ones(8, dtype=bool)
    assert identification_intervals({"top1": right}, np.arange(8) % 4) == {"top1": None}
    assert identification_intervals({"top1": right}, np.arange(8)) == {"top1": (1.0, 1.0)}


def test_identification_intervals_hold_the_truth() -> None:
    """About 95 of 100, where all utterances of a speaker are right or wrong together."""
    generator = np.random.default_rng(7)
    held = 0
    for seed in range(200):
        right = np.repeat(generator.random(60) < 0.7, 10)
        low, high = identification_intervals({"top1": right}, np.arange(600) // 10, replicates=400, seed=seed)["top1"]
        held += low <= 0.7 <= high
    assert 180 <= held <= 198
