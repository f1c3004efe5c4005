"""Statistics of samples that occur 0, 1, 2, ... times.

A part or a resample of the data is fully described by how often it holds each sample, so every statistic here is built
once from the data and then maps ``times`` (resamples, samples) to one value per row, mostly by a single matrix product;
no copy of the data is ever made. A row of ones is the plain statistic. Where a statistic is undefined (no
samples, a constant, a class without members) it is NaN, without a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Statistic = Callable[[Array], Array]
"""``times`` (resamples, samples) float -> (resamples,) float."""

Range = tuple[float, float]
"""The least and the most that a statistic can be."""

SHARE: Range = (0.0, 1.0)
CORRELATION: Range = (-1.0, 1.0)
ERROR: Range = (0.0, np.inf)
UP_TO_ONE: Range = (-np.inf, 1.0)

CONSTANT = 1e-13
"""A variance below this share of the mean square is rounding noise of a constant."""


def undefined(times: Array) -> Array:
    """Return NaN for every resample: the statistic of a column that is not there."""
    return np.full(len(times), np.nan)


def ratio(top: Array, bottom: Array) -> Array:
    """Return ``top / bottom``, NaN where ``bottom`` is not above zero."""
    top, bottom = np.broadcast_arrays(top, bottom)
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def mean_defined(values: Array) -> Array:
    """Return the mean over the last axis of the values that are not NaN, NaN where none is."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))


def quotient(top: Array, bottom: Array) -> Statistic:
    """Sum of ``top`` over sum of ``bottom``, both (samples,)."""
    columns = np.stack([top, bottom], axis=1).astype(float)
    return lambda times: ratio(*(times @ columns).T)


def average(values: Array, rows: Array | None = None) -> Statistic:
    """Mean of ``values`` (samples,), or of those where ``rows`` (samples,) is True."""
    keep = np.ones(len(values)) if rows is None else rows
    return quotient(values * keep, keep)


def recall(true: Array, predicted: Array) -> Statistic:
    """Share of ``true`` (samples,) bool that is ``predicted``."""
    return quotient(true & predicted, true)


def f1(true: Array, predicted: Array) -> Statistic:
    """F1 of one class from (samples,) bool; NaN where it is neither true nor predicted."""
    return quotient(2 * (true & predicted), true.astype(int) + predicted)


def mean_of(parts: Sequence[Statistic]) -> Statistic:
    """Mean of the statistics that are defined."""
    return lambda times: mean_defined(np.stack([part(times) for part in parts], axis=1))


def root(statistic: Statistic) -> Statistic:
    """Square root of another statistic."""
    return lambda times: np.sqrt(statistic(times))


