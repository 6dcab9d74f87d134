"""tools/compare_recipes.py on the toy corpus."""

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers import SCRATCH, Outcome, options
from tests.tools.comparisons import Scripts, assert_refused, call_tool, records

SCRIPT = "tools/compare_recipes.py"
OPTIONS = """
aam: {TRAIN.LOSS: aam, TRAIN: {LABEL_SMOOTHING: 0}}
centred: {EVAL.BACKENDS: "centred,cosine"}
"""
CHOSEN, SEEDS = ["none", "aam", "centred"], [1]
SETTINGS = {"DATASET__VAL_SPEAKERS": 2, "EVAL__BOOTSTRAP": 20}


def compare(
    toy: Path, out: Path, *arguments: object, text: str = OPTIONS, scripts: Scripts | None = None, **settings: object
) -> Outcome:
    """Run the tool with these options, written beside its folder; without `all`, unless the arguments say so."""
    file = out.with_name("options.yaml")
    file.write_text(text)
    chosen = () if {"--only", "--without"} & set(map(str, arguments)) else ("--only", *CHOSEN)
    seeds = () if "--seeds" in arguments else ("--seeds", *SEEDS)
    command = ("--cfg", SCRATCH, "--recipes", file, *chosen, *seeds, "--out", out, *arguments)
    return call_tool(SCRIPT, *command, *options(DATASET__DATA_DIR=toy, **(SETTINGS | settings)), scripts=scripts)


def evaluation(out: Path, name: str, seed: int) -> dict:
    """What evaluate_verification.py wrote, found without the tool's own record of it."""
    places = [*out.glob(f"runs/train/{name}-dev-seed{seed}-*"), *out.glob(f"evaluations/{name}-dev-seed{seed}")]
    (place,) = places
    return json.loads((place / "results-verification.json").read_text())


# ------------------------------------------------------------------------------------------------------------------
# What it does and says
# ------------------------------------------------------------------------------------------------------------------
def test_jobs_and_files(compared: tuple[Outcome, Path]) -> None:
    """Seed by seed; what differs in scoring alone is not trained again; everything is in the folder."""
    outcome, out = compared
    jobs = [(record["kind"], record["recipe"], record["seed"]) for record in records(out / "finished.jsonl")]
    own = [("training", "none"), ("verification", "none"), ("training", "aam"), ("verification", "aam")]
    assert jobs == [(*job, seed) for seed in SEEDS for job in [*own, ("verification", "centred")]]
    assert {path.name.partition("-dev-")[0] for path in (out / "runs" / "train").iterdir()} == {"none", "aam"}
    files = {".lock", "config.yaml", "finished.jsonl", "genotype.txt", "recipes", "runs", "evaluations"}
    pictures = {"comparison.png", "comparison.pdf"}
    assert {path.name for path in out.iterdir()} == files | pictures | {
        f"comparison.{kind}" for kind in ("json", "md", "html")
    }
    assert json.loads(outcome.last_line) == json.loads((out / "comparison.json").read_text())


def test_figures_are_those_of_the_scripts(compared: tuple[Outcome, Path]) -> None:
    """By the settings of each recipe; the heading back end is the first one."""
    outcome, out = compared
    printed = json.loads(outcome.last_line)
    assert (printed["seeds"], printed["trials"], printed["trial_speakers"]) == (SEEDS, 96, 2)
    assert printed["recipes"] == {
        "none": {},
        "aam": {"TRAIN.LABEL_SMOOTHING": 0.0, "TRAIN.LOSS": "aam"},
        "centred": {"EVAL.BACKENDS": "centred,cosine"},
    }
    found = {name: [evaluation(out, name, seed) for seed in SEEDS] for name in CHOSEN}
    assert list(printed["results"]) == CHOSEN
    for name, result in printed["results"].items():
        (results,) = found[name]
        assert (result["eer"], result["min_dcf"]) == (results["eer"], results["min_dcf"])
        assert (result["eer_mean"], result["eer_std"]) == (pytest.approx(results["eer"]), None)
        assert result["eer_interval"] is result["difference_interval"] is None  # of two test speakers there is none
        assert results["system"] == result["backend"] == ("centred" if name == "centred" else "cosine")
    difference = found["aam"][0]["eer"] - found["none"][0]["eer"]
    assert printed["results"]["aam"]["difference_mean"] == pytest.approx(difference)
    # The cosine scores of `centred` are those of the network of `none`.
    cosine = printed["backends"]["cosine"]
    assert cosine["centred"]["eer_mean"] == cosine["none"]["eer_mean"] == printed["results"]["none"]["eer_mean"]
    assert list(printed["backends"]["centred"]) == ["centred"]
    assert printed["warnings"] == []


