"""Step 1: index a corpus.

    python data_preprocess.py /path/to/VoxCeleb1
    python data_preprocess.py /path/to/VoxCeleb1 -s        # go on where an interrupted run stopped

DATA_DIR holds wav/ (or the archives apart, dev/wav/ and test/wav/) and vox1_meta.csv, iden_split.txt, veri_test.txt.
Every utterance is read once; DATA_DIR/feature/ gets utterances.csv, stats.npz, rejected.csv and silent.csv. The wavs
stay where they are; only those that are not 16 kHz mono 16-bit PCM get a converted copy, in feature/wav/.
"""

import argparse
import os
from pathlib import Path

from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path, help="folder of VoxCeleb1")
    parser.add_argument("--out_dir", type=Path, help="where the index goes (default: DATA_DIR/feature)")
    parser.add_argument("--num_workers", type=int, default=os.cpu_count(), help="processes (default: all cores)")
    parser.add_argument(
        "-s", "--skip_existing", action="store_true", help="take over what an interrupted run has done already"
    )
    args = parser.parse_args()
    if args.num_workers < 0:
        parser.error(f"--num_workers must be 0 or more, not {args.num_workers}")
    return args


def main() -> None:
    args = parse_args()
    from data_objects.preprocessing import preprocess

    print(preprocess(args.data_dir, args.out_dir, args.num_workers, args.skip_existing))


if __name__ == "__main__":
    run_script(main)
