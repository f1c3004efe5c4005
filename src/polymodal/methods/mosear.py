"""MoSEAR: experts of modalities as low-rank adapters, and attention moved where modalities get unequal shares."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema
from polymodal.methods.base import Method, Phase, fraction, named, positive
from polymodal.nn.heads import Heads, task_losses
from polymodal.nn.modality_experts import Gates, ModalityExperts, ModalityGate, gate_losses, reallocated
from polymodal.nn.open_attention import OpenLayer, plain_weights
from polymodal.nn.token_row import Row, TokenRow


class MoSEAR(Method):
    """Modality-specific experts and attention reallocation, MoSEAR (Han et al., ACM MM 2025, arXiv 2508.01181).

    A transformer over one row of tokens of all modalities, trained first, then frozen. Around the query and value maps
    W of every layer

        y = W x + s * sum_m w_m B_m^e A x,

    with A shared, B zero at first, w = softmax of a map of all modalities' mean tokens, and e the likeliest expert of m
    by a gate on its own; s is ``alpha / rank``. Modalities m are all but language where there are two or more such,
    else all. Loss: task + ``balance`` * (KL of the batch's mean w from equal weights + the load of the experts).

    At inference, in the upper half of the layers, where one of these modalities gets more than ``tau`` times the
    attention of another, ``beta`` times half of the difference is moved (of several, from the most to the least).

    Confirmed by the paper's abstract and its page: shared A, several B for each modality, a gate that selects an
    expert, weights of modalities that change, reallocation without parameters at inference. All equations are
    reconstructed. Departures: a small transformer learned from scratch in the place of a frozen language model, and a
    task head; one gate serves all layers; beta and tau are options, to be chosen on validation.

    Args:
        schema: what the batches hold.
        width: features per token.
        heads: attention heads; must divide ``width``.
        layers: of the transformer.
        dropout: of tokens and on residual branches.
        rank: of the adapters.
        alpha: s times the rank.
        experts: of each modality.
        balance: weight of the gate's loss.
        beta: share of the difference that is moved; 0 for none.
        tau: ratio of shares above which attention is moved, 1 or more.

    Output: ``fused``, the answering token, and ``weights``, w (batch, modalities).
    """

    family = "missing and noisy input"
    paper = (
        "Han et al., Benchmarking and Bridging Emotion Conflicts for Multimodal Emotion Reasoning, ACM MM 2025, "
        "arXiv:2508.01181"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 64,
        heads: int = 4,
        layers: int = 4,
        dropout: float = 0.1,
        rank: int = 16,
        alpha: float = 16.0,
        experts: int = 2,
        balance: float = 0.1,
        beta: float = 0.3,
        tau: float = 1.5,
    ) -> None:
        super().__init__(schema)
        positive(width=width, heads=heads, layers=layers, rank=rank, alpha=alpha, experts=experts)
        fraction(dropout=dropout)
        if width % heads:
            raise OptionError(f"heads must divide width, got heads={heads} and width={width}")
        if not (0 <= beta <= 1 <= tau and balance >= 0):
            raise OptionError(
                f"beta lies from 0 to 1, tau is 1 or more and balance 0 or more, got {beta}, {tau} and {balance}"
            )
        self.balance, self.beta, self.tau = balance, beta, tau
        self.row = TokenRow(schema, width, dropout)
        names, others = self.row.names, [n for n in self.row.names if n not in schema.language]
        self.members = [names.index(n) for n in (others if len(others) > 1 else names)]
        self.layers = nn.ModuleList(OpenLayer(width, heads, dropout) for _ in range(layers))
        count = len(self.members)
        self.gate = ModalityGate(count, width, experts)
        self.experts = nn.ModuleList(
            nn.ModuleDict(
                {
                    part: ModalityExperts(width, width, count=count, experts=experts, rank=rank, scale=alpha / rank)
                    for part in ("query", "value")
                }
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.heads = Heads(schema, width)

    def phases(self) -> list[Phase]:
        """First the transformer, then experts, gate and heads around it."""
        adapted = named("experts.", "gate.", "heads.")
        return [
            Phase("base", 0.5, lambda name: not name.startswith(("experts.", "gate."))),
            Phase("experts", 0.5, adapted),
        ]

    def forward(self, batch: Batch) -> Output:
        """Return predictions, the answering token and the weights of modalities."""
        row = self.row(batch)
        gates = self.gates(row)
        # Padding sees itself: a softmax over nothing would be NaN.
        visible = row.known.unsqueeze(1) | torch.eye(row.owner.shape[0], dtype=torch.bool, device=row.owner.device)
        x = row.tokens
        for number, layer in enumerate(self.layers):
            edits = not self.training and number >= len(self.layers) // 2
            x, _ = layer(x, partial(self._weigh, row, visible, edits), partial(self._added, number, gates))
        fused = self.norm(x[:, -1])
        return Output(self.heads(fused), {"fused": fused, "weights": gates.modalities, **_told(gates)})

    def gates(self, row: Row) -> Gates:
        """Return who counts how much, from the mean token of each modality."""
        own = [row.known & (row.owner == m) for m in self.members]
        means = [(row.tokens * o.unsqueeze(2)).sum(1) / o.sum(1, keepdim=True).clamp(min=1) for o in own]
        return self.gate(torch.stack(means, 1), torch.stack([o.any(1) for o in own], 1))

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task's loss and, while experts learn, those of the gate."""
        losses = task_losses(self.schema, batch, output)
        if self.now.phase == "base":
            return losses
        found = output.representations
        apart, used = gate_losses(Gates(found["weights"], found["experts"], found["present"] > 0))
        return losses | {"balance": self.balance * (apart + used)}

    def _weigh(self, row: Row, visible: Tensor, edits: bool, query: Tensor, key: Tensor) -> Tensor:
        weights = plain_weights(query, key, visible)
        return reallocated(weights, row.owner, self.members, self.beta, self.tau) if edits else weights

    def _added(self, number: int, gates: Gates, part: str, x: Tensor) -> Tensor:
        found: Tensor = self.experts[number][part](x, gates)  # type: ignore[index]
        return found


def _told(gates: Gates) -> dict[str, Tensor]:
    return {"experts": gates.experts, "present": gates.present.to(gates.experts.dtype)}
