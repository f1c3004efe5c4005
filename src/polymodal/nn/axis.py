"""Sequences of different rates on one time axis."""

from __future__ import annotations

import torch
from torch import Tensor

from polymodal.core import Stream
from polymodal.nn.traced import longest


def common_axis(streams: list[Stream], max_steps: int) -> tuple[list[Tensor], Tensor]:
    """Resample sequences to each sample's common axis: as many steps as its longest sequence, at most ``max_steps``.

    Returns:
        per stream ``(batch, steps, width)``, and the true lengths (batch,).
    """
    lengths = torch.stack([s.lengths for s in streams if s.lengths is not None]).amax(0).clamp(max=max_steps)
    steps = longest(lengths, [s.tensor.shape[1] for s in streams], max_steps)
    return [resample(stream, lengths, steps) for stream in streams], lengths


def concatenated(streams: list[Stream], max_steps: int) -> Stream:
    """Return one sequence ``(batch, steps, sum of widths)`` on the common axis; an absent stream is zeros."""
    parts, lengths = common_axis(streams, max_steps)
    return Stream(torch.cat(parts, dim=2), lengths, lengths > 0)


def flagged(streams: list[Stream], max_steps: int) -> Stream:
    """Return the same with one more feature per stream, after its own: 1 where it is present."""
    parts, lengths = common_axis(streams, max_steps)
    real = torch.arange(parts[0].shape[1], device=lengths.device) < lengths[:, None]
    columns = []
    for stream, part in zip(streams, parts, strict=True):
        flag = (stream.present[:, None] & real).unsqueeze(2)
        columns += [part, flag.to(part.dtype)]
    return Stream(torch.cat(columns, dim=2), lengths, lengths > 0)


def resample(stream: Stream, lengths: Tensor, steps: int) -> Tensor:
    """Resample the true steps of a sequence to ``lengths`` (batch,) steps by area: ``(batch, steps, width)``.

    Of a row with s true steps resampled to t, step j is the mean of the signal, constant over each frame, from j s/t to
    (j + 1) s/t. Zeros from ``lengths`` on and where the stream is absent, since padding is zero.
    """
    assert stream.lengths is not None
    x = stream.tensor
    # In units of 1/t frames everything is an integer: frame i is [i t, (i + 1) t), step j is [j s, (j + 1) s).
    s, t = stream.lengths.view(-1, 1, 1), lengths.view(-1, 1, 1)
    j = torch.arange(steps, device=x.device).view(1, -1, 1)
    i = torch.arange(x.shape[1], device=x.device).view(1, 1, -1)
    overlap = torch.minimum((j + 1) * s, (i + 1) * t) - torch.maximum(j * s, i * t)
    weight = overlap.clamp(min=0) / s.clamp(min=1)
    return weight.to(x.dtype) @ x
