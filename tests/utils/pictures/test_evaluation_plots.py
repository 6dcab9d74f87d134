"""Pictures of an evaluation: what is marked is where the metrics are, and nothing is out of place."""

import itertools
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox
from scipy.special import ndtri

from utils.metrics.rates import equal_error_rate, error_rates, min_dcf
from utils.pictures.calibration import plot_reliability
from utils.pictures.confusion import OTHERS, confused_pairs, plot_confused_pairs, plot_confusion
from utils.pictures.det import plot_det
from utils.pictures.histogram import plot_histograms
from utils.pictures.intervals import plot_intervals

Trials = tuple[np.ndarray, np.ndarray]
PRIORS = (0.01, 0.05)
STRANGE = '_<b>&"$x$ \udc80\x00中 ' + "long " * 30


def simulate(number: int, seed: int = 0, target: float = 0.6, share: float = 0.5) -> Trials:
    """Scores as those of a trained network."""
    draw = np.random.default_rng(seed)
    labels = (np.arange(number) < share * number).astype(int)
    return np.where(labels, draw.normal(target, 0.15, number), draw.normal(0.1, 0.15, number)), labels


SEPARATE = (np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]))
CONSTANT = (np.full(6, 0.5), np.array([0, 1] * 3))
TIED = (np.array([0.1, 0.2, 0.3, 0.3, 0.8, 0.9]), np.array([0, 1, 0, 1, 0, 1]))
SYSTEMS = {
    "834": simulate(834),
    "37720": simulate(37_720, 1),
    "few targets": simulate(2_000, 2, share=0.002),
    "worse than chance": simulate(834, 3, target=-0.2),
    "all wrong": (SEPARATE[0], 1 - SEPARATE[1]),
    "separate": SEPARATE,
    "constant": CONSTANT,
    "tied": TIED,
}
every_system = pytest.mark.parametrize("trials", SYSTEMS.values(), ids=SYSTEMS)


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """Neither numpy nor matplotlib has anything to complain of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def named(figure: Figure, gid: str) -> Line2D:
    (found,) = figure.findobj(lambda artist: artist.get_gid() == gid)
    return found


def points(figure: Figure, gid: str) -> np.ndarray:
    """The points (N, 2) of a line, by its id."""
    return np.asarray(named(figure, gid).get_xydata())


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def draw(figure: Figure) -> FigureCanvasAgg:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


def check_layout(figure: Figure) -> None:
    """All text is whole within the figure, and no two texts of an axis or a legend touch each other."""
    renderer = draw(figure).get_renderer()
    boxes = []
    for axes in figure.axes:
        labels = [[label for label in axis.get_ticklabels() if label.get_text()] for axis in (axes.xaxis, axes.yaxis)]
        shown = [
            [label for label in group if lower <= label.get_position()[position] <= upper]
            for position, (group, (lower, upper)) in enumerate(
                zip(labels, (sorted(axes.get_xlim()), sorted(axes.get_ylim())), strict=True)
            )
        ]
        for group in shown if axes.axison else ():
            check_apart([label.get_window_extent(renderer).padded(2) for label in group])
        boxes += [axes.get_tightbbox(renderer)]
    for legend in figure.legends:
        check_apart([text.get_window_extent(renderer) for text in legend.get_texts()])
        boxes += [text.get_window_extent(renderer) for text in legend.get_texts()]
    boxes += [text.get_window_extent(renderer) for text in figure.texts]
    if figure._suptitle is not None:
        boxes.append(figure._suptitle.get_window_extent(renderer))
    assert all(contains(figure.bbox, box) for box in boxes)


def check_apart(boxes: list[Bbox]) -> None:
    assert not any(first.overlaps(second) for first, second in itertools.combinations(boxes, 2))


def contains(outer: Bbox, inner: Bbox) -> bool:
    return outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1


# ------------------------------------------------------------------------------------------------------------------
# DET curves
# ------------------------------------------------------------------------------------------------------------------
@every_system
def test_marked_points_are_the_metrics(trials: Trials) -> None:
    """The EER's is where both rates are the EER, a cost's where the rates cost minDCF; each is on the curve."""
    figure = plot_det({"system": trials}, PRIORS)
    low, high = figure.axes[0].get_xlim()
    equal = equal_error_rate(*trials)
    np.testing.assert_allclose(points(figure, "equal-0"), [[np.clip(equal, low, high)] * 2], rtol=1e-12)
    rates = np.stack(error_rates(*trials)[:2], axis=1)
    for number, prior in enumerate(PRIORS):
        costs = rates @ np.array([1 - prior, prior]) / prior
        assert costs.min() == pytest.approx(min_dcf(*trials, prior))
        best = np.clip(rates[costs == costs.min()], low, high)
        assert (points(figure, f"cost-0-{number}") == best).all(axis=1).any()
    curve = points(figure, "curve-0")
    for gid in ("equal-0", "cost-0-0", "cost-0-1"):
        (point,) = points(figure, gid)
        if ((point > low) & (point < high)).all():
            assert (curve == point).all(axis=1).any(), gid


@every_system
def test_legend_tells_the_figures(trials: Trials) -> None:
    figure = plot_det({"system": trials}, PRIORS)
    text = legend_of(figure)[0]
    equal = equal_error_rate(*trials)
    assert (f"EER {100 * equal:.2f} %" if equal else "EER 0: no errors") in text
    for prior in PRIORS:
        assert f"{min_dcf(*trials, prior):.3f} ({prior})" in text
    targets = int(trials[1].sum())
    assert f"system: {targets:,} targets, {len(trials[1]) - targets:,} non-targets" in text
    assert [entry for entry in legend_of(figure)[1:] if "prior" in entry] == [
        f"least detection cost, target prior {prior}" for prior in PRIORS
    ]


@every_system
def test_det_axes(trials: Trials) -> None:
    """Probit, square and the same for both; ticks in per cent; every point finite; all text in its place."""
    figure = plot_det({"system": trials}, PRIORS)
    (axes,) = figure.axes
    assert axes.get_xlim() == axes.get_ylim()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("false acceptances (%)", "false rejections (%)")
    draw(figure)
    for axis, column in ((axes.xaxis, 0), (axes.yaxis, 1)):
        ticks = axis.get_majorticklocs()
        assert len(ticks) >= 7
        assert [float(label.get_text()) for label in axis.get_ticklabels()] == pytest.approx(list(100 * ticks))
        places = axes.transData.transform(np.repeat(ticks[:, None], 2, axis=1))[:, column]
        steps = np.diff(places) / np.diff(ndtri(ticks))
        np.testing.assert_allclose(steps, steps[0], rtol=1e-9)
    inside = axes.transData.transform(points(figure, "curve-0"))
    assert np.isfinite(inside).all()
    box = axes.get_window_extent()
    assert box.width == pytest.approx(box.height, rel=1e-3)
    check_layout(figure)


def test_perfect_separation_says_so() -> None:
    figure = plot_det({"system": SEPARATE})
    assert any("no errors" in text.get_text() for text in figure.axes[0].texts)
    assert not plot_det({"system": TIED}).axes[0].texts


def test_curve_outside_the_axes_is_not_drawn_along_their_rim() -> None:
    figure = plot_det({"system": SYSTEMS["834"]})
    low, high = figure.axes[0].get_xlim()
    curve = points(figure, "curve-0")
    assert not (np.isclose(curve, low, rtol=1e-6) | np.isclose(curve, high, rtol=1e-6)).any()
    assert curve[:, 0].min() < low
    assert curve[:, 1].max() > high


def test_worse_than_chance_is_within_the_axes() -> None:
    figure = plot_det({"good": SYSTEMS["834"], "bad": SYSTEMS["worse than chance"]})
    low, high = figure.axes[0].get_xlim()
    assert equal_error_rate(*SYSTEMS["worse than chance"]) > 0.5
    assert low < points(figure, "equal-1")[0, 0] < high


def test_few_trials_are_steps() -> None:
    """No point is left out: each step is one error more."""
    figure = plot_det({"system": SYSTEMS["834"]})
    false_acceptance, false_rejection, _ = error_rates(*SYSTEMS["834"])
    low, high = figure.axes[0].get_xlim()
    inside = (false_acceptance > low) & (false_acceptance < high) & (false_rejection > low) & (false_rejection < high)
    drawn = {tuple(point) for point in points(figure, "curve-0")}
    corners = np.stack([false_acceptance, false_rejection], axis=1)[inside]
    assert {tuple(point) for point in corners} <= drawn


def test_many_trials_are_thinned_out() -> None:
    """What is left is light, and nowhere farther from all points than can be seen."""
    trials = simulate(581_480, 4, target=0.5)
    figure = plot_det({"system": trials})
    curve = points(figure, "curve-0")
    assert len(curve) < 5_000
    assert (np.diff(curve[:, 0]) >= 0).all()
    assert (np.diff(curve[:, 1]) <= 0).all()
    low, high = ndtri(figure.axes[0].get_xlim())
    rates = error_rates(*trials)[:2]
    places = np.clip(ndtri(np.stack(rates)), low, high)
    left = np.clip(ndtri(curve.T), low, high)
    between = np.interp(places[0] - places[1], left[0] - left[1], left[0])  # rises along the curve
    assert np.abs(between - places[0]).max() < 0.002 * (high - low)


def test_lines_are_told_apart_without_colours() -> None:
    """Up to five systems by their dashes, and up to thirty by dashes and colours."""
    figure = plot_det({str(number): TIED for number in range(30)})
    styles = [
        (named(figure, f"curve-{number}")._unscaled_dash_pattern, named(figure, f"curve-{number}").get_color())
        for number in range(30)
    ]
    assert len({str(dashes) for dashes, _ in styles[:5]}) == 5
    assert len({str(style) for style in styles}) == 30


def test_any_name_and_many_systems() -> None:
    systems = {STRANGE + str(number): SYSTEMS["834"] for number in range(4)}
    figure = plot_det(systems, (0.001, 0.01, 0.05, 0.5))
    check_layout(figure)
    assert len(legend_of(figure)) == 4 + 1 + 4
    assert all(text.startswith('_<b>&"\\$x\\$ \ufffd\ufffd\ufffd long') for text in legend_of(figure)[:4])


# ------------------------------------------------------------------------------------------------------------------
# Histograms
# ------------------------------------------------------------------------------------------------------------------
@every_system
def test_histograms(trials: Trials) -> None:
    """Each has an area of 1 and lies where its trials are."""
    figure = plot_histograms(*trials, xlabel="cosine similarity")
    for name, label in (("targets", 1), ("non-targets", 0)):
        values, edges, _ = named(figure, name).get_data()
        assert np.sum(values * np.diff(edges)) == pytest.approx(1)
        assert np.sum(values * (edges[1:] + edges[:-1]) / 2 * np.diff(edges)) == pytest.approx(
            trials[0][trials[1] == label].mean(), abs=np.diff(edges)[0]
        )
    assert figure.axes[0].get_xlabel() == "cosine similarity"
    check_layout(figure)


def test_histograms_of_close_scores() -> None:
    """Bins cannot be narrower than numbers are apart."""
    for low in (0.0, 1.0, 1e9):
        check_layout(plot_histograms(np.array([low, np.nextafter(low, np.inf)]), np.array([0, 1])))


def test_threshold() -> None:
    """A line, with the rates of accepting what scores it or more."""
    figure = plot_histograms(np.array([0.1, 0.3, 0.3, 0.9]), np.array([0, 0, 1, 1]), threshold=0.3)
    assert set(points(figure, "threshold")[:, 0]) == {0.3}
    assert legend_of(figure)[-1] == "threshold 0.3: 50.00 % false acceptances, 0.00 % false rejections"
    figure = plot_histograms(*SYSTEMS["37720"], threshold=9.0)
    assert figure.axes[0].get_xlim()[1] > 9
    check_layout(figure)


# ------------------------------------------------------------------------------------------------------------------
# Calibration
# ------------------------------------------------------------------------------------------------------------------
def test_reliability_of_calibrated_ratios() -> None:
    """With any share of targets: both classes weigh the same, so dots and isotonic curve are near the diagonal."""
    draw = np.random.default_rng(5)
    labels = (np.arange(100_000) < 10_000).astype(int)
    llrs = draw.normal(np.where(labels, 2.0, -2.0), 2.0)  # variance 2 m: these are log-likelihood ratios of themselves
    figure = plot_reliability(llrs, labels, bins=10)
    for gid, tolerance in (("bins", 0.05), ("isotonic", 0.1)):
        line = points(figure, gid)
        inner = line[(line[:, 0] > 0.02) & (line[:, 0] < 0.98)]
        np.testing.assert_allclose(inner[:, 1], inner[:, 0], atol=tolerance)
    check_layout(figure)


def test_reliability_bins() -> None:
    """Means, shares and numbers are those of the bins; an empty bin has no dot."""
    llrs = np.log(np.array([0.1, 0.2, 0.2, 0.9, 0.9]) / (1 - np.array([0.1, 0.2, 0.2, 0.9, 0.9])))
    labels = np.array([0, 0, 1, 1, 1])
    figure = plot_reliability(llrs, labels, bins=4)
    # Non-targets weigh 1/4 each, targets 1/6.
    first = ((0.1 / 4 + 0.2 / 4 + 0.2 / 6) / (2 / 4 + 1 / 6), (1 / 6) / (2 / 4 + 1 / 6))
    np.testing.assert_allclose(points(figure, "bins"), [first, (0.9, 1)])
    np.testing.assert_allclose(points(figure, "isotonic"), [(0.1, 0), (0.2, 0.4), (0.9, 1)], atol=1e-12)
    for name, counts in (("targets", [1, 0, 0, 2]), ("non-targets", [2, 0, 0, 0])):
        assert named(figure, name).get_data().values.tolist() == [count or 0.5 for count in counts]


@every_system
def test_reliability_of_anything(trials: Trials) -> None:
    """Infinite ratios too."""
    llrs = 20 * (trials[0] - 0.35)
    llrs[0] = -np.inf
    figure = plot_reliability(llrs, trials[1])
    isotonic = points(figure, "isotonic")
    assert (np.diff(isotonic, axis=0) >= 0).all()
    assert ((isotonic >= 0) & (isotonic <= 1)).all()
    check_layout(figure)


# ------------------------------------------------------------------------------------------------------------------
# Confusions
# ------------------------------------------------------------------------------------------------------------------
def cells_of(figure: Figure) -> dict[tuple[int, int], str]:
    """The texts of a matrix by row and column."""
    return {tuple(map(int, text.get_gid().split("-")[1:])): text.get_text() for text in figure.axes[0].texts}


def names_of(axes: Axes) -> list[list[str]]:
    return [[label.get_text() for label in axis.get_ticklabels()] for axis in (axes.yaxis, axes.xaxis)]


COUNTS = np.array([[9, 1, 0, 0], [0, 9, 0, 4], [0, 0, 9, 0], [0, 2, 1, 1234]])


def test_confusion() -> None:
    """Classes by their errors in row and column, rows true; zeros are left out; the darkest is the largest error."""
    figure = plot_confusion(COUNTS, "abcd")
    assert names_of(figure.axes[0]) == [["b", "d", "a", "c"]] * 2
    assert cells_of(figure) == {
        **{(0, 0): "9", (0, 1): "4", (1, 0): "2", (1, 1): "1,234"},
        **{(1, 3): "1", (2, 0): "1", (2, 2): "9", (3, 3): "9"},
    }
    assert figure.get_suptitle() == "4 of 4 classes: 8 of 8 errors (100 %)"
    shades = figure.axes[0].images[0].get_array()[..., :3].sum(axis=-1)
    diagonal = np.eye(4, dtype=bool)
    assert shades[~diagonal].argmin() == 0
    assert shades[0, 1] == shades[~diagonal].min()
    assert len(set(shades[diagonal])) == 1
    check_layout(figure)


def test_confusion_collapses_others() -> None:
    figure = plot_confusion(COUNTS, "abcd", most=2)
    assert names_of(figure.axes[0])[0] == ["b", "d", OTHERS]
    assert cells_of(figure) == {(0, 0): "9", (0, 1): "4", (1, 0): "2", (1, 1): "1,234", (1, 2): "1", (2, 0): "1"}
    assert figure.get_suptitle() == "2 of 4 classes: 8 of 8 errors (100 %)"
    assert plot_confusion(COUNTS, "abcd", most=1).get_suptitle() == "1 of 4 classes: 7 of 8 errors (87.5 %)"


def test_confusion_of_rates() -> None:
    """In per cent; the others are left out, since rates cannot be added up."""
    figure = plot_confusion(COUNTS / COUNTS.sum(axis=1, keepdims=True), "abcd", most=2)
    assert names_of(figure.axes[0])[0] == ["b", "d"]
    assert cells_of(figure) == {(0, 0): "69", (0, 1): "31", (1, 0): "0.16", (1, 1): "100"}
    assert figure.axes[0].get_ylabel() == "true (cells: %)"


@pytest.mark.parametrize("most", [1, 2])
def test_confusion_without_errors_among_the_chosen(most: int) -> None:
    rates = np.array([[0.5, 0, 0.5], [0, 0.5, 0.5], [0.1, 0.1, 0.8]])
    draw(plot_confusion(rates, "abc", most=most))


@pytest.mark.parametrize("classes", [1, 7, 1251])
def test_no_errors(classes: int) -> None:
    figure = plot_confusion(np.eye(classes, dtype=int) * 6, ["name"] * classes)
    assert not figure.axes
    assert f"No errors among {6 * classes:,} decisions" in figure.texts[0].get_text()
    check_layout(figure)


def test_confusion_of_many_classes_with_any_names() -> None:
    draw = np.random.default_rng(6)
    true, decided = draw.integers(1251, size=(2, 20_000))
    counts = np.zeros((1251, 1251), dtype=int)
    np.add.at(counts, (true, decided), 1)
    figure = plot_confusion(counts, [f"{number}{STRANGE}" for number in range(1251)])
    assert len(figure.axes[0].get_xticks()) == 21
    check_layout(figure)


SPEAKERS = np.array([(0, 1), (1, 0), (0, 1), (0, 2), (2, 3), (3, 2), (1, 1), (0, 0)])
PAIR_SCORES = np.array([0.9, 0.5, 0.1, 0.4, 0.9, 0.1, 0.9, 0.1])
PAIR_LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1])


def test_confused_pairs() -> None:
    """A pair has no order; scoring the threshold is accepted; NaN where nothing was tried."""
    pairs = confused_pairs(PAIR_SCORES, PAIR_LABELS, SPEAKERS, ["a", "b", "c", "d", "e"], 0.5)
    assert (pairs.names, pairs.others, pairs.total, pairs.speakers) == (("a", "b", "c", "d"), False, 3, 4)
    nan = np.nan
    expected = [[nan, 2 / 3, 0, nan], [2 / 3, nan, nan, nan], [0, nan, nan, 0.5], [nan, nan, 0.5, nan]]
    np.testing.assert_allclose(pairs.rates, expected)
    figure = plot_confused_pairs(pairs)
    assert figure.get_suptitle().startswith("4 of 4 speakers: 3 of 3 false acceptances (100 %)")
    cells = cells_of(figure)
    assert (cells[0, 1], cells[2, 3], cells[0, 3], cells.get((0, 2))) == ("2/3", "1/2", "·", None)
    check_layout(figure)


def test_confused_pairs_with_others() -> None:
    pairs = confused_pairs(PAIR_SCORES, PAIR_LABELS, SPEAKERS, ["a", "b", "c", "d"], 0.3, most=1)
    assert (pairs.names, pairs.others, pairs.total) == (("a", OTHERS), True, 4)
    np.testing.assert_allclose(pairs.rates, [[np.nan, 3 / 4], [3 / 4, np.nan]])
    assert "3 of 4 false acceptances (75 %)" in plot_confused_pairs(pairs).get_suptitle()


def test_many_pairs_are_rates() -> None:
    """In per cent."""
    speakers = np.tile([(0, 1)], (41, 1))
    speakers[-1] = 0
    labels = np.append(np.zeros(40, dtype=int), 1)
    pairs = confused_pairs(np.arange(41) / 40, labels, speakers, ["a", "b"], 0.5)
    assert cells_of(plot_confused_pairs(pairs)) == {(0, 1): "50", (1, 0): "50"}


def test_no_false_acceptances() -> None:
    pairs = confused_pairs(PAIR_SCORES, PAIR_LABELS, SPEAKERS, ["a", "b", "c", "d"], 2.0)
    assert pairs.total == 0
    assert "No false acceptances among 4 speakers" in plot_confused_pairs(pairs).texts[0].get_text()


# ------------------------------------------------------------------------------------------------------------------
# Intervals
# ------------------------------------------------------------------------------------------------------------------
def test_intervals() -> None:
    estimates = np.array([0.05, np.nan, 0.1])
    intervals = np.array([[0.04, 0.07], [np.nan, np.nan], [np.nan, np.nan]])
    figure = plot_intervals(["a", STRANGE, "c"], estimates, intervals, "EER (%)", overall=0.06)
    np.testing.assert_allclose(points(figure, "estimates")[[0, 2]], [(5, 0), (10, 2)])
    np.testing.assert_allclose(named(figure, "intervals").get_segments()[0], [(4, 0), (7, 0)])
    assert "not defined" in [text.get_text() for text in figure.axes[0].texts]
    assert figure.axes[0].yaxis_inverted()
    check_layout(figure)
    whole = plot_intervals(["a"], np.array([0.5]), np.array([[0.4, 0.6]]), "minDCF", percent=False)
    assert points(whole, "estimates").tolist() == [[0.5, 0]]
    check_layout(whole)


# ------------------------------------------------------------------------------------------------------------------
# What is refused
# ------------------------------------------------------------------------------------------------------------------
GOOD = np.array([0, 1])


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, 0.2], [0, 0], "both must occur"),
        ([0.1, 0.2], [0, 2], "labels must be 0 and 1"),
        ([0.1, np.nan], [0, 1], "1 of 2 scores are not numbers"),
        ([0.1], [0, 1], "must be"),
        ([], [], "both must occur"),
        ([[0.1, 0.2]], [[0, 1]], "must be"),
    ],
)
def test_trials_that_are_refused(scores: list, labels: list, message: str) -> None:
    trials = np.array(scores), np.array(labels)
    for attempt in (
        lambda: plot_det({"system": trials}),
        lambda: plot_histograms(*trials),
        lambda: plot_reliability(*trials),
        lambda: confused_pairs(*trials, np.zeros((len(scores), 2), dtype=int), ["a"], 0.5),
    ):
        with pytest.raises(ValueError, match=message):
            attempt()


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: plot_det({}),
        lambda: plot_det({"system": TIED}, np.linspace(0.1, 0.9, 7)),
        lambda: plot_det({"system": (np.array([0, np.inf]), GOOD)}),
        lambda: plot_histograms(np.array([0, np.inf]), GOOD),
        lambda: plot_reliability(GOOD, GOOD, bins=0),
        lambda: plot_confusion(np.zeros((2, 3)), "ab"),
        lambda: plot_confusion(np.zeros((2, 2)), "abc"),
        lambda: plot_confusion(np.array([[0, -1], [0, 0]]), "ab"),
        lambda: plot_confusion(np.array([[0, np.nan], [0, 0]]), "ab"),
        lambda: plot_confusion(COUNTS, "abcd", most=0),
        lambda: confused_pairs(GOOD, GOOD, np.array([[0, 1], [0, 3]]), "abc", 0.5),
        lambda: confused_pairs(GOOD, GOOD, np.array([[1, 1], [0, 0]]), "abc", 0.5),
        lambda: plot_intervals([], np.array([]), np.zeros((0, 2)), "EER"),
        lambda: plot_intervals(["a"], np.array([0.1]), np.array([0.1, 0.2]), "EER"),
    ],
)
def test_what_is_refused(attempt: object) -> None:
    with pytest.raises(ValueError):
        attempt()
