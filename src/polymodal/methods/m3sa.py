"""M3SA: a modality learns as much as the others cannot say, and is replaced where it is noise."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from polymodal.core import Batch, OptionError, Output, Schema
from polymodal.methods.base import Seamed, fraction, positive
from polymodal.nn.heads import Heads, scaled_losses, task_losses
from polymodal.nn.inputs import Inputs, vector_encoders
from polymodal.nn.masking import mean_where

LEAST = 1e-6
"""Lowest loss of one modality."""

Modulation = Literal["none", "harmonic", "product", "focal"]
Filter = Literal["off", "soft", "hard"]
Baseline = Literal["learned", "zeros"]


class M3SA(Seamed):
    """Modulating unimodal and cross-modal dynamics, M^3SA (Zeng, Mai & Hu, Findings of EMNLP 2021, arXiv 2111.08451).

    1. Modulation: l_m is the loss of a prediction from the vector x_m of one modality. In each sample it weighs as much
       as the others fail, ``w_m = H prod_n!=m l_n`` with H the harmonic mean of all l; w is a constant.
    2. Filter: c is a linear map of all vectors side by side; a gate p_m in (0, 1) from ``ReLU(c - x_m)`` keeps x_m or
       puts a baseline b_m in its place, ``x'_m = p_m x_m + (1 - p_m) b_m``, before ``LayerNorm(sum_m x'_m)`` is read.

    Loss: task + ``modulated`` * mean sum_m w_m l_m + ``decisive`` * mean (1 - (2 p_m - 1)^2). One predictor reads all
    vectors, and the fused one.

    The modulation and the filter's purpose are the paper's; equations are those of a re-implementation, and the last
    term may be its own. Departures: losses are taken as if scales were [-3, 3], for a product of three would vanish on
    a smaller one; classes have their cross entropy; what is absent has p = 0, no loss, and no part in H or in products;
    a mean of the batch as baseline and a filter by the loss itself are left out, for a prediction may depend on
    neither; the gates' logits pass no ReLU and are multiplied by 3, not by 10, since on planted noise gates died of one
    and were decided before they had learned by the other; sequences are averaged after their transformer. On that
    noise w = 1 predicted no worse than the modulation, from three starts.

    Args:
        schema: what the batches hold.
        width: features of every vector.
        layers: of the transformer that reads a sequence other than text.
        dropout: inside the encoders and before predictors.
        modulation: w as above (``harmonic``), 1 (``none``), ``prod l_n`` without H (``product``), or
            ``prod (1 - exp(-l_n))``, what the others lack in confidence (``focal``).
        filter: ``soft`` gates, ``hard`` ones of 0 or 1 whose gradient is the soft one's, or ``off``.
        baseline: b is ``learned``, from zeros on, or stays at ``zeros``, as it does without a filter.
        shared_head: one predictor for all vectors; otherwise each has its own.
        sharpness: factor on the gates' logits.
        modulated: weight of the modalities' losses.
        decisive: weight of the gates' indecision.
        warmup: share of the training in which all that is there is kept.

    Output: ``fused``, each modality's vector under its name, and ``keep``, p (batch, modalities).
    """

    family = "missing and noisy input"
    paper = (
        "Zeng, Mai & Hu, Which is Making the Contribution: Modulating Unimodal and Cross-modal Dynamics for Multimodal "
        "Sentiment Analysis, Findings of EMNLP 2021, arXiv:2111.08451"
    )

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 50,
        layers: int = 3,
        dropout: float = 0.1,
        modulation: Modulation = "harmonic",
        filter: Filter = "soft",
        baseline: Baseline = "learned",
        shared_head: bool = True,
        sharpness: float = 3.0,
        modulated: float = 1.0,
        decisive: float = 0.01,
        warmup: float = 0.0,
    ) -> None:
        super().__init__(schema)
        positive(width=width, layers=layers, sharpness=sharpness)
        fraction(dropout=dropout, warmup=warmup)
        if min(modulated, decisive) < 0:
            raise OptionError(f"modulated and decisive must not be negative, got {modulated} and {decisive}")
        self.modulation, self.filter, self.sharpness = modulation, filter, sharpness
        self.modulated, self.decisive, self.warmup = modulated, decisive, warmup
        count = len(schema.names)
        self.inputs = Inputs(schema)
        self.encoders = vector_encoders(self.inputs.modalities, schema.language, width, layers=layers, dropout=dropout)
        self.drop, self.norm = nn.Dropout(dropout), nn.LayerNorm(width)
        if filter != "off":
            self.common = nn.Linear(count * width, width)
            self.gates = nn.ModuleList(nn.Linear(width, 2) for _ in range(count))
        self.bases = nn.Parameter(torch.zeros(count, width), requires_grad=baseline == "learned" and filter != "off")
        self.heads = Heads(schema, width)
        self.own_heads = nn.ModuleList() if shared_head else nn.ModuleList(Heads(schema, width) for _ in range(count))

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per modality."""
        return {n: self.encoders[n](s) for n, s in self.inputs(batch).items()}

    def fuse(self, vectors: dict[str, Tensor], present: Tensor) -> Output:
        """Return predictions, the vectors, the fused one, and what was kept."""
        x = torch.stack(list(vectors.values()), dim=1)  # (batch, modalities, width)
        keep = self.kept(x, present)
        fused = self.norm((keep.unsqueeze(2) * x + (1 - keep).unsqueeze(2) * self.bases).sum(1))
        return Output(self.heads(self.drop(fused)), {**vectors, "fused": fused, "keep": keep})

    def kept(self, x: Tensor, present: Tensor) -> Tensor:
        """Return p ``(batch, modalities)`` of vectors ``x`` (batch, modalities, width); 0 where absent."""
        if self.filter == "off" or (self.training and self.now.share < self.warmup):
            return present.to(x.dtype)
        shift = (self.common(x.flatten(1)).unsqueeze(1) - x).relu()
        logits = torch.stack([g(s) for g, s in zip(self.gates, shift.unbind(1), strict=True)], dim=1)
        keep = (self.sharpness * logits).softmax(-1)[..., 0]
        if self.filter == "hard":
            keep = (keep >= 0.5).to(keep.dtype) + keep - keep.detach()
        return keep * present

    def losses(self, batch: Batch, output: Output) -> dict[str, Tensor]:
        """Return the task terms and, in training, ``modulated`` and ``decisive``, weighted."""
        losses = task_losses(self.schema, batch, output)
        if not self.training:
            return losses
        own, there = self.own_losses(batch, output)
        weights = modulation_weights(own, there, self.modulation)
        losses["modulated"] = self.modulated * (weights * own).sum(1).sum() / there.any(1).sum().clamp(min=1)
        if self.filter != "off":
            keep = output.representations["keep"]
            losses["decisive"] = self.decisive * mean_where(1 - (2 * keep - 1).square(), batch.present)
        return losses

    def own_losses(self, batch: Batch, output: Output) -> tuple[Tensor, Tensor]:
        """Return l ``(batch, modalities)``, at least LEAST, and which of them exist: present, with a label."""
        found = []
        for number, name in enumerate(self.schema.names):
            heads = self.own_heads[number] if len(self.own_heads) else self.heads
            predictions = heads(self.drop(output.representations[name]))
            found.append(scaled_losses(self.schema.joint_targets, predictions, batch))
        losses = torch.stack([x for x, _ in found], dim=1).clamp(min=LEAST)
        return losses, batch.present & found[0][1].unsqueeze(1)


def modulation_weights(losses: Tensor, there: Tensor, modulation: Modulation = "harmonic") -> Tensor:
    """Return w: how much each modality's loss weighs, by the losses of the others, without gradient.

    Args:
        losses: l ``(batch, modalities)``, above 0.
        there: the same shape, bool; what is not there has weight 0 and is no other to anybody.
        modulation: as the option of ``M3SA``.
    """
    if modulation == "none":
        return there.to(losses.dtype)
    known = losses.detach().where(there, 1.0)
    factor = 1 - (-known).exp() if modulation == "focal" else known
    others = ~torch.eye(losses.shape[1], dtype=torch.bool, device=losses.device) & there.unsqueeze(1)
    weights = factor.unsqueeze(1).where(others, 1.0).prod(2)
    if modulation == "harmonic":
        weights = weights * there.sum(1, keepdim=True) / (there / known).sum(1, keepdim=True).clamp(min=LEAST)
    return weights * there
