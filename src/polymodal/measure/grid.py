"""Series with a regular step, and what of them lies in stretches of time; NaN is what is not known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from polymodal.data.ragged import Array

Span = tuple[float, float]
"""Start and end, seconds."""


def rows_in(length: int, step: float, spans: Sequence[Span]) -> Array:
    """Return (length,) bool: whether the row at ``i * step`` seconds lies in one of ``spans``, ends excluded."""
    chosen = np.zeros(length, bool)
    for start, end in spans:
        first, last = (max(0, int(np.ceil(t / step - 1e-6))) for t in (start, min(end, length * step)))
        chosen[first:last] = True
    return chosen


def runs(mask: Array) -> Array:
    """Return (k, 2) int: the first row of each run of True in ``mask`` (n,), and the row after its last."""
    edges = np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def overlap(spans: Sequence[Span] | Array, others: Sequence[Span] | Array) -> list[Span]:
    """Return what ``spans`` and ``others`` have in common."""
    found = ((max(a, c), min(b, d)) for a, b in spans for c, d in others)
    return [(float(a), float(b)) for a, b in found if b > a]


def joined(spans: Sequence[Span], gap: float) -> list[Span]:
    """Return ``spans`` in order, those less than ``gap`` seconds apart as one."""
    done: list[Span] = []
    for start, end in sorted(spans):
        if done and start - done[-1][1] < gap:
            done[-1] = (done[-1][0], max(end, done[-1][1]))
        else:
            done.append((start, end))
    return done


def seconds(spans: Sequence[Span]) -> float:
    """Return how long ``spans`` last together; they must not overlap."""
    return float(sum(end - start for start, end in spans))


def smoothed(values: Array, size: int) -> Array:
    """Return the moving mean of ``values`` (n,) over ``size`` rows (odd); edges repeat their last value."""
    if len(values) == 0:
        return values
    padded = np.pad(values, size // 2, mode="edge")
    return np.convolve(padded, np.full(size, 1 / size), mode="valid")


def sampled(times: Array, values: Array, step: float, length: int, gap: float) -> Array:
    """Return ``values`` (n, width) at ``i * step`` seconds, (length, width) float32, between neighbours on a line.

    A row is NaN where the neighbours are further apart than ``gap`` seconds, unless one of them is within half a step.

    Args:
        times: (n,) seconds, ascending.
    """
    out: Array = np.full((length, values.shape[1]), np.nan, np.float32)
    if not len(times):
        return out
    at = np.arange(length) * step
    after = np.clip(np.searchsorted(times, at), 0, len(times) - 1)
    before = np.clip(after - (times[after] > at), 0, len(times) - 1)
    alone = np.minimum(np.abs(times[after] - at), np.abs(times[before] - at))
    between = (times[before] <= at + 1e-9) & (times[after] >= at - 1e-9)
    known = (between & (times[after] - times[before] <= gap)) | (alone <= step / 2 + 1e-9)
    for column in range(values.shape[1]):
        out[known, column] = np.interp(at[known], times, values[:, column])
    return out
