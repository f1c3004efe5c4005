"""Multimodal Graph: every step a vertex, every modality a graph, and graphs across modalities that are pooled."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Stream
from polymodal.methods.base import Method, fraction, positive
from polymodal.nn.graph import Adjacency, AttentionEdges, GraphLayer, SequenceEdges, by_rows, looped
from polymodal.nn.graph_pooling import (
    AssignmentPooling,
    BlockPooling,
    Graph,
    LinkPooling,
    Pooling,
    assignment_penalty,
    slots,
)
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.masking import masked_max, masked_mean
from polymodal.nn.sequence import sinusoid
from polymodal.nn.shortened import shortened

PENALTY = 0.1
"""Weight of the penalty on learned assignments."""


class Related(NamedTuple):
    """What one graph across modalities found.

    Attributes:
        vector: ``(batch, 2 * width)``, mean and maximum of the vertices that are left.
        graph: before any pooling; its edges say which step hears which of another modality.
        shares: per level ``(batch, vertices, pooled)``, which vertices went together.
        penalty: ``(batch,)``, on learned assignments; zeros of other poolings.
    """

    vector: Tensor
    graph: Graph
    shares: list[Tensor]
    penalty: Tensor


class MultimodalGraph(Method):
    """Multimodal Graph for unaligned sequences (Mai et al., 2020, arXiv 2011.13572): graphs in the place of recurrence.

    1. Within a modality: a convolution makes every step a vertex; a graph convolution over edges between its steps
       follows. All steps are done at once, and distant ones are a few hops apart.
    2. Across modalities: the vertices of two modalities form one graph whose edges join steps of different ones. On
       every level vertices exchange messages, then are pooled to a share of them. What is left is read by mean and
       maximum; the readings of all graphs together predict.

    In the spirit of the paper, whose equations were not at hand: its abstract says that several adjacencies were
    compared and that pooling is learned, not how. Reconstructed, hence options where there is a choice: all sizes,
    ``adjacency`` (``attention`` is that of the follow-up, arXiv 2108.07543, here normalised), the edges across
    modalities, ``pooling``, pairs as graphs, what is read; a norm and dropout after each layer; rows of pooled edges
    that sum to 1 again; edges of a window that do not weaken with distance. Sequences of more than ``max_steps`` are
    shortened. Padding and absent modalities have no vertices; a modality without any other is one graph over all its
    steps.

    Args:
        schema: what the batches hold.
        width: features of every vertex.
        kernel: steps seen by the input convolution; odd.
        positions: add sinusoidal positions to the steps; without, and with ``kernel`` 1, their order is seen by
            ``window`` and block pooling alone.
        adjacency: edges within a modality: ``attention`` of its steps, a ``window`` in time, the ``nearest`` in
            content, a ``free`` learned matrix, or ``window+attention``.
        reach: steps to either side in a window.
        neighbours: partners of each step of ``nearest``.
        layers: graph convolutions within a modality.
        graphs: across modalities, a graph for each of the ``pairs``, or ``one`` for all.
        pooling: ``link`` joins vertices of like edges to those that are heard most, ``assignment`` learns who goes
            where (DiffPool, with its penalties), ``mean`` and ``max`` join neighbours in time and whom each hears most.
        ratio: share of the vertices that a level leaves, at most 0.5.
        levels: layers across modalities, each with its pooling.
        temperature: of the softmax of ``link``.
        dropout: after every layer and before the heads.
        max_steps: longest sequence of a modality.

    Output: ``fused`` (batch, width), and per graph what it was read as, ``graph_<names>`` (batch, 2 * width).
    ``relate`` gives the edges across modalities and what was pooled with what.
    """

    family = "graph"
    paper = (
        "Mai et al., Analyzing Unaligned Multimodal Sequence via Graph Convolution and Graph Pooling Fusion, 2020, "
        "arXiv:2011.13572"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 32,
        kernel: int = 3,
        positions: bool = True,
        adjacency: Adjacency = "attention",
        reach: int = 2,
        neighbours: int = 10,
        layers: int = 2,
        graphs: Literal["pairs", "one"] = "pairs",
        pooling: Pooling = "link",
        ratio: float = 0.25,
        levels: int = 2,
        temperature: float = 0.1,
        dropout: float = 0.1,
        max_steps: int = 500,
    ) -> None:
        super().__init__(schema)
        positive(width=width, kernel=kernel, reach=reach, neighbours=neighbours, layers=layers, ratio=ratio)
        positive(levels=levels, temperature=temperature, max_steps=max_steps)
        fraction(dropout=dropout)
        if kernel % 2 == 0:
            raise OptionError(f"kernel must be odd, or steps would move, got {kernel}")
        if ratio > 0.5:
            raise OptionError(f"ratio must be at most 0.5, or a level would hardly pool, got {ratio}")
        self.positions, self.max_steps, self.learned = positions, max_steps, pooling == "assignment"
        self.inputs = Inputs(schema)
        names = schema.names
        self.sequences = nn.ModuleDict()
        for n, modality in self.inputs.modalities.items():
            edges = SequenceEdges(adjacency, width, reach=reach, neighbours=neighbours, steps=max_steps)
            self.sequences[n] = _Within(modality.width, width, kernel, edges, layers=layers, dropout=dropout)
        self.across: dict[str, tuple[str, ...]] = {
            "_".join(found): found for found in (combinations(names, 2) if graphs == "pairs" and names[1:] else [names])
        }
        self.fusions = nn.ModuleDict()
        for key, found in self.across.items():
            pools = _pools(pooling, width, ratio, levels, len(found) * max_steps, temperature)
            self.fusions[key] = _Across(width, pools, dropout)
        self.mix = nn.Sequential(nn.Linear(2 * width * len(self.across), width), nn.ReLU(), nn.Dropout(dropout))
        self.heads = Heads(schema, width)

    def forward(self, batch: Batch) -> Output:
        """Return predictions, the fused vector and one per graph; learned assignments add, in training,
        ``pooling``, what they pay (batch,)."""
        related = self.relate(batch)
        fused = self.mix(torch.cat([r.vector for r in related.values()], dim=1))
        named = {f"graph_{key}": r.vector for key, r in related.items()}
        if self.training and self.learned:
            named["pooling"] = torch.stack([r.penalty for r in related.values()]).sum(0)
        return Output(self.heads(fused), {"fused": fused, **named})

    def relate(self, batch: Batch) -> dict[str, Related]:
        """Return what each graph across modalities found, under its modalities' names, joined by ``_``."""
        vertices = {n: self.vertices(n, s) for n, s in self.inputs(batch).items()}
        return {key: self.fusions[key]([vertices[n] for n in found]) for key, found in self.across.items()}

    def vertices(self, name: str, stream: Stream) -> Stream:
        """Return the steps of a modality ``(batch, time, width)`` after its own graph, zero at padding."""
        return self.sequences[name](shortened(as_sequence(stream), self.max_steps), self.positions)

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms; with a learned assignment also, in training, ``pooling``, weighted."""
        losses = task_losses(self.schema, batch, output)
        if self.training and self.learned:
            losses["pooling"] = PENALTY * output.representations["pooling"].mean()
        return losses


class _Within(nn.Module):
    """A sequence -> its vertices after graph convolutions, ``(batch, time, width)``, zero at padding."""

    def __init__(
        self, width_in: int, width: int, kernel: int, edges: SequenceEdges, *, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width_in, width, kernel, padding="same", bias=False)
        self.edges = edges
        self.layers = nn.ModuleList(GraphLayer(width, dropout) for _ in range(layers))

    def forward(self, stream: Stream, positions: bool) -> Stream:
        mask = stream.mask
        x = self.convolution(stream.tensor.transpose(1, 2)).transpose(1, 2)
        if positions:
            x = x + sinusoid(x.shape[1], x.shape[2], x.device).to(x.dtype)
        x = x * mask.unsqueeze(-1)
        edges = self.edges(x, mask)
        for layer in self.layers:
            x = layer(x, edges, mask)
        return replace(stream, values=x)


class _Across(nn.Module):
    """Vertices of several modalities -> what their graph says of them."""

    def __init__(self, width: int, pools: list[nn.Module], dropout: float) -> None:
        super().__init__()
        self.attention = AttentionEdges(width, width**0.5)
        self.layers = nn.ModuleList(GraphLayer(width, dropout) for _ in pools)
        self.pools = nn.ModuleList(pools)

    def forward(self, streams: list[Stream]) -> Related:
        graph = first = self.joined(streams)
        shares, penalty = [], graph.vertices.new_zeros(graph.vertices.shape[0])
        for layer, pool in zip(self.layers, self.pools, strict=True):
            graph = graph._replace(vertices=layer(graph.vertices, graph.edges, graph.mask))
            pooled, share = pool(graph)
            if isinstance(pool, AssignmentPooling):
                penalty = penalty + assignment_penalty(graph, share)
            shares.append(share)
            graph = pooled
        read = [masked_mean(graph.vertices, graph.mask), masked_max(graph.vertices, graph.mask)]
        return Related(torch.cat(read, dim=1), first, shares, penalty)

    def joined(self, streams: list[Stream]) -> Graph:
        """Return one graph. Its edges join vertices of different streams, or, where a sample has one alone, its own."""
        vertices, mask = torch.cat([s.tensor for s in streams], dim=1), torch.cat([s.mask for s in streams], dim=1)
        sizes = tuple(s.tensor.shape[1] for s in streams)
        side = torch.cat([torch.full((size,), i, device=mask.device) for i, size in enumerate(sizes)])
        alone = torch.stack([s.present for s in streams]).sum(0) == 1
        edges = self.attention(vertices) * ((side[:, None] != side) | alone.view(-1, 1, 1))
        return Graph(vertices, by_rows(looped(edges, mask)), mask, sizes)


def _pools(kind: Pooling, width: int, ratio: float, levels: int, vertices: int, temperature: float) -> list[nn.Module]:
    pools: list[nn.Module] = []
    for _ in range(levels):
        if kind == "assignment":
            pools.append(AssignmentPooling(width, ratio, vertices))
        elif kind == "link":
            pools.append(LinkPooling(ratio, temperature))
        else:
            pools.append(BlockPooling(ratio, kind))
        vertices = slots(vertices, ratio)
    return pools
