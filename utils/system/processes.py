"""Which process of a job this is, as `torchrun` says; without it there is one."""

import os
import signal
from collections.abc import Callable

from utils.system.errors import UserError

# How gloo and NCCL say that another process is gone.
LOST = ("Connection closed by peer", "Connection reset", "Broken pipe", "remote process exited", "Socket Timeout")


def processes() -> int:
    """How many processes share the job: torchrun's WORLD_SIZE, else 1."""
    is_torchrun = all(name in os.environ for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"))
    return int(os.environ["WORLD_SIZE"]) if is_torchrun else 1


def rank() -> int:
    """This process's number among them, from 0."""
    return int(os.environ["RANK"]) if processes() > 1 else 0


def local_rank() -> int:
    """Its number among those on this machine, from 0."""
    return int(os.environ["LOCAL_RANK"]) if processes() > 1 else 0


def local_processes() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", processes())) if processes() > 1 else 1


def is_main() -> bool:
    """Whether this is the process that writes files and prints results: rank 0."""
    return rank() == 0


def launcher() -> str:
    """How a script was started: python, or torchrun with its numbers of processes and machines.

    For several machines, RENDEZVOUS stands for torchrun's options that say how they find each other.
    """
    if processes() == 1:
        return "python"
    here = local_processes()
    if here == processes():  # standalone: on a port that is free, whatever else runs on the machine
        return f"torchrun --standalone --nproc_per_node {here}"
    return f"torchrun --nnodes {processes() // here} --nproc_per_node {here} RENDEZVOUS"


_farewells: list[Callable[[], object]] = []


def part_with(farewell: Callable[[], object]) -> None:
    """Have something called when the job is done: what parts from the other processes."""
    _farewells.append(farewell)


def part() -> None:
    """Part from the other processes, when the job is done: left to the end of Python, this can abort the process."""
    while _farewells:
        _farewells.pop()()


def ignore_ends() -> None:
    """Let no child's end interrupt what follows, as PyTorch's handler would. To be called in the main thread."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    except RuntimeError:  # of an end that was waiting for that handler
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def is_lost(error: BaseException) -> bool:
    """Whether an error means that another process is gone."""
    return processes() > 1 and isinstance(error, RuntimeError) and any(text in str(error) for text in LOST)


def check_divisible(batch_size: int) -> int:
    """This process's share of a batch of TRAIN.BATCH_SIZE utterances.

    Raises:
        UserError: the batch cannot be shared evenly.
    """
    if batch_size % processes():
        below = batch_size // processes() * processes()
        raise UserError(
            f"TRAIN.BATCH_SIZE {batch_size}, the batch of all processes together, cannot be shared by {processes()}: "
            f"set it to {below or processes()} or another multiple of {processes()}"
        )
    return batch_size // processes()
