"""Fewer vertices in the place of many: what a graph of thousands of steps is read by."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.nn.graph import by_rows
from polymodal.nn.masking import masked_max, masked_mean
from polymodal.nn.sequence import masked_softmax
from polymodal.nn.traced import highest_first

Pooling = Literal["link", "assignment", "mean", "max"]

SAME = 1e-4
"""Difference of what two vertices are heard that is none."""


class Graph(NamedTuple):
    """A dense graph per sample.

    Attributes:
        vertices: ``(batch, vertices, width)``, zero where there is none.
        edges: ``(batch, vertices, vertices)``, rows sum to 1; see ``nn.graph``.
        mask: ``(batch, vertices)`` bool, vertices that are there.
        sizes: how many of the vertices belong to each sequence, one after the other, each in order of time.
    """

    vertices: Tensor
    edges: Tensor
    mask: Tensor
    sizes: tuple[int, ...]


def slots(vertices: int, ratio: float) -> int:
    """Return the vertices that are left of ``vertices``: that share of them, rounded up."""
    return max(1, math.ceil(vertices * ratio - 1e-4))  # 30 * 0.1 is a little more than 3


def _open(mask: Tensor, ratio: float) -> Tensor:
    """Return ``(batch, slots)`` bool: as many as the sample's own vertices leave, so that padding opens none."""
    left = (mask.sum(1) * ratio - 1e-4).ceil().clamp(min=0)
    return torch.arange(slots(mask.shape[1], ratio), device=mask.device) < left[:, None]


def _merged(graph: Graph, assignment: Tensor, mask: Tensor) -> Graph:
    weights = assignment / assignment.sum(1, keepdim=True).clamp(min=1e-12)
    edges = by_rows(assignment.mT @ graph.edges @ assignment)
    return Graph(weights.mT @ graph.vertices, edges, mask, (assignment.shape[2],))


def _without_loops(edges: Tensor) -> Tensor:
    return edges.masked_fill(torch.eye(edges.shape[-1], dtype=torch.bool, device=edges.device), 0.0)


class LinkPooling(nn.Module):
    """Vertices with the same links go together.

    The vertices that the others hear most are seeds. Every vertex goes to the seeds in shares, by the softmax of
    cosine(its row of the edges, theirs) / ``temperature``; a seed becomes the mean of its vertices by share.
    """

    def __init__(self, ratio: float, temperature: float) -> None:
        super().__init__()
        self.ratio, self.temperature = ratio, temperature

    def forward(self, graph: Graph) -> tuple[Graph, Tensor]:
        """Return the pooled graph and the shares ``(batch, vertices, slots)``, whose rows sum to 1."""
        heard = _without_loops(graph.edges).sum(1).masked_fill(~graph.mask, -1.0)
        # Among equals the earlier one, and what differs by rounding is equal: it differs with the amount of padding.
        seeds = highest_first((heard / SAME).round())[:, : slots(heard.shape[1], self.ratio)]
        links = F.normalize(graph.edges, dim=-1)
        chosen = links.gather(1, seeds.unsqueeze(2).expand(-1, -1, links.shape[2]))
        mask = _open(graph.mask, self.ratio)
        shares = masked_softmax(links @ chosen.mT / self.temperature, mask.unsqueeze(1)) * graph.mask.unsqueeze(2)
        return _merged(graph, shares, mask), shares


class AssignmentPooling(nn.Module):
    """A layer says where each vertex goes (DiffPool, Ying et al., NeurIPS 2018, eq. 3-6).

    Args:
        width: features per vertex.
        ratio: share of the vertices that are left.
        vertices: most that there can be.
    """

    def __init__(self, width: int, ratio: float, vertices: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.linear = nn.Linear(width, slots(vertices, ratio), bias=False)

    def forward(self, graph: Graph) -> tuple[Graph, Tensor]:
        """Return the pooled graph and the shares ``(batch, vertices, slots)``, whose rows sum to 1."""
        mask = _open(graph.mask, self.ratio)
        scores = (graph.edges @ self.linear(graph.vertices))[..., : mask.shape[1]]
        shares = masked_softmax(scores, mask.unsqueeze(1)) * graph.mask.unsqueeze(2)
        return _merged(graph, shares, mask), shares


def assignment_penalty(graph: Graph, shares: Tensor) -> Tensor:
    """Return ``|A - S S^T| / N^2`` plus the mean entropy of the rows of S, ``(batch,)`` (DiffPool, section 3.3)."""
    count = graph.mask.sum(1).clamp(min=1)
    sure = shares.clamp(min=1e-12)  # the slope of entropy at 0 is infinite
    gap = torch.linalg.vector_norm(graph.edges - shares @ shares.mT, dim=(1, 2)) / count.square()
    return gap + torch.special.entr(sure).mul(graph.mask.unsqueeze(2)).sum((1, 2)) / count


class BlockPooling(nn.Module):
    """Neighbours in time, and what each of them hears most, become one vertex: their mean or maximum.

    Args:
        ratio: 1 / ``ratio`` steps, rounded, make a block.
        kind: ``mean`` or ``max``.
    """

    def __init__(self, ratio: float, kind: Literal["mean", "max"]) -> None:
        super().__init__()
        self.stride = round(1 / ratio)
        self.read = masked_mean if kind == "mean" else masked_max

    def forward(self, graph: Graph) -> tuple[Graph, Tensor]:
        """Return the pooled graph and which block each vertex is in, ``(batch, vertices, blocks)``, 0 or 1."""
        width = graph.vertices.shape[2]
        best = _without_loops(graph.edges).max(-1)
        heard = graph.vertices.gather(1, best.indices.unsqueeze(2).expand(-1, -1, width))
        members = torch.stack([graph.vertices, heard], dim=2)  # each vertex and whom it hears
        there = torch.stack([graph.mask, graph.mask & (best.values > 0)], dim=2)
        blocks = tuple(-(-size // self.stride) for size in graph.sizes)
        pooled, assigned, first = [], [], 0
        for x, real, size, count in zip(
            members.split(graph.sizes, 1), there.split(graph.sizes, 1), graph.sizes, blocks, strict=True
        ):
            gap = count * self.stride - size
            x = F.pad(x, (0, 0, 0, 0, 0, gap)).unflatten(1, (count, self.stride)).flatten(2, 3).flatten(0, 1)
            real = F.pad(real, (0, 0, 0, gap)).unflatten(1, (count, self.stride)).flatten(2, 3).flatten(0, 1)
            pooled.append(self.read(x, real).unflatten(0, (-1, count)))
            assigned.append(first + torch.arange(size, device=x.device) // self.stride)
            first += count
        shares = F.one_hot(torch.cat(assigned), first).to(graph.edges.dtype) * graph.mask.unsqueeze(2)
        edges = by_rows(shares.mT @ graph.edges @ shares)
        return Graph(torch.cat(pooled, dim=1), edges, shares.any(1), blocks), shares
