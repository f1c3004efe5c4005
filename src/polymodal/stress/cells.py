"""Which (sample, modality) cells are gone, as two benchmarks of missing modalities draw them.

MissMAC-Bench (Lin et al., 2026, arXiv 2602.00811): patterns that are fixed or random, for a whole split or sample by
sample. MissBench (Pham et al., 2026, arXiv 2603.09874): rates that differ between modalities. The papers' abstracts are
what is public; the concrete draws are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from polymodal.core import Batch
from polymodal.core.options import Share
from polymodal.stress.draw import Draw, chosen

LADDER = (0.2, 0.8)
"""Rates of the first and of the last modality under ``imbalanced``; the others lie between, evenly."""


def missing_one(batch: Batch, draw: Draw) -> Batch:
    """Take one modality from each sample, drawn once among those that it has; never the last."""
    out = torch.zeros_like(batch.present)
    for row, order in enumerate(_orders(batch, draw)):
        out[row, order[1:2]] = True
    return removed(batch, out)


def missing_share(batch: Batch, draw: Draw, *, rate: Share) -> Batch:
    """Take a share ``rate`` of all cells of the split, counted: as many as ``rate`` says, no sample left empty.

    Each sample keeps one modality, drawn uniformly; the cells to go are drawn among all others. Beyond a share of
    (M - 1) / M only what is kept is left.
    """
    count = len(batch.streams)
    wanted = min(round(rate * len(draw.population) * count), len(draw.population) * (count - 1))
    gone = _slots(draw.key, tuple(draw.population), count - 1, wanted)
    out = torch.zeros_like(batch.present)
    for row, (sample, order) in enumerate(zip(batch.ids, _orders(batch, draw), strict=True)):
        for slot in gone.get(sample, ()):
            out[row, order[1 + slot : 2 + slot]] = True
    return removed(batch, out)


def missing_rates(batch: Batch, draw: Draw, *, most: Share = 0.7) -> Batch:
    """Take each cell of a sample with a rate of its own, uniform in [0, ``most``]; a sample left empty keeps one."""
    out = torch.zeros_like(batch.present)
    for row, (sample, order) in enumerate(zip(batch.ids, _orders(batch, draw), strict=True)):
        rng = draw.rng("rate", sample)
        out[row] = _unless_empty(rng.random(len(batch.streams)) < most * rng.random(), order)
    return removed(batch, out)


def imbalanced(batch: Batch, draw: Draw, modalities: tuple[str, ...] = ()) -> Batch:
    """Take each cell with the rate of its modality: the first named loses least (0.2), the last most (0.8).

    Modalities that are not named lose nothing; a sample left empty keeps one.
    """
    names = chosen(batch, modalities)
    rates = dict(zip(names, np.linspace(*LADDER, len(names)), strict=True))
    limits = np.array([rates.get(name, 0.0) for name in batch.streams])
    out = torch.zeros_like(batch.present)
    for row, (sample, order) in enumerate(zip(batch.ids, _orders(batch, draw), strict=True)):
        out[row] = _unless_empty(draw.rng("cells", sample).random(len(limits)) < limits, order)
    return removed(batch, out)


def removed(batch: Batch, gone: Tensor) -> Batch:
    """Return the batch without the cells where ``gone`` (batch, modalities) is True."""
    for column, name in enumerate(batch.streams):
        if bool(gone[:, column].any()):
            batch = batch.without(name, rows=gone[:, column])
    return batch


def _orders(batch: Batch, draw: Draw) -> list[list[int]]:
    """Return for each sample its modalities in an order drawn for it, those that it lacks left out."""
    present = batch.present.cpu().numpy()
    orders = [draw.rng("order", sample).permutation(len(batch.streams)) for sample in batch.ids]
    return [[int(i) for i in order if present[row, i]] for row, order in enumerate(orders)]


def _unless_empty(gone: np.ndarray[tuple[int], np.dtype[np.bool_]], order: Sequence[int]) -> Tensor:
    """Return ``gone``, without the first of ``order`` where all that is present would go."""
    if order and gone[list(order)].all():
        gone[order[0]] = False
    return torch.from_numpy(gone)


@lru_cache(maxsize=16)
def _slots(key: tuple[object, ...], population: tuple[str, ...], each: int, wanted: int) -> dict[str, list[int]]:
    """Return which of the ``each`` removable cells of a sample are gone: ``wanted`` of all, each once."""
    ids = sorted(population)
    taken = Draw(key, ids).rng("share").permutation(len(ids) * each)[:wanted].tolist()
    found: dict[str, list[int]] = {}
    for slot in taken:
        found.setdefault(ids[slot // each], []).append(slot % each)
    return found
