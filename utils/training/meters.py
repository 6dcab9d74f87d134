"""Running averages of an epoch. They stay on the device until they are read, so that no step waits for them.

Where several processes share a run, all of them read a meter, or ask for its state, at the same time.
"""

import time
from typing import Any

import torch
from torch import Tensor

from utils.system.distributed import stack
from utils.system.processes import processes, rank


class TrainingMeter:
    """Mean loss and Top-1 over the utterances that all processes have seen.

    Args:
        state: of an earlier meter, to go on with; None for a new epoch.
        device: where the losses will be.
    """

    def __init__(self, state: dict[str, Any] | None = None, device: torch.device | None = None) -> None:
        self.utterances = 0  # of this process
        self._sums = torch.zeros(2, device=device)  # of losses, of correct decisions
        if state is not None:
            self.utterances = state["utterances"] // processes()
            # Each process takes its own sums again; where their number has changed, somebody's.
            self._sums = state["sums"][rank() :: processes()].sum(dim=0).to(device)
        # The seconds that its utterances took; those of a checkpoint that is older than this have not been counted.
        self._uncounted = self.utterances if state is not None and "seconds" not in state else 0
        self._before = (state or {}).get("seconds", 0.0)
        self._began = time.perf_counter()

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss, logits (B, K), labels (B,)."""
        correct = (logits.detach().argmax(dim=1) == labels).sum()
        sums = torch.stack([loss.detach() * len(labels), correct.to(loss.dtype)])
        self._sums = self._sums + sums
        self.utterances += len(labels)

    def state(self) -> dict[str, Any]:
        """What a checkpoint within an epoch must hold: sums (processes, 2), utterances of all processes, seconds."""
        return {"sums": stack(self._sums), "utterances": self.utterances * processes(), "seconds": self._seconds()}

    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._began

    def read(self) -> dict[str, float]:
        """loss, top1 in per cent, and utterances_per_second, without what was done again after an interruption."""
        loss, correct = (stack(self._sums).sum(dim=0) / (self.utterances * processes())).tolist()
        speed = (self.utterances - self._uncounted) * processes() / self._seconds()
        return {"loss": loss, "top1": 100 * correct, "utterances_per_second": speed}
