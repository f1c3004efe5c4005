"""Prediction heads and the losses of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Output, Schema, Target
from polymodal.core.batch import known_labels
from polymodal.nn.masking import mean_where


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
        return {t.name: t.spec.prediction(linear(x)) for t, linear in zip(self.targets, self.linears, strict=True)}


def _linear(width: int, target: Target) -> nn.Linear:
    linear = nn.Linear(width, target.spec.width)
    if target.range is not None:
        # A scale from 1 to 7 is learned from its middle, not from 0: else the first epochs go into the bias.
        nn.init.constant_(linear.bias, sum(target.range) / 2)
    return linear


def sample_losses(target: Target, prediction: Tensor, label: Tensor, *, squared: bool = False) -> tuple[Tensor, Tensor]:
    """Return the task's loss of each sample, ``(batch,)`` float32, and which labels are known, ``(batch,)`` bool.

    The loss of a sample without a known label means nothing, but it is finite, and so are its gradients.

    Args:
        target: what is predicted.
        prediction: as in ``Output.predictions``.
        label: as in ``Batch.targets``.
        squared: errors of numbers are squared, whatever the task's own loss is.
    """
    known = known_labels(label)
    # NaN must not enter: whatever is done to the loss afterwards, 0 * NaN in its gradient would stay NaN.
    safe = label.where(known.view(-1, *[1] * (label.dim() - 1)), label.new_zeros(()))
    spec = target.spec
    return (spec.squared_loss if squared else spec.loss)(prediction.float(), safe), known


def task_loss(
    target: Target, prediction: Tensor, label: Tensor, rows: Tensor | None = None, *, squared: bool = False
) -> Tensor:
    """Return the mean of ``sample_losses`` over known labels, where ``rows`` (batch,) is True if given; 0, still part
    of the graph, where there is none."""
    losses, known = sample_losses(target, prediction, label, squared=squared)
    return mean_where(losses, known if rows is None else known & rows)


def scaled_losses(targets: Iterable[Target], predictions: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the loss of each sample as if scales were from -3 to 3, the mean over targets with a known label, and
    which samples have one: ``(batch,)`` float32, 0 where there is none, and bool."""
    found = []
    for t in targets:
        losses, known = sample_losses(t, predictions[t.name], batch.targets[t.name])
        found.append(((t.spec.unit * losses).where(known, losses.new_zeros(())), known))
    total, count = (torch.stack(parts).sum(0) for parts in zip(*found, strict=True))
    return total / count.clamp(min=1), count > 0


def task_losses(schema: Schema, batch: Batch, output: Output, *, squared: bool = False) -> dict[str, Tensor]:
    """Return ``{"task": loss}`` for one joint target, else ``{"task/<target>": loss / number of targets}``."""
    targets = schema.joint_targets
    losses = {t.name: task_loss(t, output.predictions[t.name], batch.targets[t.name], squared=squared) for t in targets}
    if len(targets) == 1:
        return {"task": losses[targets[0].name]}
    return {f"task/{name}": loss / len(targets) for name, loss in losses.items()}
