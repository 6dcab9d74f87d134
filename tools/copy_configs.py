"""List the settings that come with the project, exps/, or copy them into a folder.

    python tools/copy_configs.py                 # one file a line
    python tools/copy_configs.py --to exps       # copies to change; the paths that are written are printed

A file that is there already is never overwritten.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.system.cli import path
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=path, metavar="FOLDER", help="copy them into this folder")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from utils.system.configs import shipped_configs

    print(*shipped_configs(args.to), sep="\n")


if __name__ == "__main__":
    run_script(main)
