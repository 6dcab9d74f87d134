"""What the tests of a search's parts share."""

from pathlib import Path

import pytest
import torch

from config import load_config
from data_objects.corpus import Corpus
from models import build_supernet
from tests.helpers import ROOT, SEARCH, options
from utils.search.paths import PathScorer


@pytest.fixture(scope="module")
def scorer(toy: Path) -> PathScorer:
    """Of a small supernet whose weights learn by genotypes; tests leave it as it is, but for its batches' size."""
    settings = options(DATASET__DATA_DIR=toy, SEARCH__PATHS="genotypes")
    cfg = load_config(ROOT / SEARCH, settings)
    corpus = Corpus(cfg)
    torch.manual_seed(1)
    supernet = build_supernet(cfg, len(corpus.speakers))
    crops, device = corpus.crops("train"), torch.device("cpu")
    return PathScorer(supernet, corpus.build_front_end(), corpus, crops, device, cfg.SEED)
