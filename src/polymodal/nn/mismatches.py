"""Vectors of different samples, and how badly they ought to go together."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import torch
from torch import Tensor

from polymodal.core import Batch, Target

RATIO = 4
"""Mismatches at most per sample and combination of modalities, as in the code of the paper's relative."""

OFFSET = 0.1
"""Added to the distance of labels: a mismatch of equal labels scores above a match."""

SPAN = 6.0
"""Largest distance of two labels, on a scale from -3 to 3."""


def mismatches(batch: int, size: int, device: torch.device, random: torch.Generator | None = None) -> Tensor:
    """Draw tuples of different samples: ``(at most RATIO * batch, size)`` long."""
    drawn = torch.randint(batch, ((RATIO + 1) * batch, size), device=device, generator=random)
    sorted_rows = drawn.sort(1).values
    return drawn[(sorted_rows[:, 1:] != sorted_rows[:, :-1]).all(1)][: RATIO * batch]


def label_distance(targets: Iterable[Target], batch: Batch) -> tuple[Tensor, Tensor]:
    """Return how far labels are apart, ``(batch, batch)`` from 0 to SPAN, and which samples have any, ``(batch,)``.

    The mean over targets of which both samples have a label; SPAN where there is none.
    """
    total, count, known = [], [], []
    for target in targets:
        there, spec = batch.labelled(target.name), target.spec
        reach = {"number": SPAN, "class": 1.0}.get(spec.answer, float(len(target.classes)))
        both = there.unsqueeze(0) & there.unsqueeze(1)
        total.append((spec.distance(batch.targets[target.name]) * SPAN / reach).where(both, 0.0))
        count.append(both)
        known.append(there)
    sums, counts = torch.stack(total).sum(0), torch.stack(count).sum(0)
    return torch.where(counts > 0, sums / counts.clamp(min=1), SPAN), torch.stack(known).any(0)


def target_scores(distance: Tensor, rows: Tensor) -> Tensor:
    """Return s of mismatches ``rows`` (n, size): the root of the sum of squared distances, from above 0 to 1."""
    pairs = [*combinations(range(rows.shape[1]), 2)]
    squares = torch.stack([distance[rows[:, a], rows[:, b]].square() for a, b in pairs]).sum(0)
    return (squares.sqrt() + OFFSET) / (SPAN * len(pairs) ** 0.5 + OFFSET)
