"""A network as one ONNX file, front end and all: for programs that have no PyTorch."""

import contextlib
import importlib
import logging
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from data_objects.audio import LEVEL_DBFS, SAMPLE_RATE
from data_objects.frontend import BINS, CONTEXT, HOP, N_FFT, WINDOW, FrontEnd, pad_reflect
from models.base import SpeakerNetwork
from models.vggm import SHORTEST
from utils.recognition.network import build_trained
from utils.recognition.recognizer import Recognizer
from utils.records.guard import doubts_of
from utils.system.errors import UserError
from utils.system.files import partial_name
from utils.system.logger import get_logger

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else onnxruntime, once imported, reports to its makers
OPSET = 18
TOLERANCE = 1e-4  # of embeddings by onnxruntime against PyTorch's, relative to their length
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
LENGTHS = (0.065, 0.4, 1.0, 2.99, 7.3)  # seconds of what is tried; and the shortest that the network takes


class Spectrum(nn.Module):
    """The front end in real arithmetic: what is a Fourier transform elsewhere is a convolution here.

    Waveforms (B, N) float32, N of 400 and more, to features (B, 1 + N // 160, F), mirrored at the ends.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        taps = np.arange(N_FFT)
        window = np.zeros(N_FFT)
        margin = (N_FFT - WINDOW) // 2
        window[margin : margin + WINDOW] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)  # periodic Hann
        angles = 2 * np.pi / N_FFT * (np.arange(BINS)[:, None] * taps % N_FFT)
        basis = np.concatenate([np.cos(angles), -np.sin(angles)]) * window  # (514, 512)
        self.register_buffer("basis", torch.from_numpy(basis[:, None].astype(np.float32)))
        self.front_end = front_end

    basis: Tensor

    def forward(self, waveforms: Tensor) -> Tensor:
        padded = functional.pad(waveforms[:, None], (CONTEXT, CONTEXT), mode="reflect")  # (B, 1, N + 512)
        real, imaginary = functional.conv1d(padded, self.basis, stride=HOP).split(BINS, dim=1)  # (B, 257, T) each
        magnitudes = (real.square() + imaginary.square()).sqrt().transpose(1, 2)
        return self.front_end.normalise(self.front_end.extract(magnitudes))


class Embedder(nn.Module):
    """Waveforms (B, N) to embeddings (B, D)."""

    def __init__(self, network: SpeakerNetwork, front_end: FrontEnd) -> None:
        super().__init__()
        self.spectrum = Spectrum(front_end)
        self.network = network

    def forward(self, waveform: Tensor) -> Tensor:
        return self.network.embed(self.spectrum(waveform))


def export_onnx(recognizer: Recognizer, path: Path) -> dict[str, Any]:
    """Write a network as ONNX, and hold what onnxruntime makes of it against PyTorch.

    The file takes a waveform (batch, samples) float32 at 16 kHz, a window of any length of 25 ms and more (of 65 frames
    for VGG-M), and gives its embedding (batch, D).

    Returns:
        The file's size, opset, and the largest difference by length; what its metadata says.

    Raises:
        UserError: the packages are missing; what it computes differs by more than 1e-4: then there is no file.
    """
    for package in PACKAGES:
        import_optional(package)
    checkpoint = recognizer.trained.checkpoint
    folded = build_trained(checkpoint, recognizer.trained.path, torch.device("cpu"), folds_norms=True)
    network, front_end = folded.network, folded.front_end
    shortest = (SHORTEST - 1) * HOP if checkpoint.architecture["kind"] == "vggm" else WINDOW
    embedder = Embedder(network, front_end).eval()
    partial = partial_name(path)
    try:
        metadata = metadata_of(recognizer, shortest)
        write_graph(embedder, partial, metadata)
        lengths = [shortest, *(length for seconds in LENGTHS if (length := int(seconds * SAMPLE_RATE)) > shortest)]
        differences = compare_with_torch(partial, network, front_end, lengths)
        worst = float(np.max(list(differences.values())))  # NaN if one of them is
        get_logger().info(f"onnxruntime and PyTorch differ by {worst:.1e} at most")
        if not worst <= TOLERANCE:
            raise UserError(f"{path} is not written: its embeddings differ from PyTorch's by {worst:.2g}, relatively")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    of_lengths = {f"{length / SAMPLE_RATE:g}": value for length, value in differences.items()}
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "opset": OPSET,
        "difference_by_seconds": of_lengths,
        "metadata": metadata,
    }


def import_optional(package: str) -> Any:
    """One of PACKAGES, which are needed for nothing else, and so not installed with the rest.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(f"export needs {package}: pip install {' '.join(PACKAGES)}") from error


