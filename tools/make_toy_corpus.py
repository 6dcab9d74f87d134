"""Make a small synthetic corpus in VoxCeleb1's layout, with its lists: for the demo, the tests and a first look.

    python tools/make_toy_corpus.py OUT
    python tools/make_toy_corpus.py OUT --speakers 40 --videos 8 --layout split

Speech comes from the eSpeak synthesiser inside praat-parselmouth. Speakers differ in voice variant, formants, pitch and
rate; sentences are all different; the videos of a speaker differ in noise, channel and level. The same arguments give
the same bytes. It is no substitute for real speech: use it to see that everything runs, never to compare systems.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.corpora.folder import corpus_parser
from utils.system.cli import add_count
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = corpus_parser(__doc__)
    add_count(parser, "--speakers", 4, 24, "at least 4 (default: 24)")
    add_count(parser, "--videos", 3, 5, "a speaker, at least 3 (default: 5)")
    add_count(parser, "--utterances", 1, 2, "a video (default: 2)")
    parser.add_argument(
        "--layout", choices=("wav", "split"), default="wav", help="wav/, or dev/wav/ and test/wav/ as in the archives"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from tools.corpora.toy import make_corpus

    count = make_corpus(args.out, args.speakers, args.videos, args.utterances, args.seed, args.layout)
    print(f"{count} utterances of {args.speakers} speakers in {args.out}")


if __name__ == "__main__":
    run_script(main)
