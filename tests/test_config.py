"""Settings: the original's keys, the shipped files, what overrides what, and what is refused."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from config import CHOICES, RANGES, all_keys, default_config, doubtful_settings, flatten, load_config, override
from tests.helpers import ROOT
from utils.system.errors import UserError

OPTIONS = ROOT / "exps/options"  # no settings, but options of them: see tests/tools/comparison/test_options.py
SHIPPED = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("exps/**/*.yaml") if path.parent != OPTIONS)
# Every key that the original's YAML files set, with another value than ours by default.
ORIGINAL = """
PRINT_FREQ: 100
VAL_FREQ: 5
SEED: 4
CUDNN: {BENCHMARK: false, DETERMINISTIC: true, ENABLED: false}
MODEL: {NAME: foo, NUM_CLASSES: 1251, LAYERS: 9, INIT_CHANNELS: 32, DROP_PATH_PROB: 0.1, PRETRAINED: weights.pt}
DATASET: {DATA_DIR: /data/VoxCeleb1, SUB_DIR: dev, NUM_WORKERS: 8, PARTIAL_N_FRAMES: 200}
TRAIN:
  BATCH_SIZE: 48
  LR: 0.02
  LR_MIN: 0.002
  WD: 3.0e-4
  BETA1: 0.8
  BETA2: 0.99
  ARCH_LR: 0.002
  ARCH_WD: 0.002
  ARCH_BETA1: 0.9
  ARCH_BETA2: 0.99
  DROPPATH_PROB: 0.3
  BEGIN_EPOCH: 1
  END_EPOCH: 50
"""


def write(folder: Path, content: str) -> Path:
    """A YAML file."""
    path = folder / "settings.yaml"
    path.write_text(content, encoding="utf-8")
    return path


def get(cfg, key: str) -> object:
    """The value of a dotted key."""
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def leaves(tree: dict, prefix: str = "") -> dict[str, object]:
    """Dotted keys and their values."""
    flat = {}
    for key, value in tree.items():
        flat |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


# ------------------------------------------------------------------------------------------------------------------
# What is taken
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("key", "value"), leaves(yaml.safe_load(ORIGINAL)).items())
def test_keys_of_the_original(tmp_path: Path, key: str, value: object) -> None:
    """Its YAML files load, and every key is taken."""
    assert get(default_config(), key) != value
    assert get(load_config(write(tmp_path, ORIGINAL)), key) == value


def test_pretrained_may_be_false(tmp_path: Path) -> None:
    """The original's YAML files say so; it means from scratch."""
    assert load_config(write(tmp_path, "MODEL: {PRETRAINED: False}")).MODEL.PRETRAINED == ""


def test_choices_that_are_truth_values_to_yaml(tmp_path: Path) -> None:
    """on and off, in a file as on a command line; and auto, where True and False are the others."""
    for word in ("on", "off", "auto"):
        for cfg in (
            load_config(write(tmp_path, f"DEVICE_TUNING: {word}")),
            load_config(write(tmp_path, ""), ["DEVICE_TUNING", word]),
        ):
            assert word == cfg.DEVICE_TUNING
    for word, value in (("True", True), ("false", False), ("auto", "auto")):
        cfg = load_config(write(tmp_path, f"TRAIN: {{COMPILE: {word}}}"))
        assert value == cfg.TRAIN.COMPILE
        assert value == load_config(write(tmp_path, cfg.dump())).TRAIN.COMPILE
        assert value == load_config(write(tmp_path, "TRAIN: {COMPILE: auto}"), ["TRAIN.COMPILE", word]).TRAIN.COMPILE


@pytest.mark.parametrize("file", SHIPPED)
def test_shipped_settings(file: str) -> None:
    """Every file under exps/ loads, and has the values it states."""
    cfg = load_config(ROOT / file)
    for key, value in leaves(yaml.safe_load((ROOT / file).read_text())).items():
        assert get(cfg, key) == value


def test_there_are_shipped_settings() -> None:
    """Those that the commands of the authors' README name, among others."""
    named = {"exps/search.yaml", "exps/scratch/scratch.yaml", "exps/baseline/resnet18.yaml"}
    assert named <= set(SHIPPED)


def test_large_search_is_the_papers_but_for_its_batches() -> None:
    """And for what goes with them."""
    paper, large = (flatten(load_config(ROOT / f"exps/{name}.yaml")) for name in ("search", "search_large"))
    differing = {key for key in paper if paper[key] != large[key]}
    assert differing == {"TRAIN.BATCH_SIZE", "TRAIN.ARCH_LR", "TRAIN.PRECISION", "DATASET.NUM_WORKERS"}


