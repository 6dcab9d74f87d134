"""Embeddings that are kept: used again while nothing has changed, and never when something has."""

import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch

from config import load_config
from data_objects.corpus import Corpus
from data_objects.frontend import FrontEnd
from models import build_baseline
from tests.helpers import ROOT, SPLIT, options, preprocess, write_small_corpus
from utils.recognition import embeddings as module
from utils.recognition.embeddings import (
    KEPT,
    MOST_KEPT,
    Embeddings,
    embed_kept,
    get_embeddings,
    make_key,
    read_embeddings,
    write_embeddings,
)
from utils.records.code import code_fingerprints
from utils.system.errors import UserError

CPU = torch.device("cpu")
NAMES = sorted(SPLIT)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A small one."""
    folder = write_small_corpus(tmp_path_factory.mktemp("corpus"), samples=12_000)
    preprocess(folder)
    return Corpus(load_config(ROOT / "exps/mini/resnet18.yaml", options(DATASET__DATA_DIR=folder)))


@pytest.fixture(scope="module")
def network(corpus: Corpus) -> torch.nn.Module:
    """One that was never trained."""
    torch.manual_seed(0)
    return build_baseline(load_config(ROOT / "exps/mini/resnet18.yaml"), 4).eval()


def test_places_of_names() -> None:
    """In any order, more than once; one that is not there is named."""
    kept = Embeddings(np.array([b"a/1", b"a/2", b"b/1"]), np.arange(6, dtype=np.float32).reshape(3, 2))
    assert kept.places(["b/1", "a/1", "b/1"]).tolist() == [2, 0, 2]
    for missing in ("a/11", "a", "c/1", "0"):
        with pytest.raises(KeyError, match=missing):
            kept.places(["a/1", missing])


def test_kept_and_used_again(corpus: Corpus, network: torch.nn.Module, tmp_path: Path) -> None:
    """Only what is missing is computed; every embedding is that of its utterance, whenever it was computed."""
    path = tmp_path / "embeddings.npz"
    embed, computed = module.embed_utterances, []

    def record(network, front_end, corpus, rows, device, are_alone):
        computed.append([corpus.index.utterances[row] for row in rows])
        return embed(network, front_end, corpus, rows, device, are_alone=are_alone)

    arguments = (network, FrontEnd().eval(), corpus)
    with mock.patch.object(module, "embed_utterances", record):
        get_embeddings(*arguments, NAMES[3:6], CPU, key="one", path=path)
        some = get_embeddings(*arguments, NAMES[2:8], CPU, key="one", path=path)
        again = get_embeddings(*arguments, NAMES[4:6], CPU, key="one", path=path)
        assert computed == [NAMES[3:6], [NAMES[2], *NAMES[6:8]]]
        get_embeddings(*arguments, NAMES[4:6], CPU, key="two", path=path)
        get_embeddings(*arguments, NAMES[4:6], CPU, key="two", path=None)
    assert computed[2:] == [NAMES[4:6], NAMES[4:6]]
    rows = corpus.index.rows_of(NAMES[2:8])
    expected = embed(*arguments, rows, CPU, are_alone=True).numpy()
    np.testing.assert_array_equal(some.vectors[some.places(NAMES[2:8])], expected)
    np.testing.assert_array_equal(again.vectors[again.places(NAMES[4:6])], some.vectors[some.places(NAMES[4:6])])


def embed(corpus: Corpus, network: torch.nn.Module, checkpoint: Path, fingerprint: str = "") -> list[str]:
    """Embed two utterances by a checkpoint, of this corpus or one with another fingerprint; those that are computed."""
    embed_utterances, computed = module.embed_utterances, []

    def record(network, front_end, corpus, rows, device, are_alone):
        computed.extend(corpus.index.utterances[row] for row in rows)
        return embed_utterances(network, front_end, corpus, rows, device, are_alone=are_alone)

    trained = SimpleNamespace(path=checkpoint, network=network, front_end=FrontEnd().eval(), device=CPU)
    own = fingerprint or corpus.index.fingerprint
    with mock.patch.object(module, "embed_utterances", record), mock.patch.object(corpus.index, "fingerprint", own):
        assert embed_kept(load_config(ROOT / "exps/mini/resnet18.yaml"), trained, corpus, NAMES[:2]) is not None
    return computed


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A file for one, in a folder of its own: only its bytes matter."""
    (tmp_path / "best.pt").write_bytes(b"weights")
    return tmp_path / "best.pt"


def kept_files(checkpoint: Path) -> set[str]:
    return {path.name for path in checkpoint.parent.glob("*.npz")}


def test_corpora_and_checkpoints_in_turn(corpus: Corpus, network: torch.nn.Module, checkpoint: Path) -> None:
    """Each keeps its own: nothing is computed twice. A checkpoint written anew replaces its file."""
    last = Path(shutil.copy(checkpoint, checkpoint.with_name("last.pt")))
    for expected in (NAMES[:2], []):
        assert embed(corpus, network, checkpoint) == expected
        assert embed(corpus, network, checkpoint, "another") == expected
        assert embed(corpus, network, last) == expected
    assert len(kept_files(checkpoint)) == 3
    checkpoint.write_bytes(b"other weights")
    assert embed(corpus, network, checkpoint) == NAMES[:2]
    assert len(kept_files(checkpoint)) == 3


