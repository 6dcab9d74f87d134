"""The cosine classifier, alone and within the networks."""

import pytest
import torch
from torch import nn

from models import BASELINES, build_model
from models.folding import fold_norms
from models.heads import CosineClassifier
from tests.helpers import GENOTYPE

SCALE, CLASSES = 30.0, 7
TINY = {"layers": 3, "channels": 4, "num_classes": CLASSES, "genotype": GENOTYPE, "loss": "aam", "scale": SCALE}


def test_logits_are_scaled_cosines() -> None:
    """Whatever the lengths of embeddings and weights."""
    classifier = CosineClassifier(5, CLASSES, SCALE).double()
    embeddings = 100 * torch.randn(3, 5, dtype=torch.float64)
    logits = classifier(embeddings)
    for row, embedding in enumerate(embeddings):
        for label, weight in enumerate(classifier.weight):
            cosine = embedding @ weight / (embedding.norm() * weight.norm())
            assert logits[row, label].item() == pytest.approx(SCALE * cosine.item())


def test_nearest_subcentre_counts() -> None:
    """The greatest cosine of a class's own weights, one behind the other; of one weight each, nothing is different."""
    classifier = CosineClassifier(5, CLASSES, SCALE, subcenters=3).double()
    assert (classifier.weight.shape, classifier.out_features) == ((3 * CLASSES, 5), CLASSES)
    embeddings = torch.randn(20, 5, dtype=torch.float64)
    logits, chosen = classifier(embeddings), set()
    for row, embedding in enumerate(embeddings):
        for label in range(CLASSES):
            own = classifier.weight[3 * label : 3 * label + 3]
            cosines = [embedding @ weight / (embedding.norm() * weight.norm()) for weight in own]
            assert logits[row, label].item() == pytest.approx(SCALE * max(cosines).item())
            chosen.add(cosines.index(max(cosines)))
    assert chosen == {0, 1, 2}
    single, plain = CosineClassifier(5, CLASSES, SCALE, subcenters=1), CosineClassifier(5, CLASSES, SCALE)
    single.load_state_dict(plain.state_dict())
    assert torch.equal(single(embeddings.float()), plain(embeddings.float()))


def test_nearest_subcentre_alone_learns() -> None:
    """The others' gradients are 0."""
    classifier = CosineClassifier(5, 1, SCALE, subcenters=3)
    with torch.no_grad():
        classifier.weight.copy_(torch.eye(5)[:3])
    classifier(torch.tensor([[0.1, 0.7, 0.2, 0.1, 0.0]])).sum().backward()
    assert [bool(row.any()) for row in classifier.weight.grad] == [False, True, False]


def test_cosines_are_not_taken_in_bfloat16() -> None:
    """Under autocast too; the embeddings may be."""
    classifier, embeddings = CosineClassifier(64, CLASSES, SCALE), torch.randn(3, 64).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        logits = classifier(embeddings)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, classifier(embeddings.float()))


@pytest.mark.parametrize("kind", ["network", *BASELINES])
def test_contract_of_a_network_with_cosines(kind: str) -> None:
    """`classifier` gives the logits of `embed`, without margin, whatever the mode; there may be sub-centres."""
    network = build_model(TINY | {"kind": kind, "subcenters": 2}).eval()
    assert len(network.classifier.weight) == 2 * CLASSES
    features = torch.randn(2, 101, 257)
    with torch.no_grad():
        logits, embeddings = network(features), network.embed(features)
        torch.testing.assert_close(network.classifier(embeddings), logits)
        torch.testing.assert_close(fold_norms(network)(features), logits, rtol=1e-3, atol=1e-3)
    assert isinstance(network.classifier, nn.Linear)
    assert network.classifier.bias is None
    assert (logits.abs() <= SCALE * 1.0001).all()
