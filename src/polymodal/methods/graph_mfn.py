"""Graph-MFN: a graph over all subsets of the modalities writes into MFN's memory."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, Output, Schema, Stream
from polymodal.methods.base import Method, fraction, per_modality, positive
from polymodal.nn.fast import LSTM
from polymodal.nn.heads import Heads
from polymodal.nn.inputs import Inputs
from polymodal.nn.masking import masked_mean
from polymodal.nn.memory import GATES, GatedMemory, aligned, per_part
from polymodal.nn.subnet import final_state

PARTS = (*GATES, "head")
"""The perceptrons that have dropout."""

Efficacy = Literal["sigmoid", "linear"]
Activation = Literal["relu", "none"]
Vertex = tuple[str, ...]


class FusionGraph(nn.Module):
    """Dynamic fusion graph (Zadeh et al., ACL 2018, section 4).

    One vertex per non-empty subset of the modalities and an output vertex. A vertex of several modalities reads all its
    proper subsets, the output reads all vertices; every edge is scaled by an efficacy inferred from the single ones. A
    vertex that holds an absent modality is zero.

    Args:
        widths: modality -> features of its vertex.
        node: features of all other vertices.
        units: hidden units of the two-layer networks of vertices and efficacies.
        efficacy: ``sigmoid`` bounds the efficacies to (0, 1), ``linear`` leaves them as they are.
        activation: between the layers of vertices and efficacies.

    Attributes:
        edges: (source, target) in the order of the efficacies; the output vertex is ``()``.
    """

    def __init__(
        self, widths: dict[str, int], *, node: int, units: int, efficacy: Efficacy, activation: Activation
    ) -> None:
        super().__init__()
        names = tuple(widths)
        subsets = [s for size in range(1, len(names) + 1) for s in combinations(names, size)]
        self.sources: dict[Vertex, list[Vertex]] = {
            k: [s for s in subsets if set(s) < set(k)] for k in subsets if len(k) > 1
        }
        self.sources[()] = subsets
        self.edges = [(source, target) for target, sources in self.sources.items() for source in sources]
        self.bounded = efficacy == "sigmoid"
        between = nn.ReLU() if activation == "relu" else nn.Identity()

        def size(vertex: Vertex) -> int:
            return widths[vertex[0]] if len(vertex) == 1 else node

        def two(width: int) -> list[nn.Module]:
            return [nn.Linear(width, units), between, nn.Linear(units, node)]

        self.vertices = nn.ModuleList(nn.Sequential(*two(sum(map(size, s)))) for s in self.sources.values())
        self.strengths = nn.Sequential(*two(sum(widths.values())), between, nn.Linear(node, len(self.edges)))

    def forward(self, singles: dict[str, Tensor], present: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the output vertex ``(..., node)`` and the efficacies ``(..., edges)``.

        Args:
            singles: modality -> ``(..., width)``, zero where absent.
            present: modality -> ``(..., 1)`` bool.
        """
        alpha = self.strengths(torch.cat(list(singles.values()), dim=-1))
        alpha = alpha.sigmoid() if self.bounded else alpha
        return self.combine(singles, present, alpha), alpha

    def combine(self, singles: dict[str, Tensor], present: dict[str, Tensor], alpha: Tensor) -> Tensor:
        """Return the output vertex for given efficacies."""
        values: dict[Vertex, Tensor] = {(n,): x for n, x in singles.items()}
        weights = iter(alpha.unsqueeze(-2).unbind(-1))  # (..., 1) each
        for net, (target, sources) in zip(self.vertices, self.sources.items(), strict=True):
            value = net(torch.cat([next(weights) * values[s] for s in sources], dim=-1))
            if target:
                value = value * torch.stack([present[n] for n in target]).all(0)
            values[target] = value
        return values[()]