def metadata_of(recognizer: Recognizer, shortest: int) -> dict[str, str]:
    """What a user of the file should know, as texts; samples are at the sampling rate."""
    frames = recognizer.window_frames
    metadata = {
        "sample_rate": SAMPLE_RATE,
        "window_samples": (frames - 1) * HOP,
        "window_step_samples": frames // 2 * HOP,
        "shortest_samples": shortest,
        "level_dbfs": LEVEL_DBFS,
        "embedding_size": recognizer.embedding_dim,
        "network": recognizer.fingerprint,
        "kind": recognizer.trained.checkpoint.architecture["kind"],
        "genotype": recognizer.trained.checkpoint.architecture.get("genotype", ""),
    }
    if doubts := doubts_of(recognizer.trained.checkpoint):
        metadata["doubts"] = "; ".join(doubts)
    if recognizer.calibration is not None and recognizer.prior is not None:
        calibration = recognizer.calibration
        metadata |= {"threshold": calibration.threshold(recognizer.prior), "prior": recognizer.prior}
        metadata |= {"scale": calibration.scale, "offset": calibration.offset}
    return {name: str(value) for name, value in metadata.items()}


def write_graph(embedder: Embedder, path: Path, metadata: dict[str, str]) -> None:
    """Write the file; batch and samples are free."""
    onnx = import_optional("onnx")
    example = 0.1 * torch.randn(2, 2 * SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            embedder,
            (example,),
            input_names=["waveform"],
            output_names=["embedding"],
            opset_version=OPSET,
            dynamic_shapes={"waveform": {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def compare_with_torch(
    path: Path, network: SpeakerNetwork, front_end: FrontEnd, lengths: Sequence[int]
) -> dict[int, float]:
    """For each length, the largest difference of embeddings, relative to their length, of noise and a voice-like sound.

    PyTorch's are by the front end that the network was trained with.
    """
    session = open_session(path)
    differences = {}
    for length in lengths:
        waveforms = try_sounds(length)
        (found,) = session.run(["embedding"], {"waveform": waveforms})
        padded = np.stack([pad_reflect(waveform) for waveform in waveforms])
        with torch.inference_mode():
            expected = network.embed(front_end(torch.from_numpy(padded))).numpy()
        norms = np.maximum(np.linalg.norm(expected, axis=1), 1e-12)
        differences[length] = float((np.linalg.norm(found - expected, axis=1) / norms).max())
    return differences


def open_session(path: Path, threads: int = 0) -> Any:
    """An onnxruntime session on the CPU, with so many threads; 0: as it likes."""
    onnxruntime = import_optional("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def try_sounds(length: int) -> np.ndarray:
    """Waveforms (3, length) float32: loud noise, quiet noise, pulses of a voice's pitch through a resonance."""
    generator = np.random.default_rng(0)
    loud, quiet = 0.1 * generator.standard_normal((2, length))
    pulses = np.zeros(length)
    pulses[:: SAMPLE_RATE // 120] = 1
    time = np.arange(400) / SAMPLE_RATE
    voice = np.convolve(pulses, np.exp(-300 * time) * np.sin(2 * math.pi * 700 * time))[:length]
    return np.stack([loud, 0.01 * quiet, 0.2 * voice]).astype(np.float32)
