"""Voices that are known by name: enrolled, recognised, kept in a file that holds tensors and plain text."""

import io
import unicodedata
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_objects.speech import Audio
from utils.metrics.scoring import row_norms
from utils.recognition.recognizer import Comparison, Recognizer
from utils.system.errors import UserError
from utils.system.files import write_atomically
from utils.system.logger import get_logger
from utils.system.text import some

FORMAT = "autospeech-voices-1"
LONGEST_NAME = 200  # characters
ANOTHER = -np.log(10.0)  # log likelihood ratio: ten to one against one speaker


@dataclass(frozen=True)
class Candidate:
    """A voice that a recording may be of."""

    name: str
    score: float
    llr: float | None = None  # see `Comparison`


@dataclass(frozen=True)
class Identification:
    """Whose voice a recording is of.

    Attributes:
        name: of the voice; None: of none that is enrolled, or no decision, for want of a calibration.
        score: of the best candidate.
        candidates: the best ones, the best first.
        is_decided: whether there was a calibration to decide by.
    """

    name: str | None
    score: float
    candidates: list[Candidate]
    is_decided: bool


class Voices:
    """Enrolled voices: of each, the embeddings of its recordings. A voice is the mean of these, brought to length 1.

    Args:
        recognizer: the network that embeds; another one's embeddings mean nothing to it.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self._embeddings: dict[str, np.ndarray] = {}  # name -> (N, D) float32

    def __len__(self) -> int:
        return len(self._embeddings)

    def __contains__(self, name: str) -> bool:
        return _spell(name) in self._embeddings

    @property
    def names(self) -> list[str]:
        """Of the voices, in the order in which they were enrolled."""
        return list(self._embeddings)

    def count(self, name: str) -> int:
        """How many recordings a voice is enrolled by."""
        return len(self._find(name))

    def enrol(self, name: str, recordings: Sequence[Audio], add: bool = False, check: bool = True) -> None:
        """Enrol a voice by recordings of it.

        Args:
            add: to those that the voice is enrolled by already, instead of refusing the name.
            check: that no recording sounds like somebody else's than the others; needs a calibration.

        Raises:
            UserError: a recording cannot be used, or is ten times likelier another speaker's; the name is taken.
        """
        if not recordings:
            raise UserError(f"no recordings of {name!r}")
        self.add(name, self.recognizer.embed_many(recordings), add, check, list(map(_call, recordings)))

    def add(
        self,
        name: str,
        embeddings: np.ndarray,
        add: bool = False,
        check: bool = True,
        called: Sequence[str] | None = None,
    ) -> None:
        """Enrol a voice by embeddings (N, D) of recordings of it; see `enrol`.

        Args:
            called: what the recordings are called, for messages.
        """
        name = tidy_name(name)
        self._check_embeddings(embeddings)
        if name in self and not add:
            raise UserError(
                f"{name!r} is enrolled already, by {self.count(name)} recordings: add to them (--add), remove it, or "
                "take another name"
            )
        before = self._embeddings.get(name, np.zeros((0, self.recognizer.embedding_dim), np.float32))
        every = np.concatenate([before, embeddings.astype(np.float32)])
        if check:
            names = list(called) if called is not None else [f"embedding {place}" for place in range(len(embeddings))]
            self._check_one_voice(name, every, names)
        self._embeddings[name] = every

    def _check_embeddings(self, embeddings: np.ndarray) -> None:
        """Refuse what is no set of embeddings of this network."""
        size = self.recognizer.embedding_dim
        if embeddings.ndim != 2 or embeddings.shape[1] != size or not len(embeddings):
            raise UserError(f"a voice takes embeddings (N, {size}), N of 1 and more, not {embeddings.shape}")
        if not np.isfinite(embeddings).all():
            raise UserError("a voice takes embeddings of finite numbers")

    def _check_one_voice(self, name: str, embeddings: np.ndarray, called: Sequence[str]) -> None:
        """Two people under one name would be recognised as neither: hold the last embeddings, called so, to the rest.

        The one that is least like the others is named.
        """
        if len(embeddings) < 2:
            return
        found: list[tuple[float, str]] = []
        for place, own in enumerate(called, start=len(embeddings) - len(called)):
            others = _voice(np.delete(embeddings, place, axis=0))
            llr = self.recognizer.judge(np.stack([embeddings[place], others])).llr
            if llr is not None:
                found.append((llr, own))
        found.sort()
        if found and found[0][0] < ANOTHER:
            raise UserError(
                f"{found[0][1]} does not sound like the other recordings of {name!r} (log likelihood ratio "
                f"{found[0][0]:.1f}): take it out, or enrol it under another name; --no_check lets it in"
            )
        for llr, own in found:
            if llr < 0:
                get_logger().warning(f"{own} sounds little like the other recordings of {name!r}: {llr:.1f}")

    def remove(self, name: str) -> None:
        """Forget a voice.

        Raises:
            UserError: there is none of this name.
        """
        self._find(name)
        del self._embeddings[tidy_name(name)]

    def _find(self, name: str) -> np.ndarray:
        name = tidy_name(name)
        if name not in self:
            raise UserError(f"nobody is enrolled as {name!r}; known are {some(self.names, 10) or 'none'}")
        return self._embeddings[name]

    def verify(self, name: str, audio: Audio) -> Comparison:
        """Whether a recording is of the voice of this name.

        Raises:
            UserError: there is none of this name; see `Recognizer.listen`.
        """
        voice = _voice(self._find(name))
        return self.recognizer.judge(np.stack([self.recognizer.embed(audio), voice]))

    def identify(self, audio: Audio, top: int = 3) -> Identification:
        """Whose voice a recording is of, if anybody's; the best `top` candidates.

        Raises:
            UserError: nobody is enrolled; see `Recognizer.listen`.
        """
        return self.identify_embedding(self.recognizer.embed(audio), top)

    def identify_embedding(self, embedding: np.ndarray, top: int = 3) -> Identification:
        """The same of an embedding (D,)."""
        if not self._embeddings:
            raise UserError("nobody is enrolled yet")
        judged = [
            (name, self.recognizer.judge(np.stack([embedding, _voice(own)]))) for name, own in self._embeddings.items()
        ]
        judged.sort(key=lambda entry: -entry[1].score)
        best = judged[0]
        candidates = [Candidate(name, found.score, found.llr) for name, found in judged[:top]]
        name = best[0] if best[1].same else None
        return Identification(name, best[1].score, candidates, best[1].same is not None)

    def save(self, path: str | Path) -> None:
        """Write all voices into a file of numbers and text, whole or not at all."""
        counts = [len(own) for own in self._embeddings.values()]
        empty = np.zeros((0, self.recognizer.embedding_dim), np.float32)
        buffer = io.BytesIO()
        np.savez(
            buffer,
            format=np.array(FORMAT),
            network=np.array(self.recognizer.fingerprint),
            names=np.array([name.encode("utf-8") for name in self.names], dtype=np.bytes_),
            counts=np.array(counts, dtype=np.int64),
            embeddings=np.concatenate([empty, *self._embeddings.values()]),
        )
        write_atomically(Path(path).resolve(), buffer.getvalue())  # of a link, what it leads to

    @classmethod
    def load(cls, path: str | Path, recognizer: Recognizer) -> "Voices":
        """The voices of a file.

        Raises:
            UserError: there is none, it is no file of voices, or of another network's.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"no such file of voices: {path}; enrol somebody first")
        try:
            with np.load(path) as file:  # refuses pickles
                if str(file["format"]) != FORMAT:
                    raise ValueError
                network, counts = str(file["network"]), file["counts"].tolist()
                names = [name.decode("utf-8") for name in file["names"].tolist()]
                embeddings = file["embeddings"].astype(np.float32)
            parts = np.split(embeddings, np.cumsum(counts)[:-1]) if counts else []
            if len(names) != len(counts) or len(embeddings) != sum(counts) or min(counts, default=1) < 1:
                raise ValueError
        except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is no file of voices, or damaged ({type(error).__name__})") from error
        if network != recognizer.fingerprint:
            raise UserError(
                f"{path} holds voices as another network hears them, not {recognizer.trained.path}: take that network, "
                "or enrol them anew with this one"
            )
        voices = cls(recognizer)
        for part in parts:
            voices._check_embeddings(part)
        voices._embeddings = dict(zip(names, parts, strict=True))
        return voices


def _voice(embeddings: np.ndarray) -> np.ndarray:
    """The voice (D,) of embeddings (N, D): the mean of what has length 1."""
    return (embeddings / row_norms(embeddings)[:, None]).mean(axis=0)


def tidy_name(name: str) -> str:
    """A name as it is kept: two spellings that look alike are one.

    Raises:
        UserError: it is empty, too long, or not printable.
    """
    tidy = _spell(name)
    if not tidy or not tidy.isprintable() or len(tidy) > LONGEST_NAME:
        raise UserError(
            f"{name[:LONGEST_NAME]!r} is no name for a voice: printable characters are needed, {LONGEST_NAME} at most"
        )
    return tidy


def _spell(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def _call(audio: Audio) -> str:
    return str(audio) if isinstance(audio, str | Path) else "samples"
