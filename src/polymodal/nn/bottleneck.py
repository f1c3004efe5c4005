"""Variational information bottleneck: a Gaussian code that pays for what it remembers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GaussianBottleneck(nn.Module):
    """``z ~ N(mean(x), exp(log_variance(x)))`` (Alemi et al., ICLR 2017, arXiv 1612.00410, eq. 17).

    ``(..., width_in)`` -> ``(..., width)``. Sampled in training by the reparameterisation ``mean + eps * std``; the
    mean in evaluation, or samples on request.
    """

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.mean = nn.Linear(width_in, width)
        self.log_variance = nn.Linear(width_in, width)

    def forward(self, x: Tensor, *, sample: bool | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return code, mean and log-variance.

        Args:
            x: input.
            sample: draw the code; None draws in training only.
        """
        mean, log_variance = self.mean(x), self.log_variance(x)
        if not (self.training if sample is None else sample):
            return mean, mean, log_variance
        return mean + torch.randn_like(mean) * torch.exp(log_variance / 2), mean, log_variance


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return ``KL(N(mean, exp(log_variance)) || N(0, 1))`` summed over the last dimension."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)
