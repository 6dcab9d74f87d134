"""Following a search, and ending it: what is recorded of alpha, collapse, time."""

import math
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from models.genotypes import PAPER_GENOTYPE, SEARCH_SPACES
from models.supernet import Supernet
from utils.search.monitor import (
    PICTURES_LAST,
    PICTURES_TAKE,
    PictureClock,
    SearchClock,
    SearchHistory,
    count_changes,
    edge_entropies,
    parameter_free_share,
    skip_share,
)

SKIPS = PAPER_GENOTYPE._replace(normal=(("skip_connect", 0), ("skip_connect", 1), *PAPER_GENOTYPE.normal[2:]))


def test_entropies_of_the_edges() -> None:
    """log(n) where all operations are alike, 0 where one has it all, and by definition in between."""
    alpha = torch.zeros(14, 8)
    alpha[0, 3] = 100
    alpha[1, :2] = torch.tensor([0.5, -1.0])
    entropies = edge_entropies(alpha)
    p = np.exp(alpha[1].double().numpy()) / np.exp(alpha[1].double().numpy()).sum()
    assert entropies[0] == pytest.approx(0, abs=1e-9)
    assert entropies[1] == pytest.approx(-(p * np.log(p)).sum())
    assert entropies[2:] == pytest.approx([math.log(8)] * 12)


def test_changed_edges() -> None:
    """Edges of a node that the node did not have; their order does not count, the node does."""
    genes = PAPER_GENOTYPE.normal
    assert count_changes(genes, genes) == 0
    assert count_changes((genes[1], genes[0], *genes[2:]), genes) == 0
    assert count_changes((("skip_connect", 0), *genes[1:]), genes) == 1
    assert count_changes((*genes[2:4], *genes[:2], *genes[4:]), genes) > 0
    assert count_changes((("skip_connect", 0), ("skip_connect", 1)) * 4, genes) == 8


def test_shares_of_operations() -> None:
    """Of a cell's 8 edges; a strided skip connection has weights."""
    assert skip_share(SKIPS.normal) == 2 / 8
    assert parameter_free_share(PAPER_GENOTYPE.reduce, reduction=True) == 3 / 8
    assert parameter_free_share(SKIPS.normal, reduction=False) == 3 / 8
    assert parameter_free_share(SKIPS.normal, reduction=True) == 1 / 8
    assert parameter_free_share((*SKIPS.normal[:7], ("skip_connect", 3)), reduction=True) == 1 / 8


def history_of(tmp_path: Path, genotypes: list, patience: int = 0) -> SearchHistory:
    """A history of epochs that derived to these genotypes."""
    supernet = Supernet(SEARCH_SPACES["s2"], 2, 3, 2)
    tmp_path.mkdir(exist_ok=True)
    history = SearchHistory(tmp_path, patience=patience)
    for epoch, genotype in enumerate(genotypes, start=1):
        with mock.patch.object(Supernet, "genotype", lambda self, genotype=genotype: genotype):
            history.add(epoch, float(epoch), supernet, str(PAPER_GENOTYPE))
    return history


def test_collapse_is_warned_of_and_ends_the_search_when_it_lasts(tmp_path: Path) -> None:
    """Two skip connections in the normal cell; the genotype is then that of the last epoch before."""
    sound = PAPER_GENOTYPE._replace(reduce=SKIPS.normal)  # skip connections in the reduction cell do not count
    history = history_of(tmp_path, [SKIPS, PAPER_GENOTYPE, sound], patience=2)
    assert (history.collapsed_epochs(), history.warning(), history.is_over()) == (0, "", "")
    history = history_of(tmp_path / "one", [SKIPS, PAPER_GENOTYPE, sound, SKIPS], patience=2)
    assert history.collapsed_epochs() == 1
    assert "for 1 epoch now" in history.warning()
    assert (history.is_over(), history.genotype()) == ("", SKIPS)
    history = history_of(tmp_path / "over", [PAPER_GENOTYPE, sound, SKIPS, SKIPS], patience=2)
    assert "SEARCH.COLLAPSE_PATIENCE" in history.is_over()
    assert history.genotype() == sound
    assert history_of(tmp_path / "all", [SKIPS, SKIPS], patience=2).genotype() == SKIPS


def test_history_goes_on_from_the_epochs_done(tmp_path: Path) -> None:
    """Later epochs, left by an interruption, are taken out."""
    history_of(tmp_path, [PAPER_GENOTYPE, SKIPS, SKIPS])
    history = SearchHistory(tmp_path, epochs_done=2)
    assert [record["epoch"] for record in history.records] == [1, 2]
    assert history.hours == 2
    assert len((tmp_path / "architecture.jsonl").read_text().splitlines()) == 2


def test_clock_estimates_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 50 iterations it tells what the rest takes by the speed since the 10th; hours from before count."""
    now, waited = 1000.0, 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    clock = SearchClock(steps=50 + 1800, hours=1.0, max_hours=1.05)
    messages = []
    for step in range(60):
        now += 30.0 if step < 10 else 2.0  # the first iterations are slow
        waited += 3.0 if step < 10 else 0.01
        messages.append(clock.tick(waited))
        if step == 8:
            assert "1.05" in clock.is_over()
    (message,) = filter(None, messages)
    assert messages.index(message) == 49
    assert message.startswith("2 s an iteration, 0.50% of it until its batches are there: ")
    assert "1 h are left of an estimated 2.11 h in all" in message
    assert SearchClock(10, 5.0, 0.0).is_over() == ""


def test_pictures_take_a_small_share_of_the_time() -> None:
    """Drawn anew after two minutes, or where drawing takes long after so long that it is 1 second in 100."""
    now = [100.0]
    with mock.patch.object(time, "monotonic", lambda: now[0]):
        clock = PictureClock()
        now[0] += PICTURES_LAST - 1
        assert not clock.is_due()
        now[0] += 1
        assert clock.is_due()
        for took, rest in ((1.0, PICTURES_LAST), (6.0, 6.0 * PICTURES_LAST / PICTURES_TAKE)):
            with clock.drawing():
                now[0] += took
            now[0] += rest - 1
            assert not clock.is_due()
            now[0] += 1
            assert clock.is_due()
