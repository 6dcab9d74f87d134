"""Options of training and the recipes made of them: which there are, what each sets, and what is refused."""

from pathlib import Path

import pytest

from config import flatten, load_config, override
from models import DERIVED, build_baseline, build_network, network_kind
from models.genotypes import PAPER_GENOTYPE
from tests.helpers import MODERN, ROOT, SCRATCH
from tools.comparison.options import choose_names, describe_clashes, make_recipes, overrides_of, read_options
from utils.system.errors import UserError

OPTIONS = {"a": {"TRAIN.LR": 0.1, "TRAIN.WD": 0.5}, "b": {"TRAIN.LR": 0.2}, "c": {"EVAL.BACKENDS": "snorm"}}
FILE = Path("options.yaml")


def written(folder: Path, text: str) -> Path:
    """A file of options."""
    path = folder / "options.yaml"
    path.write_text(text)
    return path


def test_names_of_recipes() -> None:
    """In the order of the table, whatever the order of --only; one option has nothing to be together with."""
    assert choose_names(OPTIONS, [], False) == ["none", "a", "b", "c", "all"]
    left_out = ["all-but-a", "all-but-b", "all-but-c"]
    assert choose_names(OPTIONS, [], True) == ["none", "a", "b", "c", "all", *left_out]
    assert choose_names(OPTIONS, ["all-but-b", "c", "none"], False) == ["none", "c", "all-but-b"]
    assert choose_names(OPTIONS, alone=True) == ["none", "a", "b", "c"]
    assert choose_names({"a": {}}, [], True) == ["none", "a"]
    with pytest.raises(UserError, match=r"^--only: there is no d; valid are none, a, b, c, all, all-but-a, "):
        choose_names(OPTIONS, ["a", "d"], False)
    with pytest.raises(UserError, match=r"there is no nine; did you mean none\? valid"):
        choose_names(OPTIONS, ["nine"])


def test_what_recipes_set() -> None:
    """The last option counts, and what of it is taken is said in one line."""
    assert overrides_of("none", OPTIONS) == {}
    assert overrides_of("b", OPTIONS) == OPTIONS["b"]
    assert overrides_of("all", OPTIONS) == {"TRAIN.LR": 0.2, "TRAIN.WD": 0.5, "EVAL.BACKENDS": "snorm"}
    assert overrides_of("all-but-b", OPTIONS) == OPTIONS["a"] | OPTIONS["c"]
    (line,) = describe_clashes(OPTIONS, ["none", "all"])
    assert "TRAIN.LR 0.2 of b (not of a)" in line
    assert "TRAIN.WD" not in line
    assert describe_clashes({"a": {"TRAIN.LR": 0.1}, "b": {"TRAIN.LR": 0.1, "TRAIN.WD": 1}}, ["all"]) == []
    assert describe_clashes(OPTIONS, ["none", *OPTIONS]) == []  # none of them together
    assert describe_clashes(OPTIONS, ["all-but-a", "all-but-b"]) == []  # one of both is left out
    assert [line.split(":")[0] for line in describe_clashes(OPTIONS, ["all", "all-but-c"])] == ["all", "all-but-c"]