def median(values: Array) -> Statistic:
    """Median of ``values`` (samples,), the middle of both where their number is even; NaN without samples."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]

    def value(times: Array) -> Array:
        running = np.cumsum(times[:, order], axis=1)
        half = times.sum(axis=1, keepdims=True) / 2
        lower, upper = ordered[(running >= half).argmax(axis=1)], ordered[(running > half).argmax(axis=1)]
        return np.where(half[:, 0] > 0, (lower + upper) / 2, np.nan)

    return value


def correlation(x: Array, y: Array) -> Statistic:
    """Pearson correlation of two columns (samples,); NaN where either is constant."""
    x, y = _centred(x), _centred(y)
    columns = np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)

    def value(times: Array) -> Array:
        count, sum_x, sum_y, xx, yy, xy = (times @ columns).T
        spread_x, spread_y = _spread(count, sum_x, xx), _spread(count, sum_y, yy)
        shared = xy - ratio(sum_x * sum_y, count)
        return np.clip(ratio(shared, np.sqrt(spread_x) * np.sqrt(spread_y)), -1, 1)

    return value


def concordance(x: Array, y: Array) -> Statistic:
    """Concordance correlation of two columns (samples,): 1 only where they are equal (Lin, Biometrics 1989).

    2 covariance / (both variances + squared difference of means); 0 where one is constant, NaN where both are the same
    constant.
    """
    middle = np.median(y)
    scale = float(np.abs(np.concatenate([x, y]) - middle).max(initial=0)) or 1.0
    x, y = (x - middle) / scale, (y - middle) / scale
    columns = np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)

    def value(times: Array) -> Array:
        count, sum_x, sum_y, xx, yy, xy = (times @ columns).T
        spread = _spread(count, sum_x, xx) + _spread(count, sum_y, yy)
        apart = np.nan_to_num(ratio((sum_x - sum_y) ** 2, count))
        return ratio(2 * (xy - np.nan_to_num(ratio(sum_x * sum_y, count))), spread + apart)

    return value


def explained(true: Array, predicted: Array) -> Statistic:
    """R2, the coefficient of determination: 1 - squared errors / squared deviations of ``true`` from its mean."""
    y, scale = _centred(true), _scale(true)
    error = (true - predicted) / scale  # in the unit of y
    columns = np.stack([np.ones(len(y)), y, y * y, error * error], axis=1)

    def value(times: Array) -> Array:
        count, total, square, errors = (times @ columns).T
        return 1 - ratio(errors, _spread(count, total, square))

    return value


def spearman(x: Array, y: Array) -> Statistic:
    """Spearman's rank correlation of two columns (samples,), ties at their middle rank; NaN where either is constant.

    Ranks are those within the resample. The columns are sorted once: the middle rank of a value is the number of
    draws below it plus half of the draws equal to it.
    """
    groups_x, groups_y = Groups.of(x), Groups.of(y)

    def value(times: Array) -> Array:
        half = times.sum(axis=1, keepdims=True) / 2  # the mean rank
        rank_x, rank_y = groups_x.middle_ranks(times) - half, groups_y.middle_ranks(times) - half
        weighted = times * rank_x
        shared = np.einsum("rn,rn->r", weighted, rank_y)
        spread_x = np.einsum("rn,rn->r", weighted, rank_x)
        spread_y = np.einsum("rn,rn,rn->r", times, rank_y, rank_y)
        return np.clip(ratio(shared, np.sqrt(spread_x) * np.sqrt(spread_y)), -1, 1)

    return value


@dataclass(frozen=True)
class Groups:
    """Samples in ascending order of a value, cut where the value changes.

    Attributes:
        order: (samples,) row numbers, ascending by value.
        starts: (groups,) where in ``order`` each distinct value begins.
        member: (samples,) the group of each sample.
    """

    order: Array
    starts: Array
    member: Array

    @classmethod
    def of(cls, values: Array) -> Groups:
        """Group the samples by ``values`` (samples,)."""
        _, member = np.unique(values, return_inverse=True)
        order = np.argsort(member, kind="stable")
        return cls(order, np.flatnonzero(np.diff(member[order], prepend=-1)), member)

    def totals(self, times: Array) -> Array:
        """Return ``times`` (resamples, samples) summed within each group: (resamples, groups)."""
        return self._sums(np.take(times, self.order, axis=1))

    def split(self, times: Array, positive: Array) -> tuple[Array, Array]:
        """Return ``totals`` of the positive (samples,) bool and of the other samples."""
        ordered = np.take(times, self.order, axis=1)
        hits = self._sums(ordered * positive[self.order])
        return hits, self._sums(ordered) - hits

    def _sums(self, ordered: Array) -> Array:
        # Without ties there is nothing to add, and reduceat would be a third of the time.
        return ordered if len(self.starts) == len(self.order) else np.add.reduceat(ordered, self.starts, axis=1)

    def middle_ranks(self, times: Array) -> Array:
        """Return the middle rank, less one half, of every sample within each resample: (resamples, samples)."""
        totals = self.totals(times)
        return np.take(np.cumsum(totals, axis=1) - totals / 2, self.member, axis=1)


def auc(positive: Array, score: Array) -> Statistic:
    """Area under the ROC curve: how often a positive scores above a negative, ties counting half.

    Args:
        positive: (samples,) bool. score: (samples,), higher means more likely positive.
    """
    groups = Groups.of(score)

    def value(times: Array) -> Array:
        hits, misses = groups.split(times, positive)
        below = np.cumsum(misses, axis=1) - misses / 2
        return ratio((hits * below).sum(axis=1), hits.sum(axis=1) * misses.sum(axis=1))

    return value


def equal_error_rate(positive: Array, score: Array) -> Statistic:
    """Error rate at the threshold where as many positives are missed as negatives are accepted.

    The ROC curve is interpolated linearly between neighbouring thresholds, so that scores that tell nothing give 0.5
    however they are tied; taking the nearest point of the curve instead, as some codes do, differs by less than the
    step between two thresholds. Arguments as for ``auc``.
    """
    groups = Groups.of(score)

    def value(times: Array) -> Array:
        hits, misses = groups.split(times, positive)
        # Thresholds ascend: positives below are missed, negatives not below are accepted.
        missed = _rates(hits)
        accepted = 1 - _rates(misses)
        gap = missed - accepted  # from -1 up to 1
        after = np.argmax(gap >= 0, axis=1)[:, None]
        ends = [
            np.take_along_axis(a, i, axis=1)[:, 0] for a in (gap, missed) for i in (np.maximum(after - 1, 0), after)
        ]
        gap_before, gap_after, missed_before, missed_after = ends
        return missed_before + ratio(-gap_before, gap_after - gap_before) * (missed_after - missed_before)

    return value


@dataclass(frozen=True)
class ClassCounts:
    """Correct predictions, true members and predicted members of every class, each (resamples, classes)."""

    correct: Array
    members: Array
    predicted: Array

    @property
    def f1(self) -> Array:
        """F1 per class; NaN for a class that is neither true nor predicted anywhere."""
        return ratio(2 * self.correct, self.members + self.predicted)

    @property
    def recall(self) -> Array:
        """Recall per class; NaN for a class without members."""
        return ratio(self.correct, self.members)

    @property
    def weighted_f1(self) -> Array:
        """F1 averaged over classes in proportion to their members."""
        return ratio(np.nan_to_num(self.members * self.f1).sum(axis=1), self.members.sum(axis=1))


def count_classes(
    true: Array, predicted: Array, classes: int, rows: Array | None = None
) -> Callable[[Array], ClassCounts]:
    """Count class numbers (samples,) in each resample; only where ``rows`` is True, if given."""
    members, guesses = (v[:, None] == np.arange(classes) for v in (true.astype(int), predicted.astype(int)))
    columns = np.concatenate([members & guesses, members, guesses], axis=1).astype(float)
    if rows is not None:
        columns *= rows[:, None]

    def value(times: Array) -> ClassCounts:
        counts = times @ columns
        return ClassCounts(*(counts[:, i * classes : (i + 1) * classes] for i in range(3)))

    return value


def _scale(values: Array) -> float:
    """Largest distance from the median, 1 for a constant."""
    return float(np.abs(values - np.median(values)).max()) or 1.0


def _centred(values: Array) -> Array:
    """Shift and scale into [-1, 1]: keeps sums of squares accurate, and makes a constant exactly zero."""
    return (values - np.median(values)) / _scale(values)


def _spread(count: Array, total: Array, square: Array) -> Array:
    """Squared deviations from the mean, exactly 0 for a constant."""
    spread = square - np.nan_to_num(ratio(total * total, count))
    return np.where(spread > CONSTANT * square, spread, 0.0)


def _rates(counts: Array) -> Array:
    """Cumulative share (resamples, groups + 1) of ``counts`` (resamples, groups), starting at 0."""
    running = np.cumsum(np.pad(counts, ((0, 0), (1, 0))), axis=1)
    return ratio(running, running[:, -1:])
