"""Is system A better than system B on the same test samples, or is it luck?

``paired_difference`` gives the size of the difference with an interval over groups and seeds; ``swap_test`` and
``sign_flip`` give exact or Monte Carlo p values of "the two are interchangeable", exchanging whole groups; ``holm``
adjusts p values when many systems are compared.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polymodal.core import DataError, Measure, OptionError, Target, nearest, numpy_rng
from polymodal.score.intervals import (
    CELLS,
    FEW,
    Blocks,
    check_level,
    group_numbers,
    jackknife,
    mean_over_seeds,
    over_seeds,
    student,
    tables_by_seed,
)
from polymodal.score.statistics import Array

EXACT = 16
"""Up to this many groups all 2^n exchanges are enumerated."""


@dataclass(frozen=True)
class Comparison:
    """A minus B in one metric, averaged over seeds: difference, interval, two-sided p value, number of groups."""

    difference: float
    low: float
    high: float
    p: float
    groups: int


def align(ids_a: Sequence[str], ids_b: Sequence[str]) -> Array:
    """Return rows ``r`` such that ``ids_b[r[i]] == ids_a[i]``, to bring B's predictions into A's order.

    Raises:
        DataError: the two test sets differ, or an id appears twice.
    """
    for ids in (ids_a, ids_b):
        if len(set(ids)) < len(ids):
            twice = Counter(ids).most_common(1)[0][0]
            raise DataError(f"sample {str(twice)!r} appears twice in the predictions; ids must be unique")
    where = {name: row for row, name in enumerate(ids_b)}
    missing, extra = [i for i in ids_a if i not in where], sorted(set(where) - set(ids_a))
    if missing or extra:
        example = f"{str((missing or extra)[0])!r} is only in the {'first' if missing else 'second'}"
        raise DataError(
            f"the two runs were tested on different samples ({len(ids_a)} and {len(ids_b)}, {example}); compare runs "
            f"on the same test split"
        )
    return np.array([where[i] for i in ids_a], dtype=np.int64)


def paired_difference(
    target: Target,
    true: Any,
    a: Any,
    b: Any,
    metric: str,
    *,
    probability_a: Any = None,
    probability_b: Any = None,
    groups: Sequence[str] | Array | None = None,
    level: float = 0.95,
) -> Comparison:
    """Return A's ``metric`` minus B's, with an interval over groups and seeds as ``intervals`` describes it.

    Args:
        true: labels as for ``evaluate``.
        a, b: predictions as for ``evaluate``, or one row of them per seed; seeds are averaged, and the two systems may
            have different numbers of them. Both in the order of ``true`` (see ``align``).
        probability_a, probability_b: with or without seeds like ``a`` and ``b``; needed for ``auc`` and ``eer``.
        groups: the group of each sample; None where samples are independent.

    The p value is that of the same t statistic, so that it is below 1 - level exactly when the interval leaves zero
    out. Fewer than ``FEW`` groups give neither.

    Raises:
        DataError: as ``evaluate``, or other numbers of groups and samples.
        OptionError: an unknown metric, a level outside (0, 1).
    """
    _check_metric(target, metric)
    tables_a = tables_by_seed(target, true, *_with_seeds(target, a, probability_a))
    tables_b = tables_by_seed(target, true, *_with_seeds(target, b, probability_b))
    return compare_tables(tables_a, tables_b, metric, Blocks.of(len(true), groups), level=level)


def compare_tables(
    tables_a: Sequence[Mapping[str, Measure]],
    tables_b: Sequence[Mapping[str, Measure]],
    metric: str,
    blocks: Blocks,
    *,
    level: float = 0.95,
) -> Comparison:
    """``paired_difference`` from measures, one table per seed: of predictions, or of curves (see ``score.curve``)."""
    check_level(level)
    if not len(blocks.member):
        return Comparison(math.nan, math.nan, math.nan, math.nan, blocks.groups)

    def difference(times: Array) -> Array:
        return mean_over_seeds(tables_a, metric, times) - mean_over_seeds(tables_b, metric, times)

    once = np.ones((1, len(blocks.member)))
    observed = float(difference(once)[0])
    if np.isnan(observed) or blocks.groups < FEW:
        return Comparison(observed, math.nan, math.nan, math.nan, blocks.groups)
    seeds = [over_seeds(np.concatenate([t[metric].value(once) for t in tables])) for tables in (tables_a, tables_b)]
    low, high, p = student(observed, [jackknife(difference, blocks), *seeds], level)
    return Comparison(observed, low, high, p, blocks.groups)


def sign_flip(
    difference: Any, *, groups: Sequence[str] | Array | None = None, rounds: int = 10_000, seed: int = 0
) -> float:
    """Return the two-sided p value of "the paired differences are symmetric around 0".

    Args:
        difference: ``(samples,)``, A's minus B's ``sample_scores``, averaged over seeds if there are several.
        groups: the group of each sample, whose differences change their sign together; None where samples are
            independent.
        rounds: random sign vectors when there are more than 16 groups; fewer are enumerated exactly. The Monte Carlo p
            value is (1 + as extreme) / (1 + rounds), which never claims more than was sampled.

    Raises:
        DataError: not one column of finite numbers.
    """
    values = np.asarray(difference, dtype=float)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise DataError("sign_flip needs one finite difference per sample; give the difference of two sample_scores")
    values = np.bincount(group_numbers(len(values), groups), values)
    size = np.abs(values).sum()
    sums = [np.abs((1 - 2 * exchanged) @ values) for exchanged in _exchanges(len(values), len(values), rounds, seed)]
    return _p_value(np.abs(values.sum()), np.concatenate(sums), 1e-12 * size, len(values) <= EXACT)


def swap_test(
    target: Target,
    true: Any,
    a: Any,
    b: Any,
    metric: str,
    *,
    probability_a: Any = None,
    probability_b: Any = None,
    groups: Sequence[str] | Array | None = None,
    rounds: int = 10_000,
    seed: int = 0,
) -> float:
    """Return the two-sided p value of "exchanging the systems' predictions on any group changes nothing".

    For any metric, also those that are no mean over samples (correlation, F1, AUC). Arguments as for
    ``paired_difference``; with seeds, both systems need the same number, and a group is exchanged in all of them.
    Exact for up to 16 groups, else ``rounds`` random exchanges as in ``sign_flip``.

    Raises:
        DataError: as ``evaluate``, or different numbers of seeds.
        OptionError: an unknown metric.
    """
    _check_metric(target, metric)
    p_a, q_a = _with_seeds(target, a, probability_a)
    p_b, q_b = _with_seeds(target, b, probability_b)
    if len(p_a) != len(p_b):
        raise DataError(f"swap_test needs as many seeds of both systems, got {len(p_a)} and {len(p_b)}")
    tables_a = tables_by_seed(target, true, p_a, q_a)
    tables_b = tables_by_seed(target, true, p_b, q_b)
    once = np.ones((1, len(true)))
    first, second = (float(mean_over_seeds(t, metric, once)[0]) for t in (tables_a, tables_b))
    if np.isnan(first - second):
        return float("nan")
    # Both systems' predictions side by side: an exchange is a choice of which half counts for which system.
    both = np.concatenate([p_a, p_b], axis=1)
    chances = None if q_a is None or q_b is None else np.concatenate([q_a, q_b], axis=1)
    tables = tables_by_seed(target, np.concatenate([true, true]), both, chances)

    member = group_numbers(len(true), groups)
    count = int(member.max(initial=-1)) + 1

    def difference(exchanged: Array) -> Array:
        exchanged = exchanged[:, member]
        kept = 1 - exchanged
        as_a, as_b = np.hstack([kept, exchanged]), np.hstack([exchanged, kept])
        return np.abs(mean_over_seeds(tables, metric, as_a) - mean_over_seeds(tables, metric, as_b))

    found = np.concatenate([difference(exchanged) for exchanged in _exchanges(count, len(true), rounds, seed)])
    return _p_value(abs(first - second), found, 1e-12 * (abs(first) + abs(second)), count <= EXACT)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number (Holm, 1979), in the given order.

    Rejecting those below 0.05 keeps the chance of any false rejection below 0.05. A NaN (a comparison that could not
    be made) stays NaN and is not counted.

    Raises:
        DataError: a value outside [0, 1].
    """
    p = np.asarray(p_values, dtype=float)
    known = np.flatnonzero(~np.isnan(p))
    if ((p[known] < 0) | (p[known] > 1)).any():
        raise DataError("holm needs p values from 0 to 1")
    order = known[np.argsort(p[known], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return [float(v) for v in adjusted]


def told_apart(p: float, low: float, high: float, alpha: float = 0.05) -> bool:
    """Whether a difference is no luck: its test, corrected for others where there are any, and its interval say so.

    Args:
        p: of the test.
        low, high: interval of the difference; NaN says no.
    """
    return p < alpha and low * high > 0


def _with_seeds(target: Target, predicted: Any, probability: Any) -> tuple[Array, Array | None]:
    """Return both with a leading axis of seeds."""
    p = np.asarray(predicted)
    p = p[None] if p.ndim == 1 + len(target.spec.predicted.row) else p
    if probability is None:
        return p, None
    q = np.asarray(probability)
    return p, q[None] if q.ndim == 2 else q


def _check_metric(target: Target, metric: str) -> None:
    if metric not in target.spec.metrics:
        raise OptionError(f"target {target.name!r} has no metric {metric!r}{nearest(metric, target.spec.metrics)}")


def _exchanges(groups: int, width: int, rounds: int, seed: int) -> Iterator[Array]:
    """Yield blocks ``(some, groups)`` of 0 and 1: all 2^groups patterns if these are few, else random ones.

    Blocks are small enough to be spread over ``width`` samples.
    """
    exact = groups <= EXACT
    total, size = 2**groups if exact else rounds, max(1, CELLS // width)
    rng = numpy_rng("exchange", seed)
    for start in range(0, total, size):
        rows = min(size, total - start)
        if exact:
            yield (np.arange(start, start + rows)[:, None] >> np.arange(groups) & 1).astype(float)
        else:
            yield rng.integers(2, size=(rows, groups)).astype(float)


def _p_value(observed: float, found: Array, tolerance: float, exact: bool) -> float:
    """Share of ``found`` at least as large as ``observed``; undefined ones count as extreme, which is the safe side."""
    extreme = int((~(found < observed - tolerance)).sum())
    return extreme / len(found) if exact else (extreme + 1) / (len(found) + 1)
