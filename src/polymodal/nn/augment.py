"""Augmentation of extracted features: views of a sequence that keep what it says and lose part of its noise.

Every function takes a sequence stream ``(batch, time, width)`` and returns one with the same lengths, presence, dtype
and zero padding; those of ``VECTOR_AUGMENTATIONS`` also take a vector stream ``(batch, width)``. Each sample draws its
own span, channels and noise, on the stream's device, from torch's global generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from polymodal.core import Modality, OptionError, Stream, nearest


def temporal_cutoff(stream: Stream, low: float = 0.1, high: float = 0.3) -> Stream:
    """Zero one random span of true steps, between ``low`` and ``high`` of each sample's length.

    A sequence too short for a whole number of steps within these bounds (under 4 steps by default) stays as it is.
    """
    assert stream.lengths is not None
    span = _spans(stream.tensor.shape[1], stream.lengths, stream.lengths, low, high)
    return replace(stream, values=stream.tensor.masked_fill(span.unsqueeze(-1), 0))


def temporal_cutmix(stream: Stream, low: float = 0.1, high: float = 0.3) -> Stream:
    """Replace one random span, as long as in ``temporal_cutoff``, by the same steps of another sample of the batch.

    The span lies where both samples have true steps, so it is shorter where the other sample is.
    """
    assert stream.lengths is not None
    order = torch.randperm(len(stream.lengths), device=stream.lengths.device)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)  # one cycle through the batch: nobody is its own partner
    shared = torch.minimum(stream.lengths, stream.lengths[partner])
    span = _spans(stream.tensor.shape[1], stream.lengths, shared, low, high)
    return replace(stream, values=torch.where(span.unsqueeze(-1), stream.tensor[partner], stream.tensor))


def feature_cutoff(stream: Stream, share: float = 0.1) -> Stream:
    """Zero a random ``share`` of the channels for the whole sample: at least one of them, never all."""
    x = stream.tensor
    width = x.shape[-1]
    count = min(max(1, round(share * width)), width - 1)
    chosen = torch.rand(len(x), width, device=x.device).argsort(1) < count  # (batch, width)
    return replace(stream, values=x.masked_fill(chosen if x.dim() == 2 else chosen.unsqueeze(1), 0))


def jitter(stream: Stream, scale: float = 0.1) -> Stream:
    """Add Gaussian noise of ``scale`` times the standard deviation that the channel has over the batch's true steps."""
    x = stream.tensor
    mask = (stream.mask if x.dim() == 3 else stream.present).unsqueeze(-1)
    dims = tuple(range(x.dim() - 1))
    count = mask.sum().clamp(min=1)
    mean = (x.detach() * mask).sum(dims) / count
    std = (((x.detach() - mean) * mask).square().sum(dims) / count).sqrt()
    return replace(stream, values=x + scale * std * torch.randn_like(x) * mask)


AUGMENTATIONS: dict[str, Callable[[Stream], Stream]] = {
    "temporal_cutoff": temporal_cutoff,
    "feature_cutoff": feature_cutoff,
    "temporal_cutmix": temporal_cutmix,
    "jitter": jitter,
}
VECTOR_AUGMENTATIONS = ("feature_cutoff", "jitter")


def augment(stream: Stream, names: Sequence[str], count: int = 2) -> Stream:
    """Apply ``count`` different augmentations of ``names``, drawn anew for each batch, in random order.

    ``names`` are keys of ``AUGMENTATIONS``; on a vector stream those that need time are passed over.
    """
    usable = [n for n in names if stream.lengths is not None or n in VECTOR_AUGMENTATIONS]
    for i in torch.randperm(len(usable))[:count].tolist():
        stream = AUGMENTATIONS[usable[i]](stream)
    return stream


def check_augmentations(names: Sequence[str], modalities: Iterable[Modality]) -> None:
    """Raise OptionError for an unknown name, or if ``names`` holds nothing that fits one of the modalities."""
    for name in names:
        if name not in AUGMENTATIONS:
            raise OptionError(f"unknown augmentation {name!r}{nearest(name, AUGMENTATIONS)}")
    for modality in modalities:
        fitting = VECTOR_AUGMENTATIONS if modality.kind == "vector" else tuple(AUGMENTATIONS)
        if not set(names) & set(fitting):
            raise OptionError(
                f"no augmentation fits {modality.kind} modality {modality.name!r}; add one of {', '.join(fitting)}"
            )


def _spans(time: int, lengths: Tensor, room: Tensor, low: float, high: float) -> Tensor:
    """Return ``(batch, time)`` bool: one random span per row inside its first ``room`` steps, ``low`` to ``high`` of
    ``lengths`` long."""
    share = low + (high - low) * torch.rand(len(lengths), device=lengths.device)
    wanted = (share * lengths).round()
    size = wanted.maximum((low * lengths).ceil()).minimum((high * lengths).floor()).long().minimum(room)
    start = (torch.rand(len(lengths), device=lengths.device) * (room - size + 1)).long()
    steps = torch.arange(time, device=lengths.device)
    return (steps >= start.unsqueeze(1)) & (steps < (start + size).unsqueeze(1))
