"""How all tests of pictures run."""

import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """Neither numpy nor matplotlib has anything to complain of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
