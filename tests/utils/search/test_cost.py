"""A target for the size of what a search finds: what it does to alpha, what it says, and what it leaves alone."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from config import load_config
from data_objects.frontend import BINS
from models import build_cost, build_supernet
from models.network import Network
from models.supernet import Supernet
from tests.helpers import ROOT, SEARCH, call_script, options
from tests.networks import configured
from tests.runs import metrics, only_run
from tools.networks.size import count_macs
from utils.search.cost import GIGA, CostTarget, build_cost_target
from utils.search.loop import search_iteration
from utils.system.errors import UserError
from utils.training.optim import build_alpha_optimizer, build_weight_optimizer

SMALL = {"MODEL__LAYERS": 3, "MODEL__INIT_CHANNELS": 2, "SEARCH__COST_FRAMES": 40, "TRAIN__ARCH_LR": 0.1}


def search_some(
    target: float, weight: float, with_target: bool = True, of: str = "expected", iterations: int = 5, lr: float = 0.1
) -> tuple[Supernet, CostTarget, float]:
    """A supernet after some iterations of a search, and its expected cost before them, in 1e9."""
    settings = {"TRAIN__ARCH_LR": lr, "SEARCH__COST_TARGET": target, "SEARCH__COST_WEIGHT": weight}
    cfg = configured(**SMALL | settings, MODEL__NAME="supernet", SEARCH__COST_OF=of)
    torch.manual_seed(0)
    supernet = build_supernet(cfg, 5).train()
    cost_target = build_cost_target(cfg, supernet)
    before = cost_target.figures(supernet)["cost_expected"]
    weights = build_weight_optimizer(cfg, supernet.weight_parameters())
    optimizers = {"weights": weights, "alpha": build_alpha_optimizer(cfg, supernet.arch_parameters())}
    batches = [(torch.randn(2, 16, 16), torch.tensor([0, 1])) for _ in range(2)]
    for _ in range(iterations):
        chosen = cost_target if with_target else None
        search_iteration(supernet, optimizers, nn.CrossEntropyLoss(), *batches, cost_target=chosen)
    return supernet, cost_target, before


def test_cost_is_of_the_front_ends_bins() -> None:
    """What a network of the settings costs, of as many bins as its front end gives."""
    torch.manual_seed(0)
    cfg = configured(**SMALL, MODEL__NAME="supernet", FRONTEND__FEATURE="log_mel", FRONTEND__BANDS=40)
    supernet = build_supernet(cfg, 5)
    network = Network(supernet.genotype(), channels=2, layers=3, num_classes=5)
    assert build_cost_target(cfg, supernet).figures(supernet)["cost_derived"] == count_macs(network, 40, 40) / GIGA


@pytest.mark.parametrize("factor", [0.75, 1.3])
def test_expected_cost_moves_towards_the_target(factor: float) -> None:
    """From above and from below; alpha's loss as it is returned is another matter."""
    _, _, before = search_some(0.0, 0.0)
    target = factor * before
    supernet, cost_target, _ = search_some(target, 1e4)
    after = cost_target.figures(supernet)["cost_expected"]
    assert abs(math.log(after / target)) < 0.7 * abs(math.log(before / target))
    assert (after < before) == (factor < 1)


def test_the_derived_network_comes_to_the_target() -> None:
    """While alpha is undecided, where the mean says nothing of it. The target is amid the space's costs."""
    least, most = build_cost(configured(**SMALL), 5, BINS).extremes()
    target = (least + most) / 2 / GIGA
    ends = {}
    for of in ("derived", "expected"):
        supernet, cost_target, _ = search_some(target, 1e4, of=of, iterations=40, lr=0.02)
        ends[of] = abs(cost_target.figures(supernet)["cost_derived"] - target) * GIGA / (most - least)
    assert ends["derived"] < 0.06
    assert ends["expected"] > 0.4


