"""What training minimises: cross-entropy, of the logits as they are or with a margin for the target."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from yacs.config import CfgNode


class AdditiveAngularMargin(nn.Module):
    """Cross-entropy with the target's angle widened by a margin (AAM-softmax, ArcFace).

    Deng et al., ArcFace, CVPR 2019, equation 3: of logits s cos(theta_k), as `models.heads.CosineClassifier` gives
    them, the target's becomes s cos(theta + m). Beyond theta + m = pi, where that would rise again, it goes on falling
    as s (cos(theta) - m sin(m)), as the authors' code has it.

    Args:
        margin: m, radians.
        scale: s.
        label_smoothing: share of the target spread evenly over all classes; the target keeps its margin.
    """

    def __init__(self, margin: float, scale: float, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.margin = margin
        self.scale = scale
        self.label_smoothing = label_smoothing

    def add_margin(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, K) with the margin in those of the targets, labels (B,)."""
        targets = labels[:, None]
        cosine = logits.gather(1, targets) / self.scale  # (B, 1)
        # The root has no gradient at 0; an angle of 0 or pi, where rounding may pass 1, gets none from it.
        sine = (1 - cosine.square()).clamp_min(torch.finfo(logits.dtype).eps).sqrt()
        widened = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        is_within = cosine > math.cos(math.pi - self.margin)
        beyond = cosine - self.margin * math.sin(self.margin)
        return logits.scatter(1, targets, self.scale * torch.where(is_within, widened, beyond))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of logits (B, K) without margin, labels (B,)."""
        return cross_entropy(self.add_margin(logits, labels), labels, label_smoothing=self.label_smoothing)


def build_criterion(cfg: CfgNode) -> nn.Module:
    """The loss of logits (B, K) and labels (B,), by TRAIN.LOSS, LABEL_SMOOTHING and, for aam, MARGIN and SCALE."""
    if cfg.TRAIN.LOSS == "aam":
        return AdditiveAngularMargin(cfg.TRAIN.MARGIN, cfg.TRAIN.SCALE, cfg.TRAIN.LABEL_SMOOTHING)
    return nn.CrossEntropyLoss(label_smoothing=cfg.TRAIN.LABEL_SMOOTHING)
