"""How loader processes hand batches over, and whether the machine has room for it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import get_worker_info

from utils.system.errors import UserError
from utils.system.processes import local_processes
from utils.system.shortage import MEGABYTE, SHARED, more_shared_memory, shared_memory

AHEAD = 2  # batches that every loader process makes before they are asked for


@dataclass(frozen=True)
class Handing:
    """Makes a batch of items, and where a loader process does, puts it into shared memory at once.

    PyTorch would do it in a thread of that process, whose failure nobody hears of: the batch would be waited for, for
    ever.
    """

    collate: Callable[[list[Any]], Any]

    def __call__(self, items: list[Any]) -> Any:
        batch = self.collate(items)
        if get_worker_info() is not None:
            for part in batch:
                if isinstance(part, Tensor):
                    part.share_memory_()
        return batch


def check_shared_memory(num_workers: int, batch_bytes: int) -> None:
    """Refuse more loader processes than there is shared memory for, as in containers, which have little by default.

    Args:
        num_workers: DATASET.NUM_WORKERS, of every process of the job.
        batch_bytes: of one process.

    Raises:
        UserError: their batches need more than is free.
    """
    if num_workers == 0 or not SHARED.is_dir():
        return
    free = shutil.disk_usage(SHARED).free
    of_one = AHEAD * batch_bytes * local_processes()
    if num_workers * of_one > free:
        raise UserError(
            f"the batches of DATASET.NUM_WORKERS {num_workers} loader processes take up to "
            f"{num_workers * of_one / MEGABYTE:,.0f} MB of shared memory, and {shared_memory()}: "
            f"{more_shared_memory(free // of_one)}"
        )
