"""Layers with the initial values and update rules of the Keras layers in tf.estimator's models."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchestimator.tracing import is_eager


class Dense(nn.Linear):
    """A linear layer that starts as Keras's: Glorot uniform weights (Glorot & Bengio 2010), zero biases."""

    def reset_parameters(self) -> None:
        """Draws the initial weights."""
        limit = math.sqrt(6 / (self.in_features + self.out_features))
        nn.init.uniform_(self.weight, -limit, limit)
        nn.init.zeros_(self.bias)


class BatchNormalization(nn.Module):
    """Batch normalisation over [batch, width] (Ioffe & Szegedy 2015) with the moving averages of Keras.

    Other than torch's, the moving variance is that of the population (divided by the batch size).

    Args:
        width: size of the last dimension.
        momentum: share of the old value in the moving averages.
        epsilon: added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, momentum: float = 0.999, epsilon: float = 1e-3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self._momentum = momentum
        self._epsilon = epsilon

    def forward(self, inputs: Tensor) -> Tensor:
        """[batch, width] -> [batch, width]."""
        if not self.training or (is_eager(inputs) and not inputs.numel()):  # no example has no mean
            return F.batch_norm(inputs, self.running_mean, self.running_var, self.weight, self.bias, eps=self._epsilon)
        with torch.no_grad():
            variance, mean = torch.var_mean(inputs, 0, correction=0)
            self.running_mean.lerp_(mean, 1 - self._momentum)
            self.running_var.lerp_(variance, 1 - self._momentum)
        # Not that of torch.nn.functional, which refuses a batch of one.
        return torch.batch_norm(
            inputs, self.weight, self.bias, None, None, True, 0.0, self._epsilon, torch.backends.cudnn.enabled
        )
