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


def parts(first: Array, second: Array, whole: float) -> Parts:
    """Return the decomposition from its pairs.

    Args:
        first, second: tables of each source with the label, ``(n1, classes)`` and ``(n2, classes)``.
        whole: what both sources together say about the label.
    """
    return Least.of(first, second).parts(first, second, whole)


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


def least_information(first: Array, second: Array) -> float:
    """Return the least that both sources together can say about the label, given what each says, in bits.

    Args:
        first, second: tables of each source with the label, ``(n1, classes)`` and ``(n2, classes)``, of equal sums over
            the sources.
    """
    return Least.of(first, second).information(first, second)


@dataclass(frozen=True)
class Least:
    """The program solved for two tables, and how its optimum moves with them.

    The optimum's derivatives by the pairs are the multipliers of the program; a family near by has at least what they
    say, and no more to first order.

    Attributes:
        value: the least, less the entropy of the label, in bits.
        pairs: both pairs of the tables that were solved, one after the other, flat.
        slopes: derivative of the program by these, in bits.
    """

    value: float
    pairs: Array
    slopes: Array

    @classmethod
    def of(cls, first: Array, second: Array) -> Least:
        """Solve the program for tables as for ``least_information``."""
        q, multipliers = _least(first, second)
        value = shared(q.reshape(-1, q.shape[2]))
        return cls(value - entropy(q.sum((0, 1))), _pairs(q), multipliers / np.log(2))

    def information(self, first: Array, second: Array) -> float:
        """Return the least of these tables, of first order where others were solved; none may have a cell that those
        had not."""
        first, second = first / first.sum(), second / second.sum()
        moved = float(self.slopes @ (np.concatenate([first.ravel(), second.ravel()]) - self.pairs))
        return max(self.value + entropy(first.sum(0)) + moved, shared(first), shared(second))

    def parts(self, first: Array, second: Array, whole: float) -> Parts:
        """Return the decomposition of tables as for ``information``; ``whole`` as for the function of this name."""
        one, two, both = shared(first), shared(second), self.information(first, second)
        return Parts(one + two - both, both - two, both - one, whole - both)


def _independent(first: Array, second: Array) -> Array:
    """Return the member of the family in which the sources are independent given the label."""
    labels = np.maximum((first.sum(0) + second.sum(0)) / 2, TINY)
    found: Array = first[:, None] * second[None] / labels
    return found


def _least(first: Array, second: Array) -> tuple[Array, Array]:
    """Return q* ``(n1, n2, classes)``, and the multipliers of its pairs, flat."""
    first, second = (t / t.sum() for t in (np.asarray(first, float), np.asarray(second, float)))
    q, weight = _independent(first, second), 1.0
    q = np.where(q > TINY, q, 0.0)
    wanted = np.concatenate([q.sum(1).ravel(), q.sum(0).ravel()])
    kept = wanted > 0
    # For each class both pairs sum to the same: one of its constraints follows from the others.
    present = kept[q.shape[0] * q.shape[2] :].reshape(q.shape[1:])
    places = np.flatnonzero(present.any(0))
    kept[q.shape[0] * q.shape[2] + present.argmax(0)[places] * q.shape[2] + places] = False
    while weight < STEEPEST:
        weight = min(weight * 50, STEEPEST)
        q, multipliers = _centred(q, np.flatnonzero(kept), wanted, weight)
    return q, multipliers / weight


def _centred(q: Array, kept: Array, wanted: Array, weight: float) -> tuple[Array, Array]:
    """Return the table q that minimises weight * sum q ln(q / q(x1,x2)) - sum ln q, both pairs as they are, and their
    multipliers.

    The Hessian is diagonal but for a rank of one per pair of sources, so its inverse is written out.

    Args:
        q: ``(n1, n2, classes)``; cells of 0 stay so.
        kept: which of the constraints are independent.
        wanted: both pairs, one after the other, flat.
        weight: of the objective.
    """
    there, multipliers = q > 0, np.zeros(len(wanted))
    first = q.shape[0] * q.shape[2]
    safe = np.where(there, q, 1.0)
    for _ in range(60):
        totals = q.sum(2, keepdims=True)
        gradient = np.where(there, weight * np.log(safe / np.where(totals > 0, totals, 1.0)) - 1 / safe, 0.0)
        scale = np.where(there, q / (weight + 1 / safe), 0.0)  # inverse of the diagonal
        # totals - weight * sum of scale within a pair, without the difference.
        rest = (q / (1 + weight * q)).sum(2, keepdims=True)
        low = scale * np.sqrt(weight / np.where(rest > 0, rest, 1.0))
        turned = scale * gradient + low * (low * gradient).sum(2, keepdims=True)
        missed = wanted - _pairs(q)  # by rounding
        normal = _normal(scale, low)[np.ix_(kept, kept)]
        multipliers[kept] = _solved(normal, (_pairs(turned) + missed)[kept])
        one = multipliers[:first].reshape(q.shape[0], 1, -1) + multipliers[first:].reshape(1, q.shape[1], -1)
        step = scale * one + low * (low * one).sum(2, keepdims=True) - turned
        decrement = -float((gradient * step).sum())
        if not decrement > 1e-9:
            break
        falling = step < 0
        length = min(1.0, 0.95 * float((-q[falling] / step[falling]).min(initial=np.inf)))
        value = _objective(q, there, weight)
        while length > 1e-8 and not _objective(q + length * step, there, weight) <= value - 1e-4 * length * decrement:
            length /= 2
        if length <= 1e-8:
            break
        q = q + length * step
        safe = np.where(there, q, 1.0)
    return q, multipliers


def _pairs(q: Array) -> Array:
    """Return the tables of both pairs, flat."""
    return np.concatenate([q.sum(1).ravel(), q.sum(0).ravel()])


def _normal(scale: Array, low: Array) -> Array:
    """Return what the constraints make of the inverse Hessian, ``diag(scale)`` and ``low low'`` within a pair."""
    n1, n2, classes = scale.shape
    same = np.eye(classes)
    out = np.zeros((n1 + n2, classes, n1 + n2, classes))
    rows, columns = np.arange(n1), n1 + np.arange(n2)
    out[rows, :, rows] = np.einsum("xk,kl->xkl", scale.sum(1), same) + np.einsum("xyk,xyl->xkl", low, low)
    out[columns, :, columns] = np.einsum("yk,kl->ykl", scale.sum(0), same) + np.einsum("xyk,xyl->ykl", low, low)
    across = np.einsum("xyk,kl->xkyl", scale, same) + np.einsum("xyk,xyl->xkyl", low, low)
    out[:n1, :, n1:] = across
    out[n1:, :, :n1] = across.transpose(2, 3, 0, 1)
    return out.reshape((n1 + n2) * classes, -1)


def _solved(normal: Array, right: Array) -> Array:
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    size = np.sqrt(np.diag(normal))
    even, wanted, more = normal / size / size[:, None], right / size, 0.0
    while True:  # next to singular, where the barrier is next to nothing
        try:
            factor = cho_factor(even + more * np.eye(len(even)))
            break
        except LinAlgError:
            more = max(1e-14, 10 * more)
    found = cho_solve(factor, wanted)
    found = found + cho_solve(factor, wanted - even @ found)
    return np.asarray(found / size)


def _objective(q: Array, there: Array, weight: float) -> float:
    cells = q[there]
    totals = np.broadcast_to(q.sum(2, keepdims=True), q.shape)[there]
    return float(weight * (cells * np.log(cells / totals)).sum() - np.log(cells).sum())
