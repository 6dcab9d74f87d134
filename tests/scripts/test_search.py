"""search.py: what it prints, what it leaves, what it learns from."""

import html
import math
import re
import shlex
from pathlib import Path
from unittest import mock

import pytest
from matplotlib.figure import Figure

from config import load_config
from data_objects.corpus import Corpus
from data_objects.datasets import TrainingCrops
from models.genotypes import parse_genotype
from tests.helpers import ROOT, SEARCH, Outcome, call_script, options
from tests.runs import RUN_FILES, files, metrics, only_run
from utils.records.checkpoint import load_checkpoint
from utils.search.monitor import SearchHistory
from utils.search.paths import PathScorer
from utils.search.report import write_search_report

PICTURES = {f"{name}.{suffix}" for name in ("genotype", "alpha-normal", "alpha-reduce") for suffix in ("png", "pdf")}
SEARCH_FILES = {"events", "previous.pt", "genotype.txt", "architecture.jsonl", "report.html"} | PICTURES


def test_search_prints_the_genotype_and_the_command_that_trains_it(searched: tuple[Outcome, Path]) -> None:
    """The last two lines of standard output, and in the report; that the command works, other tests here need."""
    outcome, run_dir = searched
    genotype, command = outcome.stdout.splitlines()[-2:]
    assert parse_genotype(genotype) == parse_genotype((run_dir / "genotype.txt").read_text())
    assert command.startswith("python train.py --cfg exps/mini/scratch.yaml --text_arch ")
    assert genotype in shlex.split(command)
    page = html.unescape((run_dir / "report.html").read_text())
    assert f"{genotype}</p>" in page
    assert f"This trains it:\n{command}</p>" in page
    assert "all epochs are done" in page


def test_run_folder_of_a_search(toy: Path, searched: tuple[Outcome, Path]) -> None:
    """Settings, log, figures of every epoch, events, the last checkpoint, the genotype."""
    _, run_dir = searched
    assert files(run_dir) == RUN_FILES | SEARCH_FILES
    assert str(toy) == load_config(run_dir / "config.yaml").DATASET.DATA_DIR
    figures = metrics(run_dir)
    assert [line["epoch"] for line in figures] == [1, 2]
    assert all(math.isfinite(value) for line in figures for value in line.values())
    assert {"train_loss", "val_loss", "entropy_normal", "entropy_reduce"} <= set(figures[0])
    assert load_checkpoint(run_dir / "last.pt", ("search",)).epoch == 2


def test_search_moves_alpha_and_the_weights(searched: tuple[Outcome, Path]) -> None:
    """Both optimizers step, each over its own parameters."""
    checkpoint = load_checkpoint(searched[1] / "last.pt", ("search",))
    steps = {
        name: {int(state["step"]) for state in optimizer["state"].values()}
        for name, optimizer in checkpoint.optimizers.items()
    }
    assert checkpoint.step == 2 * (24 // 4)  # epochs x batches of the train part
    assert steps == {"alpha": {checkpoint.step}, "weights": {checkpoint.step}}
    assert len(checkpoint.optimizers["alpha"]["state"]) == 2


def test_search_never_learns_from_a_crop_twice(toy: Path, tmp_path: Path) -> None:
    """Every step takes the next batch of the val part, through its end and into its next epoch, not the first again.

    Besides, the report is renewed every epoch, where epochs are long enough, and at the end.
    """
    drawn, draw = [], TrainingCrops.__getitem__
    done: list[str] = []

    def record(crops: TrainingCrops, item: tuple[int, int]) -> tuple:
        drawn.append(item)
        return draw(crops, item)

    epochs = {"TRAIN__END_EPOCH": 2, "TRAIN__BATCH_SIZE": 10}
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path, SEARCH__REPORT=True, **epochs)

    def report(run_dir: Path, *arguments: object, **options: object) -> None:
        text = write_search_report(run_dir, *arguments, **options).read_text()
        done.extend(re.findall(r"<td>(\d of \d|all epochs are done)</td>", text))

    with (
        mock.patch.object(TrainingCrops, "__getitem__", record),
        mock.patch.object(PathScorer, "survey", lambda *_: {}),
        mock.patch("utils.search.monitor.PICTURES_LAST", 0),
        mock.patch.object(SearchHistory, "pictures", lambda *_: {"genotype": Figure((6, 4))}),
        mock.patch("utils.search.loop.write_search_report", report),
    ):
        call_script("search.py", "--cfg", SEARCH, *settings)
    assert done == ["1 of 2", "all epochs are done", "2 of 2", "all epochs are done", "2 of 2"]
    assert len(drawn) == 2 * (2 + 2) * 10  # epochs x batches of either part x batch
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize(("sub_dir", "config"), [("merged", "scratch.yaml"), ("dev", "scratch_veri.yaml")])
def test_command_after_a_search_fits_its_corpus(toy: Path, tmp_path: Path, sub_dir: str, config: str) -> None:
    """Settings for VoxCeleb1 would refuse a corpus of another size, or train on other speakers."""
    (tmp_path / "search.yaml").write_text((ROOT / SEARCH).read_text())
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path / "runs", DATASET__SUB_DIR=sub_dir)
    outcome = call_script("search.py", "--cfg", tmp_path / "search.yaml", *settings)
    words = shlex.split(outcome.last_line)
    cfg = load_config(ROOT / words[words.index("--cfg") + 1], words[words.index("--text_arch") + 2 :])
    assert not files(only_run(tmp_path / "runs", "search")) & (PICTURES | {"report.html"})  # as SEARCH.REPORT says
    assert words[3] == f"exps/scratch/{config}"
    assert sub_dir == cfg.DATASET.SUB_DIR
    assert Corpus(cfg).check_num_classes(cfg.MODEL.NUM_CLASSES) == {"merged": 6, "dev": 4}[sub_dir]
