"""How loader processes hand batches over, and whether there is room for it."""

import shutil
import warnings

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from data_objects import loading
from data_objects.datasets import CropBatch
from data_objects.loading import Handing, check_shared_memory
from utils.system.errors import UserError


class Numbers(Dataset):
    """Ten items."""

    def __getitem__(self, item: int) -> int:
        return item

    def __len__(self) -> int:
        return 10


def collate(items: list[int]) -> CropBatch:
    numbers = torch.tensor(items)
    return CropBatch(numbers, numbers.float(), numbers, numbers > 3)


def is_shared(items: list[int]) -> torch.Tensor:
    """Whether a batch is in shared memory before it leaves its loader process."""
    return torch.tensor([[part.is_shared() for part in Handing(collate)(items) if part is not None]])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_handing(num_workers: int) -> None:
    """A loader process puts batches into shared memory itself, where a failure is heard of."""
    (flags,) = DataLoader(Numbers(), batch_size=10, collate_fn=is_shared, num_workers=num_workers)
    assert flags.tolist() == [[num_workers > 0] * 4]
    (batch,) = DataLoader(Numbers(), batch_size=10, collate_fn=Handing(collate), num_workers=num_workers)
    assert isinstance(batch, CropBatch)
    assert batch.waveforms.tolist() == list(range(10))


def test_more_processes_than_cores(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Is told in one line, once, instead of PyTorch's own for every loader."""
    monkeypatch.setattr(loading.os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    loading._warn_of_processes.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for workers in (2, 5, 5):
            loading.open_loader(Numbers(), [[0]], collate, workers, False, 1)
    assert caught == []
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith("WARNING: DATASET.NUM_WORKERS 5 is more than the 2 CPU cores for this process")


def test_room_for_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused with what would fit; every process of a job on this machine takes its part."""
    monkeypatch.setattr(
        loading.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(64_000_000, 4_000_000, 60_000_000)
    )
    check_shared_memory(6, 5_000_000)
    check_shared_memory(0, 500_000_000)
    with pytest.raises(UserError, match=r"take up to 70 MB .*/dev/shm has 60 MB free of 64: .*NUM_WORKERS 6 or less"):
        check_shared_memory(7, 5_000_000)
    with pytest.raises(UserError, match="NUM_WORKERS 0, which needs none"):
        check_shared_memory(1, 50_000_000)
    for name, value in {"RANK": 0, "WORLD_SIZE": 4, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "x"}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(UserError, match=r"take up to 80 MB .*NUM_WORKERS 3 or less"):
        check_shared_memory(4, 5_000_000)
