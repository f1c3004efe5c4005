"""Volumes spanned by vectors, as a measure of how well several modalities agree."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-8
"""Under the root: where vectors are linearly dependent, its slope would be infinite."""


def volume(anchors: Tensor, others: Tensor, present: Tensor | None = None) -> Tensor:
    """Volume of the parallelotope of each anchor with each tuple of other vectors.

    It is ``sqrt(|det G|)``, G the Gram matrix of the vectors. For unit vectors 0 means linearly dependent and 1
    orthogonal; for one other vector it is the sine of the angle. It is blind to signs: opposite vectors agree.
    (Cicchetti et al., ICLR 2025, arXiv 2412.11959)

    Args:
        anchors: ``(n, width)``.
        others: ``(m, k, width)``, k >= 1 vectors in each tuple.
        present: ``(m, k)`` bool, vectors that are there; what is absent leaves the volume of the rest. None for all.

    Returns:
        ``(n, m)`` float32, at least ``sqrt(EPSILON)``.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        anchors, others = anchors.float(), others.float()
        here = torch.ones(others.shape[:2], dtype=torch.bool, device=others.device) if present is None else present
        # An absent vector becomes one of length 1 that is orthogonal to all others: it changes no volume.
        within = others @ others.transpose(1, 2)
        eye = torch.eye(others.shape[1], dtype=torch.bool, device=others.device)
        within = torch.where(here[:, :, None] & here[:, None, :], within, eye.to(within.dtype))
        across = torch.einsum("nd,mkd->nmk", anchors, others) * here
        squared = _determinant(anchors.square().sum(1), across, within)
    return (squared.abs() + EPSILON).sqrt()


def _determinant(own: Tensor, across: Tensor, within: Tensor) -> Tensor:
    """Return det of ``[[own, across], [across^T, within]]`` (n, m); written out for one and two other vectors."""
    if across.shape[2] == 1:
        return own[:, None] * within[:, 0, 0] - across[..., 0].square()
    if across.shape[2] == 2:
        (p, q), x, y = across.unbind(2), within[:, 0, 0], within[:, 1, 1]
        c = within[:, 0, 1]
        return own[:, None] * (x * y - c.square()) - p.square() * y - q.square() * x + 2 * p * q * c
    return gram_determinant(own, across, within)


def gram_determinant(own: Tensor, across: Tensor, within: Tensor) -> Tensor:
    """Return the same for any number of vectors, by torch's determinant."""
    n, m, k = across.shape
    top = torch.cat([own[:, None, None].expand(n, m, 1), across], dim=2)
    rest = torch.cat([across.unsqueeze(3), within.expand(n, m, k, k)], dim=3)
    determinant: Tensor = torch.linalg.det(torch.cat([top.unsqueeze(2), rest], dim=2))
    return determinant