def test_large_margin_goes_on_with_what_scratch_modern_trains() -> None:
    """The same network, trained otherwise."""
    first, second = (
        flatten(load_config(ROOT / f"exps/scratch/{name}.yaml")) for name in ("scratch_modern", "large_margin")
    )
    differing = {key for key in first if first[key] != second[key]}
    how = {"MARGIN", "MARGIN_WARMUP", "BATCH_SIZE", "ACCUMULATE", "LR", "LR_MIN", "END_EPOCH"}
    others = {"MODEL.PRETRAINED", "DATASET.PARTIAL_N_FRAMES", "AUGMENT.SPEED"}
    assert differing == others | {f"TRAIN.{name}" for name in how}
    assert second["TRAIN.BATCH_SIZE"] * second["TRAIN.ACCUMULATE"] == first["TRAIN.BATCH_SIZE"]


def test_options_override_the_file_and_the_file_the_defaults(tmp_path: Path) -> None:
    """In this order."""
    path = write(tmp_path, "TRAIN: {LR: 0.5, WD: 0.25}")
    cfg = load_config(path, ["TRAIN.LR", "0.125", "TRAIN.LR", "0.0625", "OUT_DIR", "elsewhere"])
    assert (cfg.TRAIN.LR, cfg.TRAIN.WD, cfg.TRAIN.LR_MIN) == (0.0625, 0.25, default_config().TRAIN.LR_MIN)
    assert cfg.OUT_DIR == "elsewhere"


def test_empty_file(tmp_path: Path) -> None:
    """All defaults."""
    assert load_config(write(tmp_path, "# nothing\n")) == default_config()


@pytest.mark.parametrize("number", ["3e-4", "3.0e-4", "'3e-4'", "0.0003"])
def test_numbers_as_text(tmp_path: Path, number: str) -> None:
    """YAML takes 3e-4 for text; a user does not."""
    assert load_config(write(tmp_path, f"TRAIN: {{WD: {number}}}")).TRAIN.WD == 3e-4


def test_types_stay(tmp_path: Path) -> None:
    """A whole number given for a real one becomes one; text on the command line becomes what it should be."""
    cfg = load_config(write(tmp_path, "TRAIN: {LR: 1}"), ["SEED", "5", "CUDNN.ENABLED", "false"])
    assert (type(cfg.TRAIN.LR), type(cfg.SEED), cfg.CUDNN.ENABLED) == (float, int, False)


def test_settings_are_frozen(tmp_path: Path) -> None:
    """Nothing changes them behind the back of what was saved."""
    cfg = load_config(write(tmp_path, ""))
    with pytest.raises(AttributeError):
        cfg.TRAIN.LR = 1.0
    assert load_config(write(tmp_path, "")).TRAIN.LR == default_config().TRAIN.LR


def test_saved_settings_load_again(tmp_path: Path) -> None:
    """config.yaml of a run folder is this text."""
    cfg = load_config(write(tmp_path, ORIGINAL))
    assert load_config(write(tmp_path, cfg.dump())) == cfg


# ------------------------------------------------------------------------------------------------------------------
# What is refused
# ------------------------------------------------------------------------------------------------------------------
REFUSED = {
    "unknown key": ("TRAIN: {LEARNING_RATE: 1}", ["TRAIN.LEARNING_RATE", "TRAIN.LR", "TRAIN.BATCH_SIZE"]),
    "misspelt key": ("TRAIN: {BATCHSIZE: 1}", ["TRAIN.BATCHSIZE", "did you mean TRAIN.BATCH_SIZE?"]),
    "lower case": ("train: {lr: 1}", ["train.lr", "did you mean TRAIN.LR?"]),
    "unknown section": ("OPTIMISER: {LR: 1}", ["OPTIMISER.LR", "TRAIN"]),
    "value for a section": ("TRAIN: 5", ["TRAIN"]),
    "section for a value": ("SEED: {A: 1}", ["SEED.A"]),
    "no value": ("SEED:", ["SEED", "no value"]),
    "text for a number": ("TRAIN: {LR: fast}", ["TRAIN.LR", "a number", "'fast'"]),
    "fraction for a whole number": ("SEED: 1.5", ["SEED", "a whole number", "1.5"]),
    "truth for a number": ("SEED: true", ["SEED", "a whole number", "True"]),
    "number for a truth": ("CUDNN: {ENABLED: 1}", ["CUDNN.ENABLED", "True or False", "1"]),
    "neither truth nor auto": ("TRAIN: {COMPILE: 1}", ["TRAIN.COMPILE", "one of True, False, auto", "1"]),
    "list for text": ("OUT_DIR: [a]", ["OUT_DIR", "text"]),
    "not among the choices": ("DEVICE: gpu", ["DEVICE", "auto, cpu, cuda", "'gpu'"]),
    "no way to hold out": ("DATASET: {VAL_CHOICE: easy}", ["DATASET.VAL_CHOICE", "random, hard", "'easy'"]),
    "less than no epoch": ("TRAIN: {KEEP_EPOCHS: -1}", ["TRAIN.KEEP_EPOCHS", "at least 0", "-1"]),
    "too small": ("TRAIN: {BATCH_SIZE: 0}", ["TRAIN.BATCH_SIZE", "at least 1", "0"]),
    "too large": ("TRAIN: {DROPPATH_PROB: 1.5}", ["TRAIN.DROPPATH_PROB", "from 0 to 0.99", "1.5"]),
    "not a number": ("TRAIN: {LR: .nan}", ["TRAIN.LR", "at least 0", "nan"]),
    "infinite": ("TRAIN: {LR: .inf}", ["TRAIN.LR", "inf"]),
    "no mapping": ("- SEED", ["KEY: VALUE", "['SEED']"]),
    "no YAML": ("SEED: [1", ["not YAML"]),
    "a day that there is not": ("OUT_DIR: 2020-13-45", ["not YAML", "month"]),
    "too many digits": (f"SEED: {'1' * 5000}", ["not YAML"]),
    "nested too deeply": ("[" * 3000, ["not YAML"]),
}


