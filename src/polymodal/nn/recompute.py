"""Activations that are computed again on the way back instead of being held: memory for time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_parts(read: Callable[..., Tensor], *inputs: Tensor, size: int) -> Tensor:
    """Return ``read(*inputs)`` with the activations of at most ``size`` rows in memory at once.

    The result and its gradients are those of one call, dropout apart, which draws part by part; what lies between
    input and result is computed a second time for the gradients.

    Args:
        read: makes of every row by itself one row of the result.
        inputs: ``(rows, ...)`` each.
        size: rows of a part; 0 for one call that keeps all.
    """
    if not size or not torch.is_grad_enabled() or not len(inputs[0]):
        return read(*inputs)
    parts = zip(*(x.split(size) for x in inputs), strict=True)
    return torch.cat([checkpoint(read, *part, use_reentrant=False) for part in parts])
