"""The networks: sizes, shapes, exact gradients of the supernet, drop-path, memory layout, weights to start from."""

import copy
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from config import default_config
from models import BASELINES, build_baseline, build_model, count_parameters
from models.base import CellPlan
from models.folding import fold_norms
from models.genotypes import EDGES, INPUTS, NODES, PAPER_GENOTYPE, SEARCH_SPACES, derive_genotype, random_genotype
from models.network import Cell, Network
from models.operations import (
    OPERATIONS,
    FactorizedReduce,
    GraphlessSource,
    Identity,
    ReLUConvNorm,
    build_operation,
    draw_drop_path,
)
from models.resnet import resnet18
from models.supernet import Supernet
from models.vggm import VGGM
from tests.helpers import call_script
from utils.records.pretraining import load_pretrained
from utils.system.errors import UserError

KERNELS = {"3x3": (3, 3), "5x5": (5, 5), "7x7": (7, 7), "3x1": (3, 1), "1x3": (1, 3)}  # along time, along frequency
CONVOLUTIONS = [name for name in OPERATIONS if "conv" in name]


def derived(layers: int, channels: int, num_classes: int) -> nn.Module:
    """The network of the paper's genotype."""
    architecture = {"kind": "network", "layers": layers, "channels": channels, "num_classes": num_classes}
    return build_model(architecture | {"genotype": str(PAPER_GENOTYPE)})


# ------------------------------------------------------------------------------------------------------------------
# Sizes
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("layers", "channels", "num_classes", "parameters"),
    [(8, 64, 1251, 5_149_379), (30, 64, 1251, 16_528_323), (8, 128, 1251, 17_674_403), (8, 128, 1211, 17_592_443)],
)
def test_parameters_of_the_derived_network(layers: int, channels: int, num_classes: int, parameters: int) -> None:
    """Counted from the architecture of the paper with its genotype."""
    assert count_parameters(derived(layers, channels, num_classes)) == parameters


@pytest.mark.parametrize(
    ("config", "parameters", "macs"),
    [
        ("scratch/scratch.yaml", 17_674_403, 3.608e9),
        ("scratch/scratch.yaml MODEL.INIT_CHANNELS 64", 5_149_379, 0.926e9),
        ("scratch/scratch.yaml MODEL.INIT_CHANNELS 64 MODEL.LAYERS 30", 16_528_323, 3.209e9),
        ("scratch/scratch_veri.yaml", 17_592_443, 3.608e9),
        ("baseline/resnet18.yaml", 11_812_003, 2.714e9),
        ("baseline/resnet34.yaml", 21_920_163, 5.597e9),
        ("search.yaml", 2_248_915, None),
    ],
)
def test_size_of_the_shipped_configs(config: str, parameters: int, macs: float | None) -> None:
    """Parameters exactly; multiply-accumulates for 300 frames within 1 % of the published networks' convolutions."""
    outcome = call_script("tools/summarize.py", "--cfg", *f"exps/{config}".split())
    summary = json.loads(outcome.last_line)
    assert summary["parameters"] == parameters
    if macs:
        assert summary["macs"] == pytest.approx(macs, rel=0.01)


@pytest.mark.parametrize("kind", ["network", "supernet", *BASELINES])
def test_contract_of_a_network(kind: str) -> None:
    """Every network maps features (B, T, F) to embeddings (B, D) and logits (B, K), through a linear classifier."""
    network = build_small(kind).eval()
    features = torch.randn(2, 101, 257)
    with torch.no_grad():
        embedding, logits = network.embed(features), network(features)
    assert embedding.shape == (2, network.embedding_dim)
    assert isinstance(network.classifier, nn.Linear)
    torch.testing.assert_close(network.classifier(embedding), logits)
    assert logits.shape == (2, 5)


def build_small(kind: str) -> nn.Module:
    """A small network of this kind for 5 classes."""
    architecture = {"kind": kind, "layers": 4, "channels": 4, "num_classes": 5, "space": "s2"}
    return build_model(architecture | {"genotype": str(PAPER_GENOTYPE)})


def test_embedding_of_the_derived_network_has_16_numbers_a_channel() -> None:
    """4 nodes of 4C channels each, after two reductions."""
    assert derived(3, 8, 2).embedding_dim == 16 * 8


