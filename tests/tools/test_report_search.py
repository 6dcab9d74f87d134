"""tools/report_search.py: a search's report, written by whoever has its run folder."""

import html
from pathlib import Path

import pytest

from tests.helpers import SEARCH, call_script, snapshot
from tests.utils.search.made_up import SPEAKERS, write_made_up_run

TOOL = "tools/report_search.py"


@pytest.mark.parametrize(
    ("options", "command"),
    [
        ((), "train.py --cfg exps/scratch/scratch.yaml"),
        (("--cfg", SEARCH), "train.py --cfg exps/mini/scratch.yaml"),
    ],
)
def test_report_of_a_run_folder(tmp_path: Path, options: tuple[str, ...], command: str) -> None:
    """Its path is printed; the command goes by the settings of the search, where they are named; all else stays."""
    run = write_made_up_run(tmp_path / "run", 0)
    before = snapshot(run)
    outcome = call_script(TOOL, run, *options)
    assert (outcome.status, outcome.stdout) == (0, f"{run / 'report.html'}\n")
    after = snapshot(run)
    page = html.unescape(after.pop("report.html").decode())
    assert after == before
    assert command in page
    assert (f"MODEL.NUM_CLASSES {SPEAKERS}" in page) == (not options)


def test_what_is_refused(tmp_path: Path) -> None:
    """In one line, with nothing written."""
    run = write_made_up_run(tmp_path / "run", 0)
    for words, message in (((tmp_path,), "no run folder of search.py"), ((run, "--cfg", "none.yaml"), "no file none")):
        outcome = call_script(TOOL, *words)
        assert outcome.status == 2
        assert message in outcome.stderr
        assert outcome.stderr.count("\n") == 1
    assert not (run / "report.html").exists()
