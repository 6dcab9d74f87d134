"""Step 1: index a corpus.

    python data_preprocess.py /path/to/VoxCeleb1
    python data_preprocess.py /path/to/VoxCeleb1 -s                          # go on where an interrupted run stopped
    python data_preprocess.py /path/to/VoxCeleb1 --add /path/to/VoxCeleb2    # and train on its speakers, too
    python data_preprocess.py /path/to/speech                                # a folder a speaker, or Kaldi's files
    python data_preprocess.py /path/to/speech --manifest files.csv           # path,speaker[,session,gender,...]

DATA_DIR holds a folder a speaker, itself or under wav/ (or VoxCeleb1's archives apart, dev/wav/ and test/wav/). Of the
lists vox1_meta.csv, iden_split.txt and veri_test.txt in it, those that are there are used; the others are made.
Every utterance is read once; DATA_DIR/feature/ gets utterances.csv, stats.npz, rejected.csv, silent.csv. The audio
stays where it is; only what is not 16 kHz mono 16-bit PCM gets a converted copy, in feature/wav/.
"""

import argparse
import os

from utils.system.cli import path
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=path, help="folder of VoxCeleb1, or of any speech")
    parser.add_argument(
        "--manifest",
        type=path,
        help="CSV or TSV file with the columns path and speaker (and maybe session, gender, nationality, set: dev or "
        "test, part: train, val or test), or a Kaldi data folder; relative paths are relative to DATA_DIR",
    )
    parser.add_argument(
        "--add", type=path, action="append", default=[], help="another corpus, to train on alone; can be repeated"
    )
    parser.add_argument(
        "--test_speakers", type=int, help="how many to test on, where nothing says who (default: a fifth, at least 2)"
    )
    parser.add_argument("--out_dir", type=path, help="where the index goes (default: DATA_DIR/feature)")
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

    print(
        preprocess(
            args.data_dir,
            args.out_dir,
            args.num_workers,
            args.skip_existing,
            args.manifest,
            args.add,
            args.test_speakers,
        )
    )


if __name__ == "__main__":
    run_script(main)
