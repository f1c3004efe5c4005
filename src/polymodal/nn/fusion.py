"""Fusion operators: one vector per modality in, one vector out, whoever is absent.

All take ``vectors``, one ``(batch, width_m)`` per modality, and ``present`` ``(batch, modalities)`` bool, None for all
there; a vector marked absent is never looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.nn.fast import Dropout
from polymodal.nn.sequence import masked_softmax
from polymodal.nn.subnet import augmented

Activation = Callable[[Tensor], Tensor]


class ConcatFusion(nn.Module):
    """One layer of Linear and ReLU on the vectors side by side, zeros where absent: -> ``(batch, width)``."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(sum(widths), width)

    def forward(self, vectors: Sequence[Tensor], present: Tensor | None = None) -> Tensor:
        """Return the fused vector."""
        return torch.relu(self.linear(torch.cat(_filled(vectors, present, 0.0), dim=1)))


class SumFusion(nn.Module):
    """Sum of the vectors that are present; zeros if none is."""

    def forward(self, vectors: Sequence[Tensor], present: Tensor | None = None) -> Tensor:
        """Return the fused vector ``(batch, width)``."""
        return torch.stack(_filled(vectors, present, 0.0)).sum(0)


class ProductFusion(nn.Module):
    """Elementwise product of the vectors that are present; ones if none is."""

    def forward(self, vectors: Sequence[Tensor], present: Tensor | None = None) -> Tensor:
        """Return the fused vector ``(batch, width)``."""
        return torch.stack(_filled(vectors, present, 1.0)).prod(0)


class TensorFusion(nn.Module):
    """Outer product of ``[1; v]`` over all vectors (Zadeh et al., EMNLP 2017), read by three layers with tanh."""

    def __init__(self, widths: Sequence[int], width: int, *, hidden: int = 50, dropout: float = 0.5) -> None:
        super().__init__()
        cells = reduce(lambda n, w: n * (w + 1), widths, 1)
        self.drop = Dropout(dropout)
        self.layers = _tanh_layers(cells, hidden, hidden, width)

    def forward(self, vectors: Sequence[Tensor], present: Tensor | None = None) -> Tensor:
        """Return the fused vector ``(batch, width)``."""
        return self.layers(self.drop(tensor_product(_filled(vectors, present, 0.0))))


class LowRankFusion(nn.Module):
    """``y = sum_r w_r prod_m ([1; v_m] U_m[r]) + b`` (Liu et al., ACL 2018, eq. 7, with ``w`` and ``b`` of its code).

    A linear read-out ``(batch, width)`` of the vectors' tensor product whose weights have rank ``rank``.
    """

    def __init__(self, widths: Sequence[int], width: int, rank: int) -> None:
        super().__init__()
        self.factors = nn.ParameterList(torch.empty(rank, w + 1, width) for w in widths)
        self.weights = nn.Parameter(torch.empty(1, rank))
        self.bias = nn.Parameter(torch.zeros(width))
        for factor in self.factors:
            # fan-in is the vector, fan-out the rank; torch would count the last axis as receptive field.
            nn.init.normal_(factor, std=(2 / (factor.shape[1] + rank)) ** 0.5)
        nn.init.xavier_normal_(self.weights)
        self.register_load_state_dict_pre_hook(_flatten_bias)

    def forward(self, vectors: Sequence[Tensor], present: Tensor | None = None) -> Tensor:
        """Return the fused outputs; an absent modality contributes the constant row of its factor."""
        pairs = zip(_filled(vectors, present, 0.0), self.factors, strict=True)
        product = torch.stack([torch.einsum("bi,rio->rbo", augmented(v), f) for v, f in pairs]).prod(0)
        return torch.einsum("r,rbo->bo", self.weights[0], product) + self.bias


def _flatten_bias(_: nn.Module, weights: dict[str, Any], prefix: str, *__: Any) -> None:
    """Load weights from before the bias had one dimension, as those have that weight decay leaves alone."""
    if f"{prefix}bias" in weights:
        weights[f"{prefix}bias"] = weights[f"{prefix}bias"].flatten()


class _Vertices(NamedTuple):
    values: Tensor  # (batch, vertices, width)
    shares: Tensor  # (batch, vertices, width), softmax of the values before they were weighted
    scores: Tensor  # (batch, vertices)
    there: Tensor  # (batch, vertices) bool


