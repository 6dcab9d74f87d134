"""The supernet: exact gradients, against an oracle that runs everything; noise, evaluation, alpha."""

import copy
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from models.genotypes import EDGES, INPUTS, NODES, SEARCH_SPACES, derive_genotype
from models.operations import FactorizedReduce, ReLUConvNorm, build_operation
from models.supernet import Supernet

CHANNELS, LAYERS, CLASSES = 4, 4, 5


# ------------------------------------------------------------------------------------------------------------------
# The oracle
# ------------------------------------------------------------------------------------------------------------------
class DenseSupernet(nn.Module):
    """The oracle: every operation of every edge is run, and autograd does the rest.

    Its weights stand in the order stem, cells (older input, newer input, edges by node and source), classifier.
    """

    def __init__(self, operations: Sequence[str]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 3 * CHANNELS, 3, padding=1, bias=False),
            nn.BatchNorm2d(3 * CHANNELS),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.cells = nn.ModuleList()
        self.is_reduction = [layer in (LAYERS // 3, 2 * LAYERS // 3) for layer in range(LAYERS)]
        older = newer = 3 * CHANNELS
        channels = CHANNELS
        for layer, reduction in enumerate(self.is_reduction):
            channels *= 2 if reduction else 1
            first = FactorizedReduce if layer and self.is_reduction[layer - 1] else ReLUConvNorm
            inputs = [first(older, channels, affine=False), ReLUConvNorm(newer, channels, affine=False)]
            edges = [
                nn.ModuleList(
                    build_operation(name, channels, 2 if reduction and source < INPUTS else 1, affine=False)
                    for name in operations
                )
                for node in range(NODES)
                for source in range(INPUTS + node)
            ]
            self.cells.append(nn.ModuleList([*inputs, *edges]))
            older, newer = newer, NODES * channels
        self.classifier = nn.Linear(newer, CLASSES)

    def forward(self, features: Tensor, weights: Sequence[Tensor], masks: Sequence | None) -> Tensor:
        """Logits of features (B, T, F) with the weights (14, operations) and drop-path's masks of every cell."""
        masks = [[1] * EDGES] * len(self.cells) if masks is None else masks
        older = newer = self.stem(features.unsqueeze(1))
        for (first, second, *edges), cell_weights, cell_masks in zip(self.cells, weights, masks, strict=True):
            states = [first(older), second(newer)]
            mixed = zip(edges, cell_weights, cell_masks, strict=True)
            for _ in range(NODES):
                states.append(sum(self.mix(x, *next(mixed)) for x in list(states)))
            older, newer = newer, torch.cat(states[INPUTS:], dim=1)
        return self.classifier(newer.mean(dim=(2, 3)))

    @staticmethod
    def mix(x: Tensor, operations: nn.ModuleList, weights: Tensor, mask: Tensor | int) -> Tensor:
        """The sum over k of w_k op_k(x), with drop-path."""
        return mask * sum(weight * operation(x) for weight, operation in zip(weights, operations, strict=True))


def straight_through(alpha: Tensor, noise: Tensor | float, temperature: float = 1.0) -> Tensor:
    """One-hot forward, the gradient of the softmax backward."""
    soft = ((alpha.log_softmax(dim=-1) + noise) / temperature).softmax(dim=-1)
    return nn.functional.one_hot(soft.argmax(dim=-1), soft.size(-1)) - soft.detach() + soft


def build_pair(space: str) -> tuple[Supernet, DenseSupernet]:
    """A supernet with alphas far apart, and the oracle with its weights, both in float64."""
    torch.manual_seed(7)
    operations = SEARCH_SPACES[space]
    supernet = Supernet(operations, CHANNELS, LAYERS, CLASSES).double().train()
    for alpha in supernet.arch_parameters():
        nn.init.normal_(alpha)
    oracle = DenseSupernet(operations).double().train()
    for own, weight in zip(oracle.parameters(), supernet.weight_parameters(), strict=True):
        assert own.shape == weight.shape
        own.data.copy_(weight.data)
    return supernet, oracle


def draw_batch() -> tuple[Tensor, Tensor]:
    """Features (B, T, F) of odd sizes, and labels."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 35, 29, dtype=torch.float64, generator=generator), torch.tensor([0, 4, 2])


def oracle_gradients(
    supernet: Supernet, oracle: DenseSupernet, weights_of: Callable[[Tensor, int], Tensor], masks: Tensor | None
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Logits, and the gradients of alpha and of the weights, of the dense oracle.

    `weights_of` gives the edges' weights by alpha and the cell's number.
    """
    features, labels = draw_batch()
    alphas = [alpha.detach().clone().requires_grad_() for alpha in supernet.arch_parameters()]
    weights = [weights_of(alphas[kind], cell) for cell, kind in enumerate(oracle.is_reduction)]
    logits = oracle(features, weights, masks)
    parameters = list(oracle.parameters())
    gradients = torch.autograd.grad(nn.functional.cross_entropy(logits, labels), [*alphas, *parameters])
    return logits, list(gradients[:2]), list(gradients[2:])


def supernet_gradients(supernet: Supernet, step: str, noise: Tensor | None) -> Tensor:
    """Take the gradients of one step, `alpha` or `weights`, in float64; returns the logits."""
    {"alpha": supernet.learn_alpha, "weights": supernet.learn_weights}[step]()
    features, labels = draw_batch()
    logits = supernet(features, noise)
    nn.functional.cross_entropy(logits, labels).backward()
    return logits


def assert_gradients_equal(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Equal to 1e-9 of the largest gradient of all; a gradient that is missing counts as 0."""
    largest = max(gradient.abs().max() for gradient in expected)
    for parameter, gradient in zip(actual, expected, strict=True):
        own = torch.zeros_like(gradient) if parameter.grad is None else parameter.grad
        assert (own - gradient).abs().max() <= 1e-9 * largest


# ------------------------------------------------------------------------------------------------------------------
# Gradients
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("drop_path_probability", [0.0, 0.4])
@pytest.mark.parametrize("step", ["alpha", "weights"])
@pytest.mark.parametrize("gradient", ["exact", "dense"])
@pytest.mark.parametrize("space", SEARCH_SPACES)
def test_supernet_has_exact_gradients(
    space: str, gradient: str, step: str, drop_path_probability: float, temperature: float
) -> None:
    """Running few operations gives what running all of them gives: logits, alpha's and the weights' gradients."""
    supernet, oracle = build_pair(space)
    supernet.gradient, supernet.temperature = gradient, temperature
    supernet.drop_path_probability = drop_path_probability
    noise = supernet.draw_noise().double()
    torch.manual_seed(5)
    masks = supernet.draw_drop_path(3)
    expected, alpha_gradients, weight_gradients = oracle_gradients(
        supernet, oracle, lambda alpha, cell: straight_through(alpha, noise[cell], temperature), masks
    )
    torch.manual_seed(5)  # the same masks
    torch.testing.assert_close(supernet_gradients(supernet, step, noise), expected, rtol=0, atol=1e-9)
    if step == "alpha":
        assert_gradients_equal(supernet.arch_parameters(), alpha_gradients)
    else:
        assert_gradients_equal(supernet.weight_parameters(), weight_gradients)
    idle = supernet.weight_parameters() if step == "alpha" else supernet.arch_parameters()
    assert gradient == "dense" or all(parameter.grad is None for parameter in idle)


@pytest.mark.parametrize("cell", ["normal", "reduce"])
@pytest.mark.parametrize("space", SEARCH_SPACES)
def test_alpha_of_either_cell_gets_a_gradient_for_every_operation(space: str, cell: str) -> None:
    """Also `none`, which gives nothing: the softmax couples it to the others."""
    supernet, _ = build_pair(space)
    supernet_gradients(supernet, "alpha", None)
    assert (getattr(supernet, f"alpha_{cell}").grad != 0).all()


def test_exact_and_dense_see_the_same_batches_in_the_alpha_step() -> None:
    """Running statistics of the norms of all operations are the same after it: those not sampled see the batch too."""
    supernet, _ = build_pair("s3")
    twin = copy.deepcopy(supernet)
    twin.gradient = "dense"
    noise = supernet.draw_noise().double()
    for network in (supernet, twin):
        supernet_gradients(network, "alpha", noise)
    for (name, own), other in zip(supernet.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-9, msg=name)


def test_sampled_gradient_is_that_of_the_sampled_operations_alone() -> None:
    """As if the inner products of all other operations were 0 in the gradient of the weights; weights as in exact."""
    supernet, oracle = build_pair("s2")
    supernet.gradient = "sampled"
    noise = supernet.draw_noise().double()

    def detached(alpha: Tensor, cell: int) -> Tensor:
        soft = straight_through(alpha, noise[cell])
        hard = soft.detach().round()
        return torch.where(hard == 1, soft, hard)

    expected, alpha_gradients, weight_gradients = oracle_gradients(supernet, oracle, detached, None)
    torch.testing.assert_close(supernet_gradients(supernet, "alpha", noise), expected, rtol=0, atol=1e-9)
    assert_gradients_equal(supernet.arch_parameters(), alpha_gradients)
    supernet_gradients(supernet, "weights", noise)
    assert_gradients_equal(supernet.weight_parameters(), weight_gradients)


@pytest.mark.parametrize("gradient", ["exact", "dense"])
@pytest.mark.parametrize("step", ["alpha", "weights"])
def test_softmax_mixes_all_operations(step: str, gradient: str) -> None:
    """DARTS: every operation by its softmax at the temperature, without noise."""
    supernet, oracle = build_pair("s2")
    supernet.gradient, supernet.sampling, supernet.temperature = gradient, "softmax", 0.7
    expected, alpha_gradients, weight_gradients = oracle_gradients(
        supernet, oracle, lambda alpha, cell: (alpha / 0.7).softmax(dim=-1), None
    )
    torch.testing.assert_close(supernet_gradients(supernet, step, None), expected, rtol=0, atol=1e-9)
    if step == "alpha":
        assert_gradients_equal(supernet.arch_parameters(), alpha_gradients)
    else:
        assert_gradients_equal(supernet.weight_parameters(), weight_gradients)


@pytest.mark.parametrize("step", ["alpha", "weights"])
def test_exact_runs_the_sampled_operations_alone_with_a_graph(step: str) -> None:
    """Forward, one operation an edge runs; in the backward pass of the alpha step the others, without a graph."""
    supernet, _ = build_pair("s2")
    runs = []
    for cell in supernet.cells:
        for edge in cell.edges:
            for name, operation in zip(supernet.operation_names, edge.operations, strict=True):
                if "conv" in name:
                    layer = operation[1]
                    layer.register_forward_hook(lambda *_: runs.append(torch.is_grad_enabled()))
    {"alpha": supernet.learn_alpha, "weights": supernet.learn_weights}[step]()
    features, labels = draw_batch()
    loss = nn.functional.cross_entropy(supernet(features), labels)
    forward, edges = list(runs), LAYERS * EDGES
    runs.clear()
    loss.backward()
    assert all(forward)
    assert len(forward) < edges
    assert not any(runs)
    assert len(runs) == (4 * edges - len(forward) if step == "alpha" else 0)


def test_exact_keeps_a_fraction_of_the_graph_of_dense() -> None:
    """The values saved for the backward pass: those of one operation an edge instead of eight."""
    saved = {}
    supernet, _ = build_pair("s2")
    features, _ = draw_batch()
    for gradient in ("exact", "dense"):
        supernet.gradient, saved[gradient] = gradient, 0
        supernet.learn_alpha()

        def count(tensor: Tensor, gradient: str = gradient) -> Tensor:
            saved[gradient] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            supernet(features)
    assert saved["exact"] < saved["dense"] / 5


def test_gradient_of_the_exact_gradient_is_refused() -> None:
    """Second-order gradients would be wrong in silence: the operations not sampled have no graph."""
    supernet, _ = build_pair("s2")
    supernet.learn_alpha()
    features, labels = draw_batch()
    loss = nn.functional.cross_entropy(supernet(features), labels)
    (gradient,) = torch.autograd.grad(loss, [supernet.alpha_normal], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


# ------------------------------------------------------------------------------------------------------------------
# Precision
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_drop_path_keeps_the_precision(precision: torch.dtype) -> None:
    """Its factors make no wider numbers of a cell's output under autocast."""
    supernet = Supernet(SEARCH_SPACES["s2"], CHANNELS, LAYERS, CLASSES).train()
    supernet.drop_path_probability, outputs = 0.4, []
    for edge in supernet.cells[0].edges:
        edge.operations[4].register_forward_hook(lambda _, __, output: outputs.append(output.dtype))
    supernet.cells[1].preprocess_newer[0].register_forward_hook(lambda _, __, output: outputs.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        supernet(draw_batch()[0].float())
    assert outputs
    assert set(outputs) == {precision}


def test_exact_search_in_bfloat16() -> None:
    """Under autocast the operations run in the backward pass as they would have in the forward pass."""
    supernet = Supernet(SEARCH_SPACES["s2"], CHANNELS, LAYERS, CLASSES).train()
    features, labels = draw_batch()
    noise, gradients = supernet.draw_noise(), {}
    supernet.learn_alpha()
    for gradient in ("exact", "dense"):
        supernet.gradient = gradient
        supernet.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = supernet(features.float(), noise)
        nn.functional.cross_entropy(logits.float(), labels).backward()
        gradients[gradient] = torch.cat([alpha.grad for alpha in supernet.arch_parameters()]).flatten()
    assert torch.cosine_similarity(gradients["exact"], gradients["dense"], dim=0) > 0.9


# ------------------------------------------------------------------------------------------------------------------
# Paths and alpha
# ------------------------------------------------------------------------------------------------------------------
def test_supernet_draws_paths_in_training() -> None:
    """Without noise given, every call in training draws its own from torch's generator."""
    supernet, _ = build_pair("s2")
    features, _ = draw_batch()
    first, second = supernet(features), supernet(features)
    assert not torch.allclose(first, second)


def test_supernet_evaluates_the_argmax_without_noise() -> None:
    """In evaluation the heaviest operation of every edge runs, and nothing is drawn."""
    supernet, oracle = build_pair("s2")
    supernet.eval()
    oracle.eval()
    features, _ = draw_batch()
    weights = [
        nn.functional.one_hot(alpha.argmax(dim=-1), alpha.size(-1)).double()
        for alpha in (supernet.arch_parameters()[kind] for kind in oracle.is_reduction)
    ]
    state = torch.get_rng_state()
    with torch.no_grad():
        torch.testing.assert_close(supernet(features), oracle(features, weights, None), rtol=0, atol=1e-9)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_cell_draws_its_own_noise() -> None:
    """Gumbel noise (cells, 14, operations): its mean is Euler's constant, its variance pi squared / 6."""
    torch.manual_seed(0)
    supernet = Supernet(SEARCH_SPACES["s2"], 2, 3, 2)
    noise = torch.stack([supernet.draw_noise() for _ in range(200)]).double()
    assert noise.shape[1:] == (3, EDGES, 8)
    assert not torch.equal(noise[0, 0], noise[0, 1])
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.05)


def test_supernet_parameters_are_alpha_and_weights() -> None:
    """Two disjoint sets that hold every parameter once, so that no optimizer misses or shares one."""
    supernet = Supernet(SEARCH_SPACES["s3"], 2, 3, 2)
    arch, weights = supernet.arch_parameters(), supernet.weight_parameters()
    identities = [id(parameter) for parameter in (*arch, *weights)]
    assert len(identities) == len(set(identities))
    assert set(identities) == {id(parameter) for parameter in supernet.parameters()}
    assert [alpha.shape for alpha in arch] == [(EDGES, 10)] * 2


def test_alpha_starts_near_zero() -> None:
    """1e-3 times a standard normal."""
    torch.manual_seed(0)
    alphas = torch.cat([torch.cat(Supernet(SEARCH_SPACES["s2"], 2, 3, 2).arch_parameters()) for _ in range(20)])
    assert alphas.std().item() == pytest.approx(1e-3, rel=0.05)


def test_only_the_stem_of_the_supernet_has_an_affine_norm() -> None:
    """Scales that learn would let alpha's weights be undone."""
    norms = [layer for layer in Supernet(SEARCH_SPACES["s2"], 2, 3, 2).modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [norm.affine for norm in norms].count(True) == 1
    assert norms[0].affine


def test_supernet_derives_its_genotype_from_alpha() -> None:
    """The same as deriving from the two matrices."""
    supernet, _ = build_pair("s3")
    assert supernet.genotype() == derive_genotype(*supernet.arch_parameters(), SEARCH_SPACES["s3"])
