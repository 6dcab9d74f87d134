"""Using a network: embeddings of utterances, and identification by them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_objects.datasets import EvaluationWindows
from data_objects.lists import speaker_of
from models import build_model
from tests.helpers import SPLIT, preprocess, write_corpus
from tests.networks import FRAMES, build, save_run, settings
from utils.recognition.network import build_trained, check_frames, embed_utterances, identify
from utils.records.checkpoint import check_identity, load_checkpoint

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def corpus_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Utterances of 1 to 7 windows."""
    folder = tmp_path_factory.mktemp("corpus")
    lengths = {utterance: 3_000 + 2_900 * number for number, utterance in enumerate(SPLIT)}
    write_corpus(folder, lengths, SPLIT)
    preprocess(folder)
    return folder


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_embedding_is_the_mean_over_the_windows(corpus_dir: Path, batch_size: int) -> None:
    """In evaluation mode, however the windows are put into batches."""
    network, front_end, corpus = build(settings(corpus_dir, EVAL__BATCH_SIZE=batch_size))
    rows = [7, 0, 8, 3]
    embeddings = embed_utterances(network, front_end, corpus, rows, CPU)
    assert embeddings.shape == (4, network.embedding_dim)
    assert not network.training
    windows = EvaluationWindows(corpus.index, FRAMES)
    with torch.no_grad():
        for row, embedding in zip(rows, embeddings, strict=True):
            waveforms = torch.from_numpy(windows[row][0])
            gains = torch.full((len(waveforms),), corpus.index.gains[row])
            expected = network.embed(front_end(waveforms, gains)).mean(dim=0)
            torch.testing.assert_close(embedding, expected, rtol=1e-4, atol=1e-5)


def test_identification_classifies_the_mean_embedding(corpus_dir: Path) -> None:
    """Top-1 and Top-5 in per cent and the loss, over utterances, with the classes in the order given."""
    network, front_end, corpus = build(settings(corpus_dir))
    rows = list(range(len(corpus.index)))
    speakers = list(reversed(corpus.speakers))
    figures = identify(network, front_end, corpus, rows, speakers, CPU)
    with torch.no_grad():
        logits = network.classifier(embed_utterances(network, front_end, corpus, rows, CPU))
    labels = torch.tensor([speakers.index(speaker_of(corpus.index.utterances[row])) for row in rows])
    assert figures["top1"] == pytest.approx(100 * (logits.argmax(dim=1) == labels).float().mean().item())
    assert figures["top5"] == 100  # of three classes
    assert figures["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-4)


def test_speeds_are_nobody(corpus_dir: Path) -> None:
    """What is identified is one of the speakers at their own speed, however well a class of another speed fits."""
    changes = {"AUGMENT__SPEED": "0.9 1.1", "AUGMENT__SPEED_CLASSES": True}
    network, front_end, corpus = build(settings(corpus_dir, **changes))
    speakers, rows = corpus.speakers, list(range(len(corpus.index)))
    assert network.classifier.out_features == 3 * len(speakers)
    with torch.no_grad():
        network.classifier.bias[len(speakers) :] = 1e3
        plain, _, _ = build(settings(corpus_dir))
        plain.load_state_dict(
            {
                name: value[: len(plain.state_dict()[name])] if value.dim() else value
                for name, value in network.state_dict().items()
            }
        )
    assert identify(network, front_end, corpus, rows, speakers, CPU) == identify(
        plain, front_end, corpus, rows, speakers, CPU
    )


@pytest.mark.parametrize("kind", ["network", "resnet18", "vggm"])
@pytest.mark.parametrize("more", [{}, {"loss": "aam", "scale": 30.0}])
def test_trained_network_has_the_speakers_alone(tmp_path: Path, kind: str, more: dict) -> None:
    """By the first rows of the classifier that was trained for all speeds; its embeddings are the same."""
    path = save_run(tmp_path, kind, speeds="0.9 1.1", **more) / "best.pt"
    checkpoint = load_checkpoint(path, ("train", "train_baseline"))
    check_identity(checkpoint, path)
    trained = build_trained(checkpoint, path, CPU, folds_norms=False).network
    whole = build_model(checkpoint.architecture).eval()
    whole.load_state_dict(checkpoint.model)
    features = torch.randn(2, 80, 257)
    with torch.no_grad():
        assert torch.equal(trained.embed(features), whole.embed(features))
        assert trained(features).shape == (2, 5)
        torch.testing.assert_close(trained(features), whole(features)[:, :5])


def test_windows_are_warned_of_where_the_training_had_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What its own settings say is what it was chosen by: no surprise."""
    run = save_run(tmp_path, "network")
    checkpoint = load_checkpoint(run / "best.pt", ("train",))
    crops = f"trained on crops of {FRAMES} frames"
    for own, now, said in (
        (0, 0, ""),
        (FRAMES, 0, ""),
        (0, FRAMES, ""),
        (2 * FRAMES, 2 * FRAMES, ""),
        (0, 2 * FRAMES, f"{crops} and is evaluated on windows of {2 * FRAMES}"),
        (3 * FRAMES, 0, f"{crops}, validated on windows of {3 * FRAMES} and is evaluated on windows of {FRAMES}"),
    ):
        trained, cfg = settings(tmp_path, EVAL__WINDOW_FRAMES=own), settings(tmp_path, EVAL__WINDOW_FRAMES=now)
        check_frames(cfg, replace(checkpoint, config=trained.dump()), run)
        warned = capfd.readouterr().err
        assert said in warned
        assert bool(warned) is bool(said)
