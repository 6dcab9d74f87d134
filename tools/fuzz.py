"""Hand broken lists, genotypes, settings and audio to what reads them: each is read or refused in one line.

    python tools/fuzz.py                                   # 100,000 texts and 30,000 audio files
    python tools/fuzz.py --only lists,genotypes --texts 5000 --keep FOLDER
    python tools/fuzz.py --case audio:123                  # a single case again, in this process

A case is a function of --seed, its target and its number alone. Failures are other exceptions, warnings, anything
written to standard output or error, messages that are not one line, too much memory or time, and a process that dies
or hangs. The exit status is 1 if there are any; with --json, the last line of standard output is the result.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.system.cli import add_count, path
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_count(parser, "--seed", 0, 0, "of all cases (default: 0)")
    add_count(parser, "--texts", 0, 100_000, "cases of all text targets together (default: 100000)")
    add_count(parser, "--files", 0, 30_000, "cases of audio (default: 30000)")
    add_count(parser, "--workers", 1, 2, "processes (default: 2)")
    parser.add_argument("--keep", type=path, metavar="FOLDER", help="where inputs that fail are kept")
    parser.add_argument("--only", default="", metavar="TARGETS", help="names with commas (default: all)")
    parser.add_argument("--case", default="", metavar="TARGET:NUMBER", help="run a single case in this process")
    parser.add_argument("--json", action="store_true", help="print one JSON object, no table")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from tools.fuzzing.run import run_fuzzer

    sys.exit(run_fuzzer(args))


if __name__ == "__main__":
    run_script(main)