def test_settings_of_recipes(tmp_path: Path) -> None:
    """Dotted and nested keys, over the settings, which stay as they are; what all are together has its own name."""
    file = written(tmp_path, "a: {TRAIN.LR: 1.e-1}\nb: {TRAIN: {WD: 1e-3}, EVAL: {BACKENDS: snorm}}\n")
    cfg = load_config(ROOT / SCRATCH)
    options = read_options(file)
    recipes = make_recipes(cfg, file, options, choose_names(options, [], True))
    values = {name: (own.cfg.TRAIN.LR, own.cfg.TRAIN.WD, own.cfg.EVAL.BACKENDS) for name, own in recipes.items()}
    assert values == {
        "none": (0.01, 0.0, "cosine"),
        "a": (0.1, 0.0, "cosine"),
        "b": (0.01, 0.001, "snorm"),
        "all": (0.1, 0.001, "snorm"),
        "all-but-a": (0.01, 0.001, "snorm"),
        "all-but-b": (0.1, 0.0, "cosine"),
    }
    assert recipes["b"].origin == '{"EVAL.BACKENDS": "snorm", "TRAIN.WD": 0.001}'
    assert recipes["a"].job_name == "a"
    fewer = make_recipes(cfg, file, {"a": options["a"]}, ["all"])  # when there was no b yet
    assert recipes["all"].job_name.startswith("all-")
    assert recipes["all"].job_name != fewer["all"].job_name
    assert override(cfg, ["EVAL.BACKENDS", "snorm", "TRAIN.WD", 0.001]) == recipes["b"].cfg


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("holds no option",)),
        ("[1, 2]", ("KEY: VALUE",)),
        ("a: {TRAIN.LR: 1}\na: {TRAIN.LR: 2}", ("a stands in line 1 and in line 2",)),
        ("none: {TRAIN.LR: 1}", ("the name none is taken",)),
        ("all-but-x: {TRAIN.LR: 1}", ("the name all-but-x is taken",)),
        ("a/b: {TRAIN.LR: 1}", ("a/b is no name",)),
        ("on: {TRAIN.LR: 1}", ("True is no name",)),
        ("TRAIN: {LR: 1}", ("TRAIN is no name",)),
        ("a:", ("a must set something", "None")),
        ("a: 3", ("a must set something", "3")),
        ("a: {TRAIN: {}}", ("a must set something",)),
        ("a: {SEED: 3}", ("a must not set SEED", "--seeds")),
        ("a: {DATASET: {SUB_DIR: dev}}", ("a must not set DATASET.SUB_DIR", "dev")),
        ("a: {SEARCH.SPACE: s3}", ("a must not set SEARCH.SPACE", "search")),
        ("a: {TRAIN.LOS: aam}", ("a: ", "unknown key TRAIN.LOS", "did you mean TRAIN.LOSS?")),
        ("a: {TRAIN.LOSS: arc}", ("a: ", "TRAIN.LOSS must be one of softmax, aam, not 'arc'")),
        ("a: {EVAL.BACKENDS: [snorm]}", ("a: ", "EVAL.BACKENDS must be text")),
        ("a: {AUGMENT.SNR_MIN: 20}", ("a: ", "AUGMENT.SNR_MIN 20.0 must not be more than")),
        ("a: {TRAIN.LR: 0.01}", ("a has the settings of none",)),
        ("a: {TRAIN.LR: 1}\nb: {TRAIN.LR: 1.0}", ("b has the settings of a",)),
        (
            "a: {AUGMENT: {SNR_MIN: 20, SNR_MAX: 20}}\nb: {AUGMENT.SNR_MAX: 10}",
            ("all: ", "AUGMENT.SNR_MIN", "--only"),
        ),
    ],
)
def test_options_that_will_not_do(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    """One line names the file, the option and the remedy."""
    file = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        options = read_options(file)
        make_recipes(load_config(ROOT / SCRATCH), file, options, choose_names(options, [], False))
    assert str(caught.value).startswith(str(file))
    assert all(part in str(caught.value) for part in parts), caught.value
    assert "\n" not in str(caught.value)


def test_option_that_changes_nothing(tmp_path: Path) -> None:
    """Where it is not asked for, it is none of the recipes."""
    file = written(tmp_path, "a: {TRAIN.LR: 0.01}\nb: {TRAIN.LR: 0.02}\n")
    cfg, options = load_config(ROOT / SCRATCH), read_options(file)
    assert list(make_recipes(cfg, file, options, ["none", "b"])) == ["none", "b"]
    with pytest.raises(UserError, match=r"a has the settings of none: it changes nothing in those of --cfg$"):
        make_recipes(cfg, file, options, ["a"])


def test_options_that_nobody_asks_for(tmp_path: Path) -> None:
    """One that does not go with the settings is refused where it is to be compared, alone or among all."""
    file = written(tmp_path, "a: {TRAIN.LR: 0.1}\nb: {TRAIN.LR_WARMUP: 60}\n")
    options = read_options(file)
    assert set(make_recipes(load_config(ROOT / SCRATCH), file, options, ["none", "a"])) == {"none", "a"}
    for names in (["b"], ["none", "all"]):
        with pytest.raises(UserError, match=r"TRAIN\.LR_WARMUP 60"):
            make_recipes(load_config(ROOT / SCRATCH), file, options, names)


@pytest.mark.parametrize("name", ["parts", "less", "more", "sizes"])
def test_shipped_options(name: str) -> None:
    """Each can be set over the settings that it is for, alone and with all others, for the network of a genotype."""
    file, config = ROOT / f"exps/options/{name}.yaml", SCRATCH if name == "parts" else MODERN
    options = read_options(file)
    recipes = make_recipes(load_config(ROOT / config), file, options, choose_names(options, [], True))
    assert len(recipes) == 2 * len(options) + 2
    for recipe in recipes.values():
        if network_kind(recipe.cfg) == DERIVED:
            build_network(recipe.cfg, PAPER_GENOTYPE, 5)
        else:
            build_baseline(recipe.cfg, 5)


@pytest.mark.parametrize(("name", "config", "other"), [("parts", SCRATCH, MODERN), ("less", MODERN, SCRATCH)])
def test_parts_are_all_of_the_modern_recipe(name: str, config: str, other: str) -> None:
    """All that one has and the other has not, but for its length, whom it trains on, and margins without a margin."""
    file = ROOT / f"exps/options/{name}.yaml"
    recipe = make_recipes(load_config(ROOT / config), file, read_options(file), ["none", "all"])["all"]
    made, wanted = flatten(recipe.cfg), flatten(load_config(ROOT / other))
    unused = {"TRAIN.MARGIN", "TRAIN.SCALE"} if wanted["TRAIN.LOSS"] == "softmax" else set()
    assert {key for key in made if made[key] != wanted[key]} == {"TRAIN.END_EPOCH", "DATASET.SUB_DIR"} | unused
