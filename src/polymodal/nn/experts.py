"""Mixtures of experts, and what keeps their router honest."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConditionedExperts(nn.Module):
    """Sparse mixture of experts (Shazeer et al., ICLR 2017) whose router also sees a condition of each sample.

    ``x`` (batch, width_in), ``condition`` (batch, conditions) -> ``(batch, width)`` and the router's probabilities
    (batch, experts). Experts are perceptrons of two layers; weights of the ``top`` best sum to 1.
    """

    def __init__(self, width_in: int, width: int, conditions: int, experts: int, top: int) -> None:
        super().__init__()
        self.top = top
        self.describe = nn.Linear(conditions, width)
        self.router = nn.Linear(width_in + width, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width_in, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(experts)
        )

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of the chosen experts and all probabilities."""
        probabilities = self.router(torch.cat([x, self.describe(condition)], dim=1)).softmax(1)
        weights = best_weights(probabilities, self.top)
        # All experts run: at these sizes that costs less than sorting the samples by expert.
        outputs = torch.stack([expert(x) for expert in self.experts], dim=1)
        return (weights.unsqueeze(2) * outputs).sum(1), probabilities


def best_weights(probabilities: Tensor, top: int) -> Tensor:
    """Return ``probabilities`` (batch, experts) of the ``top`` best of each sample, made to sum to 1, 0 for the others;
    zeros where all are 0."""
    best = probabilities.topk(top, dim=1)
    weights = torch.zeros_like(probabilities).scatter(1, best.indices, best.values)
    return weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)


def consistency(probabilities: Tensor, condition: Tensor, scale: float = 0.1) -> Tensor:
    """Return the mean squared distance of the routing of two samples, weighted by how alike their conditions are.

    Weights are ``exp(-|c_i - c_j|^2 / scale)`` over all pairs of the batch; 0 for a single sample.
    """
    alike = torch.exp(-_squared_distances(condition.float()) / scale).triu(1)
    return (alike * _squared_distances(probabilities.float())).sum() / alike.sum().clamp(min=1e-6)


def _squared_distances(x: Tensor) -> Tensor:
    return (x.unsqueeze(0) - x.unsqueeze(1)).square().sum(-1)


def load_balance(probabilities: Tensor, top: int) -> Tensor:
    """Return ``E sum_e f_e mean_i g_ie`` (Fedus et al., JMLR 2022, eq. 4), f the share of choices; 1 when balanced."""
    experts = probabilities.shape[1]
    chosen = F.one_hot(probabilities.topk(top, dim=1).indices, experts).float().mean((0, 1))
    return experts * (chosen * probabilities.float().mean(0)).sum()
