"""Many steps, one label: scores of steps pooled over the highest of them, and who is told apart from whom."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from polymodal.core import Stream
from polymodal.nn.contrast import cosines
from polymodal.nn.masking import masked_mean
from polymodal.nn.traced import highest_first

STEPS_PER_PICK = 16
"""One step is picked of so many, and one more."""


def picks(lengths: Tensor) -> Tensor:
    """Return how many steps speak for a sample of ``lengths`` (batch,) steps: floor(T / 16) + 1, none of none."""
    return torch.where(lengths > 0, lengths // STEPS_PER_PICK + 1, torch.zeros_like(lengths))


def top(scores: Tensor, mask: Tensor, *, lowest: bool = False) -> Tensor:
    """Return which steps are among the ``picks`` highest (or lowest) of their sample, ``(batch, time)`` bool.

    Args:
        scores: ``(batch, time)``.
        mask: ``(batch, time)`` bool, true steps; no other step is ever chosen.
        lowest: choose the lowest.
    """
    ranked = (-scores if lowest else scores).masked_fill(~mask, -torch.inf)
    order = highest_first(ranked)
    rank = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    places = torch.zeros_like(order).scatter(1, order, rank)
    return (places < picks(mask.sum(1))[:, None]) & mask


def top_mean(scores: Tensor, mask: Tensor) -> Tensor:
    """Mean of the ``picks`` highest true steps: ``(batch, time, columns)`` -> ``(batch, columns)``; 0 without steps."""
    ranked, _ = scores.masked_fill(~mask[..., None], -torch.inf).sort(dim=1, descending=True)
    wanted = picks(mask.sum(1))[:, None]
    chosen = torch.arange(scores.shape[1], device=scores.device) < wanted
    kept = ranked.where(chosen[..., None], ranked.new_zeros(()))
    return kept.sum(1) / wanted.clamp(min=1)


def aligned(values: Tensor, lengths: Tensor, wanted: Tensor, steps: int) -> Tensor:
    """Return ``values`` (batch, time, columns) on a common grid: ``(batch, steps, columns)``, zero behind ``wanted``.

    Step t of T is what was said at the same share of the sample's own steps; where these are T, it is step t.

    Args:
        values: with ``lengths`` (batch,) true steps; a sample without any becomes zeros.
        lengths: true steps of ``values``.
        wanted: ``(batch,)``, true steps of the grid.
        steps: of the grid, at least the longest of ``wanted``.
    """
    step = torch.arange(steps, device=values.device)
    place = ((2 * step + 1) * lengths[:, None]) // (2 * wanted.clamp(min=1))[:, None]
    place = torch.minimum(place, (lengths - 1).clamp(min=0)[:, None])
    found = values.gather(1, place[..., None].expand(-1, -1, values.shape[2]))
    there = (step < wanted[:, None]) & (lengths > 0)[:, None]
    return found.where(there[..., None], found.new_zeros(()))


def set_contrast(queries: Tensor, positives: Tensor, negatives: Tensor, temperature: float, weights: Tensor) -> Tensor:
    """InfoNCE with negatives of their own: -log e^(cos(q, p) / t) / (e^(cos(q, p) / t) + sum_n e^(cos(q, n) / t)).

    Args:
        queries: ``(number, width)``.
        positives: ``(number, width)``, one for each query.
        negatives: ``(others, width)``, of all queries; with none of them the loss is 0.
        temperature: above 0.
        weights: ``(number,)``, how often each query counts.

    Returns:
        Mean over queries, scalar; log(1 + others) if all vectors are equal, 0 without queries.
    """
    own = F.cosine_similarity(queries.float(), positives.float(), dim=1) / temperature
    logits = torch.cat([own[:, None], cosines(queries, negatives) / temperature], dim=1)
    return (weights * (logits.logsumexp(1) - own)).sum() / weights.sum().clamp(min=1)


def grid(streams: dict[str, Stream]) -> Tensor:
    """Return the steps of each sample's longest stream, ``(batch,)``."""
    return torch.stack([s.mask.sum(1) for s in streams.values()], dim=1).amax(1)


@dataclass(frozen=True)
class Semibags:
    """What one modality's scores for one event make of a batch.

    Attributes:
        states: ``(batch, time, width)``.
        high, low: ``(batch, time)`` bool, the picked steps with the highest and the lowest scores.
        mean: ``(batch, width)``, of the high ones.
    """

    states: Tensor
    high: Tensor
    low: Tensor
    mean: Tensor

    @classmethod
    def of(cls, states: Tensor, scores: Tensor, mask: Tensor) -> Semibags:
        """Return those of ``scores`` (batch, time), chosen among true steps ``mask``."""
        high = top(scores, mask)
        return cls(states, high, top(scores, mask, lowest=True), masked_mean(states, high))

    def against(self, other: Semibags, taken: Tensor, temperature: float) -> Tensor:
        """Return the contrasts of this modality's high steps in samples that are ``taken`` (batch,) for the event.

        Their mean is drawn to that of the same sample's high steps in ``other``, away from the low steps of ``other``
        and from the high ones of samples that are not taken; 0 where no sample is taken, or all are. A step that is
        high and low at once, in a short sample that is taken, is not among the low ones.
        """
        rows = taken & self.high.any(1) & other.high.any(1)
        normal = other.high & ~taken[:, None]
        if not bool(rows.any()) or not bool(normal.any()):
            return self.mean.sum() * 0
        background = other.low & ~(other.high & taken[:, None])
        counts = self.high.sum(1)[rows].float()
        return torch.stack(
            [
                set_contrast(self.mean[rows], other.mean[rows], other.states[chosen], temperature, counts)
                for chosen in (background, normal)
            ]
        ).sum()
