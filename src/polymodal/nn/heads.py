"""Prediction heads and the losses of the three tasks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, Output, Schema, Target


class Heads(nn.Module):
    """One linear head per joint target on a shared vector.

    ``(batch, width)`` -> target name -> ``(batch,)`` for a regression, ``(batch, classes)`` logits otherwise.
    """

    def __init__(self, schema: Schema, width: int) -> None:
        super().__init__()
        self.targets = schema.joint_targets
        self.linears = nn.ModuleList(_linear(width, t) for t in self.targets)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return predictions per target."""
        out = {}
        for target, linear in zip(self.targets, self.linears, strict=True):
            y = linear(x)
            out[target.name] = y[:, 0] if target.task == "regression" else y
        return out


def _linear(width: int, target: Target) -> nn.Linear:
    linear = nn.Linear(width, target.width)
    if target.range is not None:
        # A scale from 1 to 7 is learned from its middle, not from 0: else the first epochs go into the bias.
        nn.init.constant_(linear.bias, sum(target.range) / 2)
    return linear


def task_loss(target: Target, prediction: Tensor, label: Tensor, *, squared: bool = False) -> Tensor:
    """Mean absolute (or squared) error, cross entropy or binary cross entropy, by the target's task; in float32."""
    prediction = prediction.float()
    if target.task == "regression":
        return F.mse_loss(prediction, label) if squared else F.l1_loss(prediction, label)
    if target.task == "classification":
        return F.cross_entropy(prediction, label)
    return F.binary_cross_entropy_with_logits(prediction, label)


def task_losses(schema: Schema, batch: Batch, output: Output, *, squared: bool = False) -> dict[str, Tensor]:
    """Return ``{"task": loss}`` for one joint target, else ``{"task/<target>": loss / number of targets}``."""
    targets = schema.joint_targets
    losses = {t.name: task_loss(t, output.predictions[t.name], batch.targets[t.name], squared=squared) for t in targets}
    if len(targets) == 1:
        return {"task": losses[targets[0].name]}
    return {f"task/{name}": loss / len(targets) for name, loss in losses.items()}


def probabilities(target: Target, prediction: Tensor) -> Tensor:
    """Turn logits into probabilities; regressions are returned as they are."""
    if target.task == "classification":
        return torch.softmax(prediction, dim=-1)
    return torch.sigmoid(prediction) if target.task == "multilabel" else prediction
