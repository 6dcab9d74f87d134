"""The ONNX file computes what PyTorch does, for every network, and needs nothing else."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from data_objects.frontend import FEATURES, NORMS, FrontEnd, count_bins, pad_reflect, settings_of
from models.base import SpeakerNetwork
from tests.helpers import environment, noise
from tests.networks import save_run
from utils.recognition import export
from utils.recognition.export import Embedder, Spectrum, export_onnx
from utils.recognition.recognizer import Recognizer
from utils.system.errors import UserError
from utils.system.files import hash_file

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in export.PACKAGES),
    reason=f"not installed: {', '.join(export.PACKAGES)}",
)

FRONT_ENDS = [settings_of(feature, 40, norm) for feature in FEATURES for norm in NORMS]
MODERN = {"front_end_settings": settings_of("log_mel", norm="utterance_mean")}
NETWORKS = {
    "derived, attentive, AAM": (
        "network",
        {"pooling": "attentive", "loss": "aam", "scale": 30.0, "subcenters": 2, **MODERN},
    ),
    "derived, correlations": ("network", {"pooling": "correlation", "bins": 80, **MODERN}),
    "resnet18": ("resnet18", {}),
    "vggm": ("vggm", {}),
    "statistics": ("statistics", {}),
}


class Rectified(SpeakerNetwork):
    """Embeddings (B, F) of features (B, T, F): the mean over time of what is positive."""

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        return features.relu().mean(dim=1)


@pytest.mark.parametrize(
    "settings",
    [
        settings_of("magnitude", norm="utterance_mean"),
        settings_of("log_magnitude", norm="utterance_mean_deviation"),
        settings_of("log_mel", 40),
    ],
)
def test_graph_of_every_feature_and_norm(tmp_path: Path, settings: dict) -> None:
    """Of any number of frames, over which an utterance's own norms go."""
    bins = count_bins(settings)
    front_end = FrontEnd(np.linspace(1, 0.1, bins), np.linspace(0.5, 2, bins), settings)
    embedder = Embedder(Rectified(), front_end).eval()
    export.write_graph(embedder, tmp_path / "net.onnx", {})
    differences = export.compare_with_torch(tmp_path / "net.onnx", embedder.network, front_end, [400, 12_345, 60_000])
    assert max(differences.values()) < export.TOLERANCE


