"""Partial information decomposition: what two sources say about a label together, each alone, and only jointly.

After Bertschinger et al. (Entropy 2014); the bounds without joint labels are those of Liang et al. (ICLR 2024, arXiv
2306.04539). All joint distributions q of sources X1, X2 and label Y with the pairs (X1, Y) and (X2, Y) of p form a
family. q* is the one in which Y is least certain to be known, i.e. which minimises I_q(X1 X2; Y), and

    R = I(X1;Y) + I(X2;Y) - I_q*(X1 X2;Y),   U1 = I_q*(X1 X2;Y) - I(X2;Y),   U2 = I_q*(X1 X2;Y) - I(X1;Y),
    S = I_p(X1 X2;Y) - I_q*(X1 X2;Y).

R, U1 and U2 depend on the pairs alone, so they are known without any sample in which both sources and the label are;
S is not, but has bounds. The program is convex. It is solved with a logarithmic barrier and Newton's method, whose gap
to the optimum is known: at most (number of cells) / ``STEEPEST`` nats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from polymodal.score.information import coupled_at_least, entropy, shared
from polymodal.score.statistics import Array

STEEPEST = 1e9
"""Last weight of the objective against the barrier."""

TINY = 1e-15
"""Shares below this are none."""


@dataclass(frozen=True)
class Parts:
    """A decomposition, in bits; the parts sum to the information that both sources have about the label.

    Attributes:
        redundant: what either source says.
        first, second: what only this source says.
        synergy: what neither says, but both together.
    """

    redundant: float
    first: float
    second: float
    synergy: float


@dataclass(frozen=True)
class Bounds:
    """What is known of a decomposition without joint labels, in bits.

    Attributes:
        redundant, first, second: as in ``Parts``; known exactly.
        by_redundancy, by_disagreement: lower bounds of the synergy; may be negative.
        high: an upper bound of it.
    """

    redundant: float
    first: float
    second: float
    by_redundancy: float
    by_disagreement: float
    high: float

    @property
    def low(self) -> float:
        """The best lower bound; synergy is never negative."""
        return max(0.0, self.by_redundancy, self.by_disagreement)


def decompose(table: Array) -> Parts:
    """Return the decomposition of ``table`` (n1, n2, classes), shares of samples."""
    return parts(table.sum(1), table.sum(0), shared(table.reshape(-1, table.shape[2])))


def parts(first: Array, second: Array, whole: float, steepest: float = STEEPEST) -> Parts:
    """Return the decomposition from its pairs.

    Args:
        first, second: tables of each source with the label, ``(n1, classes)`` and ``(n2, classes)``.
        whole: what both sources together say about the label.
        steepest: last weight of the objective against the barrier; a lower one is quicker and coarser.
    """
    one, two, both = shared(first), shared(second), least_information(first, second, steepest)
    return Parts(one + two - both, both - two, both - one, whole - both)


def bounds(sources: Array, first: Array, second: Array) -> Bounds:
    """Return what is known without any sample in which both sources and the label are.

    The upper bound is about these alphabets: of sources that were made coarser it says nothing.

    Args:
        sources: table of both sources ``(n1, n2)``, from unlabelled samples.
        first, second: tables of each source with the label, ``(n1, classes)`` and ``(n2, classes)``.
    """
    known = parts(first, second, 0.0)
    # I(X1;X2|Y) where one of the three pairs is free is never more than it is; the program has the roles exchanged.
    given = max(
        least_information(sources.T, first.T) - shared(first), least_information(sources, second.T) - shared(second)
    )
    labels = first.sum(0)
    together = max(
        coupled_at_least(sources, labels),
        coupled_at_least(first, second.sum(1)),
        coupled_at_least(second, first.sum(1)),
    )
    said = known.redundant + known.first + known.second
    return Bounds(
        known.redundant,
        known.first,
        known.second,
        known.redundant - shared(sources) + given,
        disagreement(sources, first, second) / 4 - max(known.first, known.second),
        entropy(sources) + entropy(labels) - together - said,
    )


def disagreement(sources: Array, first: Array, second: Array) -> float:
    """Return how far the answers p(y|x1) and p(y|x2) are apart, squared and summed over classes; the mean over the
    pairs of ``sources``. Tables as for ``bounds``."""
    a, b = (t / np.maximum(t.sum(1, keepdims=True), TINY) for t in (first, second))
    return float((sources * np.square(a[:, None] - b[None]).sum(2)).sum())


def least_information(first: Array, second: Array, steepest: float = STEEPEST) -> float:
    """Return the least that both sources together can say about the label, given what each says, in bits.

    Args:
        first, second: tables of each source with the label, ``(n1, classes)`` and ``(n2, classes)``, of equal sums over
            the sources.
        steepest: as for ``parts``.
    """
    q = _least(first, second, steepest)
    return max(shared(q.reshape(-1, q.shape[2])), shared(first), shared(second))


def _least(first: Array, second: Array, steepest: float) -> Array:
    """Return q* ``(n1, n2, classes)``."""
    first, second = (t / t.sum() for t in (np.asarray(first, float), np.asarray(second, float)))
    labels = np.maximum((first.sum(0) + second.sum(0)) / 2, TINY)
    # Within the family, and above zero wherever anything of it is.
    start = first[:, None] * second[None] / labels
    x, y, k = np.nonzero(start > TINY)
    q, pair = start[x, y, k], np.unique(x * len(second) + y, return_inverse=True)[1]
    constraints = np.concatenate([_membership(x * len(labels) + k), _membership(y * len(labels) + k)])
    wanted, weight = constraints @ q, 1.0
    while weight < steepest:
        weight = min(weight * 50, steepest)
        q = _centred(q, pair, constraints, wanted, weight)
    full = np.zeros_like(start)
    full[x, y, k] = q
    return full


def _membership(places: Array) -> Array:
    """Return ``(kinds, cells)``, 1 where a cell is of a kind."""
    kinds, where = np.unique(places, return_inverse=True)
    return (np.arange(len(kinds))[:, None] == where).astype(float)


def _centred(q: Array, pair: Array, constraints: Array, wanted: Array, weight: float) -> Array:
    """Return the cells q that minimise weight * sum q ln(q / q(x1,x2)) - sum ln q, ``constraints @ q`` as ``wanted``.

    The Hessian is diagonal but for a rank of one per pair of sources, so its inverse is written out.
    """
    for _ in range(60):
        totals = np.bincount(pair, q)
        gradient = weight * np.log(q / totals[pair]) - 1 / q
        scale = q / (weight + 1 / q)  # inverse of the diagonal
        # totals - weight * sum of scale within a pair, without the difference.
        rest = np.bincount(pair, q / (1 + weight * q))

        def inverse(columns: Array, scale: Array = scale, rest: Array = rest) -> Array:
            found = scale[:, None] * columns
            sums = np.stack([np.bincount(pair, column) for column in found.T], axis=1)
            return np.asarray(found + scale[:, None] * (weight * sums / rest[:, None])[pair])

        solved = inverse(np.concatenate([constraints.T, gradient[:, None]], axis=1))
        normal, right = constraints @ solved[:, :-1], constraints @ solved[:, -1]
        missed = wanted - constraints @ q  # by rounding
        lift = np.linalg.lstsq(normal, right + missed, rcond=1e-13)[0]  # of constraints that are not independent
        step = solved[:, :-1] @ lift - solved[:, -1]
        decrement = -float(gradient @ step)
        if not decrement > 1e-9:
            break
        falling = step < 0
        longest = float((-q[falling] / step[falling]).min(initial=np.inf))
        length = min(1.0, 0.95 * longest)
        value = _objective(q, pair, weight)
        while length > 1e-8 and not _objective(q + length * step, pair, weight) <= value - 1e-4 * length * decrement:
            length /= 2
        if length <= 1e-8:
            break
        q = q + length * step
    return q


def _objective(q: Array, pair: Array, weight: float) -> float:
    totals = np.bincount(pair, q)
    return float(weight * (q * np.log(q / totals[pair])).sum() - np.log(q).sum())