class InteractionGraph(nn.Module):
    """Vertices and edges of the graph fusion network (Mai et al., AAAI 2020, arXiv 1911.07848).

    Its vertices are modalities, pairs, and triples: two pairs that share a modality, or a pair and a third modality. An
    edge is the heavier the more important and the less alike what it joins. A vertex is there if all its modalities
    are.

    Args:
        count: modalities.
        width: features of each vector.
        hidden: units where two vertices join.
        gate: makes a modality's importance of a linear map of its vector.
        activation: of the vertices of higher order.

    Attributes:
        width: features of the result, one ``width`` for each order of vertices.
    """

    def __init__(
        self,
        count: int,
        width: int,
        *,
        hidden: int = 64,
        gate: Activation = torch.sigmoid,
        activation: Activation = F.elu,
    ) -> None:
        super().__init__()
        self.gate, self.activation = gate, activation
        self.importance = nn.Linear(width, 1)
        # The pairs are numbered first, then the modalities: vertices of the next order are built from both.
        self.pairs = list(combinations(range(count), 2))
        self.triples = [
            (p, q)
            for p, q in combinations(range(len(self.pairs)), 2)
            if len(set(self.pairs[p]) | set(self.pairs[q])) == 3
        ] + [(p, len(self.pairs) + m) for p, pair in enumerate(self.pairs) for m in range(count) if m not in pair]
        orders = [edges for edges in (self.pairs, self.triples) if edges]
        self.joins = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * width, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, width), nn.Tanh())
            for _ in orders
        )
        self.width = (1 + len(orders)) * width

    def vertices(self, vectors: Sequence[Tensor], present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the sums over the vertices of each order, side by side, and the weights of all vertices.

        The weights ``(batch, vertices)`` are those of the modalities (between 0 and 1 for a sigmoid gate), then of the
        pairs and of the triples (each order sums to 1); 0 where a vertex is absent.
        """
        values = torch.stack(_filled(vectors, present, 0.0), dim=1)
        there = values.new_ones(values.shape[:2], dtype=torch.bool) if present is None else present
        importance = self.gate(self.importance(values))[..., 0] * there
        single = _Vertices(values, values.softmax(-1), importance, there)
        sums = [(importance.unsqueeze(-1) * values).sum(1) / there.sum(1, keepdim=True).clamp(min=1)]
        weights = [importance]
        if self.pairs:
            pairs, alpha = self.join(self.joins[0], single, self.pairs)
            sums.append(pairs.values.sum(1))
            weights.append(alpha)
        if self.triples:
            both = _Vertices(*(torch.cat(parts, dim=1) for parts in zip(pairs, single, strict=True)))
            triples, beta = self.join(self.joins[1], both, self.triples)
            sums.append(triples.values.sum(1))
            weights.append(beta)
        return torch.cat(sums, dim=1), torch.cat(weights, dim=1)

    def join(self, net: nn.Module, below: _Vertices, edges: list[tuple[int, int]]) -> tuple[_Vertices, Tensor]:
        """Return one vertex per edge between vertices ``below``, zero where one of them is absent, and its weight."""
        left, right = [p for p, _ in edges], [q for _, q in edges]
        there = below.there[:, left] & below.there[:, right]
        alike = (below.shares[:, left] * below.shares[:, right]).sum(-1)
        scores = (below.scores[:, left] + below.scores[:, right]) / (alike + 0.5)
        message = net(torch.cat([below.values[:, left], below.values[:, right]], dim=-1))
        weights = masked_softmax(scores, there)
        values = self.activation(weights.unsqueeze(-1) * message)
        return _Vertices(values, message.softmax(-1), scores, there), weights


class GraphFusion(InteractionGraph):
    """The graph fusion network as MIB uses it: tanh throughout, three layers that read the sums over the vertices.

    ``count`` vectors of ``width`` features -> ``(batch, width)``; ``readout`` units in each of the first two layers.
    """

    def __init__(self, count: int, width: int, *, hidden: int = 64, readout: int = 50) -> None:
        super().__init__(count, width, hidden=hidden, gate=torch.tanh, activation=torch.tanh)
        self.readout = _tanh_layers(self.width, readout, readout, width)

    def forward(self, vectors: Sequence[Tensor], present: Tensor | None = None) -> Tensor:
        """Return the fused vector."""
        return self.readout(self.vertices(vectors, present)[0])


def tensor_product(vectors: Sequence[Tensor]) -> Tensor:
    """Return the flattened outer product of ``[1; v]`` over all vectors (batch, width): the last one varies fastest."""
    # As products of matrices, whose gradients are products again and not sums over a second cube.
    return reduce(lambda cube, v: (cube.unsqueeze(2) @ v.unsqueeze(1)).flatten(1), [augmented(v) for v in vectors])


def product_of_experts(
    means: Sequence[Tensor], variances: Sequence[Tensor], present: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the product of Gaussians with a standard normal prior expert.

    All ``(batch, width)``; over the modalities present, ``variance = 1 / (1 + sum_m 1 / variance_m)`` and ``mean =
    variance * sum_m mean_m / variance_m``.
    """
    precisions = _filled([1 / v for v in variances], present, 0.0)
    variance = 1 / (1 + torch.stack(precisions).sum(0))
    weighted = [m * p for m, p in zip(_filled(means, present, 0.0), precisions, strict=True)]
    return variance * torch.stack(weighted).sum(0), variance


def _filled(vectors: Sequence[Tensor], present: Tensor | None, value: float) -> list[Tensor]:
    """Return the vectors with ``value`` where they are absent."""
    if present is None:
        return list(vectors)
    return [v.masked_fill(~present[:, i : i + 1], value) for i, v in enumerate(vectors)]


def _tanh_layers(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in, width in pairwise(widths):
        layers += [nn.Linear(width_in, width), nn.Tanh()]
    return nn.Sequential(*layers)