def test_the_gradient_is_of_the_mean_and_vanishes_at_the_target() -> None:
    """Alpha's gradient is 2 w log(derived / target) times that of the logarithm of the mean; 0 on the target."""
    torch.manual_seed(0)
    supernet = build_supernet(configured(**SMALL, MODEL__NAME="supernet"), 5)

    def gradients(target: float) -> list[torch.Tensor]:
        settings = {"SEARCH__COST_TARGET": target, "SEARCH__COST_WEIGHT": 3.0}
        build_cost_target(configured(**SMALL, **settings), supernet).add_gradients(supernet)
        found = [alpha.grad.clone() for alpha in supernet.arch_parameters() if alpha.grad is not None]
        supernet.zero_grad()
        return found

    cost = build_cost(configured(**SMALL), 5, BINS)
    derived = cost.of(supernet.genotype()) / GIGA
    cost.expected(*supernet.arch_parameters()).log().backward()
    of_mean = [alpha.grad.clone() for alpha in supernet.arch_parameters() if alpha.grad is not None]
    supernet.zero_grad()
    for found, mean in zip(gradients(derived / 2), of_mean, strict=True):
        torch.testing.assert_close(found, 2 * 3.0 * math.log(2) * mean)
    assert max(found.abs().max() for found in gradients(derived)) < 1e-9


def test_without_a_weight_nothing_changes() -> None:
    """To the last bit of alpha."""
    plain, weightless, weighed = (search_some(*x)[0] for x in ((0.0, 0.0, False), (0.0, 0.0), (0.001, 1.0)))
    for alpha, same, other in zip(*(x.arch_parameters() for x in (plain, weightless, weighed)), strict=True):
        assert torch.equal(alpha, same)
        assert not torch.equal(alpha, other)


def test_search_with_a_target_out_of_reach(toy: Path, tmp_path: Path) -> None:
    """It says so in a line, with what can be reached, and tells every epoch where it is."""
    chosen = {"SEARCH__COST_WEIGHT": 10, "SEARCH__COST_TARGET": 3.5, "SEARCH__COST_CHANNELS": 64}
    settings = options(DATASET__DATA_DIR=toy, OUT_DIR=tmp_path, **chosen)
    outcome = call_script("search.py", "--cfg", SEARCH, *settings)
    assert outcome.status == 0, outcome.stderr
    (warning,) = [line for line in outcome.stderr.splitlines() if "SEARCH.COST_TARGET" in line]
    (told,) = [line for line in outcome.stderr.splitlines() if "can be found cost" in line]
    reach = told.partition("cost ")[2].partition(" for 300 frames")[0]
    assert "SEARCH.COST_TARGET 3.5 is out of reach" in warning and reach in warning
    least, most = float(reach.split()[0]), float(reach.split()[2])
    (figures,) = metrics(only_run(tmp_path, "search"))
    assert least < figures["cost_expected"] < most < 3.5
    assert least <= round(figures["cost_derived"], 4) <= most


def test_what_is_said_of_a_target() -> None:
    """Nothing of one that can be reached, or where there is none."""
    torch.manual_seed(0)
    supernet = Supernet(("none", "max_pool_3x3", "sep_conv_3x3"), channels=4, layers=3, num_classes=5)

    def warning(**settings: float) -> str:
        changes = {f"SEARCH__{key}": value for key, value in settings.items()}
        return build_cost_target(configured(**SMALL, **changes), supernet).warning()

    assert warning() == warning(COST_TARGET=2e-4, COST_WEIGHT=1.0) == ""
    assert "out of reach" in warning(COST_TARGET=1e-6, COST_WEIGHT=1.0)
    assert "of no account" in warning(COST_TARGET=2e-4)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["SEARCH.COST_WEIGHT", "0.5"], "SEARCH.COST_WEIGHT 0.5 needs a SEARCH.COST_TARGET"),
        (["SEARCH.COST_LAYERS", "2"], r"SEARCH.COST_LAYERS must be 0 \(MODEL.LAYERS\) or at least 3, not 2"),
        (["SEARCH.COST_CHANNELS", "1"], r"SEARCH.COST_CHANNELS must be 0 \(MODEL.INIT_CHANNELS\) or at least 2, not 1"),
    ],
)
def test_settings_without_a_meaning(settings: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        load_config(ROOT / SEARCH, settings)
    assert len(str(caught.value).splitlines()) == 1
