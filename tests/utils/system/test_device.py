"""The device that DEVICE means, and what is seeded before a script computes."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from config import default_config
from utils.system.device import autocast, prepare, select_device
from utils.system.errors import UserError


@pytest.fixture
def flags() -> Iterator[None]:
    """cuDNN's and TF32's flags are those of the process: put back what they were."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32
    yield
    cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = before


def test_device_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU where it is asked for, and where there is nothing else; CUDA is not replaced by it in silence."""
    assert select_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_device("auto") == torch.device("cpu")
    with pytest.raises(UserError, match="DEVICE is cuda, but PyTorch sees no CUDA device here"):
        select_device("cuda")


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process takes the GPU of its own number; where there is none, the remedy is told."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    assert select_device("auto") == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match=r"3 or more processes on a machine with 2 GPUs.*--nproc_per_node to 2"):
        select_device("auto")


@pytest.mark.usefixtures("flags")
def test_all_generators_are_seeded() -> None:
    """Python's, NumPy's and PyTorch's, by SEED."""
    cfg = default_config()
    cfg.DEVICE = "cpu"
    drawn = []
    for cfg.SEED in (3, 3, 4):
        assert prepare(cfg) == torch.device("cpu")
        drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]
    assert all(one != other for one, other in zip(drawn[1], drawn[2], strict=True))


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_precision(precision: str, dtype: torch.dtype) -> None:
    """What a matrix product is computed in."""
    with autocast(torch.device("cpu"), precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
