"""Means and maxima of what takes part. What does not is chosen away, not multiplied by zero: NaN * 0 would leak NaN."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_where(values: Tensor, rows: Tensor) -> Tensor:
    """Mean of ``values`` where ``rows``, of the same shape, is True; 0, still part of the graph, where none is."""
    return values.where(rows, values.new_zeros(())).sum() / rows.sum().clamp(min=1)


def mean_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Mean of ``x`` (batch, width) over samples where ``rows`` (batch,) is True: ``(width,)``, zeros where none is."""
    return x.where(rows[:, None], x.new_zeros(())).sum(0) / rows.sum().clamp(min=1)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``x`` (batch, time, width) over steps where ``mask`` (batch, time) is True; zeros where none is."""
    return x.where(mask.unsqueeze(-1), x.new_zeros(())).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def masked_max(x: Tensor, mask: Tensor) -> Tensor:
    """Largest of ``x`` (batch, time, width) over steps where ``mask`` (batch, time) is True; zeros where none is."""
    return x.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(1).where(mask.any(1, keepdim=True), x.new_zeros(()))


def masked_error(guess: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of each sample's true steps and features: ``(batch,)`` in float32, 0 where it has no step.

    Args:
        guess: ``(batch, time, width)``.
        truth: same shape.
        mask: ``(batch, time)`` bool.
    """
    difference = (guess.float() - truth.float()).where(mask.unsqueeze(-1), guess.new_zeros((), dtype=torch.float32))
    return masked_mean(difference.square(), mask).mean(-1)
