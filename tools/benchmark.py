"""Measure speed and memory, on one machine in one run: search, train, data, scale, trials, ...

    python tools/benchmark.py search                                  # 8 cells, 16 channels, batch 2, 300 frames
    python tools/benchmark.py search --batch_size 2 8 --json
    python tools/benchmark.py search --device cuda --batch_size 2 16 64 max --precision fp32 bf16
    python tools/benchmark.py train                                   # 8 cells, 64 channels, batch 8, 300 frames
    python tools/benchmark.py train --device cuda --batch_size 256 --compile both
    python tools/benchmark.py train --data_dir /path/to/VoxCeleb1 --curve 200
    python tools/benchmark.py launches                                # what a step asks of a GPU, without one
    python tools/benchmark.py data --data_dir /path/to/VoxCeleb1 --num_workers 8
    python tools/benchmark.py scale                                   # a simulated corpus of VoxCeleb1's size
    python tools/benchmark.py trials                                  # VoxCeleb1-E's: scores, figures, intervals
    python tools/benchmark.py preprocess --workers 1 2 4
    python tools/benchmark.py recognition --run RUN --data_dir /path/to/VoxCeleb1

`python tools/benchmark.py COMMAND --help` says what a command measures, and how.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.benchmarks.options import build_parser
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    return build_parser(__doc__).parse_args()


def main() -> None:
    args = parse_args()
    from tools.benchmarks.run import run_benchmark

    run_benchmark(args)


if __name__ == "__main__":
    run_script(main)
