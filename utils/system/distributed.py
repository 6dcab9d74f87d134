"""What the processes of a job tell each other. With one process, all of this does nothing.

Tensors on CPUs travel by gloo, those on GPUs by NCCL. Every function that talks to the other processes must be called
by all of them, in the same order.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from utils.system.errors import UserError
from utils.system.processes import is_main, part_with, processes


def start(device: torch.device) -> None:
    """Join the other processes, if there are any and this has not been done; see `processes.part` for the end."""
    if processes() > 1 and not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        part_with(dist.destroy_process_group)


def agree(*numbers: int) -> tuple[int, ...]:
    """The greatest of each number over all processes; also a point that none passes before all have come to it."""
    if processes() == 1:
        return numbers
    greatest = torch.tensor(numbers or [0], dtype=torch.int64)
    dist.all_reduce(greatest, dist.ReduceOp.MAX)
    return tuple(greatest.tolist())


def broadcast(value: Any) -> Any:
    """The main process's value, on all of them; plain values and tensors on the CPU."""
    if processes() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    return values[0]


def stack(tensor: Tensor) -> Tensor:
    """Everybody's tensor, of one shape (...), on every process: (processes, ...), on the CPU."""
    own = tensor.detach().cpu()
    if processes() == 1:
        return own[None]
    parts = [torch.empty_like(own) for _ in range(processes())]
    dist.all_gather(parts, own.contiguous())
    return torch.stack(parts)


def gather_rows(tensor: Tensor) -> Tensor | None:
    """Everybody's rows (n, ...), below each other by rank, on the main process; None on the others. On the CPU."""
    own = tensor.detach().cpu().contiguous()
    if processes() == 1:
        return own
    counts = stack(torch.tensor(len(own))).tolist()
    padded = own.new_zeros(max(counts), *own.shape[1:])  # gather takes tensors of one shape
    padded[: len(own)] = own
    parts = [torch.empty_like(padded) for _ in counts if is_main()]
    dist.gather(padded, parts or None, dst=0)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]) if is_main() else None


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients by their means over all processes."""
    if processes() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])  # one message, not hundreds
    dist.all_reduce(flat)
    flat /= processes()
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def share_statistics(network: nn.Module) -> None:
    """Give every process the main one's running statistics of norms: each has seen other utterances."""
    if processes() == 1:
        return
    buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    if not buffers:
        return
    flat = torch.cat([buffer.flatten() for buffer in buffers])
    dist.broadcast(flat, src=0)
    for buffer, part in zip(buffers, flat.split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(part.view_as(buffer))


def check_alike(tensors: Sequence[Tensor], name: str) -> None:
    """Make sure that tensors are the same on all processes, to the last bit.

    Raises:
        UserError: they differ, so the processes do not work at the same job any more.
    """
    if processes() == 1:
        return
    everybody = stack(torch.cat([tensor.detach().flatten() for tensor in tensors]))
    differing = [number for number, own in enumerate(everybody) if number and not torch.equal(own, everybody[0])]
    if differing:
        raise UserError(
            f"{name} of rank {differing[0]} differs from rank 0's: are the code, the packages and the corpus the same "
            "on all machines? Go on from the last checkpoint when they are"
        )


def apart(model: nn.Module, is_apart: bool) -> AbstractContextManager[object]:
    """In it, a step's gradients stay those of this process, to be averaged with those of a later batch.

    Args:
        model: as `wrap` gives it.
    """
    return model.no_sync() if is_apart and isinstance(model, DistributedDataParallel) else nullcontext()


def wrap(network: nn.Module, device: torch.device, uses_all: bool) -> nn.Module:
    """The network as the training loop should call it: under DistributedDataParallel where there are processes.

    Its norms see this process's share of a batch; their running statistics are the main process's (`share_statistics`
    before evaluating).

    Args:
        uses_all: whether every parameter takes part in the forward pass.
    """
    if processes() == 1:
        return network
    return DistributedDataParallel(
        network,
        device_ids=[device.index] if device.type == "cuda" else None,
        broadcast_buffers=False,
        find_unused_parameters=not uses_all,
        gradient_as_bucket_view=True,
    )


def unwrap(model: nn.Module) -> nn.Module:
    """The network that `wrap` was given."""
    return model.module if isinstance(model, DistributedDataParallel) else model
