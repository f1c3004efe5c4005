"""Standardising a batch that is made already: the models of a run of folds have statistics of their own each."""

from __future__ import annotations

from dataclasses import replace

import torch

from polymodal.core import Batch, Stream
from polymodal.data.corpus import CLIP, Normalizer


def standardise(batch: Batch, normalizer: Normalizer) -> Batch:
    """Return ``batch`` as a loader with ``normalizer`` makes it: standardised and clipped, zeros behind each sample.

    Args:
        batch: from a loader without a normalizer.
        normalizer: modalities that it does not know stay as they are.
    """
    streams = {n: _standardised(s, n, normalizer) if n in normalizer.mean else s for n, s in batch.streams.items()}
    return replace(batch, streams=streams)


def _standardised(stream: Stream, name: str, normalizer: Normalizer) -> Stream:
    values = stream.tensor
    steps = stream.mask if stream.lengths is not None else stream.present
    # A vector has its channels last, pixels have height and width behind them.
    axes = values.dim() - steps.dim() - 1
    mean, std = (
        torch.from_numpy(s[name]).to(values.device).view(-1, *[1] * axes) for s in (normalizer.mean, normalizer.std)
    )
    scaled = ((values - mean) / std).clamp(-CLIP, CLIP)
    real = steps.view(*steps.shape, *[1] * (axes + 1))
    return replace(stream, values=torch.where(real, scaled, torch.zeros((), device=values.device)))
