"""Batch normalisation as all networks here have it."""

from torch import Tensor, nn


class Norm(nn.BatchNorm2d):
    """Batch normalisation that counts its batches only where it needs their number.

    PyTorch's counts them in a tensor, a launch for every norm of every step; but only an average over all batches alike
    (`momentum` None) looks at it. Otherwise the counter stays as it was made or loaded.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.momentum is None:
            return super().forward(x)
        running = self.running_mean, self.running_var
        return nn.functional.batch_norm(x, *running, self.weight, self.bias, self.training, self.momentum, self.eps)
