"""One vector of plain statistics per sample: what baselines without a network read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.core import Batch, Modality, Schema, Stream
from polymodal.nn.masking import masked_mean
from polymodal.nn.text import hash_words

GRID = 4
"""Pixels a side that pictures are scaled down to."""


def pooled_width(modality: Modality, buckets: int) -> int:
    """Return how many features ``pooled`` makes of a modality."""
    width = modality.shape[0] * GRID**2 if modality.shape else modality.width
    return {"sequence": 2 * width, "frames": 2 * width, "text": 2 * buckets}.get(modality.kind, width)


def pooled(batch: Batch, schema: Schema, buckets: int) -> tuple[Tensor, Tensor]:
    """Return features and whether their modality is present, both ``(batch, features)``, modalities in schema order.

    A sequence is its mean and standard deviation over true steps, a vector itself, a text its hashed words and word
    pairs (see ``bag``), a picture its 4 x 4 pixels.

    Args:
        buckets: hash buckets of words; word pairs get as many again.
    """
    parts = [_pooled(batch[m.name], m, buckets) for m in schema.modalities]
    flags = [
        batch[m.name].present[:, None].expand(-1, part.shape[1])
        for m, part in zip(schema.modalities, parts, strict=True)
    ]
    return torch.cat(parts, dim=1), torch.cat(flags, dim=1)


def _pooled(stream: Stream, modality: Modality, buckets: int) -> Tensor:
    if modality.kind == "text":
        return torch.stack([bag(text, buckets) for text in stream.texts]).to(stream.present.device)
    x = small(stream.tensor) if modality.shape else stream.tensor
    if stream.lengths is None:
        return x
    mean = masked_mean(x, stream.mask)
    variance = masked_mean((x - mean.unsqueeze(1)) ** 2, stream.mask)
    return torch.cat([mean, variance.sqrt()], dim=1)


def small(pictures: Tensor) -> Tensor:
    """Return ``(..., channels, height, width)`` scaled down to 4 x 4 pixels by area: ``(..., channels * 16)``."""
    whole = pictures.flatten(0, -4)
    return nn.functional.adaptive_avg_pool2d(whole, GRID).reshape(*pictures.shape[:-3], -1)


def bag(text: str, buckets: int) -> Tensor:
    """Return the square roots of the counts of hashed words and pairs, scaled to length 1: ``(2 * buckets,)``."""
    codes = torch.tensor([code for pair in hash_words(text, buckets) for code in pair], dtype=torch.long)
    counts = torch.bincount(codes, minlength=2 * buckets).float()
    return counts.sqrt() / counts.sum().sqrt().clamp(min=1)
