"""What a supernet makes of one path: its accuracy with norms that have seen that path alone.

Every path of a supernet has statistics of its own, and the running ones are a mixture of those of all paths drawn in
training: by them a path looks far worse than it is. So a path's norms are calibrated anew before it is evaluated (Guo
et al., Single path one-shot neural architecture search, ECCV 2020, section 3.4).
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from data_objects.corpus import Corpus
from data_objects.datasets import CropLoader, to_device
from data_objects.frontend import FrontEnd
from models.genotypes import Genotype, random_genotype
from models.supernet import Path, Supernet
from utils.system.distributed import broadcast, gather_rows, share_statistics
from utils.training.loop import Features, to_features

CALIBRATION = 128  # utterances at least that a path's norms are calibrated on


class PathScorer:
    """Scores paths on the val part, all of them calibrated on the same crops of the weights' part.

    Args:
        crops: what the weights learn on.
        seed: draws the random paths of a survey.
    """

    def __init__(
        self,
        supernet: Supernet,
        front_end: FrontEnd,
        corpus: Corpus,
        crops: CropLoader,
        device: torch.device,
        seed: int,
    ) -> None:
        self.supernet = supernet
        self._front_end = front_end
        self._corpus = corpus
        self._crops = crops
        self._device = device
        self._seed = seed
        self._batches: list[Features] = []

    def score(self, path: Path) -> dict[str, float]:
        """top1 in per cent and loss, by this path, of a crop of every utterance of the val part.

        The crops are the same for all paths, and the supernet is as before afterwards.
        """
        outcomes = [torch.empty(0, 2)]
        with calibrated(self.supernet, path, self._load()), torch.inference_mode():
            share_statistics(self.supernet)
            for batch in to_device(self._corpus.single_crops("val"), self._device):
                logits = self.supernet(self._front_end(batch.waveforms, batch.gains))
                losses = nn.functional.cross_entropy(logits, batch.labels, reduction="none")
                outcomes.append(torch.stack([losses, logits.argmax(dim=1) == batch.labels], dim=1).cpu())
        everybody = gather_rows(torch.cat(outcomes))
        loss, correct = (0.0, 0.0) if everybody is None else everybody.double().mean(dim=0).tolist()
        return broadcast({"top1": 100 * correct, "loss": loss})

    def survey(self, random_paths: int) -> dict[str, float]:
        """Of alpha's argmax, and of so many random paths, always the same, mean and deviation of both figures."""
        supernet, generator = self.supernet, np.random.default_rng(self._seed)
        figures = {f"argmax_{name}": value for name, value in self.score(supernet.argmax_path()).items()}
        scores = [self.score(random_path(supernet, generator)) for _ in range(random_paths)]
        for name in scores[0]:
            values = np.array([score[name] for score in scores])
            figures |= {f"paths_{name}": float(values.mean()), f"paths_{name}_std": float(values.std(ddof=1))}
        return figures

    def score_genotype(self, genotype: Genotype) -> dict[str, float]:
        """The same as `score`, of a genotype's path."""
        return self.score(self.supernet.genotype_path(genotype))

    def _load(self) -> list[Features]:
        if not self._batches:
            batches = to_device(self._crops.epoch(0), self._device)
            few = itertools.islice(batches, math.ceil(CALIBRATION / self._crops.batches.batch_size))
            self._batches = [to_features(batch, self._front_end, self._device) for batch in few]
        return self._batches


@contextmanager
def calibrated(supernet: Supernet, path: Path, batches: Sequence[Features]) -> Iterator[None]:
    """Let the supernet run this path alone, its norms with the path's own statistics: the means over batches.

    Args:
        batches: features (B, T, F) and labels (B,), on the supernet's device.
    """
    norms = [module for module in supernet.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    momenta, drop_path = [norm.momentum for norm in norms], supernet.drop_path_probability
    was_training, supernet.path, supernet.drop_path_probability = supernet.training, path, 0.0
    try:
        supernet.train()
        with torch.no_grad():
            for number, (features, _) in enumerate(batches, 1):
                for norm in norms:
                    norm.momentum = 1 / number  # a plain mean over the batches; what was before has no part in it
                supernet(features)
        supernet.eval()
        yield
    finally:
        for norm, buffers, momentum in zip(norms, before, momenta, strict=True):
            norm.load_state_dict(buffers, strict=False)
            norm.momentum = momentum
        supernet.path, supernet.drop_path_probability = None, drop_path
        supernet.train(was_training)


def random_path(supernet: Supernet, generator: np.random.Generator) -> Path:
    """One as the weights learn by while alpha knows nothing."""
    operations = supernet.operation_names
    if supernet.paths == "genotypes":
        return supernet.genotype_path(random_genotype(operations, generator))
    shape = len(supernet.cells), len(supernet.alpha_normal)
    return generator.integers(len(operations), size=shape).tolist()
