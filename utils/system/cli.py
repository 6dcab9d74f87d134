"""The command line that the scripts with a config share. Read it with `parse_intermixed_args`."""

import argparse
import re

KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*")  # how a setting is called


def config_parser(
    description: str, *, load_path: str = "", load_path_required: bool = False
) -> argparse.ArgumentParser:
    """A parser of `--cfg FILE [KEY VALUE ...]`, and of `--load_path PATH` where `load_path` gives its help."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", required=True, metavar="YAML", help="settings over the defaults in config.py")
    if load_path:
        parser.add_argument("--load_path", required=load_path_required, metavar="PATH", help=load_path)
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="settings over those, such as TRAIN.LR 0.001")
    return parser


def take_options(words: list[str], args: argparse.Namespace) -> list[str]:
    """The words of an option that takes several, without the KEY VALUE pairs that came next and that it took too.

    Args:
        args: their `opts` get those pairs.
    """
    end = next((place for place, word in enumerate(words) if KEY.fullmatch(word)), len(words))
    args.opts = words[end:] + args.opts
    return words[:end]
