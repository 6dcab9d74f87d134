"""What logarithms are normalised by (FRONTEND.NORM corpus): of them preprocessing has no statistics.

These are measured once, at the beginning of a run, on the device; from then on the checkpoint has them.
"""

import torch

from data_objects.corpus import Corpus
from data_objects.datasets import to_device
from data_objects.frontend import SMALLEST_DEVIATION, FrontEnd
from utils.system.distributed import stack

UTTERANCES = 2000  # at most: of 3 s each, more than an hour and a half of speech


def measure_front_end(front_end: FrontEnd, corpus: Corpus, device: torch.device) -> str:
    """Give a front end mean and deviation of the utterances trained on: over a crop of each of UTTERANCES of them.

    The utterances are evenly spread over the train part, their crops a function of SEED. Several processes share them
    and all find the same.

    Args:
        front_end: on the device.

    Returns:
        What was measured, as a line.
    """
    sums = torch.zeros(2, front_end.bins, dtype=torch.float64, device=device)  # of x and of x squared
    frames = torch.zeros((), dtype=torch.float64)
    with torch.no_grad():
        for batch in to_device(corpus.single_crops("train", UTTERANCES), device):
            features = front_end.extract(front_end.magnitudes(batch.waveforms, batch.gains)).double()
            sums += torch.stack([features.sum(dim=(0, 1)), features.square().sum(dim=(0, 1))])
            frames += features.size(0) * features.size(1)
    count = stack(frames).sum()
    mean, square = stack(sums).sum(dim=0) / count
    front_end.mean.copy_(mean)
    front_end.deviation.copy_((square - mean.square()).clamp(min=SMALLEST_DEVIATION**2).sqrt())
    return f"mean and deviation of {front_end.settings['feature']} are measured over {int(count):,} frames"
