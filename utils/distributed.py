"""Several processes at one job, as `torchrun` starts them. With one process, all of this does nothing.

Tensors on CPUs travel by gloo, those on GPUs by NCCL. Every function that talks to the other processes must be called
by all of them, in the same order.
"""

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from utils.errors import UserError

if TYPE_CHECKING:  # torch is imported where it is used, so that --help answers at once
    import torch
    from torch import Tensor, nn

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


def is_main() -> bool:
    """Whether this is the process that writes files and prints results: rank 0."""
    return rank() == 0


def launcher() -> str:
    """How a script was started: python, or torchrun with its numbers of processes and machines.

    For several machines, RENDEZVOUS stands for torchrun's options that say how they find each other.
    """
    if processes() == 1:
        return "python"
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes()))
    if here == processes():  # standalone: on a port that is free, whatever else runs on the machine
        return f"torchrun --standalone --nproc_per_node {here}"
    return f"torchrun --nnodes {processes() // here} --nproc_per_node {here} RENDEZVOUS"


def start(device: "torch.device") -> None:
    """Join the other processes, if there are any and this has not been done."""
    import torch.distributed as dist

    if processes() > 1 and not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")


def stop() -> None:
    """Part from the other processes, when the job is done."""
    if processes() > 1:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()


def is_lost(error: BaseException) -> bool:
    """Whether an error means that another process is gone."""
    return processes() > 1 and isinstance(error, RuntimeError) and any(text in str(error) for text in LOST)


# ------------------------------------------------------------------------------------------------------------------
# Talking to the others
# ------------------------------------------------------------------------------------------------------------------
def agree(*numbers: int) -> tuple[int, ...]:
    """The greatest of each number over all processes; also a point that none passes before all have come to it."""
    if processes() == 1:
        return numbers
    import torch
    import torch.distributed as dist

    greatest = torch.tensor(numbers or [0], dtype=torch.int64)
    dist.all_reduce(greatest, dist.ReduceOp.MAX)
    return tuple(greatest.tolist())


def broadcast(value: Any) -> Any:
    """The main process's value, on all of them; plain values and tensors on the CPU."""
    if processes() == 1:
        return value
    import torch
    import torch.distributed as dist

    values = [value]
    dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    return values[0]


def stack(tensor: "Tensor") -> "Tensor":
    """Everybody's tensor, of one shape (...), on every process: (processes, ...), on the CPU."""
    import torch

    own = tensor.detach().cpu()
    if processes() == 1:
        return own[None]
    import torch.distributed as dist

    parts = [torch.empty_like(own) for _ in range(processes())]
    dist.all_gather(parts, own.contiguous())
    return torch.stack(parts)


def gather_rows(tensor: "Tensor") -> "Tensor | None":
    """Everybody's rows (n, ...), below each other by rank, on the main process; None on the others. On the CPU."""
    import torch

    own = tensor.detach().cpu().contiguous()
    if processes() == 1:
        return own
    import torch.distributed as dist

    counts = stack(torch.tensor(len(own))).tolist()
    padded = own.new_zeros(max(counts), *own.shape[1:])  # gather takes tensors of one shape
    padded[: len(own)] = own
    parts = [torch.empty_like(padded) for _ in counts] if is_main() else None
    dist.gather(padded, parts, dst=0)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]) if is_main() else None


def average_gradients(parameters: "Iterable[nn.Parameter]") -> None:
    """Replace the gradients by their means over all processes."""
    if processes() == 1:
        return
    import torch
    import torch.distributed as dist

    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])  # one message, not hundreds
    dist.all_reduce(flat)
    flat /= processes()
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def share_statistics(network: "nn.Module") -> None:
    """Give every process the main one's running statistics of norms: each has seen other utterances."""
    if processes() == 1:
        return
    import torch
    import torch.distributed as dist

    buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    if not buffers:
        return
    flat = torch.cat([buffer.flatten() for buffer in buffers])
    dist.broadcast(flat, src=0)
    for buffer, part in zip(buffers, flat.split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(part.view_as(buffer))


def check_alike(tensors: "Sequence[Tensor]", name: str) -> None:
    """Make sure that tensors are the same on all processes, to the last bit.

    Raises:
        UserError: they differ, so the processes do not work at the same job any more.
    """
    if processes() == 1:
        return
    import torch

    everybody = stack(torch.cat([tensor.detach().flatten() for tensor in tensors]))
    differing = [number for number, own in enumerate(everybody) if number and not torch.equal(own, everybody[0])]
    if differing:
        raise UserError(
            f"{name} of rank {differing[0]} differs from rank 0's: are the code, the packages and the corpus the same "
            "on all machines? Go on from the last checkpoint when they are"
        )


def wrap(network: "nn.Module", device: "torch.device", uses_all: bool) -> "nn.Module":
    """The network as the training loop should call it: under DistributedDataParallel where there are processes.

    Its norms see this process's share of a batch; their running statistics are the main process's (`share_statistics`
    before evaluating).

    Args:
        uses_all: whether every parameter takes part in the forward pass.
    """
    if processes() == 1:
        return network
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(
        network,
        device_ids=[device.index] if device.type == "cuda" else None,
        broadcast_buffers=False,
        find_unused_parameters=not uses_all,
        gradient_as_bucket_view=True,
    )


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