class GraphMFN(Method):
    """Graph Memory Fusion Network (Zadeh et al., CMU-MOSEI, ACL 2018, P18-1208).

    MFN whose attention over cells is replaced by a graph over all subsets of the modalities. Each edge has a strength
    per step, so one can read which interactions are used: ``fusion.edges`` names the columns of ``efficacies``.

    Departures from the released code: all vertex networks train and are saved (a plain dictionary kept them out), each
    from its own initial weights; states are read after the last true step; streams are brought to one axis by
    overlap-weighted averages. Reconstructed, as options: efficacies pass a sigmoid, vertices have a ReLU between their
    layers (the code has neither). Vertices are made of hidden states, as in the code. A vertex that holds an absent
    modality is zero.

    Args:
        schema: what the batches hold.
        hidden: units of the LSTMs, for all modalities or by name.
        node: features of the vertices of several modalities and of the output vertex.
        vertex: hidden units of the vertex and efficacy networks.
        memory: features of the memory.
        units: hidden units of the perceptrons: one number, or all of ``proposal``, ``retain``, ``update`` (the gates)
            and ``head``.
        dropout: inside the same.
        efficacy: ``sigmoid`` (0 to 1) or ``linear``.
        activation: ``relu`` or ``none`` between the layers of the vertex and efficacy networks.
        max_steps: longest common axis.

    Output: ``fused``; ``efficacies`` (batch, edges), means over the true steps.
    """

    family = "graph"
    paper = "Zadeh et al., CMU-MOSEI Dataset and Interpretable Dynamic Fusion Graph, ACL 2018, P18-1208"
    modality_counts = (1, 6)  # edges grow as 3 ** modalities

    def __init__(
        self,
        schema: Schema,
        *,
        hidden: int | dict[str, int] = 64,
        node: int = 32,
        vertex: int = 64,
        memory: int = 128,
        units: int | dict[str, int] = 64,
        dropout: float | dict[str, float] = 0.2,
        efficacy: Efficacy = "sigmoid",
        activation: Activation = "relu",
        max_steps: int = 50,
    ) -> None:
        super().__init__(schema)
        positive(node=node, vertex=vertex, memory=memory, max_steps=max_steps)
        widths = per_modality("hidden", hidden, schema.names, positive)
        sizes = per_part("units", units, PARTS, positive)
        drops = per_part("dropout", dropout, PARTS, fraction)
        self.max_steps = max_steps
        self.inputs = Inputs(schema)
        modalities = self.inputs.modalities.items()
        self.rnns = nn.ModuleDict({n: LSTM(m.width, widths[n], batch_first=True) for n, m in modalities})
        self.singles = nn.ModuleDict({n: nn.Linear(2 * w, w) for n, w in widths.items()})
        self.fusion = FusionGraph(widths, node=node, units=vertex, efficacy=efficacy, activation=activation)
        self.memory = GatedMemory(node, memory, units=sizes, dropout=drops)
        total = sum(widths.values()) + memory
        self.mix = nn.Sequential(nn.Linear(total, sizes["head"]), nn.ReLU(), nn.Dropout(drops["head"]))
        self.heads = Heads(schema, sizes["head"])

    def forward(self, batch: Batch) -> Output:
        """Return predictions, the last states with the memory behind the LSTMs', and the mean efficacies."""
        streams = aligned(self.inputs(batch), self.max_steps)
        axis = next(iter(streams.values()))
        assert axis.lengths is not None
        states, tau, alpha = self.watch(streams)
        memory = self.memory(tau.transpose(0, 1)).transpose(0, 1)
        fused = final_state(torch.cat([states, memory], dim=2), axis.lengths)
        return Output(self.heads(self.mix(fused)), {"fused": fused, "efficacies": masked_mean(alpha, axis.mask)})

    def watch(self, streams: dict[str, Stream]) -> tuple[Tensor, Tensor, Tensor]:
        """Return, for streams on a common axis, hidden states, output vertex and efficacies, all (batch, time, ...)."""
        present = {n: s.present[:, None, None] for n, s in streams.items()}
        states = {n: self.rnns[n](s.tensor)[0] * present[n] for n, s in streams.items()}
        singles = {}
        for name, h in states.items():
            both = torch.cat([F.pad(h, (0, 0, 1, 0))[:, :-1], h], dim=2)  # the previous step, this step
            singles[name] = self.singles[name](both).relu() * present[name]
        return torch.cat(list(states.values()), dim=2), *self.fusion(singles, present)
