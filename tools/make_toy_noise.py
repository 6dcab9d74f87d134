"""Make a few synthetic noises and room impulse responses: to see that augmentation runs, in seconds.

    python tools/make_toy_noise.py OUT
    python train.py --cfg ... --text_arch ... AUGMENT.NOISE_DIR OUT/noise AUGMENT.RIR_DIR OUT/rir

OUT/noise gets white, pink and brown noise, hum, and babble (noise that comes and goes at the rate of syllables);
OUT/rir impulse responses: a direct path, then noise that decays exponentially, for several reverberation times. The
same arguments give the same samples. They are no substitute for MUSAN (OpenSLR 17) and recorded or simulated rooms
(OpenSLR 28): use them for tests and a first look, never to compare systems.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.corpora import corpus_parser
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    parser = corpus_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a noise (default: 10)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from tools.corpora.noise import make_noise

    noises, rooms = make_noise(args.out, args.seconds, args.seed)
    print(f"{noises} noises and {rooms} room impulse responses in {args.out}")


if __name__ == "__main__":
    run_script(main)
