"""What training minimises: cross-entropy, of the logits as they are or with a margin for the target."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from yacs.config import CfgNode

from utils.system.errors import UserError


class AdditiveAngularMargin(nn.Module):
    """Cross-entropy with the target's angle widened by a margin (AAM-softmax, ArcFace), and those of the hardest others
    narrowed by another (inter-top-K).

    Deng et al., ArcFace, CVPR 2019, equation 3: of logits s cos(theta_k), as `models.heads.CosineClassifier` gives
    them, the target's becomes s cos(theta + m). Beyond theta + m = pi, where that would rise again, it goes on falling
    as s (cos(theta) - m sin(m)), as the authors' code has it.

    Zhao et al., Multi-query multi-head attention pooling and inter-topK penalty, ICASSP 2022, section 3: of the other
    classes, the top K nearest to an embedding have s cos(theta - m'). That is the same with all signs changed: where
    theta - m' is less than 0, it is s (cos(theta) + m' sin(m')), and goes on rising.

    Args:
        margin: m, radians.
        scale: s.
        label_smoothing: share of the target spread evenly over all classes; the target keeps its margin.
        top_k: how many others; 0 for none.
        top_k_margin: m', radians.

    Attributes:
        share: of both margins that counts, from 0 to 1.
    """

    def __init__(
        self,
        margin: float,
        scale: float,
        label_smoothing: float = 0.0,
        top_k: int = 0,
        top_k_margin: float = 0.0,
    ) -> None:
        super().__init__()
        self.margin = margin
        self.scale = scale
        self.label_smoothing = label_smoothing
        self.top_k = top_k
        self.top_k_margin = top_k_margin
        self.share = 1.0

    def add_margin(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, K) with the margins in those of the targets, labels (B,), and of the hardest others."""
        targets = labels[:, None]
        widened = _widen(logits.gather(1, targets) / self.scale, self.share * self.margin)  # (B, 1)
        if self.top_k:
            hardest = logits.detach().scatter(1, targets, -math.inf).topk(self.top_k, dim=1).indices  # (B, top K)
            narrowed = -_widen(-logits.gather(1, hardest) / self.scale, self.share * self.top_k_margin)
            logits = logits.scatter(1, hardest, self.scale * narrowed)
        return logits.scatter(1, targets, self.scale * widened)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of logits (B, K) without margin, labels (B,)."""
        return cross_entropy(self.add_margin(logits, labels), labels, label_smoothing=self.label_smoothing)


def _widen(cosine: Tensor, margin: float) -> Tensor:
    """cos(theta + margin) of cos(theta), and what falls on where theta + margin passes pi."""
    # The root has no gradient at 0; an angle of 0 or pi, where rounding may pass 1, gets none from it.
    sine = (1 - cosine.square()).clamp_min(torch.finfo(cosine.dtype).eps).sqrt()
    widened = cosine * math.cos(margin) - sine * math.sin(margin)
    is_within = cosine > math.cos(math.pi - margin)
    beyond = cosine - margin * math.sin(margin)
    return torch.where(is_within, widened, beyond)


def build_criterion(cfg: CfgNode) -> nn.Module:
    """The loss of logits (B, K) and labels (B,), by TRAIN.LOSS, LABEL_SMOOTHING and, for aam, MARGIN, SCALE, TOP_K and
    TOP_K_MARGIN."""
    if cfg.TRAIN.LOSS == "aam":
        margin = cfg.TRAIN.MARGIN, cfg.TRAIN.SCALE
        return AdditiveAngularMargin(*margin, cfg.TRAIN.LABEL_SMOOTHING, cfg.TRAIN.TOP_K, cfg.TRAIN.TOP_K_MARGIN)
    return nn.CrossEntropyLoss(label_smoothing=cfg.TRAIN.LABEL_SMOOTHING)


def check_top_k(cfg: CfgNode, num_classes: int) -> None:
    """Refuse to look for more of the other classes than there are.

    Raises:
        UserError: naming how many there are.
    """
    if num_classes <= cfg.TRAIN.TOP_K:
        raise UserError(
            f"TRAIN.TOP_K {cfg.TRAIN.TOP_K} must be less than the {num_classes} classes that are told apart"
        )
