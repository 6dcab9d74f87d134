"""A target for the size of what a search finds: SEARCH.COST_TARGET and SEARCH.COST_WEIGHT."""

from torch import Tensor
from yacs.config import CfgNode

from data_objects.frontend import count_bins, front_end_settings
from models import build_cost
from models.cost import DerivedCost, cost_loss
from models.supernet import Supernet

GIGA = 1e9


class CostTarget:
    """What a search's derived network costs, and what it shall.

    Args:
        cost: of the networks that the genotypes derive to.
        target: multiply-accumulates of one input.
        weight: of the distance from it in alpha's loss; 0: it is of no account.
        of_derived: the target is one for the network that alpha derives to, not for the mean of its distribution.
    """

    def __init__(self, cost: DerivedCost, target: float, weight: float, of_derived: bool) -> None:
        self._cost = cost
        self._target = target
        self._weight = weight
        self._of_derived = of_derived

    def add_gradients(self, supernet: Supernet) -> None:
        """Add the gradients of the distance from the target to those of alpha: alike on all processes."""
        if self._weight > 0:
            cost_loss(self._steered(supernet), self._target, self._weight).backward()

    def _steered(self, supernet: Supernet) -> Tensor:
        """The cost () that shall be the target.

        The derived network's has no gradient but that of a straight-through estimator: it takes the mean's, relative to
        the mean, as Bengio et al. ("Estimating or propagating gradients", 2013) have a threshold pass gradients on.
        """
        expected = self._cost.expected(*supernet.arch_parameters())
        return expected * (self._cost.of(supernet.genotype()) / expected.detach()) if self._of_derived else expected

    def figures(self, supernet: Supernet) -> dict[str, float]:
        """cost_expected, the mean of what alpha's distribution draws, and cost_derived, in 1e9."""
        expected = self._cost.expected(*(alpha.detach() for alpha in supernet.arch_parameters()))
        return {"cost_expected": expected.item() / GIGA, "cost_derived": self._cost.of(supernet.genotype()) / GIGA}

    def range(self) -> str:
        """What the space's networks cost, for the log."""
        least, most = self._cost.extremes()
        return f"{least / GIGA:.4g} to {most / GIGA:.4g} G multiply-accumulates"

    def warning(self) -> str:
        """What to say of a target that is of no account, or that no genotype reaches; empty for any other."""
        least, most = self._cost.extremes()
        if self._target > 0 and self._weight == 0:
            return "SEARCH.COST_TARGET is of no account while SEARCH.COST_WEIGHT is 0"
        if self._weight > 0 and not least <= self._target <= most:
            return (
                f"SEARCH.COST_TARGET {self._target / GIGA:g} is out of reach: the genotypes of this space cost "
                f"{self.range()} (see SEARCH.COST_LAYERS, SEARCH.COST_CHANNELS and SEARCH.COST_FRAMES)"
            )
        return ""


def build_cost_target(cfg: CfgNode, supernet: Supernet) -> CostTarget:
    """The target that the settings name, for networks that tell the supernet's speakers apart."""
    cost = build_cost(cfg, supernet.classifier.out_features, count_bins(front_end_settings(cfg)))
    of_derived = cfg.SEARCH.COST_OF == "derived"
    return CostTarget(cost, cfg.SEARCH.COST_TARGET * GIGA, cfg.SEARCH.COST_WEIGHT, of_derived)
