"""A modality that is there and says something else: empty, noise, another sample's, one of another label.

What changes an answer that did not need the modality is interference (Cai et al., 2025, arXiv 2505.19616). The paper
asks large models about pictures with black, white and random canvases, unrelated facts and misleading sentences; here
every kind of modality has its like.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from polymodal.core import Batch, Stream
from polymodal.core.options import NotNegative, Share
from polymodal.stress.draw import Draw, chosen

Kind = Literal["blank", "random", "unrelated", "misleading"]
KINDS: tuple[Kind, ...] = get_args(Kind)

TRIED = 4
"""Samples among which the one whose label is farthest away misleads."""


def interference(
    batch: Batch,
    draw: Draw,
    modalities: tuple[str, ...] = (),
    *,
    p: Share = 1.0,
    consistency: NotNegative = 0.01,
    eps: NotNegative = 0.05,
) -> Batch:
    """With probability ``p`` replace what each named modality says by something else, of a kind drawn for the sample.

    In training the batch is learned beside its changed version, which shall be answered alike: ``consistency`` weighs
    that, ``eps`` is the size of the adversarial change (see ``train.consistency``). In tests neither means anything.
    """
    for name in chosen(batch, modalities):
        hit = draw.uniform(batch.ids, name, "hit") < p
        kinds = np.array([KINDS[int(draw.rng(i, name, "kind").integers(len(KINDS)))] for i in batch.ids])
        for kind in KINDS:
            rows = hit & torch.from_numpy(kinds == kind)
            if rows.any():
                batch = replaced(batch, draw, name, kind, rows)
    return batch


def replaced(batch: Batch, draw: Draw, name: str, kind: Kind, rows: Tensor | None = None) -> Batch:
    """Return the batch with the modality ``name`` of the samples ``rows`` (batch,) bool saying something else.

    What is absent stays absent, but for ``unrelated`` and ``misleading``: what they bring is another sample's.

    Args:
        draw: what is random, and who may give.
        kind: ``blank`` (zeros, an empty string), ``random`` (standard normal features, another sample's words in any
            order), ``unrelated`` (another sample's), ``misleading`` (that of the one of ``TRIED`` others whose label of
            the first target is farthest away).
        rows: all where not given.
    """
    stream = batch[name]
    hit = torch.ones(len(batch), dtype=torch.bool) if rows is None else rows
    if kind in ("unrelated", "misleading"):
        return _given(batch, draw, name, kind, hit)
    if isinstance(stream.values, Tensor):
        values = stream.values.clone()
        for row in (hit.to(stream.present.device) & stream.present).nonzero()[:, 0].tolist():
            length = 1 if stream.lengths is None else int(stream.lengths[row])
            part = values[row] if stream.lengths is None else values[row, :length]
            new = (
                np.zeros(tuple(part.shape))
                if kind == "blank"
                else draw.rng(batch.ids[row], name).standard_normal(part.shape)
            )
            part.copy_(torch.from_numpy(np.asarray(new, np.float32)))
        return replace(batch, streams={**batch.streams, name: replace(stream, values=values)})
    if kind == "random":
        batch = _given(batch, draw, name, kind, hit & stream.present)
    texts = [
        t if not there else "" if kind == "blank" else " ".join(draw.rng(i, name, "order").permutation(t.split()))
        for t, i, there in zip(batch[name].texts, batch.ids, hit.tolist(), strict=True)
    ]
    return replace(batch, streams={**batch.streams, name: Stream(texts, None, stream.present)})


def _given(batch: Batch, draw: Draw, name: str, kind: Kind, hit: Tensor) -> Batch:
    """Return the batch with the modality of others where ``hit``."""
    from polymodal.stress.noise import exchanged, picked

    tried = TRIED if kind == "misleading" else 1
    taking = hit.nonzero()[:, 0].tolist()
    drawn = {i: [_other(draw, batch.ids[i], name, k) for k in range(tried)] for i in taking}
    needed = sorted({giver for givers in drawn.values() for giver in givers})
    if not needed:
        return batch
    donors = draw.donors(needed) if draw.donors else picked(batch, needed)
    place = {giver: row for row, giver in enumerate(donors.ids)}
    best = []
    for i in taking:
        apart = [_apart(batch, i, donors, place[giver]) for giver in drawn[i]]
        best.append(place[drawn[i][int(np.argmax(apart))]])
    given = donors.select(torch.tensor(best))[name]
    return replace(batch, streams={**batch.streams, name: exchanged(batch[name], hit, given)})


def _other(draw: Draw, sample: str, name: str, number: int) -> str:
    """Return a sample that is not ``sample``, where there is another."""
    population = list(draw.population)
    place = int(draw.rng(sample, name, "giver", number).integers(len(population)))
    return population[(place + 1) % len(population)] if population[place] == sample else population[place]


def _apart(batch: Batch, row: int, donors: Batch, other: int) -> float:
    """Return how far the labels of the first target are apart; classes are 0 or 1 apart, what is not known 0."""
    if not batch.targets or not donors.targets:
        return 0.0
    target = next(iter(batch.targets))
    own, theirs = batch.targets[target][row], donors.targets[target][other]
    if not own.is_floating_point():
        return float(own != theirs and own >= 0 and theirs >= 0)
    return float((own.double() - theirs.double()).abs().sum().nan_to_num(0.0))
