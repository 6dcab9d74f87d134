"""Make an indexed corpus of VoxCeleb1's form and size without VoxCeleb1: to see what its size takes in time and memory.

    python tools/make_simulated_corpus.py OUT                                  # lists and index: seconds, 21 MB
    python tools/make_simulated_corpus.py OUT --files sparse                   # with wav files that take no room
    python tools/make_simulated_corpus.py OUT --utterances 2000 --speakers 40 --files full

Speakers, test speakers, parts, trials and hours are as many as in VoxCeleb1, or in proportion to --utterances and
--speakers; as in veri_test.txt, every trial utterance is enrolled as often as the others, against its own speaker and
another in turn. OUT/feature/utterances.csv is what preprocessing would write, without hashes of the samples; the
statistics beside it are invented.
With --files sparse all is silence, holes that take no room, with --files full white noise, about 115 MB an hour.
Otherwise than in VoxCeleb1, a video may be cut by the border of two parts of iden_split.txt. The same arguments give
the same bytes. There is nothing to learn here.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.corpora.folder import corpus_parser
from tools.corpora.sizes import SPEAKERS, TRIALS, UTTERANCES, scale_sizes
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = corpus_parser(__doc__)
    parser.add_argument("--utterances", type=int, default=UTTERANCES, help=f"default: {UTTERANCES:,}")
    parser.add_argument("--speakers", type=int, default=SPEAKERS, help=f"at least 4 (default: {SPEAKERS:,})")
    parser.add_argument("--trials", type=int, help=f"default: {TRIALS:,}, or in proportion to --utterances")
    files = ("none", "sparse", "full")
    parser.add_argument("--files", choices=files, default="none", help="wav files to write (default: none)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    sizes = scale_sizes(args.utterances, args.speakers, args.trials)
    from tools.corpora.simulated import make_corpus

    hours = make_corpus(args.out, sizes, args.files, args.seed)
    print(f"{sizes.utterances:,} utterances of {sizes.speakers:,} speakers, {hours:.1f} hours, in {args.out}")


if __name__ == "__main__":
    run_script(main)