@pytest.mark.parametrize("kind", ["network", "supernet", *BASELINES])
def test_weights_are_channels_last(kind: str) -> None:
    """Convolution weights lie with their channels innermost."""
    convolutions = [layer for layer in build_small(kind).modules() if isinstance(layer, nn.Conv2d)]
    assert convolutions
    assert all(layer.weight.is_contiguous(memory_format=torch.channels_last) for layer in convolutions)


def test_vggm_has_the_sizes_of_the_table() -> None:
    """Every layer's output as in table 3 of the VoxCeleb paper (frequency x time there), but for 253 rows, not 254."""
    shapes = []
    network = VGGM(5).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AdaptiveAvgPool2d):
            layer.register_forward_hook(lambda layer, inputs, output: shapes.append(tuple(output.shape[1:])))
    network(torch.randn(1, 300, 257))
    assert shapes == [
        (96, 148, 253),
        (96, 73, 126),
        (256, 36, 62),
        (256, 17, 30),
        (384, 17, 30),
        (256, 17, 30),
        (256, 17, 30),
        (256, 8, 9),
        (4096, 8, 1),
        (4096, 1, 1),
        (1024, 1, 1),
    ]


def test_baseline_by_name() -> None:
    """MODEL.NAME builds a baseline; a name that is none lists those there are."""
    cfg = default_config()
    cfg.MODEL.NAME = "resnet18"
    assert build_baseline(cfg, 3).classifier.out_features == 3
    cfg.MODEL.NAME = "resnet19"
    with pytest.raises(UserError, match=r"'resnet19'.*resnet18, resnet34, vggm"):
        build_baseline(cfg, 3)


