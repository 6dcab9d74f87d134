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
build_model, front_end, batch_norm = models.build_model, FrontEnd.forward, torch.nn.BatchNorm2d.forward
native_batch_norm = torch.native_batch_norm


def norm_of_parts(norm, x):
    """A norm that treats each part of a batch apart."""
    if not norm.training:
        return batch_norm(norm, x)
    outputs = []
    for number, part in enumerate(x.chunk(PARTS)):
        statistics = (norm.running_mean, norm.running_var) if number == 0 else (None, None)
        outputs.append(
            torch.nn.functional.batch_norm(part, *statistics, norm.weight, norm.bias, True, norm.momentum, norm.eps)
        )
    return torch.cat(outputs)


def native_norm_of_parts(x, *arguments):
    """The same for the norm that the supernet's pooling runs without a graph."""
    outputs, means, scales = zip(*(native_batch_norm(part, *arguments) for part in x.chunk(PARTS)), strict=True)
    # The caller makes a running variance of the scale, and takes its number of values for that of the whole batch.
    epsilon, whole = arguments[-1], x.numel() // x.size(1)
    part = whole // PARTS
    variance = (scales[0] ** -2 - epsilon) * part / (part - 1) * (whole - 1) / whole
    return torch.cat(outputs), means[0], (variance + epsilon) ** -0.5


models.build_model = lambda architecture: build_model(architecture).double()
FrontEnd.forward = lambda self, *waveforms: front_end(self, *waveforms).double()
torch.Tensor.float = torch.Tensor.double  # losses are computed in float32, embeddings kept in it
if PARTS > 1:
    torch.nn.BatchNorm2d.forward = norm_of_parts
    torch.native_batch_norm = native_norm_of_parts
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
