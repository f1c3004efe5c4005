"""GraphCAGE: capsules make small graphs of long sequences, and one vector of each graph."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema, Stream
from polymodal.methods.base import Method, divides, fraction, per_modality, positive
from polymodal.nn.attention import CrossModalStack
from polymodal.nn.crossmodal import Crossings
from polymodal.nn.graph import AttentionEdges, looped
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.inputs import Inputs, as_sequence
from polymodal.nn.routing import dynamic_routing
from polymodal.nn.shortened import shortened


class GraphCAGE(Method):
    """Graph Capsule Aggregation for unaligned sequences (Wu et al., ICMI 2021, arXiv 2108.07543).

    1. Every modality attends to every other one, as in MulT without its memories.
    2. Each step votes for a few vertices; routing decides how much of it every vertex gets, over the whole sequence.
    3. Two graph convolutions over attention between the vertices, their weights shared by all modalities.
    4. A second routing decides how much of each vertex goes into a vector of its modality, one per convolution; two
       layers read all vectors together.

    Loss: task + ``norm_weight`` * Euclidean norms of the matrices that make the steps' votes. The weights of a routing
    are constants to the gradient.

    Departures: padding is masked everywhere and takes no part in routing (the code has no masks); every step has
    matrices of its own, so longer sequences are shortened to ``steps``, whose default is that of aligned data;
    ``output_scale`` scales what the heads read, not their bias; an absent modality adds nothing to others and its
    vectors are zero; a single modality has no transformer; any number of modalities and the three tasks.

    Args:
        schema: what the batches hold.
        width: features per step after the input map.
        heads: attention heads; must divide ``width``.
        layers: of every cross-modal transformer.
        vertices: of each modality's graph.
        capsule: features per vertex and vector.
        rounds: of either routing after the first pass; 0 leaves its weights even.
        steps: longest sequence, for all modalities or by name; longer ones are shortened. There are ``steps`` *
            ``vertices`` * ``capsule`` weights per feature: 19 million for 500 steps and two other modalities.
        shared: one matrix per vertex for all steps, not one per step and vertex: a departure with few weights.
        norm_weight: weight of the norms; 0 leaves them out.
        text_dropout: on the input of the text modality (of kind text, or named ``text``).
        embed_dropout: on the input of each transformer.
        attention_dropout: on the attention to text.
        layer_dropout: after the ReLU and on the residual branches of each transformer layer.
        output_scale: factor on what the heads read.

    Output: ``fused`` (batch, 2 * capsule) and per modality n the weights ``routing_<n>`` (batch, steps, vertices),
    whose sum is 1 for each true step, and ``aggregation_<n>`` (batch, 2, vertices), whose sum is 1 for each
    convolution; zeros where there is nothing. Their product, summed over vertices, says what each step contributed.
    """

    family = "graph"
    paper = "Wu et al., Graph Capsule Aggregation for Unaligned Multimodal Sequences, ICMI 2021, arXiv:2108.07543"

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 30,
        heads: int = 5,
        layers: int = 5,
        vertices: int = 20,
        capsule: int = 32,
        rounds: int = 2,
        steps: int | dict[str, int] = 50,
        shared: bool = False,
        norm_weight: float = 1e-4,
        text_dropout: float = 0.25,
        embed_dropout: float = 0.25,
        attention_dropout: float = 0.1,
        layer_dropout: float = 0.1,
        output_scale: float = 10.0,
    ) -> None:
        super().__init__(schema)
        positive(width=width, heads=heads, layers=layers, vertices=vertices, capsule=capsule, output_scale=output_scale)
        fraction(text_dropout=text_dropout, embed_dropout=embed_dropout)
        fraction(attention_dropout=attention_dropout, layer_dropout=layer_dropout)
        divides(width, heads=heads)
        if min(rounds, norm_weight) < 0:
            raise OptionError(f"rounds and norm_weight must not be negative, got {rounds} and {norm_weight}")
        names = schema.names
        self.steps = per_modality("steps", steps, names, positive)
        self.steps |= {m.name: 1 for m in schema.modalities if m.kind == "vector"}
        self.rounds, self.norm_weight, self.output_scale = rounds, norm_weight, output_scale
        self.inputs = Inputs(schema)
        self.text_names, self.text_drop = schema.language, nn.Dropout(text_dropout)
        self.projections = nn.ModuleDict(
            {n: nn.Linear(m.width, width, bias=False) for n, m in self.inputs.modalities.items()}
        )
        stack = partial(CrossModalStack, width, heads, layers, layer_dropout=layer_dropout, embed_dropout=embed_dropout)

        def crossing(source: str, target: str) -> CrossModalStack:
            return stack(attention_dropout=attention_dropout if source in schema.language else 0.0)

        self.crossings = Crossings(names, crossing)
        mixed = width * max(1, len(names) - 1)
        self.votes = nn.ModuleDict()
        self.edges = nn.ModuleDict()
        for n in names:
            self.votes[n] = StepVotes(1 if shared else self.steps[n], mixed, vertices, capsule)
            self.edges[n] = AttentionEdges(capsule, capsule)
        self.layers = nn.ModuleList(CapsuleLayer(vertices, capsule) for _ in range(2))
        self.mix = nn.Sequential(nn.Linear(2 * len(names) * capsule, 2 * capsule), nn.Tanh())
        self.heads = Heads(schema, 2 * capsule)

    def forward(self, batch: Batch) -> Output:
        """Return predictions, the fused vector and the weights of both routings."""
        low = {n: self.low(n, s) for n, s in self.inputs(batch).items()}
        vectors, named = [], {}
        for n, stream in low.items():
            votes = self.votes[n](self.crossings.read(n, low))
            x, routing = dynamic_routing(votes, stream.mask, self.rounds, over="outputs")
            there = stream.present[:, None]
            edges = looped(self.edges[n](x), there.expand(-1, x.shape[1]))
            found = []
            for layer in self.layers:
                x, vector, weights = layer(x, edges, self.rounds)
                vectors.append(vector * there)
                found.append(weights * there)
            named[f"routing_{n}"] = F.pad(routing.mT, (0, 0, 0, self.steps[n] - routing.shape[2]))
            named[f"aggregation_{n}"] = torch.stack(found, dim=1)
        fused = self.mix(torch.cat(vectors, dim=1))
        return Output(self.heads(self.output_scale * fused), {"fused": fused, **named})

    def low(self, name: str, stream: Stream) -> Stream:
        """Return the steps of a modality that enter the transformers, ``(batch, time, width)``, zero at padding."""
        stream = shortened(as_sequence(stream), self.steps[name])
        x = self.text_drop(stream.tensor) if name in self.text_names else stream.tensor
        return Stream(self.projections[name](x) * stream.mask.unsqueeze(-1), stream.lengths, stream.present)

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, ``norm``, weighted."""
        losses = task_losses(self.schema, batch, output)
        if self.training and self.norm_weight:
            norms = [torch.linalg.vector_norm(votes.weight) for votes in self.votes.values()]
            losses["norm"] = self.norm_weight * torch.stack(norms).sum()
        return losses