def test_trainings_are_those_of_their_recipes(compared: tuple[Outcome, Path]) -> None:
    """Their results, with the seeds given, and a network of the recipe's settings."""
    outcome, out = compared
    printed = json.loads(outcome.last_line)
    rows = {(row["name"], row["seed"]): row for row in printed["trainings"]}
    assert list(rows) == [(name, seed) for name in CHOSEN for seed in SEEDS]
    for name, loss in (("none", "softmax"), ("aam", "aam")):
        for seed in SEEDS:
            (run,) = out.glob(f"runs/train/{name}-dev-seed{seed}-*")
            results = json.loads((run / "results.json").read_text())
            row = rows[name, seed]
            assert {key: row[key] for key in ("epoch", "parameters", "val_eer")} == {
                key: results[key] for key in ("epoch", "parameters", "val_eer")
            }
            trained = results["provenance"]["training_config"]
            assert (trained["TRAIN"]["LOSS"], trained["SEED"], trained["DATASET"]["SUB_DIR"]) == (loss, seed, "dev")
            assert 0 < row["minutes"] < 2
    shared, own = rows["none", 1], rows["centred", 1]
    assert own == shared | {key: own[key] for key in ("name", "backend", "eer", "min_dcf")}


def test_tables(compared: tuple[Outcome, Path]) -> None:
    """Console, Markdown and HTML show the same cells."""
    outcome, out = compared
    page, markdown = (out / "comparison.html").read_text(), (out / "comparison.md").read_text()
    result = json.loads(outcome.last_line)["results"]["aam"]
    cells = [
        f"{result['eer']:.2f}",
        f"{result['difference_mean']:+.2f}",
        f"{result['parameters']:,}",
        "cosine, centred",
    ]
    for text in (page, markdown, outcome.stderr):
        assert all(cell in text for cell in cells)
    assert "EVAL.BACKENDS centred,cosine" in page
    assert markdown.count("| aam |") == 2  # by back end, too


# ------------------------------------------------------------------------------------------------------------------
# Going on
# ------------------------------------------------------------------------------------------------------------------
def test_finished_jobs_are_taken_over(toy: Path, compared: tuple[Outcome, Path]) -> None:
    """Run again, the tool calls no script; what says nothing of a figure may differ."""
    scripts = Scripts()
    again = compare(toy, compared[1], scripts=scripts, PRINT_FREQ=7, DATASET__SUB_DIR="dev", SEED=9)
    assert scripts.called == []
    assert again.last_line == compared[0].last_line


def test_what_is_lost_is_made_again(toy: Path, compared: tuple[Outcome, Path], copied: Path) -> None:
    """In a folder that was moved: scores, and half a line."""
    (copied / "evaluations" / "centred-dev-seed1" / "scores.txt").unlink()
    (copied / "finished.jsonl").open("a").write('{"kind": "training", "rec')
    scripts = Scripts()
    again = compare(toy, copied, scripts=scripts)
    assert [words[0] for words in scripts.called] == ["evaluate_verification.py"]
    assert scripts.called[0][-1] == str(copied / "evaluations" / "centred-dev-seed1")
    assert again.last_line == compared[0].last_line


@pytest.mark.parametrize(
    ("arguments", "text", "settings", "called"),
    [
        (("--seeds", 1, 2), OPTIONS, {}, "none-dev-seed2"),
        (("--only", "none", "more"), OPTIONS + "more: {TRAIN.WD: 0.1}\n", {}, "more-dev-seed1"),
        (("--only", "all"), OPTIONS, {}, "aam-dev-seed1"),  # trained as that
        (("--only", "all"), OPTIONS + "more: {TRAIN.WD: 0.1}\n", {}, "all-"),
        (("--without",), OPTIONS, {}, "all-"),
    ],
)
def test_more_is_added(toy: Path, copied: Path, arguments: tuple, text: str, settings: dict, called: str) -> None:
    """Seeds, options, and all of them together: the first script called is of what there is not."""
    scripts = Scripts(status=3)
    outcome = compare(toy, copied, *arguments, text=text, scripts=scripts, **settings)
    assert_refused(outcome, "ended with status 3", "--out")
    assert len(scripts.called) == 1
    assert called in " ".join(scripts.called[0])


