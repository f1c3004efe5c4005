"""Whole modalities gone, steps and words gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from polymodal.core import Batch, Stream
from polymodal.core.options import Count, Rule, Share
from polymodal.stress.cells import removed
from polymodal.stress.draw import Draw, chosen, needs_three, steps, with_values

Kept = Annotated[tuple[str, ...], Rule("names of the modalities that are kept, as in subset:text,audio", bool)]


def subset(batch: Batch, draw: Draw, modalities: Kept) -> Batch:
    """Keep only the named modalities (protocol 8a of the field: fixed subsets)."""
    kept = chosen(batch, modalities)
    return batch.without(*(n for n in batch.streams if n not in kept))


def missing(batch: Batch, draw: Draw, *, rate: Share) -> Batch:
    """Random missing rate per sample, as in GCNet and CyIN.

    One present modality, drawn uniformly, is always kept; each other one is kept with probability
    ``1 - rate * M / (M - 1)``, so that a share ``rate`` of all cells is missing. Rates above ``(M - 1) / M`` mean that
    exactly one modality is kept.
    """
    count = len(batch.streams)
    keep = _keep_probability(rate, count)
    present = batch.present
    out = torch.zeros_like(present)
    for row, sample in enumerate(batch.ids):
        rng = draw.rng(sample)
        here = present[row].nonzero()[:, 0].tolist()
        luck = rng.random(count)
        if here:
            safe = here[int(rng.integers(len(here)))]
            out[row] = torch.from_numpy(luck >= keep)
            out[row, safe] = False
    return removed(batch, out)


def missing_shares(rate: float, count: int = 3) -> list[float]:
    """Return the probabilities that 1, 2, ... ``count`` modalities are kept under ``missing``."""
    from math import comb

    keep = _keep_probability(rate, count)
    return [comb(count - 1, k) * keep**k * (1 - keep) ** (count - 1 - k) for k in range(count)]


def _keep_probability(rate: float, count: int) -> float:
    return max(0.0, 1 - rate * count / (count - 1)) if count > 1 else 1.0


TWO_MISSING = {0.1: 0.1, 0.2: 0.2, 0.3: 0.3, 0.4: 0.5, 0.5: 0.7, 0.6: 0.9, 0.7: 1.0}
ONE_MISSING = {0.1: 0.1, 0.2: 0.2, 0.3: 0.3, 0.4: 0.2, 0.5: 0.1, 0.6: 0.0, 0.7: 0.0}
Rate = Annotated[float, Rule(f"one of {', '.join(map(str, TWO_MISSING))}", TWO_MISSING.__contains__)]


def missing_batch(batch: Batch, draw: Draw, *, rate: Rate, size: Count = 32) -> Batch:
    """Random missing rate per batch, as in DiCMoR and IMDer: whole batches share one pattern.

    The published codes cut batches in file order, two-missing ones first; here the split is cut into batches of
    ``size`` in an order drawn from the seed, whatever the size of the batches that are computed, and patterns are
    spread over them at random, in the published shares.
    """
    needs_three(batch, "missing-batch")
    order = sorted(draw.population, key=lambda i: draw.rng(i).random())
    home = {sample: position // size for position, sample in enumerate(order)}
    batches = -(-len(order) // size)
    rank = {b: r for r, b in enumerate(sorted(range(batches), key=lambda b: draw.rng("batch", b).random()))}
    two, one = round(TWO_MISSING[rate] * batches), round((TWO_MISSING[rate] + ONE_MISSING[rate]) * batches)
    out = torch.zeros_like(batch.present)
    for row, sample in enumerate(batch.ids):
        number = home[sample]
        modality = int(draw.rng("pattern", number).integers(3))
        if rank[number] < two:
            out[row] = torch.arange(3) != modality
        elif rank[number] < one:
            out[row, modality] = True
    return removed(batch, out)


def instance(batch: Batch, draw: Draw, *, p: Share) -> Batch:
    """With probability ``p`` a sample gets one of the incomplete patterns, uniformly (CyIN)."""
    patterns = [torch.tensor(c) for c in product((False, True), repeat=len(batch.streams)) if any(c) and not all(c)]
    out = torch.zeros_like(batch.present)
    for row, sample in enumerate(batch.ids):
        rng = draw.rng(sample)
        hit, which = rng.random() < p, int(rng.integers(max(1, len(patterns))))
        if hit and patterns:
            out[row] = patterns[which]
    return removed(batch, out)


UNKNOWN = "[UNK]"


def drop(batch: Batch, draw: Draw, modalities: tuple[str, ...] = (), *, rate: Share) -> Batch:
    """Drop every step of every modality independently with probability ``rate`` (TFR-Net, LNLN).

    Words become ``[UNK]``, steps become zero vectors; lengths and presence stay.
    """
    return _drop(batch, draw, modalities, lambda rng: rate)


def drop_random(batch: Batch, draw: Draw, modalities: tuple[str, ...] = ()) -> Batch:
    """Drop steps at a rate of its own for each sample and modality, as LNLN trains: 0 for half of them, else uniform
    in [0, 1)."""
    return _drop(batch, draw, modalities, lambda rng: float(rng.random() < 0.5) * float(rng.random()))


def _drop(batch: Batch, draw: Draw, modalities: Sequence[str], rate: Callable[[np.random.Generator], float]) -> Batch:
    streams = dict(batch.streams)
    for name in chosen(batch, modalities):
        stream = streams[name]
        sizes = steps(stream)[1] if isinstance(stream.values, Tensor) else [len(t.split()) for t in stream.texts]
        masks = []
        for sample, size in zip(batch.ids, sizes, strict=True):
            rng = draw.rng(sample, name)
            own = rate(rng)
            masks.append(torch.from_numpy(rng.random(int(size)) < own))
        streams[name] = _blank(stream, masks)
    return replace(batch, streams=streams)


def _blank(stream: Stream, masks: list[Tensor]) -> Stream:
    """Return the stream with the masked words or steps of each sample emptied."""
    if not isinstance(stream.values, Tensor):
        texts = [
            " ".join(UNKNOWN if gone else word for word, gone in zip(text.split(), mask.tolist(), strict=True))
            for text, mask in zip(stream.texts, masks, strict=True)
        ]
        return Stream(texts, None, stream.present)
    values = steps(stream)[0].clone()
    for row, mask in enumerate(masks):
        values[row, : len(mask)][mask.to(values.device)] = 0
    return with_values(stream, values)
