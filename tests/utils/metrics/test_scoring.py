"""Cosines, centring, s-norm and calibration by their definitions, and on scores whose likelihood ratio is known."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from utils.metrics.rates import act_dcf, cllr, equal_error_rate, min_cllr
from utils.metrics.scoring import (
    LEAST_DEVIATION,
    Calibration,
    adaptive_s_norm,
    centre,
    cohort_statistics,
    cosine_scores,
    fit_calibration,
    fit_fusion,
    log_sides,
    row_norms,
)


# ------------------------------------------------------------------------------------------------------------------
# Cosines
# ------------------------------------------------------------------------------------------------------------------
@given(arrays(np.float64, (6, 3), elements=st.floats(-10, 10)))
def test_cosine_by_definition(embeddings: np.ndarray) -> None:
    """The inner product over both lengths; of any pair, any number of times, in either order."""
    assume((np.linalg.norm(embeddings, axis=1) > 1e-3).all())
    enrolment, test = np.array([0, 1, 2, 3, 3, 5]), np.array([1, 1, 4, 5, 5, 0])
    scores = cosine_scores(embeddings, enrolment, test)
    for score, one, other in zip(scores, embeddings[enrolment], embeddings[test], strict=True):
        assert score == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), abs=1e-9)
    assert np.array_equal(cosine_scores(embeddings, test, enrolment), scores)


def test_many_trials() -> None:
    """More than a chunk holds."""
    embeddings = np.random.default_rng(0).standard_normal((50, 8))
    enrolment, test = np.random.default_rng(1).integers(50, size=(2, 10_000))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert cosine_scores(embeddings, enrolment, test) == pytest.approx((unit @ unit.T)[enrolment, test])


def test_embedding_of_zeros() -> None:
    """A score of 0, not a number that is none."""
    assert cosine_scores(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([0]), np.array([1])).tolist() == [0]


def test_scores_are_made_without_a_copy() -> None:
    """Of a matrix of 32 MB, no more than some megabytes beside it; the embeddings stay as they are."""
    embeddings = np.random.default_rng(0).standard_normal((16_000, 500), dtype=np.float32)
    enrolment, test = np.random.default_rng(1).integers(16_000, size=(2, 20_000))
    before = embeddings.copy()
    tracemalloc.start()
    scores = cosine_scores(embeddings, enrolment, test)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6
    assert scores.dtype == np.float32
    assert np.array_equal(embeddings, before)
    wide = embeddings.astype(np.float64)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    assert np.allclose(scores, (unit[enrolment] * unit[test]).sum(axis=1), atol=1e-6)


def test_row_norms() -> None:
    """Lengths, but never 0."""
    assert row_norms(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [5, 1e-12]


def test_centring_in_place() -> None:
    """The embeddings themselves change; no second set of them is made, also for a mean of another type."""
    embeddings = np.random.default_rng(0).standard_normal((4000, 500), dtype=np.float32)
    before, mean = embeddings.copy(), np.linspace(-1, 1, 500)
    tracemalloc.start()
    centre(embeddings, mean)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6
    assert np.allclose(embeddings, before - mean, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------------
# Adaptive s-norm
# ------------------------------------------------------------------------------------------------------------------
def statistics_by_definition(utterance: np.ndarray, cohort: np.ndarray, top_n: int) -> tuple[float, float]:
    """Of one utterance (D,): cosines one by one, sorted."""
    cosines = [utterance @ other / np.linalg.norm(utterance) / np.linalg.norm(other) for other in cohort]
    highest = sorted(cosines, reverse=True)[:top_n]
    return float(np.mean(highest)), float(np.std(highest))


@pytest.mark.parametrize("top_n", [1, 2, 7, 19, 20, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cohort_statistics_by_definition(top_n: int, dtype: type) -> None:
    """Over the highest cosines with the cohort; over all where it has not so many."""
    generator = np.random.default_rng(top_n)
    embeddings, cohort = generator.normal(1, 2, (9, 6)).astype(dtype), generator.normal(1, 3, (20, 6))
    means, deviations = cohort_statistics(embeddings, cohort, top_n)
    expected = np.array([statistics_by_definition(row, cohort, top_n) for row in embeddings.astype(np.float64)])
    assert means == pytest.approx(expected[:, 0], abs=1e-6)
    assert deviations == pytest.approx(expected[:, 1], abs=1e-6)


def test_cohort_statistics_of_many_utterances() -> None:
    """More than are worked on at once, each as if it were alone."""
    generator = np.random.default_rng(1)
    embeddings, cohort = generator.standard_normal((2500, 5)), generator.standard_normal((30, 5))
    means, deviations = cohort_statistics(embeddings, cohort, 4)
    for row in (0, 1023, 1024, 2499):
        alone = cohort_statistics(embeddings[row : row + 1], cohort, 4)
        assert (means[row], deviations[row]) == pytest.approx((alone[0][0], alone[1][0]))


@pytest.mark.parametrize(("size", "top_n"), [(0, 5), (3, 0)])
def test_no_cohort(size: int, top_n: int) -> None:
    """There is nothing to normalise by."""
    with pytest.raises(ValueError, match=f"not {top_n} of {size}"):
        cohort_statistics(np.ones((2, 4)), np.ones((size, 4)), top_n)


def test_s_norm_by_definition() -> None:
    """Trial by trial, each side by its own nearest cohort."""
    generator = np.random.default_rng(2)
    embeddings, cohort = generator.normal(0.3, 1, (12, 8)), generator.normal(0.3, 1, (40, 8))
    enrolment, test = generator.integers(12, size=(2, 50))
    scores = cosine_scores(embeddings, enrolment, test)
    found = adaptive_s_norm(scores, enrolment, test, *cohort_statistics(embeddings, cohort, 10))
    for score, one, other, result in zip(scores, enrolment, test, found, strict=True):
        sides = [statistics_by_definition(embeddings[side], cohort, 10) for side in (one, other)]
        assert result == pytest.approx(sum((score - mean) / deviation for mean, deviation in sides) / 2)
    assert adaptive_s_norm(scores, test, enrolment, *cohort_statistics(embeddings, cohort, 10)) == pytest.approx(found)


def test_s_norm_takes_away_what_a_side_adds() -> None:
    """Shifting and scaling a side's scores, those with the cohort and those of trials alike, changes nothing."""
    scores, ones = np.array([0.5, 0.7]), np.array([0, 0])
    means, deviations = np.array([0.1]), np.array([0.2])
    normalised = adaptive_s_norm(scores, ones, ones, means, deviations)
    assert normalised == pytest.approx([2, 3])
    assert adaptive_s_norm(3 * scores - 1, ones, ones, 3 * means - 1, 3 * deviations) == pytest.approx(normalised)


