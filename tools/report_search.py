"""Write a search's report anew, from its run folder: of one that runs on another machine, or an old one.

    python tools/report_search.py runs/search/search-20200701-120000                 # its report.html
    python tools/report_search.py RUN --cfg exps/mini/search.yaml

The command in it trains by the scratch.yaml beside the search's settings, if --cfg tells where these are; else by the
paper's. The path of the report is printed; nothing else in the folder is changed.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.system.cli import path
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", type=path, help="the run folder of a search")
    parser.add_argument("--cfg", metavar="YAML", type=path, help="the file of settings that the search was given")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from tools.networks.searches import report_search

    print(report_search(args.run, args.cfg))


if __name__ == "__main__":
    run_script(main)
