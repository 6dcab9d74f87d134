"""Using and training a network: embeddings of utterances, which epoch is best, the rise of drop-path."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from yacs.config import CfgNode

from config import default_config
from data_objects.corpus import Corpus
from data_objects.datasets import EvaluationWindows
from data_objects.index import load_statistics
from data_objects.lists import speaker_of
from models import build_network
from models.genotypes import PAPER_GENOTYPE
from tests.helpers import SPEAKERS, SPLIT, preprocess, write_corpus
from utils.recognition.network import embed_utterances, identify
from utils.system.errors import UserError
from utils.training.loop import train_network
from utils.training.optim import cosine_lr
from utils.training.state import TrainingState, check_finite

CPU = torch.device("cpu")
FRAMES = 40


@pytest.fixture(scope="module")
def corpus_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Utterances of 1 to 7 windows."""
    folder = tmp_path_factory.mktemp("engine")
    lengths = {utterance: 3_000 + 2_900 * number for number, utterance in enumerate(SPLIT)}
    write_corpus(folder, lengths, SPLIT)
    preprocess(folder)
    return folder


def settings(corpus_dir: Path, **changes: object) -> CfgNode:
    """Small settings for this corpus, with KEY__VALUE changes."""
    cfg = default_config()
    options = {"DATASET.DATA_DIR": str(corpus_dir), "DATASET.PARTIAL_N_FRAMES": FRAMES, "TRAIN.BATCH_SIZE": 3}
    options |= {"MODEL.LAYERS": 3, "MODEL.INIT_CHANNELS": 4, "DEVICE": "cpu"}
    for key, value in (options | {key.replace("__", "."): value for key, value in changes.items()}).items():
        cfg.merge_from_list([key, value])
    return cfg


def build(cfg: CfgNode):
    """A network with random weights, in training mode, and its front end."""
    torch.manual_seed(0)
    corpus = Corpus(cfg)
    return build_network(cfg, PAPER_GENOTYPE, len(corpus.speakers)).train(), corpus.build_front_end(), corpus


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


def test_front_end_of_a_corpus_is_normalised_by_its_statistics(corpus_dir: Path) -> None:
    """Those of the sub-directory that is trained on."""
    for sub_dir in ("merged", "dev"):
        _, front_end, _ = build(settings(corpus_dir, DATASET__SUB_DIR=sub_dir))
        mean, deviation = load_statistics(corpus_dir / "feature", sub_dir)
        assert np.array_equal(front_end.mean, mean)
        assert np.array_equal(front_end.deviation, deviation)


def test_best_epoch_has_the_highest_accuracy_and_then_the_lowest_loss(corpus_dir: Path) -> None:
    """Of equals, the earlier."""
    network, front_end, corpus = build(settings(corpus_dir))
    state = TrainingState(settings(corpus_dir), "train", network, front_end, {}, corpus)
    assert state.is_better({"top1": 0.0, "loss": 9.0})
    state.advance({"epoch": 1, "top1": 50.0, "loss": 1.0})
    assert state.is_better({"top1": 51.0, "loss": 2.0})
    assert state.is_better({"top1": 50.0, "loss": 0.5})
    assert not state.is_better({"top1": 50.0, "loss": 1.0})
    assert not state.is_better({"top1": 49.0, "loss": 0.1})


def test_drop_path_rises_over_the_epochs(corpus_dir: Path, tmp_path: Path) -> None:
    """To MODEL.DROP_PATH_PROB times epoch / epochs."""
    cfg = settings(corpus_dir, TRAIN__END_EPOCH=4, MODEL__DROP_PATH_PROB=0.4, OUT_DIR=str(tmp_path))
    network, _, corpus = build(cfg)
    train_network(cfg, network, corpus, script="train", config_file="tiny.yaml", load_path=None, device=CPU)
    assert network.drop_path_probability == pytest.approx(0.4 * 3 / 4)


def test_training_learns(tmp_path: Path) -> None:
    """A handful of utterances are learnt by heart: over its epochs, the loss on their crops falls."""
    split = {utterance: part for utterance, part in SPLIT.items() if speaker_of(utterance) in SPEAKERS[:3]}
    lengths = {utterance: 3_000 + 2_900 * number for number, utterance in enumerate(split)}
    corpus_dir = write_corpus(tmp_path / "corpus", lengths, split)
    preprocess(corpus_dir)
    cfg = settings(corpus_dir, TRAIN__END_EPOCH=40, MODEL__DROP_PATH_PROB=0.0, VAL_FREQ=40, OUT_DIR=str(tmp_path))
    network, _, corpus = build(cfg)
    run_dir = train_network(cfg, network, corpus, script="train", config_file="tiny.yaml", load_path=None, device=CPU)
    losses = [json.loads(line)["train_loss"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_loss_that_is_no_number_stops_the_run(loss: float) -> None:
    """With what to do."""
    with pytest.raises(UserError, match=r"epoch 3, at or before step 7: lower TRAIN\.LR"):
        check_finite(loss, 2, 7)


def test_cosine_schedule() -> None:
    """Both ends and the middle."""
    rates = [cosine_lr(epoch, 10, 0.01, 0.001) for epoch in range(11)]
    assert (rates[0], rates[5], rates[10]) == pytest.approx((0.01, 0.0055, 0.001))
    assert rates == sorted(rates, reverse=True)