@pytest.mark.parametrize(("content", "parts"), REFUSED.values(), ids=REFUSED)
def test_refused_file(tmp_path: Path, content: str, parts: list[str]) -> None:
    """One line that names the file, the key and what is valid."""
    path = write(tmp_path, content)
    with pytest.raises(UserError) as raised:
        load_config(path)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    for part in (str(path), *parts):
        assert part in message


def test_refused_option(tmp_path: Path) -> None:
    """An option is named as one; a key without a value too."""
    path = write(tmp_path, "")
    with pytest.raises(UserError, match=r"^option: TRAIN\.LR must be a number, not 'fast'$"):
        load_config(path, ["TRAIN.LR", "fast"])
    with pytest.raises(UserError, match=r"'TRAIN\.WD' has no value"):
        load_config(path, ["TRAIN.LR", "1", "TRAIN.WD"])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            ["FRONTEND.BANDS", "40"],
            r"^FRONTEND\.BANDS 40 is for FRONTEND\.FEATURE log_mel, not for magnitude: set that",
        ),
        (["FRONTEND.FEATURE", "log_mel", "FRONTEND.BANDS", "121"], r"FRONTEND\.BANDS must be from 20 to 120, not 121"),
        (["FRONTEND.NORM", "none"], r"FRONTEND\.NORM must be one of corpus, utterance_mean, utterance_mean_deviation"),
    ],
)
def test_front_end_that_there_is_not(tmp_path: Path, options: list[str], complaint: str) -> None:
    """One line; bands are of mel bands alone."""
    with pytest.raises(UserError, match=complaint) as raised:
        load_config(write(tmp_path, ""), options)
    assert "\n" not in str(raised.value)


def test_missing_file(tmp_path: Path) -> None:
    """Named, with the place of the shipped ones."""
    with pytest.raises(UserError, match=r"no such config file: .*missing\.yaml.*exps"):
        load_config(tmp_path / "missing.yaml")


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    """It is there, so it is not called missing."""
    with pytest.raises(UserError, match=rf"^{tmp_path} is a folder; needed are settings as YAML, .*exps"):
        load_config(tmp_path)


