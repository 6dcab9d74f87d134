"""Using a network: embeddings of utterances, and identification by them."""

from pathlib import Path

import pytest
import torch

from data_objects.datasets import EvaluationWindows
from data_objects.lists import speaker_of
from tests.helpers import SPLIT, preprocess, write_corpus
from tests.networks import FRAMES, build, settings
from utils.recognition.network import embed_utterances, identify

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
