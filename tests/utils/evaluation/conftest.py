"""A small corpus for the tests of evaluations."""

import pytest

from data_objects.index import Index
from tests.helpers import index_of, write_corpus
from tests.utils.evaluation.corpus import LENGTHS


@pytest.fixture(scope="package")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Four speakers with utterances of 4 to 9 s."""
    return index_of(write_corpus(tmp_path_factory.mktemp("corpus"), LENGTHS))