def test_settings_that_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As some editors write them: it is no part of the first key."""
    path = tmp_path / "settings.yaml"
    path.write_text("SEED: 7\n", encoding="utf-8-sig")
    assert load_config(path).SEED == 7


def test_epochs_that_end_before_they_begin(tmp_path: Path) -> None:
    """Both values."""
    with pytest.raises(UserError, match=r"BEGIN_EPOCH 301 must be less than TRAIN\.END_EPOCH 301"):
        load_config(write(tmp_path, ""), ["TRAIN.BEGIN_EPOCH", "301"])
    for begin, stop in (("0", "302"), ("9", "9")):
        with pytest.raises(UserError, match=rf"STOP_EPOCH must be 0, or more than .* {begin} and at most .* 301"):
            load_config(write(tmp_path, ""), ["TRAIN.BEGIN_EPOCH", begin, "TRAIN.STOP_EPOCH", stop])


def test_hard_choice_of_nobody(tmp_path: Path) -> None:
    """How speakers are held out says nothing where none are."""
    with pytest.raises(
        UserError, match=r"^DATASET\.VAL_CHOICE hard says .*: set DATASET\.VAL_SPEAKERS to more than 0$"
    ):
        load_config(write(tmp_path, "DATASET: {VAL_CHOICE: hard, VAL_SPEAKERS: 0}"))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("TRAIN.SUBCENTERS 3", r"TRAIN\.SUBCENTERS 3 is for TRAIN\.LOSS aam: set that, or leave SUBCENTERS at 1"),
        ("TRAIN.TOP_K 5", r"TRAIN\.TOP_K 5 is for TRAIN\.LOSS aam"),
        ("TRAIN.MARGIN_WARMUP 5", r"TRAIN\.MARGIN_WARMUP 5 is for TRAIN\.LOSS aam"),
        ("TRAIN.LOSS aam TRAIN.TOP_K_MARGIN 0.1", r"TRAIN\.TOP_K_MARGIN 0\.1 says nothing: set TRAIN\.TOP_K, too"),
        ("TRAIN.OPTIMIZER adamw TRAIN.MOMENTUM 0.8", r"TRAIN\.MOMENTUM 0\.8 is for TRAIN\.OPTIMIZER sgd"),
        ("TRAIN.OPTIMIZER sgd TRAIN.BETA2 0.99", r"TRAIN\.BETA2 0\.99 is Adam's: leave it at 0\.999 for OPTIMIZER sgd"),
        ("TRAIN.BEGIN_EPOCH 291 TRAIN.LR_WARMUP 10", r"TRAIN\.LR_WARMUP 10 must be less than the 10 epochs"),
        ("TRAIN.LOSS aam TRAIN.MARGIN_WARMUP 301", r"TRAIN\.MARGIN_WARMUP 301 must be less than the 301 epochs"),
        ("TRAIN.OPTIMIZER lamb", r"TRAIN\.OPTIMIZER must be one of adam, adamw, sgd, not 'lamb'"),
        ("DATASET.SAMPLING fair", r"DATASET\.SAMPLING must be one of natural, balanced, not 'fair'"),
        ("TRAIN.EMA 1", r"TRAIN\.EMA must be from 0 to 0\.999999, not 1\.0"),
        ("TRAIN.ACCUMULATE 0", r"TRAIN\.ACCUMULATE must be at least 1, not 0"),
    ],
)
def test_options_of_training_that_do_not_go_together(tmp_path: Path, options: str, complaint: str) -> None:
    """One line with the remedy."""
    with pytest.raises(UserError, match=complaint) as raised:
        load_config(write(tmp_path, ""), options.split())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("TRAIN.MARGIN 0.3", "TRAIN.MARGIN 0.3 says nothing"),
        ("TRAIN.SCALE 20 TRAIN.LOSS aam TRAIN.LABEL_SMOOTHING 0.1", "TRAIN.LABEL_SMOOTHING 0.1 takes from the margin"),
        ("TRAIN.LR 0.0001", "TRAIN.LR_MIN 0.001 is more than TRAIN.LR 0.0001"),
        ("AUGMENT.PROBABILITY 0.3 AUGMENT.TIME_MASKS 2", "AUGMENT.PROBABILITY 0.3 says nothing"),
        ("AUGMENT.SNR_MIN 5 AUGMENT.SPEED 0.9", "AUGMENT.SNR_MIN 5.0 says nothing"),
    ],
)
def test_settings_to_be_warned_of(options: str, complaint: str) -> None:
    """A line for each, and none where they mean something."""
    (line,) = doubtful_settings(override(default_config(), options.split()))
    assert line.startswith(complaint)


@pytest.mark.parametrize("file", ["", *SHIPPED])
def test_nothing_to_be_warned_of_is_shipped(file: str) -> None:
    """Neither the defaults nor what is in exps/."""
    assert doubtful_settings(load_config(ROOT / file) if file else default_config()) == []


def test_augmentation_that_means_something() -> None:
    """The level of noise, where there is some; the probability of whatever has none of its own."""
    for options in ("NOISE_DIR here AUGMENT.SNR_MAX 10", "EQ_DB 6", "GAIN_DB 6", "RIR_DIR here", "SPEED 0.9"):
        settings = f"AUGMENT.PROBABILITY 0.3 AUGMENT.{options}"
        assert doubtful_settings(override(default_config(), settings.split())) == []


@given(st.binary(max_size=60))
def test_garbage_raises_nothing_but_user_errors(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever the file holds."""
    path = tmp_path_factory.getbasetemp() / "settings.yaml"
    path.write_bytes(content)
    try:
        load_config(path)
    except UserError as error:
        assert len(str(error).splitlines()) == 1


