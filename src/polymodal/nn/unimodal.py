"""Prediction from each modality alone, as an auxiliary task."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Schema
from polymodal.nn.heads import Heads, task_loss


class UnimodalHeads(nn.ModuleDict):
    """One head per modality that predicts the joint targets from a vector ``(batch, width)`` of that modality."""

    def __init__(self, schema: Schema, names: Iterable[str], width: int) -> None:
        super().__init__({name: Heads(schema, width) for name in names})

    def loss(self, batch: Batch, name: str, vector: Tensor) -> Tensor:
        """Return the task loss of modality ``name`` on the samples that have it, averaged over targets; 0, still part
        of the graph, if none has it."""
        head = self[name]
        assert isinstance(head, Heads)
        rows = batch[name].present.nonzero()[:, 0]
        predictions = head(vector)
        if not len(rows):
            return torch.stack([p.sum() for p in predictions.values()]).sum() * 0
        terms = [task_loss(t, predictions[t.name][rows], batch.targets[t.name][rows]) for t in head.targets]
        return torch.stack(terms).mean()
