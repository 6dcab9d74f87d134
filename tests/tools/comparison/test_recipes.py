"""The arithmetic of an ablation's table, on made-up figures: no training."""

import numpy as np
import pytest
from pandas import DataFrame

from tools.comparison.recipes import compare, paired_intervals, plot, tabulate

SEEDS = [3, 1, 2]
EER = {"none": [10.0, 12.0, 14.0], "aam": [9.0, 12.5, 11.5], "all": [8.0, 8.0, 8.0]}
SNORM = {"aam": [7.0, 7.5, 8.0]}  # beside the first back end


def rows_of(eer: dict[str, list[float]], backend: str, count: int = 3) -> list[dict]:
    """Figures of recipes and seeds; what is not given follows from the EER."""
    return [
        {
            "name": name,
            "seed": seed,
            "backend": backend,
            "eer": value,
            "eer_interval": [value - 1, value + 1],
            "min_dcf": value / 20,
            "min_dcf_interval": None,
            "val_eer": None if name == "all" else value / 2,
            "val_eer_interval": None,
            "epoch": 10 + seed,
            "parameters": 1000 * len(name),
            "minutes": float(seed),
        }
        for name, values in eer.items()
        for seed, value in zip(SEEDS[:count], values, strict=False)
    ]


def made_up(count: int = 3, **more: dict[str, list[float]]) -> DataFrame:
    """The rows of so many seeds, and of more back ends; those of a recipe and seed follow each other."""
    rows = rows_of(EER, "cosine", count)
    for backend, eer in more.items():
        rows += rows_of(eer, backend, count)
    return DataFrame(rows)


def comparison_of(rows: DataFrame, intervals: dict | None = None) -> dict:
    """What the tables are made of."""
    seeds = rows["seed"].drop_duplicates().tolist()
    return {"seeds": seeds, "trials": 1234, "trial_speakers": 7} | compare(rows, intervals or {})


def test_differences_are_paired_by_seed() -> None:
    """Their deviation is that of the differences, not of the figures."""
    results = compare(made_up(), {"aam": (-2.5, 0.5)})["results"]
    differences = [-1.0, 0.5, -2.5]
    assert results["aam"]["difference_mean"] == pytest.approx(np.mean(differences))
    assert results["aam"]["difference_std"] == pytest.approx(np.std(differences, ddof=1))
    assert results["aam"]["difference_interval"] == (-2.5, 0.5)
    assert results["all"]["difference_mean"] == pytest.approx(-4)
    assert results["all"]["difference_std"] == pytest.approx(np.std(EER["none"], ddof=1))
    assert {results["none"][f"difference_{of}"] for of in ("mean", "std", "interval")} == {None}


def test_figures_over_the_seeds() -> None:
    """The first seed's with its interval; means and deviations; epochs in the order of the seeds."""
    results = compare(made_up(), {})["results"]
    assert list(results) == list(EER)
    for name, values in EER.items():
        result = results[name]
        assert (result["eer"], result["eer_interval"]) == (values[0], [values[0] - 1, values[0] + 1])
        assert (result["eer_mean"], result["eer_std"]) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
        assert result["min_dcf_mean"] == pytest.approx(np.mean(values) / 20)
        assert result["epochs"] == [13, 11, 12]
        assert result["minutes_mean"] == 2
        assert result["parameters"] == 1000 * len(name)
    assert results["aam"]["val_eer_mean"] == pytest.approx(np.mean(EER["aam"]) / 2)
    assert results["all"]["val_eer_mean"] is None


def test_back_ends_have_figures_of_their_own() -> None:
    """The first one's are those of the results; with one alone there is nothing to tell apart."""
    assert compare(made_up(), {})["backends"] == {}
    compared = compare(made_up(snorm=SNORM), {})
    assert compared["results"] == compare(made_up(), {})["results"]
    assert list(compared["backends"]) == ["cosine", "snorm"]
    assert compared["backends"]["snorm"] == {
        "aam": {"eer": 7.0, "eer_interval": [6.0, 8.0], "min_dcf": 0.35, "min_dcf_interval": None}
        | {"eer_mean": pytest.approx(7.5), "eer_std": pytest.approx(0.5)}
        | {"min_dcf_mean": pytest.approx(0.375), "min_dcf_std": pytest.approx(0.025)}
    }
    _, table = tabulate(comparison_of(made_up(snorm=SNORM)))
    assert [row[:2] for row in table.texts()] == [
        ["none", "cosine"],
        ["aam", "cosine"],
        ["aam", "cosine, adaptive s-norm"],
        ["all", "cosine"],
    ]


def test_cells_of_the_table() -> None:
    """Of several seeds, of one, and without `none`."""
    (table,) = tabulate(comparison_of(made_up(), {"aam": (-2.5, 0.5)}))
    none, aam, together = table.texts()
    assert none[:4] == ["none", "10.00 [9.00, 11.00]; 12.00 ± 2.00", "0.500; 0.600 ± 0.100", "–"]
    assert none[4:] == ["5.00; 6.00 ± 1.00", "13, 11, 12", "4,000", "2.0"]
    assert aam[:3] == ["aam", "9.00 [8.00, 10.00]; 11.00 ± 1.80", "0.450; 0.550 ± 0.090"]
    assert aam[3:] == ["-1.00 ± 1.50 [-2.50, +0.50]", "4.50; 5.50 ± 0.90", "13, 11, 12", "3,000", "2.0"]
    assert together[2:5] == ["0.400; 0.400 ± 0.000", "-4.00 ± 2.00", "–"]
    assert "1,234 trials of 7 speakers" in table.note
    assert "over the seeds 3, 1, 2" in table.note
    (table,) = tabulate(comparison_of(made_up(1), {"aam": (-2.5, 0.5)}))
    assert table.texts()[1][1:5] == ["9.00 [8.00, 10.00]", "0.450", "-1.00 [-2.50, +0.50]", "4.50"]
    assert "One training each, seed 3" in table.note
    (table,) = tabulate(comparison_of(made_up()[lambda rows: rows["name"] != "none"]))
    assert len(table.header) == 7
    assert not [title for title in table.header if "none" in title]


def test_paired_intervals() -> None:
    """The middle of the differences of means over the seeds, in per cent; none of what has no replicates."""
    generator = np.random.default_rng(0)
    usual = [generator.normal(0.1, 0.02, 400) for _ in range(2)]
    shifted = [one - 0.03 for one in usual]  # the speakers drawn do the same to both
    apart = [usual[0] + np.linspace(0, 0.1, 400), usual[1]]
    found = paired_intervals({"none": usual, "a": shifted, "b": apart, "c": [None, None]})
    assert found["a"] == pytest.approx((-3, -3))
    assert found["b"] == pytest.approx((0.025 * 5, 0.975 * 5))  # half of 0 to 10
    assert found["c"] is None
    assert "none" not in found


def test_picture() -> None:
    """A ring a seed in each panel; the band is that of `none`, where it is compared."""
    records = made_up()
    for rows, lines in ((records, 3), (records[records["name"] != "none"], 2)):
        panels = plot(rows.drop(columns=["eer_interval", "min_dcf_interval"])).axes
        assert [axes.get_xlabel() for axes in panels] == ["EER, %", "minDCF 0.01"]
        for axes, figure in zip(panels, ("eer", "min_dcf"), strict=True):
            assert len(axes.lines) == lines  # means, rings, and the mean of `none`
            assert axes.lines[1].get_xdata() == pytest.approx(rows[figure])
            if lines == 3:
                middle = {"eer": 12, "min_dcf": 0.6}[figure]
                assert axes.lines[2].get_xdata() == pytest.approx([middle, middle])