def test_s_norm_without_deviation() -> None:
    """Cohort scores that are all alike, and an embedding of zeros, give numbers all the same."""
    embeddings, cohort = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 0.0], [2.0, 0.0]])
    means, deviations = cohort_statistics(embeddings, cohort, 2)
    assert deviations.max() < LEAST_DEVIATION
    sides = np.array([0, 0, 2]), np.array([0, 1, 2])
    normalised = adaptive_s_norm(cosine_scores(embeddings, *sides), *sides, means, deviations)
    assert np.isfinite(normalised).all()


# ------------------------------------------------------------------------------------------------------------------
# Calibration
# ------------------------------------------------------------------------------------------------------------------
def normal_scores(targets: int, others: int, separation: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Normal scores of deviation 0.1, `separation` of them apart around 0.3, and labels.

    Their LLR is separation / 0.1 × (score - 0.3).
    """
    generator = np.random.default_rng(seed)
    apart = separation / 2
    scores = np.concatenate([generator.normal(apart, 1, targets), generator.normal(-apart, 1, others)])
    return 0.3 + 0.1 * scores, np.repeat([1, 0], [targets, others])


@pytest.mark.parametrize("prior", [0.5, 0.1, 0.01])
@pytest.mark.parametrize(("targets", "others"), [(100_000, 100_000), (30_000, 170_000)])
def test_calibration_recovers_the_likelihood_ratio(prior: float, targets: int, others: int) -> None:
    """Whatever prior it is fitted at, and however many trials of either kind there are."""
    scores, labels = normal_scores(targets, others, 3.0)
    calibration = fit_calibration(scores, labels, prior)
    assert calibration.scale == pytest.approx(30, rel=0.03)
    assert calibration.offset == pytest.approx(-9, rel=0.03)
    assert calibration.target_prior == prior
    fresh, truth = normal_scores(50_000, 50_000, 3.0, seed=1)
    llrs = calibration.llrs(fresh)
    assert cllr(llrs, truth) == pytest.approx(min_cllr(fresh, truth), abs=0.005)
    assert act_dcf(llrs, truth, 0.05) == pytest.approx(act_dcf(30 * fresh - 9, truth, 0.05), abs=0.02)


@given(st.floats(0.01, 100), st.floats(-100, 100), st.floats(0.001, 0.999))
def test_threshold(scale: float, offset: float, prior: float) -> None:
    """There the LLR is minus the log-odds of the prior: the odds after the score are even."""
    calibration = Calibration(scale, offset, 0.5)
    llr = calibration.llrs(np.array([calibration.threshold(prior)]))[0]
    assert llr + np.log(prior / (1 - prior)) == pytest.approx(0, abs=1e-9)


def test_lesser_priors_ask_for_higher_scores() -> None:
    """As they should."""
    calibration = Calibration(10.0, -2.0, 0.5)
    assert calibration.threshold(0.5) == pytest.approx(0.2)
    assert calibration.threshold(0.01) > calibration.threshold(0.05) > calibration.threshold(0.5)


@given(st.floats(0.001, 1000), st.floats(-50, 50))
def test_units_of_the_scores_do_not_matter(scale: float, offset: float) -> None:
    """LLRs are the same for scores in other units."""
    scores, labels = normal_scores(60, 90, 1.5)
    expected = fit_calibration(scores, labels).llrs(scores)
    changed = scale * scores + offset
    assert fit_calibration(changed, labels).llrs(changed) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("gap", [0.01, 1.0, 1e6])
@pytest.mark.filterwarnings("error")
def test_scores_without_errors(gap: float) -> None:
    """The scale stays finite, the sides are right, and the solver has nothing to complain of."""
    scores, labels = np.array([0, 0.1, 0.2, 0.2 + gap, 0.3 + gap, 0.4 + gap]), np.array([0, 0, 0, 1, 1, 1])
    calibration = fit_calibration(scores, labels)
    llrs = calibration.llrs(scores)
    assert 0.2 < calibration.threshold(0.5) < 0.2 + gap
    assert 3 < abs(llrs).max() < 30
    assert act_dcf(llrs, labels, 0.5) == 0


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0], "not higher for the same speaker"),
        ([0.1, 0.2], [1, 1], "both kinds"),
        ([0.1, 0.2], [0, 0], "both kinds"),
        ([0.1, np.nan], [0, 1], "finite"),
        ([0.1, np.inf], [0, 1], "finite"),
        ([0.5, 0.5, 0.5], [0, 1, 1], "the same"),
    ],
)
def test_scores_that_cannot_be_calibrated(scores: list[float], labels: list[int], message: str) -> None:
    """Are refused, and it is said why."""
    with pytest.raises(ValueError, match=message):
        fit_calibration(np.array(scores), np.array(labels))


def test_calibration_through_json() -> None:
    """The same one comes back."""
    calibration = fit_calibration(*normal_scores(50, 50, 2.0), target_prior=0.05)
    assert Calibration.from_dict(json.loads(json.dumps(calibration.as_dict()))) == calibration


def test_calibration_of_float32_scores() -> None:
    """LLRs are float64 all the same."""
    scores, labels = normal_scores(50, 50, 2.0)
    assert fit_calibration(scores.astype(np.float32), labels).llrs(scores.astype(np.float32)).dtype == np.float64


# ------------------------------------------------------------------------------------------------------------------
# Fusion
# ------------------------------------------------------------------------------------------------------------------
def test_fusion_of_one_is_calibration() -> None:
    """To the last digit."""
    scores, labels = normal_scores(50, 500, 2.0)
    calibration, fusion = fit_calibration(scores, labels, 0.05), fit_fusion(scores[:, None], labels, 0.05)
    assert (fusion.weights, fusion.offset) == ((calibration.scale,), calibration.offset)
    np.testing.assert_array_equal(fusion.llrs(scores[:, None]), calibration.llrs(scores))


def test_fusion_recovers_the_likelihood_ratio() -> None:
    """Of independent systems it is the sum of their own; one that knows nothing weighs nothing."""
    systems = [normal_scores(100_000, 100_000, separation, seed) for seed, separation in enumerate((3.0, 1.5, 0.0))]
    labels = systems[0][1]
    fusion = fit_fusion(np.stack([scores for scores, _ in systems], axis=1), labels)
    assert fusion.weights == pytest.approx((30, 15, 0), abs=0.6)
    assert fusion.offset == pytest.approx(-13.5, abs=0.4)
    fresh = [normal_scores(50_000, 50_000, separation, 9 + seed) for seed, separation in enumerate((3.0, 1.5, 0.0))]
    llrs = fusion.llrs(np.stack([scores for scores, _ in fresh], axis=1))
    assert cllr(llrs, fresh[0][1]) == pytest.approx(min_cllr(llrs, fresh[0][1]), abs=0.005)
    assert cllr(llrs, fresh[0][1]) < min_cllr(*fresh[0]) - 0.02


def test_sides_of_a_trial() -> None:
    """The smaller and the greater logarithm, in whatever order the utterances stand."""
    values, one, other = np.exp([0.0, 1.0, 2.0]), np.array([0, 2, 1]), np.array([1, 1, 1])
    np.testing.assert_allclose(log_sides(values, one, other), [[0, 1], [1, 2], [1, 1]], atol=1e-12)
    np.testing.assert_array_equal(log_sides(values, other, one), log_sides(values, one, other))


def unequal_trials(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores (N,), logarithms of durations (N, 2) and labels: the shorter the utterances, the lower a speaker's own."""
    generator = np.random.default_rng(seed)
    seconds, pairs = generator.uniform(1, 20, 500), generator.integers(500, size=(2, 20_000))
    durations, labels = log_sides(seconds, *pairs), generator.integers(2, size=20_000)
    return generator.normal(labels * 1.5 * durations.sum(axis=1), 1.5), durations, labels


def test_quality_helps_where_scores_depend_on_it() -> None:
    """On trials that it was not fitted to; where they do not, it weighs nothing."""
    scores, durations, labels = unequal_trials(0)
    plain, aware = fit_fusion(scores[:, None], labels), fit_fusion(np.column_stack([scores, durations]), labels)
    assert aware.weights[0] > 0 > max(aware.weights[1:])  # more is asked of long utterances
    scores, durations, labels = unequal_trials(1)
    before, after = plain.llrs(scores[:, None]), aware.llrs(np.column_stack([scores, durations]))
    assert equal_error_rate(after, labels) < 0.9 * equal_error_rate(before, labels)
    assert cllr(after, labels) < 0.9 * cllr(before, labels)
    labels = np.random.default_rng(2).integers(2, size=len(labels))
    alike = fit_fusion(np.column_stack([np.random.default_rng(3).normal(2 * labels, 1), durations]), labels)
    assert alike.weights == pytest.approx((2, 0, 0), abs=0.15)


def test_scores_that_cannot_be_fused() -> None:
    """Those of one system are enough."""
    scores, labels = normal_scores(5, 5, 2.0)
    for second, message in ((np.ones(10), "all scores are the same"), (np.full(10, np.nan), "finite numbers")):
        with pytest.raises(ValueError, match=message):
            fit_fusion(np.stack([scores, second], axis=1), labels)