def test_few_files_are_kept(corpus: Corpus, network: torch.nn.Module, checkpoint: Path) -> None:
    """Those that were used last; what else lies there is left alone."""
    others = [checkpoint.with_name(name) for name in ("embeddings-mine.npz", "scores.npz", "embeddings.npz.old")]
    for path in others:
        path.touch()
    for number in range(MOST_KEPT):
        embed(corpus, network, checkpoint, f"corpus {number}")
    assert embed(corpus, network, checkpoint, "corpus 0") == []  # so it is not the oldest any more
    embed(corpus, network, checkpoint, "one more")
    assert sum(KEPT.fullmatch(name) is not None for name in kept_files(checkpoint)) == MOST_KEPT
    assert embed(corpus, network, checkpoint, "corpus 0") == []
    assert embed(corpus, network, checkpoint, "corpus 1") == NAMES[:2]
    assert all(path.exists() for path in others)


def test_file_of_before_is_used_if_it_fits(corpus: Corpus, network: torch.nn.Module, checkpoint: Path) -> None:
    """And goes like the others, when it is the oldest of too many."""
    embed(corpus, network, checkpoint)
    (name,) = kept_files(checkpoint)
    checkpoint.with_name(name).rename(checkpoint.with_name("embeddings.npz"))
    assert embed(corpus, network, checkpoint, "another") == NAMES[:2]
    assert embed(corpus, network, checkpoint) == []
    assert kept_files(checkpoint) > {"embeddings.npz"}
    for number in range(MOST_KEPT):
        embed(corpus, network, checkpoint, f"corpus {number}")
    assert "embeddings.npz" not in kept_files(checkpoint)


def test_what_they_depend_on(corpus: Corpus) -> None:
    """The checkpoint, the index, the windows, how norms are computed, the device: each changes the key."""
    keys = {
        make_key("1" * 64, corpus, True, CPU),
        make_key("2" * 64, corpus, True, CPU),
        make_key("1" * 64, corpus, False, CPU),
    }
    with mock.patch.object(corpus, "window_frames", 100):
        keys.add(make_key("1" * 64, corpus, True, CPU))
    with mock.patch.object(corpus.index, "fingerprint", "other"):
        keys.add(make_key("1" * 64, corpus, True, CPU))
    keys.add(make_key("1" * 64, corpus, True, torch.device("cuda")))
    assert len(keys) == 6
    assert make_key("1" * 64, corpus, True, CPU) in keys


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's code, to be changed."""
    for name in ("models", "data_objects", "utils"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "config.py", tmp_path)
    return tmp_path


def key_of(project: Path, corpus: Corpus) -> str:
    """The key where the project's code is in this folder."""
    code_fingerprints.cache_clear()
    with mock.patch.object(module, "code_fingerprints", partial(code_fingerprints, root=project)):
        return make_key("1" * 64, corpus, True, CPU)


def test_code_that_they_depend_on(corpus: Corpus, project: Path) -> None:
    """What turns samples into embeddings: the front end, the operations, the loop over the utterances."""
    keys = [key_of(project, corpus)]
    assert keys == [make_key("1" * 64, corpus, True, CPU)]
    for name in ("models/operations.py", "data_objects/frontend.py", "utils/recognition/network.py"):
        (project / name).write_text((project / name).read_text() + "# a word more\n")
        keys.append(key_of(project, corpus))
    assert len(set(keys)) == 4
    for name in ("utils/pictures/det.py", "utils/reports/html.py", "utils/training/loop.py", "utils/search/loop.py"):
        (project / name).write_text((project / name).read_text() + "# a word more\n")
    assert key_of(project, corpus) == keys[-1]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file", b"text"])
def test_damaged_file(tmp_path: Path, content: bytes) -> None:
    """It is as if it were not there."""
    path = tmp_path / "embeddings.npz"
    path.write_bytes(content)
    assert read_embeddings(path, "key") is None


def test_network_that_is_broken(corpus: Corpus) -> None:
    """Embeddings that are no numbers are told, with an utterance that has one."""
    broken = build_baseline(load_config(ROOT / "exps/mini/resnet18.yaml"), 4).eval()
    torch.nn.init.constant_(broken.conv1.weight, float("nan"))
    with pytest.raises(UserError, match=rf"2 utterances \({NAMES[0]}, \.\.\.\) are not finite"):
        get_embeddings(broken, FrontEnd().eval(), corpus, NAMES[:2], CPU, key="one", path=None)


def test_disk_that_cannot_be_written_to(tmp_path: Path) -> None:
    """The embeddings are not lost for that: they are just not kept."""
    written = Embeddings(np.array([b"a/1"]), np.ones((1, 3), dtype=np.float32))
    write_embeddings(tmp_path / "nowhere" / "embeddings.npz", "key", written)
    assert list(tmp_path.iterdir()) == []


def test_file_round_trip(tmp_path: Path) -> None:
    """What is written is read, under its key alone."""
    path = tmp_path / "embeddings.npz"
    written = Embeddings(np.array([b"a/1", b"b/1"]), np.ones((2, 3), dtype=np.float32))
    write_embeddings(path, "key", written)
    read = read_embeddings(path, "key")
    np.testing.assert_array_equal(read.vectors, written.vectors)
    np.testing.assert_array_equal(read.utterances, written.utterances)
    assert read_embeddings(path, "another") is None
    assert [file.name for file in tmp_path.iterdir()] == ["embeddings.npz"]
