"""Information in tables of shares, in bits.

A table holds probabilities and sums to 1; its axes are variables. Zero cells count nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import xlogy

from polymodal.score.statistics import Array


def entropy(table: Array) -> float:
    """Return the joint entropy of all variables of ``table``, in bits."""
    p = np.asarray(table, float)
    return float(-xlogy(p, p).sum() / np.log(2)) + 0.0


def shared(table: Array) -> float:
    """Return the mutual information of the two variables of ``table`` (n, m), in bits."""
    return entropy(table.sum(1)) + entropy(table.sum(0)) - entropy(table)


def shared_given(table: Array) -> float:
    """Return the mutual information of the first two variables of ``table`` (n, m, k) given the third, in bits."""
    return entropy(table.sum(1)) + entropy(table.sum(0)) - entropy(table) - entropy(table.sum((0, 1)))


def joint(codes: Sequence[Array], sizes: Sequence[int], weights: Array | None = None) -> Array:
    """Return the table of shares of samples.

    Args:
        codes: one array ``(samples,)`` of whole numbers per variable, each from 0 to its size - 1.
        sizes: of the variables.
        weights: ``(samples,)``, how often each sample counts; once where not given.
    """
    place = np.ravel_multi_index([np.asarray(c, np.int64) for c in codes], tuple(sizes))
    table = np.bincount(place, weights, int(np.prod(sizes))).reshape(tuple(sizes)).astype(float)
    return table / max(table.sum(), 1e-300)


def coupled_at_least(first: Array, second: Array) -> float:
    """Return a lower bound of the entropy, in bits, of any joint distribution of two variables.

    It is the entropy of the greatest distribution that both are majorised over: what its largest shares sum to is the
    smaller of what theirs do (Cicalese, Gargano & Vaccaro, IEEE Trans. Inf. Theory 2019).

    Args:
        first, second: the shares of each variable, in any order and shape.
    """
    size = max(np.size(first), np.size(second))
    sums = [np.cumsum(np.pad(np.sort(np.ravel(s))[::-1], (0, size - np.size(s)))) for s in (first, second)]
    return entropy(np.clip(np.diff(np.minimum(*sums), prepend=0.0), 0, None))


def noise(table: Array, samples: float) -> float:
    """Return the bits that a table of shares (n, m) is expected to show beyond what two variables share (Miller, 1955).

    Args:
        table: of shares.
        samples: behind it.
    """
    rows, columns = np.count_nonzero(table.sum(1)), np.count_nonzero(table.sum(0))
    return max(0.0, (np.count_nonzero(table) - rows - columns + 1) / (2 * np.log(2) * samples))


def denoised(table: Array, samples: float) -> Array:
    """Return ``table`` (n, m) drawn towards independence until it shows ``noise`` less; its sums stay.

    Args:
        table: of shares.
        samples: behind it.
    """
    free, wanted = table.sum(1, keepdims=True) * table.sum(0), shared(table) - noise(table, samples)
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if shared(table + middle * (free - table)) < wanted else (middle, high)
    found: Array = table + low * (free - table)
    return found if wanted > 0 else free
