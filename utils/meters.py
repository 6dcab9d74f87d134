"""Running averages of an epoch. They stay on the device until they are read, so that no step waits for them."""

import time

import torch
from torch import Tensor


class TrainingMeter:
    """Mean loss and Top-1 over the utterances seen."""

    def __init__(self) -> None:
        self.utterances = 0
        self._sums: Tensor | None = None  # (2,): of losses, of correct decisions
        self._began = time.perf_counter()

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss, logits (B, K), labels (B,)."""
        correct = (logits.detach().argmax(dim=1) == labels).sum()
        sums = torch.stack([loss.detach() * len(labels), correct.to(loss.dtype)])
        self._sums = sums if self._sums is None else self._sums + sums
        self.utterances += len(labels)

    def read(self) -> dict[str, float]:
        """loss, top1 in per cent, and utterances_per_second since the meter was made."""
        loss, correct = (self._sums / self.utterances).tolist()
        speed = self.utterances / (time.perf_counter() - self._began)
        return {"loss": loss, "top1": 100 * correct, "utterances_per_second": speed}
