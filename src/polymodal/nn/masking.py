"""Means over the samples that take part."""

from __future__ import annotations

from torch import Tensor


def mean_where(values: Tensor, rows: Tensor) -> Tensor:
    """Mean of ``values`` where ``rows``, of the same shape, is True; 0, still part of the graph, where none is."""
    return values.where(rows, values.new_zeros(())).sum() / rows.sum().clamp(min=1)
