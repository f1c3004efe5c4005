"""Modalities made worse on purpose: on the way to Gaussian noise, at whose end the modality is missing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from polymodal.core import Stream


def corrupt(x: Tensor, noise: Tensor, rho: Tensor) -> Tensor:
    """Return ``(1 - rho) x + rho noise``; ``x`` and ``noise`` have one more dimension than ``rho``."""
    return (1 - rho).unsqueeze(-1) * x + rho.unsqueeze(-1) * noise


def gaussian_like(x: Tensor, present: Tensor, random: torch.Generator | None = None) -> Tensor:
    """Return Gaussian noise (batch, modalities, width) with mean and deviation of ``x`` over present samples.

    Noise of mean zero would be told from ``x`` by its mean alone, and no other noise would be noticed.
    """
    rows = present.unsqueeze(-1)
    count = rows.sum(0).clamp(min=1)
    mean = (x.detach() * rows).sum(0) / count
    std = (((x.detach() - mean).square() * rows).sum(0) / count).sqrt()
    # A single sample has no deviation.
    std = std.where(rows.sum(0) > 1, torch.ones_like(std))
    return mean + std * torch.randn(x.shape, generator=random, device=x.device, dtype=x.dtype)


def corrupt_stream(stream: Stream, rho: Tensor, random: torch.Generator | None = None) -> Stream:
    """Return a tensor stream whose true steps are, by ``rho`` (batch,), on the way to noise like the batch's steps."""
    x, vector = stream.tensor, stream.lengths is None
    real = stream.present if vector else stream.mask
    noise = gaussian_like(x.reshape(-1, 1, x.shape[-1]), real.reshape(-1, 1), random).view_as(x)
    share = rho if vector else rho.unsqueeze(1)
    return Stream(corrupt(x, noise, share) * real.unsqueeze(-1), stream.lengths, stream.present)


def drawn_corruption(present: Tensor, *, noisy: float, missing: float, random: torch.Generator | None = None) -> Tensor:
    """Return rho ``(batch, modalities)``: 0 clean, in (0.1, 0.9) with probability ``noisy``, 1 with ``missing``.

    A sample that would lose all it has keeps one modality, drawn, as it is.
    """
    device = present.device
    fate, strength, order = torch.rand(3, *present.shape, generator=random, device=device)
    rho = torch.where(fate < noisy, 0.1 + 0.8 * strength, 0.0).masked_fill(
        (fate >= noisy) & (fate < noisy + missing), 1
    )
    lost = ((rho == 1) | ~present).all(1, keepdim=True)
    kept = F.one_hot((order * present).argmax(1), present.shape[1]).bool()
    return rho.masked_fill(lost & kept, 0.0)


def rank_loss(quality: Tensor, rho: Tensor, margin: float) -> Tensor:
    """Return ``relu(q(rho2) - q(rho1) + margin (rho2 - rho1) / 0.5)`` for neighbours along the first dimension."""
    return F.relu(quality.diff(dim=0) + 2 * margin * rho.diff(dim=0))