# ------------------------------------------------------------------------------------------------------------------
# Operations
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_shape_of_an_operation(name: str, stride: int, affine: bool) -> None:
    """Stride 1 keeps the size, stride 2 halves it and rounds up."""
    operation = build_operation(name, 4, stride, affine)
    for size in ((9, 7), (8, 6), (1, 1)):
        expected = tuple(math.ceil(length / stride) for length in size)
        assert operation(torch.randn(2, 4, *size)).shape == (2, 4, *expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_norms_of_an_operation(name: str, stride: int) -> None:
    """Affine in derived networks, where pooling has none; not affine in the supernet."""
    is_pooling, is_bare = "pool" in name, name == "none" or (name, stride) == ("skip_connect", 1)
    for affine in (True, False):
        layers = build_operation(name, 4, stride, affine).modules()
        norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
        assert all(norm.affine is affine for norm in norms)
        assert bool(norms) is not (is_bare or (is_pooling and affine))


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_reach_of_a_convolution(name: str) -> None:
    """Which outputs one input reaches: K-1 steps each way for sep (twice K), every second step for dil."""
    kind, _, size = name.split("_")
    operation = build_operation(name, 2, 1, affine=True).eval()
    for layer in operation.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    impulse = torch.zeros(1, 2, 21, 21)
    impulse[0, 0, 10, 10] = 1
    reached = {(int(time) - 10, int(frequency) - 10) for time, frequency in operation(impulse)[0, 0].nonzero()}
    reach = [(length - 1) if kind == "sep" else 2 * (length // 2) for length in KERNELS[size]]
    step = 1 if kind == "sep" else 2
    assert reached == set(itertools.product(*(range(-length, length + 1, step) for length in reach)))


def test_average_pooling_does_not_count_its_padding() -> None:
    """A constant stays that constant up to the edges."""
    ones = torch.ones(1, 2, 5, 5)
    assert torch.equal(build_operation("avg_pool_3x3", 2, 1, affine=True)(ones), ones)


def test_factorized_reduction_reads_one_grid() -> None:
    """Both halves see the pixels of even position alone, unlike in DARTS."""
    reduce = FactorizedReduce(2, 4).eval()
    image = torch.rand(1, 2, 6, 6)
    changed = image.clone()
    changed[:, :, 1::2] += 1
    changed[:, :, :, 1::2] += 1
    assert torch.equal(reduce(image), reduce(changed))


def test_unknown_operation_lists_the_valid_ones() -> None:
    """The error is for the user."""
    with pytest.raises(UserError, match=r"'conv_9x9'.*sep_conv_3x3"):
        build_operation("conv_9x9", 2, 1, affine=True)


# ------------------------------------------------------------------------------------------------------------------
# Drop-path
# ------------------------------------------------------------------------------------------------------------------
def test_drop_path_keeps_the_mean() -> None:
    """Each factor is 0 or 1/keep, in such shares that the mean stays."""
    torch.manual_seed(0)
    masks = draw_drop_path(2, 3, 5_000, 0.25)
    assert masks.shape == (2, 3, 5_000, 1, 1, 1)
    assert masks.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert masks.mean().item() == pytest.approx(1, abs=0.02)


def test_drop_path_of_several_processes_is_that_of_one() -> None:
    """Each draws the factors of the whole batch and takes those of its share."""
    torch.manual_seed(0)
    whole = draw_drop_path(2, 3, 6, 0.5)
    shares = []
    for place in range(3):
        torch.manual_seed(0)
        shares.append(draw_drop_path(2, 3, 2, 0.5, (place, 3)))
    assert torch.equal(torch.cat(shares, dim=2), whole)


@pytest.mark.parametrize(("operation", "is_dropped"), [("skip_connect", False), ("max_pool_3x3", True)])
def test_drop_path_never_drops_the_identity(operation: str, is_dropped: bool) -> None:
    """A cell of identities computes the same with any factors; one of anything else does not."""
    cell = Cell(((operation, 0), (operation, 1)) * NODES, CellPlan(4, 4, 4, reduction=False, previous_reduction=False))
    x = torch.randn(8, 4, 6, 5).relu()
    (masks,) = draw_drop_path(1, 2 * NODES, 8, 0.9)
    assert torch.equal(cell(x, x, masks), cell(x, x, [None] * 2 * NODES)) is not is_dropped


def test_drop_path_is_for_training_alone() -> None:
    """In evaluation, or at a probability of 0, nothing is drawn."""
    network = Network(PAPER_GENOTYPE, 4, 3, 5)
    assert network.draw_drop_path(2) is None
    network.drop_path_probability = 0.5
    assert network.draw_drop_path(2) is not None
    assert network.eval().draw_drop_path(2) is None


def test_strided_skip_connection_is_no_identity() -> None:
    """In a reduction cell it is a factorised reduction, which drop-path may drop."""
    assert isinstance(build_operation("skip_connect", 4, 1, affine=True), Identity)
    assert isinstance(build_operation("skip_connect", 4, 2, affine=True), FactorizedReduce)


# ------------------------------------------------------------------------------------------------------------------
# Supernet
# ------------------------------------------------------------------------------------------------------------------
CHANNELS, LAYERS, CLASSES = 4, 4, 5


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


@pytest.mark.parametrize("size", [(2, 2), (2, 9), (7, 3), (8, 8), (1, 5)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_without_a_graph(name: str, stride: int, size: tuple[int, int]) -> None:
    """The short cuts give what the operations give, and leave their inputs alone."""
    operation = build_operation(name, 4, stride, affine=False).double()
    x = torch.randn(3, 4, *size, dtype=torch.float64).to(memory_format=torch.channels_last)
    twin, given, source = copy.deepcopy(operation), x.clone(), GraphlessSource(x)
    with torch.no_grad():
        expected = operation(x)
    for _ in range(2):  # the second edge from the same state, whose norms see the batch too
        edge = copy.deepcopy(twin)
        torch.testing.assert_close(source.run(3, edge), expected, rtol=0, atol=1e-12)
        for actual, buffer in zip(edge.buffers(), operation.buffers(), strict=True):
            torch.testing.assert_close(actual, buffer, rtol=0, atol=1e-12)
    assert torch.equal(x, given)


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


def test_gradient_of_the_exact_gradient_is_refused() -> None:
    """Second-order gradients would be wrong in silence: the operations not sampled have no graph."""
    supernet, _ = build_pair("s2")
    supernet.learn_alpha()
    features, labels = draw_batch()
    loss = nn.functional.cross_entropy(supernet(features), labels)
    (gradient,) = torch.autograd.grad(loss, [supernet.alpha_normal], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


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


# ------------------------------------------------------------------------------------------------------------------
# Weights to start from
# ------------------------------------------------------------------------------------------------------------------
def imagenet_like() -> dict[str, Tensor]:
    """Weights as published for three input channels and a thousand classes under another name."""
    weights = resnet18(2).state_dict()
    weights["conv1.weight"] = torch.randn(64, 3, 7, 7)
    del weights["classifier.weight"], weights["classifier.bias"]
    return weights | {"fc.weight": torch.randn(1000, 512), "fc.bias": torch.randn(1000)}


def test_pretrained_weights_of_three_channels(tmp_path: Path) -> None:
    """The first convolution is summed over its input channels; the classifier stays as it was drawn."""
    weights = imagenet_like()
    torch.save(weights, tmp_path / "weights.pt")
    network = resnet18(5)
    classifier = network.classifier.weight.clone()
    load_pretrained(network, str(tmp_path / "weights.pt"))
    torch.testing.assert_close(network.conv1.weight, weights["conv1.weight"].sum(dim=1, keepdim=True))
    assert torch.equal(network.layer4[1].conv2.weight, weights["layer4.1.conv2.weight"])
    assert torch.equal(network.classifier.weight, classifier)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"layer2.0.conv1.weight": torch.zeros(1, 2, 3, 3)}, r"layer2\.0\.conv1\.weight is \(1, 2, 3, 3\).*\(128, 64"),
        ({"layer3.0.bn1.weight": None}, r"layer3\.0\.bn1\.weight is missing"),
    ],
)
def test_pretrained_weights_that_do_not_fit(tmp_path: Path, change: dict, complaint: str) -> None:
    """The error names the file, the weight and both shapes."""
    weights = {name: value for name, value in (imagenet_like() | change).items() if value is not None}
    torch.save(weights, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=rf"weights\.pt.*{complaint}"):
        load_pretrained(resnet18(5), str(tmp_path / "weights.pt"))


def test_compiled_training_step_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as torch.compile does, with drop-path's factors as an input; evaluation is not compiled."""
    architecture = {"kind": "network", "layers": 3, "channels": 4, "num_classes": 3, "genotype": str(PAPER_GENOTYPE)}
    traces, compile_for_real = [], torch.compile
    monkeypatch.setattr(torch, "compile", lambda run: compile_for_real(run, backend="aot_eager", fullgraph=True))
    features, gradients = torch.randn(2, 40, 257), []
    for is_compiled in (False, True):
        torch.manual_seed(0)
        network = build_model(architecture).train()
        network.drop_path_probability = 0.5
        if is_compiled:
            network.compile_for_training()
            network._compiled = traced(network._compiled, traces)
        network(features).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
        network.eval()(features)
    assert len(traces) == 1
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def traced(run: Callable, traces: list) -> Callable:
    """The same function, which counts its calls."""

    def counting(*arguments: object) -> Tensor:
        traces.append(1)
        return run(*arguments)

    return counting


# ------------------------------------------------------------------------------------------------------------------
# Folding
# ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("space", ["s2", "s3"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_folded_network_computes_the_same(space: str, memory_format: torch.memory_format) -> None:
    """Without a norm behind a convolution; the network itself stays as it was."""
    genotype = random_genotype(SEARCH_SPACES[space], np.random.default_rng(5))
    skips = (("skip_connect", 0), ("skip_connect", 1))  # a factorised reduction has two convolutions before its norm
    genotype = genotype._replace(reduce=(*skips, *genotype.reduce[2:]))
    architecture = {"kind": "network", "layers": 3, "channels": 6, "num_classes": 4, "genotype": str(genotype)}
    network = settled(build_model(architecture)).to(memory_format=memory_format)
    assert_folds(network)


@pytest.mark.parametrize("kind", BASELINES)
def test_folded_baseline_computes_the_same(kind: str) -> None:
    """No norm is left: in a baseline each follows a convolution."""
    folded = assert_folds(settled(build_model({"kind": kind, "num_classes": 4})))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())


def settled(network: torch.nn.Module) -> torch.nn.Module:
    """A network in float64 whose norms have statistics and scales of their own."""
    torch.manual_seed(0)
    for module in network.double().modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
    return network.eval()


def assert_folds(network: torch.nn.Module) -> torch.nn.Module:
    """The folded network, which computes the same with fewer norms."""
    before, features = copy.deepcopy(network.state_dict()), torch.randn(2, 70, 257, dtype=torch.float64)
    folded = fold_norms(network)
    with torch.no_grad():
        torch.testing.assert_close(folded(features), network(features), rtol=1e-9, atol=1e-9)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    norms = [sum(isinstance(m, torch.nn.BatchNorm2d) for m in each.modules()) for each in (folded, network)]
    assert norms[0] < norms[1]
    return folded
