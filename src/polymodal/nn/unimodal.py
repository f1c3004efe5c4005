"""Prediction from each modality alone, as an auxiliary task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Schema
from polymodal.nn.heads import Heads, task_loss


class UnimodalHeads(nn.ModuleDict):
    """One head per modality that predicts the joint targets from a vector ``(batch, width)`` of that modality.

    Args:
        schema: what the batches hold.
        names: the modalities.
        width: of all vectors, or of each modality's.
    """

    def __init__(self, schema: Schema, names: Iterable[str], width: int | Mapping[str, int]) -> None:
        super().__init__({n: Heads(schema, width if isinstance(width, int) else width[n]) for n in names})

    def loss(self, batch: Batch, name: str, vector: Tensor) -> Tensor:
        """Return the task loss of modality ``name`` on the samples that have it and a label, averaged over targets; 0,
        still part of the graph, where there is none."""
        head = self[name]
        assert isinstance(head, Heads)
        predictions, present = head(vector), batch[name].present
        terms = [task_loss(t, predictions[t.name], batch.targets[t.name], present) for t in head.targets]
        return torch.stack(terms).mean()
