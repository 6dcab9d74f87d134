"""Run one of the scripts in float64, so that what two ways of computing the same differ in is not rounding.

    python tests/in_float64.py PARTS train.py --cfg ...
    torchrun --standalone --nproc_per_node 2 tests/in_float64.py 1 train.py --cfg ...

With PARTS 2, norms treat a batch as two processes that share it do: each half by its own statistics, the running ones
those of the first half. That is the one thing in which a training of two processes differs on purpose.
"""

import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import models
from data_objects.frontend import FrontEnd

PARTS = int(sys.argv[1])
build_model, front_end, batch_norm = models.build_model, FrontEnd.forward, torch.nn.functional.batch_norm


def norm_of_parts(x, mean, variance, weight, bias, training, *momentum_and_epsilon):
    """A norm that treats each part of a batch apart; the first one's statistics are kept."""
    if not training:
        return batch_norm(x, mean, variance, weight, bias, training, *momentum_and_epsilon)
    kept = [(mean, variance)] + [(None, None)] * (PARTS - 1)
    parts = zip(x.chunk(PARTS), kept, strict=True)
    return torch.cat([batch_norm(part, *own, weight, bias, True, *momentum_and_epsilon) for part, own in parts])


models.build_model = lambda architecture: build_model(architecture).double()
FrontEnd.forward = lambda self, *waveforms: front_end(self, *waveforms).double()
torch.Tensor.float = torch.Tensor.double  # losses are computed in float32, embeddings kept in it
if PARTS > 1:
    torch.nn.functional.batch_norm = norm_of_parts
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
