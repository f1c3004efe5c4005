"""Causal and shortcut parts of a sample: what must say nothing, and what must not matter (backdoor adjustment)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.core import Batch, Schema, Target
from polymodal.nn.heads import Heads, task_loss
from polymodal.nn.masking import mean_where

Head = Callable[[Tensor], dict[str, Tensor]]


def deep_heads(schema: Schema, width_in: int, width: int) -> nn.Sequential:
    """Return a hidden layer of ``width`` and ReLU in front of ``Heads``: ``(batch, width_in)`` -> predictions."""
    return nn.Sequential(nn.Linear(width_in, width), nn.ReLU(), Heads(schema, width))


def uninformed_loss(target: Target, prediction: Tensor, mean: Tensor) -> Tensor:
    """Return how far each prediction is from one that says nothing, ``(batch,)``, 0 for that one.

    Of classes the divergence KL(uniform || predicted), as in Causal Attention Learning (Sui et al., KDD 2022), of
    several labels its mean over them; of a number the distance from the ``mean`` of all labels.
    """
    prediction = prediction.float()
    if target.spec.answer == "number":
        return (prediction - mean).abs()
    if target.spec.answer == "class":
        return -prediction.log_softmax(1).mean(1) - math.log(prediction.shape[1])
    return -0.5 * (F.logsigmoid(prediction) + F.logsigmoid(-prediction)).mean(1) - math.log(2)


class Uninformed(nn.Module):
    """The loss of predictions that should say nothing; it knows the mean training label of every number."""

    means: Tensor

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.targets = schema.joint_targets
        middles = [sum(t.range) / 2 if t.range else 0.0 for t in self.targets]
        self.register_buffer("means", torch.tensor(middles), persistent=False)  # only training needs it

    def fit(self, batches: Iterable[Batch]) -> None:
        """Take the mean over the known labels of ``batches``, where there is one."""
        sums, counts = torch.zeros_like(self.means), torch.zeros_like(self.means)
        for batch in batches:
            for i, target in enumerate(self.targets):
                if target.spec.answer == "number":
                    labels = batch.targets[target.name][batch.labelled(target.name)]
                    sums[i] += labels.sum().to(sums)
                    counts[i] += len(labels)
        self.means = torch.where(counts > 0, sums / counts.clamp(min=1), self.means)

    def forward(self, predictions: dict[str, Tensor], rows: Tensor) -> Tensor:
        """Return the mean over samples where ``rows`` (batch,) is True, averaged over targets."""
        pairs = zip(self.targets, self.means, strict=True)
        terms = [mean_where(uninformed_loss(t, predictions[t.name], mean), rows) for t, mean in pairs]
        return torch.stack(terms).mean()


def exchanges(size: int, draws: int, device: torch.device) -> Tensor:
    """Return whose shortcut each sample gets: ``draws`` random permutations ``(draws, size)``, or for 0 draws the
    ``size`` cyclic ones, in which everybody gets everybody's once."""
    if draws:
        return torch.stack([torch.randperm(size, device=device) for _ in range(draws)])
    step = torch.arange(size, device=device)
    return (step[:, None] + step) % size


def backdoor_loss(schema: Schema, head: Head, causal: Tensor, shortcut: Tensor, batch: Batch, draws: int = 1) -> Tensor:
    """Return the task loss of causal parts with the shortcut parts of others: the label follows the causal part.

    Args:
        schema: its joint targets are predicted; the loss is their mean.
        head: ``(samples, width)`` -> predictions.
        causal: ``(batch, width)``.
        shortcut: same shape, added after the exchange.
        batch: labels; a sample without one lends its shortcut all the same.
        draws: as in ``exchanges``.
    """
    orders = exchanges(len(causal), draws, causal.device)
    predictions = head((causal + shortcut[orders]).flatten(0, 1))
    terms = []
    for target in schema.joint_targets:
        labels = batch.targets[target.name]
        terms.append(task_loss(target, predictions[target.name], labels.repeat(len(orders), *[1] * (labels.dim() - 1))))
    return torch.stack(terms).mean()
