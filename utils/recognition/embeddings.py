"""Embeddings of utterances, kept in a file and used again while nothing that they depend on has changed."""

import contextlib
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from yacs.config import CfgNode

from data_objects.corpus import Corpus
from data_objects.frontend import FrontEnd
from data_objects.index import Names
from models.base import SpeakerNetwork
from utils.recognition.network import TrainedNetwork, embed_utterances
from utils.records.code import code_fingerprints
from utils.system.distributed import broadcast
from utils.system.files import hash_file, partial_file
from utils.system.logger import get_logger
from utils.system.processes import is_main

EARLIER = "embeddings.npz"  # the only one that there was, before corpora had one each
KEPT = re.compile(r"embeddings(-[0-9a-f]{12})?\.npz")
MOST_KEPT = 4  # files in a folder; one for Vox1-E takes more than a gigabyte
COMPUTING = "utils/recognition/network.py"  # with all that it imports, what embeddings are computed by


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings by name."""

    utterances: np.ndarray  # (M,) S, sorted
    vectors: np.ndarray  # (M, D) float32

    def places(self, utterances: Sequence[str]) -> np.ndarray:
        """The rows (N,) of utterances, all of which must be there.

        Raises:
            KeyError: one is not.
        """
        names = _encode(utterances)
        places = np.minimum(np.searchsorted(self.utterances, names), max(len(self.utterances) - 1, 0))
        missing = self.utterances[places] != names if len(self.utterances) else np.ones(len(names), dtype=bool)
        if missing.any():
            raise KeyError(utterances[int(np.argmax(missing))])
        return places


def _encode(utterances: Sequence[str]) -> np.ndarray:
    return np.array([name.encode(errors="surrogateescape") for name in utterances], dtype=np.bytes_)


def make_key(checkpoint_sha256: str, corpus: Corpus, fold_norms: bool, device: torch.device) -> str:
    """What embeddings depend on: checkpoint, index, windows, how norms are computed, kind of device, code, PyTorch."""
    parts = [checkpoint_sha256, corpus.index.fingerprint, corpus.window_frames, fold_norms, device.type]
    parts.append(code_fingerprints(COMPUTING))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def file_name(checkpoint_file: str, corpus: Corpus, fold_norms: bool, device: torch.device) -> str:
    """The file for embeddings by a checkpoint of this name: what is evaluated in turn has a file each.

    What makes a key out of date for good (the checkpoint's content, the code) has no part in it.
    """
    parts = [checkpoint_file, corpus.index.fingerprint, corpus.window_frames, fold_norms, device.type]
    return f"embeddings-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}.npz"


def embed_kept(cfg: CfgNode, trained: TrainedNetwork, corpus: Corpus, utterances: Sequence[str]) -> Embeddings | None:
    """`get_embeddings` of a trained network, kept beside its checkpoint if EVAL.KEEP_EMBEDDINGS: see `file_name`."""
    key = make_key(hash_file(trained.path), corpus, cfg.EVAL.FOLD_NORMS, trained.device)
    name = file_name(trained.path.name, corpus, cfg.EVAL.FOLD_NORMS, trained.device)
    file = trained.path.with_name(name) if cfg.EVAL.KEEP_EMBEDDINGS else None
    network = trained.network, trained.front_end
    return get_embeddings(*network, corpus, utterances, trained.device, key=key, path=file)


def get_embeddings(
    network: SpeakerNetwork,
    front_end: FrontEnd,
    corpus: Corpus,
    utterances: Sequence[str],
    device: torch.device,
    *,
    key: str,
    path: Path | None,
) -> Embeddings | None:
    """The embeddings of utterances that the index has; those that the file has are not computed again.

    Args:
        key: of `make_key`; a file with another one is not used, but replaced.
        path: the file; None: none is read or written. Where it does not fit, embeddings.npz beside it may.

    Returns:
        Those of the utterances, and others that the file has; None on other processes than the main one.
    """
    wanted = np.unique(_encode(utterances))
    kept = _read_kept(path, key) if path is not None and is_main() else None
    missing = broadcast(list(Names(wanted if kept is None else np.setdiff1d(wanted, kept.utterances))))
    if not missing:
        get_logger().info(f"all {len(wanted):,} embeddings are taken from those kept in {path and path.parent}")
        return kept
    new = embed_utterances(network, front_end, corpus, corpus.index.rows_of(missing), device, are_alone=True)
    if new is None:
        return None
    embeddings = _merge(kept, Embeddings(_encode(missing), new.numpy()))
    if path is not None:
        write_embeddings(path, key, embeddings)
        _keep_newest(path.parent)
    return embeddings


def _read_kept(path: Path, key: str) -> Embeddings | None:
    """The embeddings of a file, or of the one of before there were several; whichever it is counts as new again."""
    for file in dict.fromkeys((path, path.with_name(EARLIER))):
        if (kept := read_embeddings(file, key)) is not None:
            with contextlib.suppress(OSError):  # a folder that may be read alone
                os.utime(file)
            return kept
    return None


def _keep_newest(folder: Path) -> None:
    """Delete the files of embeddings in a folder but those that were written or used last."""
    with contextlib.suppress(OSError):  # another evaluation may be at it, too
        files = [path for path in folder.iterdir() if KEPT.fullmatch(path.name)]
        for path in sorted(files, key=lambda path: path.stat().st_mtime_ns)[:-MOST_KEPT]:
            get_logger().info(f"{path} is deleted: the embeddings of {MOST_KEPT} others were used since")
            path.unlink(missing_ok=True)


def _merge(kept: Embeddings | None, new: Embeddings) -> Embeddings:
    if kept is None:
        return new
    utterances = np.concatenate([kept.utterances, new.utterances])
    places = np.argsort(np.argsort(utterances))  # of each in the sorted names
    vectors = np.empty((len(utterances), new.vectors.shape[1]), dtype=np.float32)
    vectors[places[: len(kept.utterances)]] = kept.vectors
    vectors[places[len(kept.utterances) :]] = new.vectors
    return Embeddings(np.sort(utterances), vectors)


def read_embeddings(path: Path, key: str) -> Embeddings | None:
    """The file's embeddings; None where there is none, it is damaged, or of another key."""
    if not path.is_file():
        return None
    try:
        with np.load(path) as file:
            if str(file["key"]) != key:
                get_logger().info(f"{path} is of another checkpoint, index, windows or code: it is not used")
                return None
            return Embeddings(file["utterances"], file["embeddings"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        get_logger().warning(f"{path} is damaged ({type(error).__name__}): it is not used")
        return None


def write_embeddings(path: Path, key: str, embeddings: Embeddings) -> None:
    """Write the file, whole or not at all, without a copy of the embeddings in memory; warn where it cannot be."""
    try:
        with partial_file(path) as file:
            np.savez(file, key=np.array(key), utterances=embeddings.utterances, embeddings=embeddings.vectors)
    except OSError as error:  # the hours that they took are not lost for that
        get_logger().warning(
            f"cannot write {path} ({error.strerror or error}): the embeddings are not kept for the next time"
        )
