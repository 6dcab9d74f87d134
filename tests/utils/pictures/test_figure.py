"""What all pictures share: the files they become, and the trials that are refused."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from models.genotypes import PAPER_GENOTYPE, SEARCH_SPACES
from tests.utils.pictures.drawn import MAGIC, alpha_history, modules_loaded
from utils.pictures.alpha import draw_alpha_history
from utils.pictures.confusion import plot_confused_pairs
from utils.pictures.det import plot_det
from utils.pictures.figure import save_figure
from utils.pictures.genotype import draw_genotype
from utils.pictures.scores import plot_histograms, plot_reliability
from utils.system.errors import UserError


def make_figures() -> list[Figure]:
    return [draw_genotype(PAPER_GENOTYPE), draw_alpha_history(alpha_history(2, "s2"), SEARCH_SPACES["s2"], "cell")]


def test_same_bytes_twice(tmp_path: Path) -> None:
    """In every format, of both kinds of pictures, with the fonts embedded as TrueType."""
    contents = []
    for attempt in "ab":
        for number, figure in enumerate(make_figures()):
            paths = save_figure(figure, tmp_path / f"{attempt}{number}", tuple(MAGIC))
            assert paths == [tmp_path / f"{attempt}{number}.{name}" for name in MAGIC]
            contents.append([path.read_bytes() for path in paths])
    assert contents[:2] == contents[2:]
    assert all(content.startswith(magic) for content, magic in zip(contents[0], MAGIC.values(), strict=True))
    assert b"/Subtype /Type0" in contents[0][1] or b"/CIDFontType2" in contents[0][1]
    assert b"/Type3" not in contents[0][1]
    assert b"CreationDate" not in contents[0][1]
    assert b"dc:date" not in contents[0][2]
    assert len(list(tmp_path.iterdir())) == 2 * 2 * len(MAGIC)  # nothing partial


def test_other_formats_are_refused(tmp_path: Path) -> None:
    """Before anything is written."""
    with pytest.raises(UserError, match="'bmp'; valid are png, pdf, svg"):
        save_figure(Figure(), tmp_path / "picture", ("png", "bmp"))
    assert not list(tmp_path.iterdir())


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
        lambda: plot_confused_pairs(*trials, np.zeros((len(scores), 2), dtype=int), ["a"], 0.5),
    ):
        with pytest.raises(ValueError, match=message):
            attempt()


@pytest.mark.parametrize("module", ["alpha", "confusion", "det", "epochs", "figure", "intervals", "scores"])
def test_pictures_do_without_torch(module: str) -> None:
    """All but those of genotypes, which are the networks'."""
    loaded = modules_loaded(f"import utils.pictures.{module}")
    assert f"utils.pictures.{module}" in loaded
    assert "torch" not in loaded
