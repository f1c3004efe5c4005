"""MMCI: a typed graph of all tokens, whose attention is parted into a causal and a shortcut half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema
from polymodal.methods.base import Method, View, divides, fraction, positive
from polymodal.nn.attention import xavier
from polymodal.nn.heads import task_losses
from polymodal.nn.inputs import Inputs
from polymodal.nn.intervention import Uninformed, backdoor_loss, deep_heads
from polymodal.nn.masking import masked_mean
from polymodal.nn.sequence import masked_softmax, sinusoid
from polymodal.nn.tokens import Tokens

Kinds = Literal["both", "intra", "inter"]
Relation = tuple[str, str]
"""Source and target modality of edges."""
Nodes = Mapping[str, Tensor]
"""Modality -> ``(batch, steps, width)``, or ``(batch, steps)`` of what is real."""


class MMCI(Method):
    """Multi-relational Multimodal Causal Intervention (Jiang et al., 2025, arXiv 2508.04999).

    Every step of every modality is a node; nodes of one modality are joined by ``intra`` edges, those of two by
    ``inter`` edges, of one relation for each ordered pair of modalities. First ``layers`` of relational attention,

        x_i <- ReLU(LN(W_0 x_i + sum_r sum_j alpha_ij W_r x_j)),  alpha = softmax_j LeakyReLU(a_r [W_r x_i; W_r x_j]).

    Then edges and nodes are parted, for either kind of edges by itself, into shares that sum to 1: causal ones go
    through one more graph attention, shortcut ones through another, and each is averaged over nodes: C and S (batch,
    2 width). Predictions are heads on C. In training, weighted:

    - ``task``: the loss of C;
    - ``shortcut``: heads on S must say nothing: all classes alike, the mean training label of a number;
    - ``backdoor``: C with the S of another sample, added, predicts the label of C.

    Certain are edges within and between modalities, attention parted for both, and the exchange; relations, forms and
    weights are reconstructed, those of split, losses and exchange from Causal Attention Learning (Sui et al., KDD
    2022), whose split is one linear map. As in ``camib``, no loss prefers a cause to a shortcut that predicts as well.

    Departures: steps above 50 are resampled; vectors are one node; text passes a convolution as audio and video do; no
    basis decomposition, no window, no attention where nodes are averaged, no gate where C and S are added, no losses
    apart for either kind, no bins of a number whose classes S must not tell; layer instead of batch normalisation in
    front of the heads.

    Args:
        schema: what the batches hold.
        width: features of a node.
        heads: of the attention; must divide ``width``.
        layers: of graph attention before the split.
        edges: ``both`` kinds, or ``intra`` or ``inter`` alone.
        shortcut, backdoor: weights of the losses above.
        draws: exchanges per batch; 0 gives every sample the shortcut of every other one.
        dropout: of nodes, and of edges.

    Output: ``fused`` is C; in training ``shortcut`` S.
    """

    family = "cause and domains"
    paper = (
        "Jiang, Lin, Chen, Hu, Jiang & Mai, Disentangling Bias by Modeling Intra- and Inter-modal Causal Attention for "
        "Multimodal Sentiment Analysis, 2025, arXiv:2508.04999"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 128,
        heads: int = 4,
        layers: int = 2,
        edges: Kinds = "both",
        shortcut: float = 0.5,
        backdoor: float = 0.5,
        draws: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(schema)
        positive(width=width, heads=heads, layers=layers)
        fraction(dropout=dropout)
        divides(width, heads=heads)
        if min(shortcut, backdoor, draws) < 0:
            raise OptionError("shortcut, backdoor and draws must not be negative")
        names = schema.names
        if edges == "inter" and len(names) == 1:
            raise OptionError(f"edges 'inter' join modalities, and {names[0]!r} is the only one; choose another kind")
        self.shortcut, self.backdoor, self.draws = shortcut, backdoor, draws
        within, between = [(n, n) for n in names], [(s, t) for s, t in product(names, names) if s != t]
        kinds = {"intra": within, "inter": between}
        self.edges = {k: found for k, found in kinds.items() if found and edges in ("both", k)}
        relations = [r for found in self.edges.values() for r in found]
        self.inputs = Inputs(schema)
        self.tokens = Tokens(self.inputs.modalities, width, plain=names, layers=0, dropout=dropout)
        self.places = nn.ParameterDict({n: nn.Parameter(0.02 * torch.randn(width)) for n in names})
        self.layers = nn.ModuleList(GraphAttention(relations, width, heads, dropout) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.splits = nn.ModuleDict({k: Split(width) for k in self.edges})
        self.causal, self.trivial = (
            nn.ModuleDict({k: GraphAttention(found, width, heads, dropout) for k, found in self.edges.items()})
            for _ in range(2)
        )
        joint = len(self.edges) * width
        self.heads, self.shortcut_heads, self.exchanged_heads = (
            nn.Sequential(nn.LayerNorm(joint), deep_heads(schema, joint, width)) for _ in range(3)
        )
        self.drop = nn.Dropout(dropout)
        self.uninformed = Uninformed(schema)

    def prepare(self, view: View) -> None:
        """Take the mean training label of numbers."""
        self.uninformed.fit(view.train())

    def forward(self, batch: Batch) -> Output:
        """Return predictions and C; in training S too."""
        nodes, real = self.graph(batch)
        found = {"fused": self.part(nodes, real, causal=True)}
        if self.training:
            found["shortcut"] = self.part(nodes, real, causal=False)
        return Output(self.heads(found["fused"]), found)

    def graph(self, batch: Batch) -> tuple[Nodes, Nodes]:
        """Return the nodes after graph attention, zero where there is no step, and which are real."""
        streams = self.tokens(self.inputs(batch))
        real, nodes = {n: s.mask for n, s in streams.items()}, {}
        for n, stream in streams.items():
            x = stream.tensor
            where = sinusoid(x.shape[1], x.shape[2], x.device).to(x.dtype) + self.places[n]
            nodes[n] = (x + where) * real[n].unsqueeze(2)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            heard = layer(nodes, real)
            nodes = {n: self.drop(norm(x).relu()) * real[n].unsqueeze(2) for n, x in heard.items()}
        return nodes, real

    def part(self, nodes: Nodes, real: Nodes, *, causal: bool) -> Tensor:
        """Return C or S ``(batch, kinds * width)``: zeros for a sample without any node."""
        mask = torch.cat(list(real.values()), dim=1)
        means = []
        for kind, relations in self.edges.items():
            split, network = self.splits[kind], (self.causal if causal else self.trivial)[kind]
            shares = {(s, t): split.edges(nodes[s], nodes[t], causal) for s, t in relations}  # type: ignore[operator]
            own = {n: split.nodes(x, causal) * x for n, x in nodes.items()}  # type: ignore[operator]
            heard = network(own, real, shares)
            means.append(masked_mean(torch.cat(list(heard.values()), dim=1).relu(), mask))
        return torch.cat(means, dim=1)

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, ``shortcut`` and ``backdoor``, weighted."""
        losses = task_losses(self.schema, batch, output)
        if self.training:
            causal, trivial = output.representations["fused"], output.representations["shortcut"]
            said = self.shortcut_heads(trivial)
            losses["shortcut"] = self.shortcut * self.uninformed(said, batch.present.any(1))
            exchanged = backdoor_loss(self.schema, self.exchanged_heads, causal, trivial, batch, self.draws)
            losses["backdoor"] = self.backdoor * exchanged
        return losses