@pytest.mark.parametrize("settings", FRONT_ENDS)
@pytest.mark.parametrize("samples", [400, 401, 16_000, 47_999])
def test_spectrum_is_the_front_end(samples: int, settings: dict) -> None:
    """By a convolution what the other has by a Fourier transform."""
    bins = count_bins(settings)
    front_end = FrontEnd(np.linspace(1, 0.1, bins), np.linspace(0.5, 2, bins), settings)
    waveform = noise(samples)
    expected = front_end(torch.from_numpy(pad_reflect(waveform))[None])
    found = Spectrum(front_end)(torch.from_numpy(waveform)[None])
    assert found.shape == expected.shape == (1, 1 + samples // 160, bins)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(("kind", "architecture"), NETWORKS.values(), ids=NETWORKS)
def test_export(tmp_path: Path, kind: str, architecture: dict) -> None:
    """Any batch, any length from the shortest on; metadata says what one must know."""
    recognizer = Recognizer.load(save_run(tmp_path / "run", kind, **architecture), "cpu")
    said = export_onnx(recognizer, tmp_path / "net.onnx")
    assert max(said["difference_by_seconds"].values()) < 1e-5
    onnxruntime = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == said["metadata"]
    for batch, samples in ((1, int(said["metadata"]["shortest_samples"])), (3, 12_345), (2, 60_000)):
        waveforms = np.stack([noise(samples, seed) for seed in range(batch)])
        (embeddings,) = session.run(None, {"waveform": waveforms})
        padded = torch.from_numpy(np.stack([pad_reflect(waveform) for waveform in waveforms]))
        with torch.inference_mode():
            expected = recognizer.trained.network.embed(recognizer.trained.front_end(padded)).numpy()
        assert embeddings.shape == (batch, recognizer.embedding_dim)
        np.testing.assert_allclose(embeddings, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    assert list(tmp_path.glob("*.partial*")) == []


def test_metadata(tmp_path: Path) -> None:
    """The window, the embedding's size, the genotype; a threshold where there is one."""
    run = save_run(tmp_path / "run", "network")
    recognizer = Recognizer.load(run, "cpu")
    metadata = export.metadata_of(recognizer, 400)
    assert metadata["window_samples"] == str(39 * 160)
    assert metadata["window_step_samples"] == str(20 * 160)
    assert metadata["genotype"].startswith("Genotype(normal=")
    assert "threshold" not in metadata
    system = {"scale": 10.0, "offset": -5.0, "target_prior": 0.5}
    sha256 = hash_file(run / "best.pt")
    (run / "calibration.json").write_text(json.dumps({"systems": {"cosine": system}, "checkpoint": sha256}))
    assert export.metadata_of(Recognizer.load(run), 400)["threshold"] == "0.5"


def test_file_that_differs_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor what was there before lost."""
    recognizer = Recognizer.load(save_run(tmp_path / "run", "network"), "cpu")
    path = tmp_path / "net.onnx"
    path.write_bytes(b"of before")

    def with_zeros(spectrum: Spectrum, waveforms: torch.Tensor) -> torch.Tensor:
        """At the ends, where the front end mirrors."""
        padded = torch.nn.functional.pad(waveforms[:, None], (256, 256))
        parts = torch.nn.functional.conv1d(padded, spectrum.basis, stride=160).split(257, dim=1)
        return spectrum.front_end.normalise((parts[0].square() + parts[1].square()).sqrt().transpose(1, 2))

    monkeypatch.setattr(Spectrum, "forward", with_zeros)
    with pytest.raises(UserError, match=r"net.onnx is not written: its embeddings differ from PyTorch's by"):
        export_onnx(recognizer, path)
    assert path.read_bytes() == b"of before"
    assert list(tmp_path.glob("*.partial*")) == []


def test_differences_that_are_no_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN is no small difference, wherever it stands."""
    recognizer = Recognizer.load(save_run(tmp_path / "run", "network"), "cpu")
    monkeypatch.setattr(export, "compare_with_torch", lambda *_: {400: 1e-7, 16_000: float("nan"), 20_000: 1e-7})
    with pytest.raises(UserError, match="differ from PyTorch's by nan"):
        export_onnx(recognizer, tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def test_packages_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what to install."""
    recognizer = Recognizer.load(save_run(tmp_path / "run", "network"), "cpu")
    monkeypatch.setattr(export, "PACKAGES", ("onnx", "not_there"))
    with pytest.raises(UserError, match="export needs not_there: pip install onnx not_there"):
        export_onnx(recognizer, tmp_path / "net.onnx")


def test_file_is_used_without_torch(tmp_path: Path) -> None:
    """In a process that cannot import it."""
    recognizer = Recognizer.load(save_run(tmp_path / "run", "network"), "cpu")
    export_onnx(recognizer, tmp_path / "net.onnx")
    np.save(tmp_path / "in.npy", noise(16_000)[None])
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np, onnxruntime\n"
        "session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
        "np.save(sys.argv[3], session.run(None, {'waveform': np.load(sys.argv[2])})[0])\n"
    )
    command = [
        sys.executable,
        "-c",
        program,
        *map(str, (tmp_path / "net.onnx", tmp_path / "in.npy", tmp_path / "out.npy")),
    ]
    subprocess.run(command, cwd=tmp_path, env=environment(), check=True, timeout=100)
    found = np.load(tmp_path / "out.npy")
    with torch.inference_mode():
        padded = torch.from_numpy(pad_reflect(noise(16_000)))[None]
        expected = recognizer.trained.network.embed(recognizer.trained.front_end(padded)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
