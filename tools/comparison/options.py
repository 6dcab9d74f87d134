"""Options of training as a file has them, and the recipes that are made of them: none, each, all, all but one."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from config import all_keys, flatten, override, read_yaml, shown, suggest
from utils.system.cli import KEY
from utils.system.errors import UserError

NONE, ALL, ALL_BUT = "none", "all", "all-but-"
NAME = re.compile(r"\w[\w.-]{0,63}")  # of an option: it is part of the names of files
OPTIONS = "{name: {KEY: VALUE, ...}, ...}"
# Beginnings of keys that no option may set, and why.
FIXED = {
    "SEED": "it is --seeds",
    "OUT_DIR": "it is --out",
    "DATASET.SUB_DIR": "it is dev for all",
    "SEARCH.": "it is of a search",
    "TRAIN.ARCH_": "it is of a search",
    "TRAIN.DROPPATH_PROB": "it is of a search",
}
# Settings that no training looks at, so that trainings that differ in them alone are the same.
OF_EVALUATION = (
    "EVAL.BACKENDS",
    "EVAL.COHORT_TOP_N",
    "EVAL.COHORT_UTTERANCES",
    "EVAL.LDA_DIM",
    "EVAL.LDA_UTTERANCES",
    "EVAL.CALIBRATION",
    "EVAL.BOOTSTRAP",
    "EVAL.KEEP_EMBEDDINGS",
    "EVAL.REPORT",
)
Overrides = dict[str, Any]  # dotted key -> value


@dataclass(frozen=True)
class Recipe:
    """Settings that are compared.

    Attributes:
        name: none, an option's, all, or all-but-NAME.
        overrides: what is set over the settings as they are.
        cfg: the settings.
    """

    name: str
    overrides: Overrides
    cfg: CfgNode

    @cached_property
    def origin(self) -> str:
        """The overrides as text, the same for the same settings."""
        settings = flatten(self.cfg)
        return json.dumps({key: settings[key] for key in sorted(self.overrides)})

    @cached_property
    def job_name(self) -> str:
        """What its jobs are called: of options together with a hash of them, since `all` is another with one more."""
        is_of_many = self.name == ALL or self.name.startswith(ALL_BUT)
        return f"{self.name}-{hashlib.sha256(self.origin.encode()).hexdigest()[:8]}" if is_of_many else self.name

    @cached_property
    def training(self) -> dict[str, object]:
        """The settings that its training looks at."""
        return {key: value for key, value in flatten(self.cfg).items() if key not in OF_EVALUATION}


def read_options(file: Path) -> dict[str, Overrides]:
    """The options of a file: by name, dotted keys and values.

    Raises:
        UserError: it cannot be read; a name that is taken or no part of a file's name; an option that sets nothing, or
            what is the same for all.
    """
    options = {}
    for name, tree in read_yaml(file, OPTIONS).items():
        if not (isinstance(name, str) and NAME.fullmatch(name)) or KEY.fullmatch(name):
            raise UserError(
                f"{file}: {shown(name)} is no name of an option: name it with letters, not all of them capitals as in "
                f"settings, digits, _, . and -, as in {OPTIONS}"
            )
        if name in (NONE, ALL) or name.startswith(f"{ALL}-"):
            raise UserError(f"{file}: the name {name} is taken: give the option another")
        if not (isinstance(tree, dict) and flatten(tree)):
            raise UserError(f"{file}: {name} must set something, as in {OPTIONS}, not {shown(tree)}")
        options[name] = flatten(tree)
        for key in options[name]:
            if reason := next((FIXED[start] for start in FIXED if key.startswith(start)), None):
                raise UserError(f"{file}: {name} must not set {key}: {reason}")
    if not options:
        raise UserError(f"{file} holds no option: needed are options as YAML, {OPTIONS}")
    return options


def choose_names(
    options: Mapping[str, Overrides], only: Sequence[str] = (), without: bool = False, alone: bool = False
) -> list[str]:
    """The names of the recipes to compare, in the order of the table.

    Args:
        only: these alone; none for all of them.
        without: all-but-NAME are among all of them.
        alone: `all` is not.

    Raises:
        UserError: one of `only` that there is not.
    """
    many = len(options) > 1
    left_out = [f"{ALL_BUT}{name}" for name in options] if many else []
    names = [NONE, *options, *([ALL] if many else [])]
    valid = names + left_out
    if unknown := [name for name in only if name not in valid]:
        guess = suggest(unknown[0], valid)
        raise UserError(f"--only: there is no {shown(unknown[0])}; {guess}valid are {', '.join(valid)}")
    if only:
        return [name for name in valid if name in only]
    return [name for name in names if not (alone and name == ALL)] + left_out * without


def options_of(name: str, options: Mapping[str, Overrides]) -> list[str]:
    """The options that a recipe is made of."""
    if name == ALL or name.startswith(ALL_BUT):
        return [option for option in options if option != name.removeprefix(ALL_BUT)]
    return [name] if name in options else []


def overrides_of(name: str, options: Mapping[str, Overrides]) -> Overrides:
    """What a recipe sets; where several of its options set one key, the last one's value."""
    return {key: value for option in options_of(name, options) for key, value in options[option].items()}


def describe_clashes(options: Mapping[str, Overrides], names: Sequence[str]) -> list[str]:
    """A line for each of `names` with options together that set one key otherwise: of whose value is taken."""
    lines = []
    for recipe in (name for name in names if name not in (NONE, *options)):
        used, clashes = options_of(recipe, options), []
        for key in dict.fromkeys(key for name in used for key in options[name]):
            *others, last = [name for name in used if key in options[name]]
            value = options[last][key]
            if against := [name for name in others if repr(options[name][key]) != repr(value)]:
                clashes.append(f"{key} {value} of {last} (not of {', '.join(against)})")
        if clashes:
            lines.append(f"{recipe}: of options that set one key, the last counts: {'; '.join(clashes)}")
    return lines


def make_recipes(cfg: CfgNode, file: Path, options: Mapping[str, Overrides], names: Sequence[str]) -> dict[str, Recipe]:
    """The settings as they are and with every option that they take, and those of `names`, in the order of the table.

    Raises:
        UserError: an option's settings are refused, or are those of another.
    """
    recipes: dict[str, Recipe] = {}
    for name in dict.fromkeys((NONE, *options, *names)):
        overrides = overrides_of(name, options)
        try:
            own = override(cfg, [word for pair in overrides.items() for word in pair])
        except UserError as error:
            if name not in names:
                continue  # nobody asks for it with these settings
            raise UserError(f"{file}: {name}: {error}{remedy(name)}") from error
        recipe = Recipe(name, {key: overrides[key] for key in overrides if key in all_keys()}, own)
        same = [other for other in recipes if flatten(recipes[other].cfg) == flatten(own)] if name in options else []
        if same and name in names:
            why = "it changes nothing in those of --cfg" if same[0] == NONE else "take one of them out"
            raise UserError(f"{file}: {name} has the settings of {same[0]}: {why}")
        if not same:
            recipes[name] = recipe
    return recipes


def remedy(name: str) -> str:
    """How to go on where a recipe will not do."""
    return "; leave it out: name the others after --only" if name == ALL or name.startswith(ALL_BUT) else ""
