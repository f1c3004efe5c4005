"""Steps as vertices of a dense graph: edges, their normalisation, messages along them.

Edges are ``(batch, vertices, vertices)``, at least 0: row i says what vertex i hears of each other one. Padding has no
edges, not even to itself.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.nn.fast import Dropout

Adjacency = Literal["attention", "window", "nearest", "free", "window+attention"]


class AttentionEdges(nn.Module):
    """``relu((X W_Q) (X W_K)^T / scale)``: ``(batch, vertices, width)`` -> edges, neither looped nor masked."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.query, self.key = (nn.Linear(width, width, bias=False) for _ in range(2))
        for linear in (self.query, self.key):
            nn.init.xavier_normal_(linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the edges."""
        return torch.relu(self.query(x) @ self.key(x).mT / self.scale)


def looped(edges: Tensor, mask: Tensor) -> Tensor:
    """Return ``edges`` with 1 added from every vertex to itself, zero where ``mask`` (batch, vertices) is False."""
    loops = torch.eye(edges.shape[-1], dtype=edges.dtype, device=edges.device)
    return (edges + loops) * (mask.unsqueeze(1) & mask.unsqueeze(2))


def symmetric(edges: Tensor) -> Tensor:
    """Return ``D^-1/2 A D^-1/2``, D the sums of the rows of A (Kipf & Welling, ICLR 2017, eq. 2)."""
    root = edges.sum(-1).clamp(min=1e-12).rsqrt()  # a vertex without edges keeps none
    return root.unsqueeze(2) * edges * root.unsqueeze(1)


def by_rows(edges: Tensor) -> Tensor:
    """Return ``D^-1 A``: rows sum to 1, or to 0 without edges."""
    return edges / edges.sum(-1, keepdim=True).clamp(min=1e-12)


def window_edges(steps: int, reach: int, device: torch.device) -> Tensor:
    """Return ``(steps, steps)``: 1 between steps that are at most ``reach`` apart, none from a step to itself."""
    at = torch.arange(steps, device=device)
    apart = (at[:, None] - at).abs()
    return ((apart > 0) & (apart <= reach)).float()


def nearest_edges(x: Tensor, mask: Tensor, count: int) -> Tensor:
    """Return 1 from every vertex of ``x`` (batch, vertices, width) to the ``count`` others of highest cosine, and back;
    to all of them where there are fewer."""
    unit = F.normalize(x.detach(), dim=-1)
    loops = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    # A hard choice has no gradient.
    cosine = (unit @ unit.mT).masked_fill(loops | ~mask.unsqueeze(1), -torch.inf)
    best = cosine.topk(min(count, x.shape[1]), dim=-1)
    edges = torch.zeros_like(cosine).scatter(2, best.indices, torch.isfinite(best.values).to(x.dtype))
    edges = edges * mask.unsqueeze(2)
    return torch.maximum(edges, edges.mT)


class SequenceEdges(nn.Module):
    """Symmetrically normalised edges, loops included, between the steps of one sequence.

    Args:
        kind: ``window`` joins steps close in time, ``nearest`` steps alike in content, ``attention`` what two learned
            maps of them say, ``free`` a learned matrix that all samples share, ``window+attention`` the sum of two.
        width: features per step.
        reach: steps to either side that ``window`` joins.
        neighbours: partners of each step of ``nearest``.
        steps: longest sequence of ``free``.
    """

    def __init__(self, kind: Adjacency, width: int, *, reach: int, neighbours: int, steps: int) -> None:
        super().__init__()
        self.kind, self.reach, self.neighbours = kind, reach, neighbours
        if "attention" in kind:
            self.attention = AttentionEdges(width, width)
        if kind == "free":
            self.weights = nn.Parameter(torch.empty(steps, steps).uniform_(0, 2 / steps))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the edges of ``x`` (batch, time, width), whose true steps ``mask`` (batch, time) names."""
        steps = x.shape[1]
        edges = torch.zeros(1, steps, steps, dtype=x.dtype, device=x.device)
        if "window" in self.kind:
            edges = edges + window_edges(steps, self.reach, x.device)
        if "attention" in self.kind:
            edges = edges + self.attention(x)
        if self.kind == "nearest":
            edges = nearest_edges(x, mask, self.neighbours)
        if self.kind == "free":
            edges = edges + self.weights[:steps, :steps].relu()
        return symmetric(looped(edges, mask))


class GraphLayer(nn.Module):
    """``norm(X + dropout(relu(A X W)))``: messages along the edges (Kipf & Welling, ICLR 2017) on a residual path."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(width, width, bias=False), nn.LayerNorm(width)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, edges: Tensor, mask: Tensor) -> Tensor:
        """Return ``(batch, vertices, width)``, zero where ``mask`` (batch, vertices) is False."""
        return self.norm(x + self.drop(torch.relu(edges @ self.linear(x)))) * mask.unsqueeze(-1)
