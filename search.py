"""Step 2: search for a genotype.

    python search.py --cfg exps/search.yaml
    python search.py --cfg exps/search.yaml --load_path runs/search/...      # go on with a search
    torchrun --standalone --nproc_per_node 8 search.py --cfg exps/search.yaml            # on 8 GPUs

A supernet holds every candidate operation on every edge, weighted by the architecture parameters alpha. Alpha learns on
the val part (or on half of the train part: SEARCH.DATA_SPLIT), the other weights on the train part, in turn (first-
order DARTS: Liu et al., ICLR 2019, algorithm 1 with xi = 0; with sampled paths: Ding et al., AutoSpeech, Interspeech
2020). Every epoch leaves genotype.txt in the run folder, and pictures and a report where a minute has passed; at the
end the genotype is printed, with the command that trains it.
"""

import argparse

from config import load_config
from utils.system.cli import training_parser
from utils.system.script import run_script


def parse_args() -> argparse.Namespace:
    return training_parser(__doc__).parse_intermixed_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.cfg, args.opts)
    from utils.search.loop import run_search

    run_search(cfg, args.cfg, args.load_path)


if __name__ == "__main__":
    run_script(main)
