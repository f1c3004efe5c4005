"""By which channels of samples their classes are named, and samples masked to these."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from polymodal.core import Batch, Stream
from polymodal.data.ragged import Array
from polymodal.methods.base import Method
from polymodal.nn.sequence import masked_mean


def heat(method: Method, batch: Batch, target: str) -> tuple[Tensor, Tensor]:
    """Return what samples hold and how much each channel of it speaks for the class that the method names.

    ReLU(x_k w_k) of the mean x over time and the gradient w of the class's logit by it: GradCAM (Selvaraju et al., ICCV
    2017) with channels in the place of pixels.

    Args:
        method: in evaluation mode.
        batch: standardised.
        target: one with classes.

    Returns:
        Two times ``(batch, width)``, all modalities of features side by side.
    """
    inputs = {n: s.tensor.clone().requires_grad_(True) for n, s in batch.streams.items() if _is_features(s)}
    streams = {n: replace(s, values=inputs.get(n, s.values)) for n, s in batch.streams.items()}
    with torch.enable_grad():
        logits = method(replace(batch, streams=streams)).predictions[target].float()
        named = logits.gather(1, logits.argmax(1, keepdim=True)).sum()
        gradients = torch.autograd.grad(named, list(inputs.values()), allow_unused=True)
    held, weights = [], []
    for (name, x), gradient in zip(inputs.items(), gradients, strict=True):
        held.append(_mean(batch[name], x))
        # Up to the number of steps, which is one factor for a modality of a sample, the gradient by its mean.
        weights.append(_mean(batch[name], torch.zeros_like(x) if gradient is None else gradient))
    means = torch.cat(held, dim=1).detach()
    return means, (means * torch.cat(weights, dim=1)).relu()


def _is_features(stream: Stream) -> bool:
    return not isinstance(stream.values, list) and stream.tensor.dim() == (2 if stream.lengths is None else 3)


def _mean(stream: Stream, x: Tensor) -> Tensor:
    return x if stream.lengths is None else masked_mean(x, stream.mask)


def kept(heat: Tensor, share: float) -> Tensor:
    """Return which parts are kept: those of some heat, at or above the quantile ``share`` of their sample's.

    Args:
        heat: ``(batch, parts)``.
        share: masked; 0 keeps everything.
    """
    if not share:
        return torch.ones_like(heat, dtype=torch.bool)
    return (heat >= torch.quantile(heat, share, dim=1, keepdim=True)) & (heat > 0)


def grounded(heats: Array, held: Array, share: float) -> Array:
    """Return what samples hold, ``(samples, width)``, in the channels that are kept by their mean heat.

    One mask for all: a sample's own is that of the class that it is named, so that it would tell what was said.

    Args:
        heats: ``(others, width)``, of samples whose slices are not asked for.
        held: ``(samples, width)``.
        share: masked.
    """
    mask = kept(torch.as_tensor(heats.mean(0, keepdims=True)), share)[0].numpy()
    return held[:, mask] if mask.any() else held
