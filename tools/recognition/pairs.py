"""A calibration of pairs of one's own: what a threshold from another corpus cannot give."""

import json
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from utils.metrics.rates import cllr, equal_error_rate, min_cllr
from utils.metrics.scoring import cosine_scores, fit_calibration
from utils.recognition.decisions import SYSTEM
from utils.recognition.recognizer import Recognizer
from utils.system.errors import UserError
from utils.system.files import hash_file, read_text, write_atomically
from utils.system.logger import get_logger

FEW = 100  # pairs of a kind: with fewer, a calibration is a guess
EVEN = 0.5  # the prior that it is fitted at
EXPECTED = "expected is a line a pair, '1|0 A B': 1 for one speaker, 0 for two; paths with spaces in quotes"


class Pairs(NamedTuple):
    """Pairs of recordings."""

    files: list[Path]  # each once
    places: np.ndarray  # (N, 2), in files
    labels: np.ndarray  # (N,), 1 for one speaker, 0 for two


def read_pairs(path: Path) -> Pairs:
    """A list of pairs, of files relative to its folder.

    Raises:
        UserError: no list, a malformed line, a pair of a file with itself, one that stands twice, or of one kind alone.
    """
    try:
        lines = read_text(path, EXPECTED).splitlines()
    except FileNotFoundError as error:
        raise UserError(f"no such list: {path}; {EXPECTED}") from error
    place_of: dict[Path, int] = {}
    seen: dict[frozenset[int], int] = {}
    labels = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        label, *files = _words(path, number, line)
        pair = [place_of.setdefault((path.parent / file).resolve(), len(place_of)) for file in files]
        first = seen.setdefault(frozenset(pair), number)
        if first != number or pair[0] == pair[1]:
            why = f"this pair stands in line {first} already" if first != number else "a file with itself is no pair"
            raise UserError(f"{path}, line {number}: {why}")
        labels.append(int(label))
    if len(set(labels)) < 2:
        raise UserError(f"{path}: pairs of one speaker (1) and of two (0) are needed; {EXPECTED}")
    return Pairs(list(place_of), np.array([sorted(pair) for pair in seen]), np.array(labels))


def _words(path: Path, number: int, line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError:  # a quotation without its end
        words = []
    if len(words) != 3 or words[0] not in ("0", "1"):
        raise UserError(f"{path}, line {number}: {EXPECTED}; found {line[:80]!r}")
    return words


def calibrate(recognizer: Recognizer, path: Path, out: Path) -> dict[str, Any]:
    """Fit a calibration on the pairs of a list, and write it; returns its figures.

    Raises:
        UserError: see `read_pairs` and `Recognizer.listen`; scores that tell nothing.
    """
    pairs = read_pairs(path)
    embeddings = recognizer.embed_many(pairs.files, progress=True)
    scores = cosine_scores(embeddings, *pairs.places.T)
    try:
        calibration = fit_calibration(scores, pairs.labels, EVEN)
    except ValueError as error:
        raise UserError(f"{path}: no calibration can be fitted: {error}") from error
    targets = int(pairs.labels.sum())
    others = len(pairs.labels) - targets
    if min(targets, others) < FEW:
        get_logger().warning(
            f"{path} has {targets:,} pairs of one speaker and {others:,} of two: fewer than {FEW} of a kind make a "
            "threshold that may not hold for the next recordings"
        )
    llrs = calibration.llrs(scores)
    figures = {
        "pairs": len(pairs.labels),
        "targets": targets,
        "eer": 100 * equal_error_rate(scores, pairs.labels),
        "cllr": cllr(llrs, pairs.labels),
        "min_cllr": min_cllr(scores, pairs.labels),
        "threshold": calibration.threshold(EVEN),
        "prior": EVEN,
    }
    thresholds = {str(prior): calibration.threshold(prior) for prior in (EVEN, 0.01, 0.05)}
    content = {
        "systems": {SYSTEM: calibration.as_dict() | {"thresholds": thresholds}},
        "checkpoint": hash_file(recognizer.trained.path),
        "window_frames": recognizer.window_frames,
        "pairs": {"list": path.name, "sha256": hash_file(path)} | figures,
    }
    write_atomically(out, json.dumps(content, indent=2) + "\n")
    return figures
