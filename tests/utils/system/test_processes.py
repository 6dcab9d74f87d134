"""Which process this is, and its share of a batch."""

import pytest

from utils.system.errors import UserError
from utils.system.processes import check_divisible


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batch_that_cannot_be_shared(monkeypatch: pytest.MonkeyPatch, batch_size: int) -> None:
    """One line that names the setting and a remedy."""
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(UserError, match=rf"TRAIN\.BATCH_SIZE {batch_size}, .* cannot be shared by 2: set it to 2 or"):
        check_divisible(batch_size)