class StepVotes(nn.Module):
    """A matrix for each step and vertex: ``(batch, time, width_in)`` -> votes ``(batch, vertices, time, capsule)``.

    With one step the same matrices serve all.
    """

    def __init__(self, steps: int, width_in: int, vertices: int, capsule: int) -> None:
        super().__init__()
        # One product per step wants width_in second; the scale is Xavier's of (steps, vertices, width_in, capsule).
        self.weight = nn.Parameter(torch.empty(steps, width_in, vertices, capsule))
        nn.init.normal_(self.weight, std=(2 / (width_in * capsule * (steps + vertices))) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return the votes; at most as many steps as there are matrices, unless there is one."""
        if len(self.weight) == 1:
            votes = (x @ self.weight[0].flatten(1)).unflatten(2, self.weight.shape[2:])
            return votes.transpose(1, 2).contiguous()
        votes = x.transpose(0, 1) @ self.weight[: x.shape[1]].flatten(2)  # (time, batch, vertices * capsule)
        return votes.unflatten(2, self.weight.shape[2:]).permute(1, 2, 0, 3).contiguous()


class CapsuleLayer(nn.Module):
    """``H = tanh(A (X W_0 + b) W_1)``, and one vector of it by routing."""

    def __init__(self, vertices: int, width: int) -> None:
        super().__init__()
        self.point, self.linear = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.weight = nn.Parameter(torch.empty(vertices, width, width))
        for weight in (self.linear.weight, self.weight):
            nn.init.xavier_normal_(weight)

    def forward(self, x: Tensor, edges: Tensor, rounds: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return H ``(batch, vertices, width)``, the vector (batch, width) and the weights (batch, vertices)."""
        x = torch.tanh(edges @ self.linear(self.point(x)))
        votes = torch.einsum("bnd,nde->bne", x, self.weight).unsqueeze(1)
        every = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        vector, weights = dynamic_routing(votes, every, rounds, over="inputs")
        return x, vector[:, 0], weights[:, 0]
