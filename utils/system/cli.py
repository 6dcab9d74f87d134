"""The command line that the scripts with a config share, to be read with `parse_intermixed_args`; kinds of options."""

import argparse
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from utils.system.errors import UserError
from utils.system.files import expand_user

T = TypeVar("T")

KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*")  # how a setting is called


def config_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of `--cfg FILE [KEY VALUE ...]`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", required=True, metavar="YAML", help="settings over the defaults in config.py")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="settings over those, such as TRAIN.LR 0.001")
    return parser


def training_parser(description: str | None) -> argparse.ArgumentParser:
    """The same for a script whose runs can be gone on with."""
    parser = config_parser(description)
    parser.add_argument("--load_path", metavar="PATH", help="folder of a run to go on with")
    return parser


def evaluation_parser(description: str | None) -> argparse.ArgumentParser:
    """The same for a script that evaluates a trained network."""
    parser = config_parser(description)
    model = "trained model: a run folder or a checkpoint"
    parser.add_argument("--load_path", required=True, metavar="PATH", help=model)
    parser.add_argument("--text_arch", metavar="GENOTYPE", help="make sure that the network is this genotype's")
    parser.add_argument(
        "--allow_index_change", action="store_true", help="evaluate on another index than that of the training"
    )
    parser.add_argument("--out_dir", type=path, metavar="FOLDER", help="for the results (default: the checkpoint's)")
    return parser


def take_options(words: list[str], args: argparse.Namespace) -> list[str]:
    """The words of an option that takes several, without the KEY VALUE pairs that came next and that it took too.

    Args:
        args: their `opts` get those pairs.
    """
    end = next((place for place, word in enumerate(words) if KEY.fullmatch(word)), len(words))
    args.opts = words[end:] + args.opts
    return words[:end]


def at_least(option: str, least: int) -> Callable[[str], int]:
    """A type for argparse: whole numbers from `least` on.

    Raises:
        UserError: of what it returns, for a smaller number; argparse itself would print the usage before that line.
    """

    def integer(text: str) -> int:
        if int(text) < least:
            raise UserError(f"{option} must be at least {least}, not {int(text)}")
        return int(text)

    return integer


def split_name(text: str) -> tuple[str, str]:
    """The name and the rest of NAME=REST; the name is empty where there is none, or the whole is a path that exists."""
    named = re.fullmatch(r"(\w[\w-]*)=(.*)", text, re.DOTALL)
    return (named[1], named[2]) if named and not os.path.exists(text) else ("", text)


def name_runs(words: Iterable[str]) -> dict[str, Path]:
    """Run folders, given as RUN or NAME=RUN, by name: as given, or the folder's own.

    Raises:
        UserError: two of one name.
    """
    named = [(name, expand_user(folder, "RUN")) for name, folder in map(split_name, words)]
    return each_once((name or run.name, run) for name, run in named)


def each_once(named: Iterable[tuple[str, T]]) -> dict[str, T]:
    """Runs by name.

    Raises:
        UserError: two of one name.
    """
    runs: dict[str, T] = {}
    for name, run in named:
        if name in runs:
            raise UserError(f"two runs are called {name}: name them, as in NAME=RUN")
        runs[name] = run
    return runs


def path(text: str) -> Path:
    """A type for argparse: a path, with the home folder in place of a ~ at its beginning."""
    return expand_user(text, "an option")


def add_count(
    parser: argparse.ArgumentParser, option: str, least: int, default: int | None, description: str | None = None
) -> None:
    """An option that is a whole number of at least `least`."""
    parser.add_argument(option, type=at_least(option, least), default=default, help=description)