def test_every_number_has_a_range_and_all_defaults_lie_in_theirs() -> None:
    """A key that is added without one would take any number."""
    cfg = default_config()
    numbers = {key for key in all_keys() if type(get(cfg, key)) in (int, float)}
    assert numbers == set(RANGES)
    assert set(CHOICES) <= set(all_keys())
    for key, (least, greatest) in RANGES.items():
        assert least <= get(cfg, key) <= (greatest or float("inf"))


@pytest.mark.parametrize(
    "content",
    [
        "SEED: 2024-02-30",
        "SEED: " + "9" * 5000,
        "[" * 3000,
        "SEED: !!float x",
        "SEED: !!timestamp x",
        "- " + "x" * 9999,
    ],
)
def test_what_yaml_itself_stumbles_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "broken.yaml").write_text(content)
    with pytest.raises(UserError) as caught:
        load_config(tmp_path / "broken.yaml")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "options", [["x\ny\x1b[31m", "1"], ["SEED", "9" * 20_000], ["SEED", "9" * 400], ["z" * 20_000], ["SEED", "x\u2028"]]
)
def test_a_refusal_is_one_short_line(options: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load_config(ROOT / "exps/mini/scratch.yaml", options)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


# ------------------------------------------------------------------------------------------------------------------
# Files as people have them
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("TRAIN:\n  LR: 1\nMODEL: {LAYERS: 4}\nTRAIN:\n  WD: 0\n", "TRAIN stands in line 1 and in line 4"),
        ("TRAIN:\n  LR: 1\n  WD: 0\n  LR: 2\n", "LR stands in line 2 and in line 4"),
        ("TRAIN: {LR: 1, LR: 1}\n", "LR stands in line 1 and in line 1"),
    ],
)
def test_key_that_stands_twice(tmp_path: Path, text: str, complaint: str) -> None:
    """YAML's readers take the last of them, and the rest of a section is gone without a word."""
    with pytest.raises(UserError, match=rf"settings.yaml: {complaint}: which of both is meant") as caught:
        load_config(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_key_with_dots_and_in_its_section(tmp_path: Path) -> None:
    """Is one key that stands twice."""
    (tmp_path / "twice.yaml").write_text("TRAIN.LR: 1\nTRAIN: {LR: 2}\n")
    with pytest.raises(UserError, match=r"TRAIN\.LR stands there with dots and in its section: which is meant\?"):
        load_config(tmp_path / "twice.yaml")


def test_same_key_in_two_sections(tmp_path: Path) -> None:
    """That is none twice; nor what is taken over by an anchor and changed."""
    text = "a: &a {LR: 1}\nb: {<<: *a, LR: 2}\n"
    with pytest.raises(UserError, match=r"unknown key a\.LR"):
        load_config(write(tmp_path, text))
    assert load_config(write(tmp_path, "MODEL: {LAYERS: 4}\nDATASET: {DATA_DIR: x}\n")).MODEL.LAYERS == 4


def test_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """~ in a path setting, in a file or behind the options, and in the file's own name; of nobody else's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "DATASET: {DATA_DIR: ~/speech}\nOUT_DIR: '~'\n")
    cfg = load_config("~/settings.yaml", ["MODEL.PRETRAINED", "~/best.pt"])
    assert str(tmp_path / "speech") == cfg.DATASET.DATA_DIR
    assert str(tmp_path) == cfg.OUT_DIR
    assert str(tmp_path / "best.pt") == cfg.MODEL.PRETRAINED
    assert load_config("~/settings.yaml", ["OUT_DIR", "a~b/~"]).OUT_DIR == "a~b/~"
    with pytest.raises(UserError, match=r"option: OUT_DIR: ~nobody_at_all/x begins with the home folder of a user"):
        load_config("~/settings.yaml", ["OUT_DIR", "~nobody_at_all/x"])


def test_keys_of_the_original_that_say_nothing_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its YAML files load; what is not used is said."""
    text = "DATASET: {TEST_DATA_DIR: /data/VoxCeleb1, TEST_DATASET: veri_test, SUB_DIR: dev}\n"
    assert load_config(write(tmp_path, text)).DATASET.SUB_DIR == "dev"
    said = capsys.readouterr().err
    assert "WARNING: " in said
    assert "DATASET.TEST_DATA_DIR is the original's, and not used: DATASET.DATA_DIR holds" in said
    assert "DATASET.TEST_DATASET is the original's, and not used: trials are those of --trials" in said