def test_baseline(toy: Path, tmp_path: Path) -> None:
    """MODEL.NAME says which network is trained, and by which script."""
    scripts = Scripts(status=3)
    assert_refused(compare(toy, tmp_path / "out", scripts=scripts, MODEL__NAME="resnet18"), "training of none")
    assert [words[0] for words in scripts.called] == ["train_baseline.py"]
    assert "--text_arch" not in scripts.called[0]


# ------------------------------------------------------------------------------------------------------------------
# What is refused
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "text", "settings", "parts"),
    [
        ((), OPTIONS.replace("SMOOTHING: 0", "SMOOTHING: 0.05"), {}, ("training of aam", "--recipes", "--out")),
        ((), OPTIONS, {"TRAIN__LR": 0.002}, ("TRAIN.LR 0.01 (now 0.002)", "--out")),
        ((), OPTIONS, {"EVAL__BACKENDS": "snorm"}, ("EVAL.BACKENDS cosine (now snorm)", "--out")),
        ((), OPTIONS, {"MODEL__NAME": "resnet18"}, ("MODEL.NAME network (now resnet18)", "--out")),
    ],
)
def test_another_recipe_is_refused(
    toy: Path, compared: tuple[Outcome, Path], arguments: tuple, text: str, settings: dict, parts: tuple
) -> None:
    """A name stands for one set of options, over the same settings."""
    scripts = Scripts()
    assert_refused(compare(toy, compared[1], *arguments, text=text, scripts=scripts, **settings), *parts)
    assert scripts.called == []


@pytest.mark.parametrize(
    ("arguments", "text", "settings", "parts"),
    [
        (("--only", "aam", "nobody"), OPTIONS, {}, ("--only: there is no nobody",)),
        ((), "", {}, ("options.yaml holds no option",)),
        ((), OPTIONS, {"MODEL__PRETRAINED": "some/file"}, ("MODEL.PRETRAINED must be empty",)),
        ((), OPTIONS, {"MODEL__NAME": "statistics"}, ("MODEL.NAME must not be statistics",)),
        ((), OPTIONS, {"MODEL__NAME": "supernet"}, ("MODEL.NAME 'supernet'",)),
        (("--genotype", "no/such/file"), OPTIONS, {}, ("no/such/file",)),
        (
            ("--genotype", "exps/genotypes/paper.txt"),
            OPTIONS,
            {"MODEL__NAME": "resnet18"},
            ("--genotype is for the network of a genotype", "resnet18"),
        ),
        (("--only", "a"), "a: {TRAIN.BATCH_SIZE: 1000}", {}, ("options.yaml: a: TRAIN.BATCH_SIZE 1000 is more",)),
        (("--only", "a"), "a: {AUGMENT.NOISE_DIR: no/such}", {}, ("options.yaml: a: ", "no/such")),
        (("--only", "a"), "a: {MODEL.NAME: vggm}", {}, ("a: DATASET.PARTIAL_N_FRAMES must be at least 65",)),
    ],
)
def test_what_cannot_be_trained(
    toy: Path, tmp_path: Path, arguments: tuple, text: str, settings: dict, parts: tuple
) -> None:
    """It is refused before anything is made."""
    out = tmp_path / "out"
    assert_refused(compare(toy, out, *arguments, text=text, **settings), *parts)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--only", "aam", "--without"), "--without"),
        (("--only", "--seeds", 1), "--only"),
        (("--seeds", "one"), "--seeds"),
    ],
)
def test_bad_options(toy: Path, tmp_path: Path, arguments: tuple, part: str) -> None:
    """The option is named."""
    outcome = compare(toy, tmp_path / "out", *arguments)
    assert outcome.status == 2
    assert part in outcome.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_another_corpus_is_refused(toy: Path, tmp_path: Path) -> None:
    """An option that brings other trials along."""
    shutil.copytree(toy, tmp_path / "other", ignore=shutil.ignore_patterns("wav"))
    trials = (toy / "veri_test.txt").read_text().splitlines(keepends=True)
    (tmp_path / "other" / "veri_test.txt").write_text("".join(trials[:-2]))
    text = f"a: {{DATASET.DATA_DIR: {tmp_path / 'other'}}}"
    assert_refused(compare(toy, tmp_path / "out", "--only", "none", "a", text=text), "a is of another corpus")
