"""A method that uses all that the loop offers, to be stopped and resumed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Output, Schema
from polymodal.methods.base import Method, Phase, Update, View
from polymodal.nn.heads import Heads, task_losses


class Alternating(Method):
    """An encoder and a critic that guesses whether a sample's label is above 0, after a phase without critic.

    Before each epoch it draws samples to remember, after each step it moves an average of its encoder.
    """

    paper = "none"

    def __init__(self, schema: Schema, *, width: int = 4, dropout: float = 0.2) -> None:
        super().__init__(schema)
        self.encoder = nn.Linear(sum(m.width or 0 for m in schema.modalities), width)
        self.drop, self.critic, self.heads = nn.Dropout(dropout), nn.Linear(width, 1), Heads(schema, width)
        self.register_buffer("average", torch.zeros_like(self.encoder.weight))
        self.register_buffer("memory", torch.zeros(0, width), persistent=False)
        self.average: Tensor
        self.memory: Tensor

    def encode(self, batch: Batch) -> Tensor:
        means = [s.tensor.sum(1) / s.lengths.clamp(min=1)[:, None] for s in batch.streams.values()]  # type: ignore[union-attr]
        return torch.tanh(self.encoder(torch.cat(means, dim=1)))

    def forward(self, batch: Batch) -> Output:
        code = self.drop(self.encode(batch))
        return Output(self.heads(code), {"fused": code})

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        code = output.representations["fused"]
        side = (next(iter(batch.targets.values())) > 0)[:, None].float()
        if self.now.update == "critic":
            return {"side": nn.functional.binary_cross_entropy_with_logits(self.critic(code), side)}
        losses = task_losses(self.schema, batch, output)
        if self.now.update == "hide":
            return {"hidden": nn.functional.binary_cross_entropy_with_logits(self.critic(code), 1 - side)}
        if self.now.phase == "game":
            losses["near"] = 0.1 * (1 + self.now.share) * (code - self.memory.mean(0)).square().mean()
            losses["slow"] = 0.1 * (self.encoder.weight - self.average).square().mean()
        return losses

    @torch.no_grad()
    def begin(self, view: View) -> None:
        codes = torch.cat([self.encode(batch) for batch in view.train()])
        self.memory = codes[torch.randperm(len(codes))[: 3 + self.now.epoch]]

    @torch.no_grad()
    def stepped(self) -> None:
        self.average.lerp_(self.encoder.weight, 0.1)

    def phases(self) -> list[Phase]:
        game = (
            Update("fit", lambda n: not n.startswith("critic")),
            Update("critic", lambda n: n.startswith("critic"), rate=2.0),
            Update("hide", lambda n: n.startswith("encoder"), rate=0.5, every=2, shares=("fit",)),
        )
        return [Phase("warm", 0.4, lambda n: not n.startswith("critic")), Phase("game", 0.6, updates=game)]
