"""What a supernet makes of one path: against a network that has nothing but that path, and without a trace."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.genotypes import INPUTS, SEARCH_SPACES, Genotype, edge_row
from models.network import Network
from models.supernet import Supernet
from utils.search.paths import PathScorer, calibrated, random_path

CHANNELS, LAYERS, CLASSES = 4, 4, 5
SPACE = SEARCH_SPACES["s2"]
# Without pooling, behind which the supernet alone has a norm.
GENOTYPE = Genotype(
    normal=tuple(zip(["sep_conv_3x3", "skip_connect", "dil_conv_5x5", "sep_conv_5x5"] * 2, [0, 1] * 4, strict=True)),
    normal_concat=range(2, 6),
    reduce=tuple(zip(["skip_connect", "dil_conv_3x3"] * 4, [1, 0, 2, 1, 3, 2, 4, 0], strict=True)),
    reduce_concat=range(2, 6),
)


def build(stem: str = "network") -> Supernet:
    torch.manual_seed(3)
    return Supernet(SPACE, CHANNELS, LAYERS, CLASSES, stem)


def draw_batches(count: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(4, 64, 257, generator=generator), torch.zeros(4, dtype=torch.int64)) for _ in range(count)]


def copy_weights(supernet: Supernet, genotype: Genotype) -> Network:
    """The network of a genotype, with the weights that the supernet has on its path."""
    network = Network(genotype, CHANNELS, LAYERS, CLASSES)
    pairs: list[tuple[nn.Module, nn.Module]] = [
        (network.stem_0, supernet.stem_0),
        (network.stem_1, supernet.stem_1),
        (network.classifier, supernet.classifier),
    ]
    for cell, shared in zip(network.cells, supernet.cells, strict=True):
        genes = genotype.reduce if shared.reduction else genotype.normal
        pairs += [(cell.preprocess_older, shared.preprocess_older), (cell.preprocess_newer, shared.preprocess_newer)]
        for position, (operation, source) in enumerate(genes):
            row = edge_row(position // 2, source)
            pairs.append((cell.operations[position], shared.edges[row].operations[SPACE.index(operation)]))
    for own, shared in pairs:
        missing, unexpected = own.load_state_dict(shared.state_dict(), strict=False)
        assert not unexpected
        assert all(name.endswith(("weight", "bias")) for name in missing)  # of norms: 1 and 0, as without them
    return network


def test_a_calibrated_path_is_the_network_of_its_genotype() -> None:
    """Its norms have seen the path alone: the logits are those of a network that has no other, trained on the same."""
    supernet, batches = build(), draw_batches(3)
    supernet.drop_path_probability = 0.5  # which must not touch what is evaluated
    network = copy_weights(supernet, GENOTYPE)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None
    with torch.no_grad():
        for features, _ in batches:
            network(features)
        x = draw_batches(4)[-1][0]
        expected = network.eval()(x)
        with calibrated(supernet, supernet.genotype_path(GENOTYPE), batches):
            actual = supernet(x)
        uncalibrated = supernet.eval()
        uncalibrated.path = supernet.genotype_path(GENOTYPE)
        assert torch.allclose(actual, expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(uncalibrated(x), expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("stem", ["paper", "network"])
def test_evaluating_a_path_leaves_no_trace(stem: str) -> None:
    """Not in the supernet's weights and norms, not in what it draws next; also where the evaluation fails."""
    supernet, batches = build(stem), draw_batches(2)
    supernet.train()
    supernet(batches[0][0])
    before, generator = copy.deepcopy(supernet.state_dict()), torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt), calibrated(supernet, supernet.argmax_path(), batches):
        assert not supernet.training
        raise KeyboardInterrupt
    unfit = [*batches, (torch.empty(0), torch.empty(0))]
    with pytest.raises((RuntimeError, IndexError)), calibrated(supernet, supernet.argmax_path(), unfit):
        pass
    assert supernet.training
    assert supernet.path is None
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    momenta = {norm.momentum for norm in supernet.modules() if isinstance(norm, nn.BatchNorm2d)}
    assert momenta == {0.1}


def test_a_path_runs_what_it_names_and_gives_alpha_no_gradient() -> None:
    """The same as the noise that makes these operations the heaviest; one path for every cell of its kind."""
    supernet, x = build(), draw_batches(1)[0][0]
    path = random_path(supernet, np.random.default_rng(0))
    noise = 1e4 * nn.functional.one_hot(torch.tensor(path), len(SPACE))
    supernet.train()
    expected = supernet(x, noise)
    supernet.path = path
    actual = supernet(x)
    assert torch.equal(actual, expected)
    actual.sum().backward()
    assert supernet.alpha_normal.grad is None


def test_paths_of_genotypes_keep_two_edges_a_node() -> None:
    """And `none` on the others; weights that learn by genotypes draw such paths, one for all cells of a kind."""
    supernet, none = build(), SPACE.index("none")
    assert supernet.draw_path() is None
    supernet.paths = "genotypes"
    for path in (supernet.draw_path(), supernet.argmax_path(), random_path(supernet, np.random.default_rng(0))):
        assert path is not None
        for cell in path:
            kept = [operation != none for operation in cell]
            nodes = [kept[edge_row(node, 0) : edge_row(node, 0) + INPUTS + node] for node in range(4)]
            assert [sum(node) for node in nodes] == [2, 2, 2, 2]
        assert path[0] == path[3]
        assert path[1] == path[2]  # the reductions
    torch.manual_seed(5)
    drawn = supernet.draw_path()
    torch.manual_seed(5)
    assert supernet.draw_path() == drawn != supernet.draw_path()


def test_scores_are_of_the_whole_val_part(scorer: PathScorer) -> None:
    """A crop of every utterance, none left out though batches of 5 do not divide them; by definition."""
    corpus, supernet = scorer._corpus, scorer.supernet
    labels = corpus.index.labels(corpus.speakers)[corpus.rows("val")]
    path = supernet.genotype_path(GENOTYPE)
    corpus.window_batch_size = 5
    batches = list(corpus.single_crops("val"))
    assert [label for batch in batches for label in batch.labels.tolist()] == labels.tolist()
    with calibrated(supernet, path, scorer._load()), torch.inference_mode():
        features = [scorer._front_end(batch.waveforms, batch.gains) for batch in batches]
        logits = torch.cat([supernet(x) for x in features])
    expected = nn.functional.cross_entropy(logits, torch.from_numpy(labels)).item()
    score = scorer.score(path)
    assert score["loss"] == pytest.approx(expected, rel=1e-5)
    assert score["top1"] == pytest.approx(100 * (logits.argmax(1).numpy() == labels).mean())
    assert score == scorer.score(path)


def test_survey_of_argmax_and_random_paths(scorer: PathScorer) -> None:
    """Mean and deviation over the random paths, always the same ones."""
    supernet, generator = scorer.supernet, np.random.default_rng(scorer._seed)
    losses = [scorer.score(random_path(supernet, generator))["loss"] for _ in range(4)]
    survey = scorer.survey(4)
    assert survey["argmax_loss"] == scorer.score(supernet.genotype_path(supernet.genotype()))["loss"]
    assert survey["paths_loss"] == pytest.approx(np.mean(losses))
    assert survey["paths_loss_std"] == pytest.approx(np.std(losses, ddof=1))
    assert {"argmax_top1", "paths_top1", "paths_top1_std"} <= set(survey)