class GraphAttention(nn.Module):
    """Relational graph attention (Busbridge et al., 2019): ``W_0 x_i + sum_r sum_j b_ij alpha_ij W_r x_j``.

    Args:
        relations: whose nodes hear whose.
        width: features of a node.
        heads: of the attention; must divide ``width``.
        dropout: of edges.
    """

    def __init__(self, relations: Sequence[Relation], width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.relations, self.heads = tuple(relations), heads
        self.own = nn.Linear(width, width)
        keys = [f"{s}_to_{t}" for s, t in self.relations]
        self.maps = nn.ModuleDict({k: xavier(nn.Linear(width, width)) for k in keys})
        self.scores = nn.ParameterDict({k: nn.Parameter(torch.randn(2, width) * width**-0.5) for k in keys})
        self.drop = nn.Dropout(dropout)

    def forward(self, nodes: Nodes, real: Nodes, shares: Mapping[Relation, Tensor] | None = None) -> dict[str, Tensor]:
        """Return what the nodes become.

        Args:
            nodes: modality -> ``(batch, steps, width)``.
            real: modality -> ``(batch, steps)`` bool; nobody hears a node that is not.
            shares: b of a relation's edges, ``(batch, target steps, source steps)``; None for all 1. They multiply the
                normalised attention: what is no cause at all sends nothing.
        """
        found = {n: self.own(x) for n, x in nodes.items()}
        for source, target in self.relations:
            key = f"{source}_to_{target}"
            sent, heard = self._cut(self.maps[key](nodes[source])), self._cut(self.maps[key](nodes[target]))
            toward, away = self.scores[key].unflatten(1, (self.heads, 1, -1)).unsqueeze(1)  # (1, heads, 1, width)
            scores = F.leaky_relu((heard * toward).sum(-1).unsqueeze(3) + (sent * away).sum(-1).unsqueeze(2), 0.2)
            alpha = self.drop(masked_softmax(scores, real[source][:, None, None]))
            alpha = alpha if shares is None else alpha * shares[source, target].unsqueeze(1)
            found[target] = found[target] + (alpha @ sent).transpose(1, 2).flatten(2)
        return found

    def _cut(self, x: Tensor) -> Tensor:
        """Return ``(batch, heads, steps, width / heads)``."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Split(nn.Module):
    """Two shares of every edge, and of every node, that sum to 1: causal and shortcut.

    A softmax over the two outputs of one linear map is a sigmoid of their difference, which is what is learned here.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.edge_target, self.edge_source = nn.Linear(width, 1), nn.Linear(width, 1, bias=False)
        self.node = nn.Linear(width, 1)

    def edges(self, source: Tensor, target: Tensor, causal: bool) -> Tensor:
        """Return ``(batch, target steps, source steps)``."""
        score = self.edge_target(target) + self.edge_source(source).transpose(1, 2)
        return torch.sigmoid(score if causal else -score)

    def nodes(self, x: Tensor, causal: bool) -> Tensor:
        """Return ``(batch, steps, 1)``."""
        score = self.node(x)
        return torch.sigmoid(score if causal else -score)
