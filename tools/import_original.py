"""Make a run folder of a checkpoint of the authors' code: a derived network, or ResNet-18 or -34.

    python tools/import_original.py FILE.pth --mean mean.npy --std std.npy --speakers feature/merged --out RUN

mean.npy and std.npy are the feature statistics that the authors' code wrote, of 257 bins each; --speakers is the folder
whose sub-folders are the speakers trained on (feature/merged or feature/dev), or a file with their names, one a line.
The file is read as tensors, numbers, text and a genotype; it can run no code. RUN can be evaluated, used, fine-tuned.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.system.cli import add_count, path
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="FILE", type=path, help="checkpoint of the authors' code")
    parser.add_argument("--mean", type=path, required=True, help=".npy file of 257 means")
    parser.add_argument("--std", type=path, required=True, help=".npy file of 257 deviations")
    parser.add_argument(
        "--speakers", type=path, required=True, help="folder of the speakers' folders, or file of names"
    )
    parser.add_argument(
        "--sub_dir", choices=("merged", "dev"), help="what it was trained on (default: the name of --speakers)"
    )
    parser.add_argument(
        "--text_arch", metavar="GENOTYPE", help="as text or a file, where the checkpoint of a derived network has none"
    )
    add_count(parser, "--frames", 32, 300, "of the crops that it was trained on (default: 300)")
    parser.add_argument("--out", metavar="RUN", type=path, required=True, help="run folder to make")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from tools.original.importing import import_original

    print(import_original(args))


if __name__ == "__main__":
    run_script(main)
