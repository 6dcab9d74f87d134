"""A trained network in use: recordings in, embeddings and decisions out, with a checkpoint and nothing else at hand."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import yaml

from config import default_config
from data_objects.audio import AudioError
from data_objects.datasets import collate_windows, group_by_size
from data_objects.frontend import SETTINGS
from data_objects.speech import Audio, Speech, read_speech
from models.vggm import SHORTEST
from utils.metrics.rates import logit
from utils.metrics.scoring import Calibration, cosine_scores, row_norms
from utils.recognition.decisions import read_calibration
from utils.recognition.network import TrainedNetwork, build_trained, embed_windows
from utils.records.checkpoint import BEST, Checkpoint, check_front_end, check_identity, find_checkpoint, load_checkpoint
from utils.records.guard import doubts_of
from utils.system.device import select_device
from utils.system.errors import UserError
from utils.system.logger import get_logger, progress_bar

SHORT, TOO_SHORT = 1.0, 0.4  # seconds: of less a warning, of less a refusal


@dataclass(frozen=True)
class Comparison:
    """Whether two recordings are of one speaker.

    Attributes:
        score: cosine similarity of their embeddings.
        llr: natural logarithm of how many times likelier the score is of one speaker than of two; None: not calibrated.
        same: the decision; None: not calibrated, and so none.
        threshold: the score from which on it is True.
        prior: probability that they are of one speaker, before anything was heard.
    """

    score: float
    llr: float | None = None
    same: bool | None = None
    threshold: float | None = None
    prior: float | None = None

    def as_dict(self) -> dict[str, float | bool | None]:
        """Plain values, for JSON."""
        return asdict(self)


class Recognizer:
    """A trained network that embeds and compares recordings, as an evaluation does, to the bit on the CPU.

    Args:
        trained: the network.
        window_frames, batch_size: length of a window, and how many go through the network at a time.
        calibration: what scores mean; None: no decision is made.
        prior: probability that two recordings are of one speaker; None: the calibration's.
        short, too_short: seconds: a recording of less is warned of, or refused.

    Attributes:
        embedding_dim: D.
    """

    def __init__(
        self,
        trained: TrainedNetwork,
        window_frames: int,
        batch_size: int,
        calibration: Calibration | None = None,
        prior: float | None = None,
        short: float = SHORT,
        too_short: float = TOO_SHORT,
    ) -> None:
        if prior is not None and not 0 < prior < 1:
            raise UserError(f"the prior is a probability between 0 and 1, not {prior}")
        for seconds in (short, too_short):
            if not 0 <= seconds < math.inf:
                raise UserError(f"the shortest recordings are of some seconds, not {seconds}")
        self.trained = trained
        self.window_frames, self.batch_size = window_frames, batch_size
        self.calibration = calibration
        self.prior = prior if calibration is None or prior is not None else calibration.target_prior
        self.short, self.too_short = short, too_short
        self.embedding_dim = trained.network.embedding_dim

    @classmethod
    def load(
        cls,
        run: str | Path,
        device: str = "auto",
        calibration: str | Path | None = None,
        prior: float | None = None,
        short: float = SHORT,
        too_short: float = TOO_SHORT,
    ) -> "Recognizer":
        """The recognizer of a run folder (its best epoch's) or checkpoint.

        Args:
            device: auto, cpu or cuda.
            calibration: a file; None: the run folder's calibration.json, if there is one of this network.

        Raises:
            UserError: no trained network, a damaged one, one of another front end; a calibration of another network.
        """
        path = find_checkpoint(run, BEST, "RUN")
        checkpoint = load_checkpoint(path, ("train", "train_baseline"))
        check_front_end(checkpoint, path)
        check_identity(checkpoint, path)
        frames, batch_size, folds_norms = _settings(checkpoint)
        trained = build_trained(checkpoint, path, select_device(device), folds_norms)
        given = None if calibration is None else Path(calibration)
        found = read_calibration(path, frames, given)
        for doubt in doubts_of(checkpoint):
            get_logger().warning(doubt)
        return cls(trained, frames, batch_size, found, prior, short, too_short)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that an embedding depends on but the recording: weights, front end, windows."""
        checkpoint = self.trained.checkpoint
        digest = hashlib.sha256(f"{sorted(checkpoint.architecture.items())} {self.window_frames}".encode())
        if checkpoint.front_end_settings != SETTINGS:  # else as before there were others: files of voices have it
            digest.update(repr(sorted(checkpoint.front_end_settings.items())).encode())
        for state in (checkpoint.model, checkpoint.front_end):
            for name, value in sorted(state.items()):
                digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def listen(self, audio: Audio) -> Speech:
        """A recording as the network hears it.

        Raises:
            UserError: it cannot be read, is silent, or too short; the line names the file.
        """
        name = str(audio) if isinstance(audio, str | Path) else "samples"
        try:
            speech = read_speech(audio)
        except AudioError as error:
            raise UserError(f"{name}: {error}") from error
        if speech.is_silent:
            raise UserError(f"{name}: silent: nothing but zeros")
        if speech.seconds < self.too_short:
            raise UserError(f"{name}: {speech.seconds:.2f} s are too short: {self.too_short:g} s are needed")
        if speech.seconds < self.short:
            get_logger().warning(f"{name}: {speech.seconds:.2f} s are short: what comes of it is little reliable")
        return speech

    def embed(self, audio: Audio) -> np.ndarray:
        """The embedding (D,) float32 of a recording: the mean of its windows' embeddings, of whatever length.

        Args:
            audio: a file of any kind that preprocessing reads, or (samples, rate).

        Raises:
            UserError: see `listen`.
        """
        return self.embed_speech([self.listen(audio)])[0]

    def embed_many(self, recordings: Sequence[Audio], progress: bool = False) -> np.ndarray:
        """Embeddings (N, D) float32 of recordings; see `embed`. On a GPU, several share a batch.

        Args:
            progress: whether to show a bar on standard error.
        """
        embeddings = np.empty((len(recordings), self.embedding_dim), dtype=np.float32)
        done = 0
        shown = progress_bar(recordings, len(recordings), "embedding") if progress else recordings
        for batch in group_by_size(map(self.listen, shown), self._count_windows, self.batch_size):
            embeddings[done : done + len(batch)] = self.embed_speech(batch)
            done += len(batch)
        return embeddings

    def _count_windows(self, speech: Speech) -> int:
        return speech.count_windows(self.window_frames)

    def embed_speech(self, utterances: Sequence[Speech]) -> np.ndarray:
        """Embeddings (N, D) float32 of utterances. On a CPU not a bit of one depends on the others.

        Raises:
            UserError: they are not finite: the network is broken.
        """
        items = [(speech.windows(self.window_frames), speech.gain, 0) for speech in utterances]
        network, front_end, device = self.trained.network, self.trained.front_end, self.trained.device
        with torch.inference_mode():
            batch = collate_windows(items)
            vectors = embed_windows(network, front_end, batch, self.batch_size, device, are_alone=True).numpy()
        if not np.isfinite(row_norms(vectors)).all():
            raise UserError(f"{self.trained.path}: its embeddings are not finite: the network is broken")
        return vectors

    def compare(self, one: Audio, other: Audio) -> Comparison:
        """Whether two recordings are of one speaker; see `embed` for what may be given."""
        return self.judge(self.embed_many([one, other]))

    def judge(self, pair: np.ndarray) -> Comparison:
        """Whether two embeddings (2, D) are of one speaker."""
        return self.decide(float(cosine_scores(pair, np.array([0]), np.array([1]))[0]))

    def decide(self, score: float) -> Comparison:
        """What a cosine score means: nothing but itself without a calibration."""
        if self.calibration is None or self.prior is None:
            return Comparison(score)
        calibration = self.calibration
        llr = float(calibration.llrs(np.array([score]))[0])
        return Comparison(score, llr, llr >= -logit(self.prior), calibration.threshold(self.prior), self.prior)


def _settings(checkpoint: Checkpoint) -> tuple[int, int, bool]:
    """Frames of a window, windows in a batch, and whether norms are folded, as an evaluation of it has them."""
    values = yaml.safe_load(checkpoint.config)
    settings = dict(default_config().EVAL) | values.get("EVAL", {})
    frames = settings["WINDOW_FRAMES"] or values["DATASET"]["PARTIAL_N_FRAMES"]
    if checkpoint.architecture["kind"] == "vggm":
        frames = max(frames, SHORTEST)
    return frames, settings["BATCH_SIZE"], settings["FOLD_NORMS"]
