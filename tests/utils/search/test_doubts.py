"""What is warned of in a search's report."""

import json
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from tests.utils.search.made_up import write_made_up_run
from utils.search.doubts import chance_limit, doubts_of_search
from utils.search.folder import SearchFolder


def change(run: Path, change_line: Callable[[dict], object]) -> None:
    """Change every epoch's figures."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        change_line(line)
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def doubts(run: Path) -> list[str]:
    return doubts_of_search(SearchFolder.read(run))


def test_how_near_to_chance_is_near() -> None:
    """Twice of it, 5 points above it, or what one answer gets right with luck, three deviations, by hand."""
    assert chance_limit(0.1, 0, 0) == pytest.approx(0.2)
    assert chance_limit(20.0, 0, 0) == pytest.approx(25.0)
    assert chance_limit(20.0, 5, 100) == pytest.approx(20 + 3 * 4)
    assert chance_limit(0.1, 5, 100) == pytest.approx(20 + 3 * 4)  # a part of 5 speakers alone
    assert chance_limit(1.0, 100, 1_000_000) == pytest.approx(2.0)


def test_a_sound_search_has_none(tmp_path: Path) -> None:
    """With all figures, and with the fewest."""
    for more in (("argmax", "paths", "warmup", "cost"), ()):
        run = write_made_up_run(tmp_path / f"{len(more)}", 20, "TRAIN.END_EPOCH", 20, more=more)
        change(run, lambda line: line.update(changed_edges_normal=1, changed_edges_reduce=2))
        with mock.patch("utils.search.monitor.COLLAPSE", 9):
            assert doubts(run) == []


def test_a_supernet_near_chance(tmp_path: Path) -> None:
    """What chance is, what is known, and what may be luck; not while alpha rests, not if any path is well above."""
    run = write_made_up_run(tmp_path / "run", 6, "TRAIN.END_EPOCH", 50, more=("argmax", "paths"), learnt=1.0)
    (doubt,) = [doubt for doubt in doubts(run) if "chance" in doubt]
    assert "gets right 0.7 % by the path of alpha's argmax and 0.5 % by random paths, where" in doubt
    assert "chance is 0.34 % (100/294 speakers) and up to 3.27 % can be luck" in doubt
    change(run, lambda line: line.update(warmup=1.0))
    assert not any("chance" in doubt for doubt in doubts(run))
    change(run, lambda line: line.update(warmup=0.0, paths_top1=20.0))
    assert not any("chance" in doubt for doubt in doubts(run))
    (run / "protocol.json").unlink()  # then nobody knows what chance is
    change(run, lambda line: line.update(paths_top1=0.1))
    assert not any("chance" in doubt for doubt in doubts(run))


def test_alpha_that_has_not_decided(tmp_path: Path) -> None:
    """Told from half of the epochs on."""
    for epochs, told in ((20, False), (10, True)):
        run = write_made_up_run(tmp_path / f"{epochs}", 5, "TRAIN.END_EPOCH", epochs, more=(), decided=0.01)
        assert any(doubt.startswith("alpha is undecided: the mean entropy") for doubt in doubts(run)) == told
    change(run, lambda line: line.update(entropy_normal=0.1, changed_edges_normal=1, changed_edges_reduce=3))
    assert "undecided: the mean entropy of an edge is 2.08 in the reduction cell, where log(8)" in "".join(doubts(run))
    assert "the last epoch changed 4 of its 16 edges" in "".join(doubts(run))
    change(run, lambda line: line.update(warmup=1.0))
    assert not any("undecided" in doubt for doubt in doubts(run))


def test_alpha_that_never_learnt(tmp_path: Path) -> None:
    run = write_made_up_run(tmp_path / "run", 5, "TRAIN.END_EPOCH", 5)
    change(run, lambda line: line.update(warmup=1.0))
    assert "alpha has rested in all epochs (warm-up): the genotype is of chance" in doubts(run)
    ranked = write_made_up_run(tmp_path / "ranked", 5, "TRAIN.END_EPOCH", 5, "SEARCH.CHOOSE", "ranked")
    change(ranked, lambda line: line.update(warmup=1.0))
    assert not any("rested" in doubt for doubt in doubts(ranked))


def test_a_collapse_comes_first(tmp_path: Path) -> None:
    run = write_made_up_run(tmp_path / "run", 5, "TRAIN.END_EPOCH", 6, "SEARCH.COLLAPSE_PATIENCE", 9, learnt=0.1)
    with mock.patch("utils.search.monitor.COLLAPSE", 0):
        assert "for 5 epochs now: if that lasts, the search has collapsed" in doubts(run)[0]
        text = (run / "config.yaml").read_text().replace("COLLAPSE_PATIENCE: 9", "COLLAPSE_PATIENCE: 4")
        (run / "config.yaml").write_text(text)
        assert "skip connections have taken over for 5 epochs" in doubts(run)[0]


def test_a_network_above_its_target(tmp_path: Path) -> None:
    """G multiply-accumulates."""
    run = write_made_up_run(tmp_path / "run", 5, "TRAIN.END_EPOCH", 6)
    change(run, lambda line: line.update(cost_derived=0.9))
    for target, told in ((0.7, True), (0.85, False), (0.0, False)):
        with mock.patch.object(SearchFolder, "cost_target", target):
            assert any("takes 0.9 G multiply-accumulates, more than" in doubt for doubt in doubts(run)) == told
