"""A search's report: what is in it, of whatever a run folder holds, and how a browser shows it."""

import subprocess
from pathlib import Path
from unittest import mock

import pytest
from matplotlib.figure import Figure
from pandas import DataFrame

from models.genotypes import PAPER_GENOTYPE
from tests.utils.reports.test_html import BROWSER, QUIET, Page, needs_browser, pictures_of, probe
from tests.utils.search.made_up import write_made_up_run
from utils.search.figures import MEANINGS
from utils.search.folder import SearchFolder
from utils.search.monitor import SearchHistory
from utils.search.ranking import RANKING, write_ranking
from utils.search.report import write_search_report

COMMAND = "python train.py --cfg exps/mini/scratch.yaml --text_arch ..."
CURVES = (
    *("What the supernet gets right", "How undecided alpha is", "Of each cell's 8 edges", "Skip connections in"),
    *("Losses of both steps", "Losses on the val part", "What the network of the epoch's"),
)
HOSTILE = "<script>alert(1)</script> & \"'"


def page_of(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def captions(page: Page) -> list[str]:
    return page.text("figcaption")


@pytest.fixture
def no_alpha(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures of the genotype and of alpha, which have tests of their own and take their time, are left empty."""
    monkeypatch.setattr(SearchHistory, "pictures", lambda *_: {"genotype": Figure((6, 4))})


@pytest.fixture
def no_pictures(no_alpha: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are the curves drawn."""
    monkeypatch.setattr("utils.search.figures.plot_curves", lambda *_, **__: Figure((4, 3)))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a search under way, with all figures and a target of cost."""
    run = write_made_up_run(tmp_path_factory.mktemp("report") / "run", 12, "TRAIN.END_EPOCH", 30)
    with mock.patch.object(SearchFolder, "cost_target", 0.7):
        return write_search_report(run, COMMAND)


def test_where_the_search_stands(report: Path) -> None:
    """Epochs, hours used and left, genotype, command; the settings with their defaults."""
    page = page_of(report)
    cells = page.text("td")
    assert {"12 of 30", "6", "9", "goes on, unless it was stopped", str(report.parent)} <= set(cells)
    assert any(cell.startswith("294; guessing gets 0.34 %") for cell in cells)
    assert (report.parent / "genotype.txt").read_text().strip() in page.text("p")
    assert f"This trains it:\n{COMMAND}" in page.text("p")
    assert page.text("h1") == ["Search: run"]
    assert {"SEARCH.SPACE", "TRAIN.ARCH_LR", "VAL_FREQ", "skip connections"} <= set(page.text("th"))


def test_all_figures_are_shown_and_explained(report: Path) -> None:
    """A picture each, in a fixed order, and a row each in the table."""
    page = page_of(report)
    assert len(page.all("img")) == 1 + len(CURVES) + 2
    beginnings = ("Both cells", *CURVES, "Alpha of the normal cell", "Alpha of the reduction cell")
    assert all(text.strip().startswith(start) for text, start in zip(captions(page), beginnings, strict=True))
    assert set(MEANINGS) <= set(page.text("th"))
    assert set(MEANINGS.values()) <= set(page.text("td"))
    assert len(pictures_of(page)) == len(page.all("img"))


@pytest.mark.usefixtures("no_pictures")
def test_few_figures_and_unknown_ones(tmp_path: Path) -> None:
    """What is not there is left out; what nobody knows here stands in the table all the same."""
    run = write_made_up_run(tmp_path / "run", 4, "TRAIN.END_EPOCH", 4, more=())
    metrics = run / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"lr_alpha"', '"lr_of_the_future": 0.125, "lr_alpha"'))
    page = page_of(write_search_report(run))
    assert len(captions(page)) == 1 + 5
    assert not {"argmax_top1", "paths_top1", "cost_derived", "warmup"} & set(page.text("th"))
    assert "lr_of_the_future" in page.text("th")
    assert {"0.125", "all epochs are done", "–"} <= set(page.text("td"))
    assert not any("This trains it" in text for text in page.text("p"))


def test_before_the_first_epochs_end(tmp_path: Path) -> None:
    """A search that was ended within it has a genotype, and nothing to draw but that."""
    run = write_made_up_run(tmp_path / "run", 0, "TRAIN.END_EPOCH", 4)
    (run / "metrics.jsonl").unlink()
    page = page_of(write_search_report(run, ended="SEARCH.MAX_HOURS 0.1 are over"))
    assert {"0 of 4", "SEARCH.MAX_HOURS 0.1 are over"} <= set(page.text("td"))
    assert "No epoch is done yet." in page.text("p")
    assert len(page.all("img")) == 1


@pytest.mark.usefixtures("no_alpha")
@pytest.mark.parametrize("decoy", ["architecture.jsonl", "protocol.json"])
def test_files_that_are_empty_or_missing(tmp_path: Path, decoy: str) -> None:
    """Figures without alpha's records; classes that nobody knows."""
    run = write_made_up_run(tmp_path / "run", 4)
    (run / decoy).write_text("") if decoy == "architecture.jsonl" else (run / decoy).unlink()
    page = page_of(write_search_report(run))
    assert any(text.strip().startswith("What the supernet") for text in captions(page))


@pytest.mark.usefixtures("no_pictures")
def test_of_a_genotype_that_was_ranked_first(tmp_path: Path) -> None:
    """It is of no epoch; where the ranking is of an earlier end, the epoch is told as ever."""
    run = write_made_up_run(tmp_path / "run", 3)
    rows = [{"source": "chance", "top1": 20.0, "loss": 3.0, "genotype": str(PAPER_GENOTYPE)}]
    rows += [rows[0] | {"loss": 3.5, "genotype": (run / "genotype.txt").read_text().strip()}]
    write_ranking(DataFrame(rows), run / RANKING)
    assert "Of the last epoch done, 3." in page_of(write_search_report(run)).text("p")
    (run / "genotype.txt").write_text(str(PAPER_GENOTYPE))
    (origin,) = [text for text in page_of(write_search_report(run)).text("p") if "ranked" in text]
    assert origin.startswith("The best of 2 genotypes by the supernet's loss") and origin.endswith("from chance.")


@pytest.mark.usefixtures("no_pictures")
def test_of_which_epoch_the_genotype_is(tmp_path: Path) -> None:
    """The last one's; an earlier one's where a collapse ended the search; none's where time did, within an epoch."""
    run = write_made_up_run(tmp_path / "run", 3)
    records = SearchFolder.read(run).history.records
    for genotype, origin in (
        (records[-1]["genotype"], "Of the last epoch done, 3."),
        (records[0]["genotype"], "Of epoch 1."),
        (str(PAPER_GENOTYPE), "Of alpha within epoch 4, where the search ended."),
    ):
        (run / "genotype.txt").write_text(genotype)
        assert origin in page_of(write_search_report(run)).text("p")


@pytest.mark.usefixtures("no_pictures")
def test_what_the_hours_left_do_not_know(tmp_path: Path) -> None:
    """That SEARCH.MAX_HOURS comes before; that epochs take longer once alpha learns."""
    run = write_made_up_run(tmp_path / "run", 5, "TRAIN.END_EPOCH", 50, "SEARCH.MAX_HOURS", 3)
    assert "0.5; then SEARCH.MAX_HOURS ends it" in page_of(write_search_report(run)).text("td")
    metrics = run / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"warmup": 0.0', '"warmup": 1.0'))
    assert any(
        "epochs in which alpha learns take longer" in cell for cell in page_of(write_search_report(run)).text("td")
    )


@pytest.mark.usefixtures("no_pictures")
def test_hostile_names_are_text(tmp_path: Path) -> None:
    """Of the folder, in the command, of a figure: nothing of it is markup."""
    run = write_made_up_run(tmp_path / HOSTILE.replace("/", "-") / "run", 2, "DATASET.DATA_DIR", HOSTILE)
    metrics = run / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"lr_alpha"', '"<script>figure": 1, "lr_alpha"'))
    page = page_of(write_search_report(run, f"python train.py DATASET.DATA_DIR {HOSTILE}"))
    assert not page.all("script")
    assert f"This trains it:\npython train.py DATASET.DATA_DIR {HOSTILE}" in page.text("p")
    assert {str(run), HOSTILE} <= set(page.text("td"))
    assert "<script>figure" in page.text("th")


def test_a_target_of_cost_is_read(tmp_path: Path) -> None:
    """SEARCH.COST_TARGET, for a line in the picture."""
    run = write_made_up_run(tmp_path / "run", 0)
    assert SearchFolder.read(run).cost_target == 0
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("COST_TARGET: 0.0\n", "COST_TARGET: 0.75\n"))
    assert SearchFolder.read(run).cost_target == 0.75


# ------------------------------------------------------------------------------------------------------------------
# In a browser
# ------------------------------------------------------------------------------------------------------------------
def complaints(page: Path, profile: Path) -> list[str]:
    """What a browser writes to its console about a page; the page's policy makes any request of it a complaint."""
    options = (f"--user-data-dir={profile}", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr")
    command = [BROWSER, *QUIET, *options, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Where the search stands" in done.stdout
    return [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@needs_browser
def test_a_browser_has_nothing_to_complain_of(report: Path, tmp_path: Path) -> None:
    """Nothing on the console, nothing asked for; every picture is decoded, also on a phone."""
    assert complaints(report, tmp_path / "profile") == []
    for width in (390, 1280):
        *images, page = probe(report.read_text(encoding="utf-8"), tmp_path, width)
        assert len(images) == 1 + len(CURVES) + 2
        assert all(state == "decoded" and int(natural) > 0 for state, natural, *_ in images)
        assert page[1:] == [str(width)] * 2


@needs_browser
def test_a_request_would_be_noticed(report: Path, tmp_path: Path) -> None:
    """The test above can fail."""
    page = tmp_path / "page.html"
    text = report.read_text(encoding="utf-8").replace("<main>", '<main><img src="http://127.0.0.1:9/a.png" alt="a">')
    page.write_text(text, encoding="utf-8")
    assert len(complaints(page, tmp_path / "profile")) == 1
