"""DET curves: what is marked is where the metrics are, and nothing is out of place."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.special import ndtri

from tests.utils.pictures.drawn import (
    PRIORS,
    SEPARATE,
    STRANGE,
    SYSTEMS,
    TIED,
    Trials,
    check_layout,
    draw,
    every_system,
    legend_of,
    named,
    points,
    simulate,
)
from utils.metrics.rates import equal_error_rate, error_rates, min_dcf
from utils.pictures.det import plot_det
from utils.pictures.figure import render


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
    """The 581,480 of Vox1-E: matplotlib leaves out what cannot be seen, so that the files are light."""
    figure = plot_det({"system": simulate(581_480, 4, target=0.5)})
    assert len(render(figure, "svg")) < 400_000
    assert len(render(figure, "pdf")) < 400_000


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


GOOD = np.array([0, 1])


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: plot_det({}),
        lambda: plot_det({"system": TIED}, np.linspace(0.1, 0.9, 7)),
        lambda: plot_det({"system": (np.array([0, np.inf]), GOOD)}),
    ],
)
def test_what_is_refused(attempt: Callable[[], Figure]) -> None:
    with pytest.raises(ValueError):
        attempt()
