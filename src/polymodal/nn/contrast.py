"""Contrastive losses: pull matching vectors together, push the rest of the batch away.

Cosines are taken in float32 even under mixed precision: divided by a small temperature, half precision would decide
which pair is nearest.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from polymodal.nn.masking import mean_where


def info_nce(queries: Tensor, keys: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """Mean of -log softmax_j(cos(query_i, key_j) / temperature) at j = i (van den Oord et al., 2018, eq. 4).

    Args:
        queries: ``(..., batch, width)``; leading dimensions are separate batches.
        keys: same shape; row i matches query i, the other rows of the batch are its negatives.
        temperature: above 0.
        mask: ``(..., batch)`` bool; rows where it is False are neither queries nor negatives. None for all True.

    Returns:
        Scalar, 0 where no row takes part; ln(batch) if all vectors are equal.
    """
    logits = cosines(queries, keys) / temperature  # (..., batch, batch)
    if mask is None:
        mask = logits.new_ones(logits.shape[:-1], dtype=torch.bool)
    logits = logits.masked_fill(~mask.unsqueeze(-2), torch.finfo(logits.dtype).min)
    losses = logits.logsumexp(-1) - logits.diagonal(dim1=-2, dim2=-1)
    return mean_where(losses, mask)


def supervised_contrastive(vectors: Tensor, classes: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """Pull vectors of one class together against all others (Khosla et al., NeurIPS 2020, eq. 2: the mean is outside).

    Args:
        vectors: ``(number, width)``.
        classes: ``(number,)`` of any type that can be compared.
        temperature: above 0.
        mask: ``(number,)`` bool; vectors where it is False take no part. None for all True.

    Returns:
        Scalar: mean over vectors that share their class with another one; 0 if there is none.
    """
    return weighted_contrastive(vectors, (classes.unsqueeze(1) == classes.unsqueeze(0)).float(), temperature, mask)


def weighted_contrastive(vectors: Tensor, alike: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """Pull every vector towards others as much as their labels are alike, against all others.

    With weights of 0 and 1 it is the supervised contrast of classes.

    Args:
        vectors: ``(number, width)``.
        alike: ``(number, number)``, not negative; each row counts by its shares, the diagonal not at all.
        temperature: above 0.
        mask: ``(number,)`` bool; vectors where it is False take no part. None for all True.

    Returns:
        Scalar: mean over vectors of ``-sum_j a_ij log softmax_j(cos / temperature)``, of those that are like any other;
        0 if there is none.
    """
    if mask is None:
        mask = vectors.new_ones(len(vectors), dtype=torch.bool)
    others = mask.unsqueeze(0) & ~torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    logits = cosines(vectors, vectors) / temperature
    logits = logits.masked_fill(~others, torch.finfo(logits.dtype).min)
    surprise = logits.logsumexp(1, keepdim=True) - logits  # (number, number): -log p(other | vector)
    weights = alike * others
    total = weights.sum(1)
    used = mask & (total > 0)
    losses = (weights * surprise.where(others, surprise.new_zeros(()))).sum(1) / total.where(used, total.new_ones(()))
    return mean_where(losses, used)


def pairwise_contrastive(vectors: Tensor, classes: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """Pull each pair of one class together against the vectors of other classes alone (supervised NT-Xent).

    Other vectors of the same class are neither pulled nor pushed by a pair. Arguments as in ``supervised_contrastive``.

    Returns:
        Scalar: mean over ordered pairs of one class; 0 if there is none.
    """
    if mask is None:
        mask = torch.ones_like(classes, dtype=torch.bool)
    both = mask.unsqueeze(0) & mask.unsqueeze(1)
    same = classes.unsqueeze(0) == classes.unsqueeze(1)
    logits = cosines(vectors, vectors) / temperature
    others = logits.masked_fill(~(both & ~same), torch.finfo(logits.dtype).min).logsumexp(1, keepdim=True)
    pairs = both & same & ~torch.eye(len(classes), dtype=torch.bool, device=vectors.device)
    return mean_where(torch.logaddexp(logits, others.expand_as(logits)) - logits, pairs)


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosines of all rows of ``a`` (..., n, width) with all of ``b`` (..., m, width): ``(..., n, m)`` float32."""
    with torch.autocast(a.device.type, enabled=False):
        return F.normalize(a.float(), dim=-1) @ F.normalize(b.float(), dim=-1).transpose(-2, -1)
