"""Variational information bottleneck: a Gaussian code that pays for what it remembers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHIFT = 5.0
"""Taken off the standard deviation's pre-activation: an untrained quiet bottleneck is nearly free of noise."""


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


class QuietBottleneck(nn.Module):
    """``z ~ N(mean(h), softplus(s(h) - 5)^2)`` with ``h`` a hidden layer of x: ``(batch, width)`` -> the same shape.

    As in MIB (Mai et al., 2022): its untrained code has a standard deviation of 0.007, that of ``GaussianBottleneck``
    one of 1.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.mean, self.spread = nn.Linear(hidden, width), nn.Linear(hidden, width)

    def forward(self, x: Tensor, present: Tensor, sample: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return code, mean and log-variance: zeros where absent."""
        h = torch.relu(self.hidden(x))
        here = present.unsqueeze(1)
        mean = self.mean(h).float() * here
        std = F.softplus(self.spread(h).float() - SHIFT)
        log_variance = 2 * (std + torch.finfo(std.dtype).tiny).log() * here
        return (mean + torch.randn_like(mean) * std * here if sample else mean), mean, log_variance


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return ``KL(N(mean, exp(log_variance)) || N(0, 1))`` summed over the last dimension."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)


def mean_kl(mean: Tensor, log_variance: Tensor, rows: Tensor) -> Tensor:
    """Return the KL to the standard normal, averaged over dimensions and over the samples where ``rows`` is True;
    codes must be zero elsewhere, which is what the prior costs."""
    nats = kl_to_standard_normal(mean.float(), log_variance.float()) / mean.shape[1]
    return nats.sum() / rows.sum().clamp(min=1)
