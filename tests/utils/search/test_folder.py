"""What a run folder tells of a search."""

import json
from pathlib import Path

import pytest

from tests.helpers import snapshot
from tests.utils.search.made_up import SPEAKERS, write_made_up_run
from utils.search.folder import SearchFolder
from utils.system.errors import UserError


def test_a_run_folder_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    """Figures by epoch, a half line of an interruption left out; whom it tells apart."""
    run = write_made_up_run(tmp_path / "run", 10, "TRAIN.END_EPOCH", 40)
    metrics = run / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + metrics.read_text().splitlines()[4] + '\n{"epoch": 11, "train_lo')
    before = snapshot(run)
    folder = SearchFolder.read(run)
    assert snapshot(run) == before
    assert (folder.epochs, folder.is_whole) == (10, False)
    assert (folder.classes, folder.val_speakers, folder.val_utterances) == (SPEAKERS, 80, 272)
    assert folder.chance == pytest.approx(100 / SPEAKERS)
    assert folder.figures.index.tolist() == [*range(1, 11)]
    assert folder.of("paths_top1").index.tolist() == [3, 6, 9]
    assert folder.of("no such figure").empty
    assert (folder.warm_up(), folder.is_warming_up()) == ([1, 2], False)
    assert str(folder.genotype) == folder.history.records[-1]["genotype"]


def test_figures_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    run = write_made_up_run(tmp_path / "run", 3)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line, value in zip(lines, (float("nan"), float("-inf"), "text"), strict=True):
        line["val_loss"] = value
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert SearchFolder.read(run).of("val_loss").empty


def test_hours_left(tmp_path: Path) -> None:
    """Those of the epochs in which alpha learnt, for every epoch left, or what SEARCH.MAX_HOURS leaves."""
    run = write_made_up_run(tmp_path / "run", 10, "TRAIN.END_EPOCH", 40)
    history = run / "architecture.jsonl"
    records = [json.loads(line) for line in history.read_text().splitlines()]
    for record in records:  # 0.1 h in the two epochs of warm-up, 0.5 h in the others
        record["hours"] = 0.1 * record["epoch"] if record["epoch"] < 3 else 0.2 + 0.5 * (record["epoch"] - 2)
    history.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    assert SearchFolder.read(run).hours_left() == pytest.approx(30 * 0.5)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("MAX_HOURS: 0.0", "MAX_HOURS: 5.0"))
    assert SearchFolder.read(run).hours_left() == pytest.approx(5 - 4.2)
    history.write_text(f"{json.dumps(records[0])}\n")
    (run / "config.yaml").write_text(text)
    assert SearchFolder.read(run).hours_left() == pytest.approx(39 * 0.1)  # alpha has not learnt yet


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("architecture.jsonl", None, "no run folder of search.py"),
        ("config.yaml", None, "no such config file"),
        ("config.yaml", "SEARCH: {SPACE: s9}", "s9"),
        ("genotype.txt", "nothing", "not a genotype"),
    ],
)
def test_other_folders_are_refused(tmp_path: Path, file: str, content: str | None, message: str) -> None:
    run = write_made_up_run(tmp_path / "run", 1)
    (run / file).unlink() if content is None else (run / file).write_text(content)
    with pytest.raises(UserError, match=message):
        SearchFolder.read(run)
