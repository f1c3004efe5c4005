"""LMF: tensor fusion without the tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from polymodal.core import Batch, Output, Schema
from polymodal.methods.base import Seamed, fraction, positive
from polymodal.nn.fusion import LowRankFusion
from polymodal.nn.inputs import Inputs
from polymodal.nn.subnet import Subnets


class LMF(Seamed):
    """Low-rank Multimodal Fusion (Liu et al., ACL 2018, arXiv 1806.00064).

    TFN's linear read-out with weights of low rank, one factor per modality: cost grows linearly with the number of
    modalities and with their widths. The fused value is the prediction itself. Sizes follow MMSA: 505,071 parameters.

    Departures from MMSA's code: ``w`` and ``b`` train (its optimiser skips them), means and final states are taken over
    true steps only. An absent modality contributes the constant row of its factor.

    Args:
        schema: what the batches hold.
        width: features of each modality's vector.
        widths: modality -> features of its vector, where they differ.
        recurrent: modalities read by an LSTM in their order; all others are averaged over time.
        hidden: units of the LSTM.
        rank: of the fusion weights.
        dropout: inside the encoders.
    """

    family = "fusion"
    paper = (
        "Liu et al., Efficient Low-rank Multimodal Fusion with Modality-Specific Factors, ACL 2018, arXiv:1806.00064"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 64,
        widths: dict[str, int] = {},  # noqa: B006 (never changed)
        recurrent: tuple[str, ...] = ("text",),
        hidden: int = 128,
        rank: int = 4,
        dropout: float = 0.3,
    ) -> None:
        super().__init__(schema)
        positive(width=width, hidden=hidden, rank=rank)
        fraction(dropout=dropout)
        self.inputs = Inputs(schema)
        self.nets = Subnets(
            self.inputs.modalities, width=width, widths=widths, recurrent=recurrent, hidden=hidden, dropout=dropout
        )
        targets = schema.joint_targets
        self.fusion = LowRankFusion(self.nets.sizes, sum(t.spec.width for t in targets), rank)
        middles = [sum(t.range) / 2 if t.range else 0.0 for t in targets for _ in range(t.spec.width)]
        self.fusion.bias.data.copy_(torch.tensor(middles))

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per modality."""
        return self.nets(self.inputs(batch))

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return predictions, one vector per modality, and all of them side by side as ``fused``."""
        out = self.fusion(list(vectors.values()))
        targets = self.schema.joint_targets
        parts = out.split([t.spec.width for t in targets], dim=1)
        predictions = {t.name: t.spec.prediction(part) for t, part in zip(targets, parts, strict=True)}
        return Output(predictions, {**vectors, "fused": torch.cat(list(vectors.values()), dim=1)})
