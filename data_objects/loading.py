"""How loader processes hand batches over, and whether the machine has room for it."""

import multiprocessing
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from utils.system.errors import UserError
from utils.system.logger import get_logger
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


def open_loader(
    dataset: Dataset,
    batches: Iterable[list[Any]],
    collate: Callable[[list[Any]], Any],
    num_workers: int,
    pin_memory: bool,
    batch_bytes: int,
    persistent: bool = False,
) -> DataLoader[Any]:
    """A loader of batches of a dataset's items.

    Args:
        batch_bytes: what a batch may take: see `check_shared_memory`.
        persistent: its processes stay from one iteration to the next.
    """
    check_shared_memory(num_workers, batch_bytes)
    _warn_of_processes(num_workers)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # of which ours tells, once
        return DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=num_workers,
            collate_fn=Handing(collate),
            prefetch_factor=AHEAD if num_workers else None,
            worker_init_fn=leave_signals_to_main,
            pin_memory=pin_memory,
            persistent_workers=persistent and num_workers > 0,
            # Iterating draws a seed for the workers; from a generator of its own, so that what the model draws from
            # torch's is the same however often the data is iterated over.
            generator=torch.Generator(),
        )


@cache
def _warn_of_processes(num_workers: int) -> None:
    """Say, once, that there are more loader processes than cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if num_workers > cores:
        get_logger().warning(f"DATASET.NUM_WORKERS {num_workers} is more than the {cores} CPU cores for this process")


def leave_signals_to_main(worker: int) -> None:
    """Let a loader process end when the main process says so, which finishes its iteration first.

    Ctrl-C, the SIGTERM of most schedulers and the SIGHUP of a terminal that is gone go to all processes of a job.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if not hasattr(signal, "sigwaitinfo"):  # not on macOS or Windows
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    parent = multiprocessing.parent_process()

    def wait() -> None:
        while parent and signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
