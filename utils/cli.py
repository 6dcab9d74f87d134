"""The command line that the scripts with a config share. Read it with `parse_intermixed_args`."""

import argparse


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
