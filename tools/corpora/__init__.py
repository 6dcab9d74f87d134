"""Corpora that are made, not recorded: what tools/make_*.py write, and what they have in common."""

import argparse
from pathlib import Path

from utils.system.cli import add_count
from utils.system.errors import UserError


def corpus_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of `OUT [--seed N]`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to make; must not exist or be empty")
    add_count(parser, "--seed", 0, 0)
    return parser


def make_folder(out: Path) -> None:
    """Make the folder of a corpus.

    Raises:
        UserError: it is there and not empty, or cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {out} ({error.strerror}): name another folder") from error
    if any(out.iterdir()):
        raise UserError(f"{out} exists and is not an empty folder: remove it, or name another")
