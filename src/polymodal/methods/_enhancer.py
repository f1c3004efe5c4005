"""What UMQ mends with: the quality enhancer, and the split in sample- and modality-specific parts behind it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.nn.contrast import info_nce
from polymodal.nn.masking import mean_where

TEMPERATURE = 0.1
"""Of the contrast of sample-specific parts."""


class Enhancer(nn.Module):
    """Keeps a modality as far as it is good and rebuilds the rest from the others and its baseline vector."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.specific = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(count))
        self.general = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(count))
        self.baseline = nn.Parameter(0.02 * torch.randn(count, width))
        self.rebuild = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(count)
        )

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """Return x^ for ``x`` (batch, modalities, width) and ``quality`` (batch, modalities)."""
        helped = helper_weights(quality).to(x) @ _each(self.specific, x)
        rebuilt = _each(self.rebuild, torch.cat([helped, self.baseline.to(x).expand_as(x)], dim=-1))
        q = quality.unsqueeze(-1)
        return q * x + (1 - q) * rebuilt

    def decoupling_loss(self, x: Tensor, present: Tensor) -> Tensor:
        """Return S alike across the modalities of a sample and only there, U alike across samples (at the baseline), S
        and U orthogonal."""
        s, u = _each(self.specific, x).float(), _each(self.general, x).float()
        views, here = s.transpose(0, 1), present.T
        one, other = torch.combinations(torch.arange(len(views), device=x.device), 2).T
        there = here[one] & here[other]
        found = [info_nce(views[i], views[j], TEMPERATURE, there) for i, j in ((one, other), (other, one))]
        spread = mean_where((u - self.baseline).square().mean(-1), present)
        overlap = (F.normalize(s, dim=-1) * F.normalize(u, dim=-1)).sum(-1).square()
        return torch.stack(found).mean() + spread + mean_where(overlap, present)


def helper_weights(quality: Tensor) -> Tensor:
    """Return w ``(batch, m, n)``: what modality n contributes to m, in proportion to n's quality; nothing to itself."""
    count = quality.shape[1]
    others = quality.unsqueeze(1) * (1 - torch.eye(count, device=quality.device, dtype=quality.dtype))
    return others / (others.sum(2, keepdim=True) + 1e-6)


def _each(modules: nn.ModuleList, x: Tensor) -> Tensor:
    """Apply the m-th module to the m-th modality: ``(batch, modalities, width)``."""
    return torch.stack([module(v) for module, v in zip(modules, x.unbind(1), strict=True)], dim=1)
