"""How far raters agree: intraclass correlation, Krippendorff's alpha, Cohen's kappa, with intervals over groups.

All of them take ratings ``(samples, raters)`` with NaN where a rater did not rate a sample, and use every rating that
can be compared with another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal

import numpy as np

from polymodal.core import Estimate, Measure, Target
from polymodal.score import statistics as st
from polymodal.score.intervals import Blocks, summarise_tables
from polymodal.score.statistics import Array, Statistic

Level = Literal["nominal", "ordinal", "interval"]

MANY = 20
"""More raters have no kappa over pairs: few pairs of a crowd share samples, and alpha says the same of all."""

ILL = 1e10
"""Condition above which effects of raters and of single ratings cannot be told apart."""


def agreement(
    target: Target, ratings: Array, groups: Sequence[str] | Array | None = None, *, level: float = 0.95
) -> dict[str, Estimate]:
    """Return how far the raters of ``target`` agree.

    Numbers have ``icc_single``, ``icc_mean`` (see ``icc``), ``alpha_interval`` and ``alpha_ordinal``; classes have
    ``alpha_nominal`` and, up to ``MANY`` raters, ``cohen_kappa``, the mean over pairs of raters. A figure that is
    undefined (no sample with two ratings, one value everywhere) is NaN. The count is that of samples with two ratings.

    Args:
        groups: the group of each sample; None where samples are independent.

    Raises:
        DataError: other numbers of groups and samples.
        OptionError: as ``score``.
    """
    found: dict[str, Statistic]
    if target.spec.answer == "number":
        found = {
            "icc_single": _of_samples(ratings, lambda part: icc(part)[0]),
            "icc_mean": _of_samples(ratings, lambda part: icc(part)[1]),
            "alpha_interval": _of_samples(ratings, lambda part: alpha(part, "interval")),
            "alpha_ordinal": _of_samples(ratings, lambda part: alpha(part, "ordinal")),
        }
    else:
        found = {"alpha_nominal": _of_samples(ratings, lambda part: alpha(part, "nominal"))}
        if ratings.shape[1] <= MANY:
            found["cohen_kappa"] = kappa(ratings, len(target.classes))
    count = int(((~np.isnan(ratings)).sum(axis=1) > 1).sum())
    table = {name: Measure(statistic, count, st.UP_TO_ONE) for name, statistic in found.items()}
    return summarise_tables([table], Blocks.of(len(ratings), groups), level=level)


def icc(ratings: Array) -> tuple[float, float]:
    """Return ICC(2,1) and ICC(2,k) of Shrout & Fleiss (1979): absolute agreement, raters drawn at random.

    The first is the reliability of one rating; the second that of the mean of as many ratings as samples have, their
    harmonic mean where numbers differ. Variances of samples, raters and single ratings come from Henderson's method I
    (Biometrics 1953), which needs no rater to have rated everything and is the analysis of variance where all have.
    NaN where the three cannot be told apart, as where no rater rated two samples.
    """
    rated = ~np.isnan(ratings)
    ratings = ratings[rated.any(axis=1)][:, rated.any(axis=0)]
    rated = ~np.isnan(ratings)
    per_sample, per_rater, total = rated.sum(axis=1), rated.sum(axis=0), int(rated.sum())
    samples, raters = ratings.shape
    if min(samples, raters) < 2 or total == samples:
        return float("nan"), float("nan")
    values = np.where(rated, ratings - np.nanmedian(ratings), 0.0)
    mean = values.sum() ** 2 / total
    squares = np.array(
        [
            (values**2).sum(),
            (values.sum(axis=1) ** 2 / per_sample).sum(),
            (values.sum(axis=0) ** 2 / per_rater).sum(),
        ]
    )
    # What each sum expects: so many variances of samples, of raters, of single ratings.
    expected = np.array([[total, total, total], [total, samples, samples], [raters, total, raters]], float)
    expected -= [(per_sample**2).sum() / total, (per_rater**2).sum() / total, 1]
    if np.linalg.cond(expected) > ILL:
        return float("nan"), float("nan")
    of_samples, of_raters, of_ratings = np.linalg.solve(expected, squares - mean)
    noise, many = of_raters + of_ratings, samples / (1 / per_sample).sum()
    single, together = st.ratio(of_samples, of_samples + np.array([noise, noise / many]))
    return float(single), float(together)


def alpha(ratings: Array, level: Level) -> float:
    """Return Krippendorff's alpha: 1 less observed over expected disagreement of the ratings that can be paired.

    The disagreement of two ratings is a squared distance on every level: of numbers (``interval``), of their middle
    ranks (``ordinal``), of one-hot classes (``nominal``). Sums of squares therefore take the place of the table of
    coincidences, which has a cell for every two values (Krippendorff, Computing Krippendorff's alpha-reliability,
    2011).
    """
    ratings = ratings[(~np.isnan(ratings)).sum(axis=1) > 1]
    rated = ~np.isnan(ratings)
    values = ratings[rated]
    if not len(values):
        return float("nan")
    if level == "nominal":
        points = (values[:, None] == np.unique(values)).astype(float)
    else:
        ranks = st.Groups.of(values).middle_ranks(np.ones((1, len(values))))[0]
        plain = ranks if level == "ordinal" else values
        points = (plain - np.median(plain))[:, None]
    sample = np.nonzero(rated)[0]
    many = rated.sum(axis=1)
    sums = np.zeros((len(ratings), points.shape[1]))
    np.add.at(sums, sample, points)
    squares = np.bincount(sample, (points**2).sum(axis=1), len(ratings))
    observed = ((many * squares - (sums**2).sum(axis=1)) / (many - 1)).sum()
    count = len(values)
    expected = (count * squares.sum() - (sums.sum(axis=0) ** 2).sum()) / (count - 1)
    return float(1 - st.ratio(observed, expected))


def kappa(ratings: Array, classes: int) -> Statistic:
    """Return Cohen's kappa (1960), the mean over the pairs of raters for whom it is defined."""

    def of_pair(one: Array, other: Array) -> Statistic:
        both = ~np.isnan(one) & ~np.isnan(other)
        counts = st.count_classes(np.where(both, one, 0), np.where(both, other, 0), classes, both)

        def value(times: Array) -> Array:
            found = counts(times)
            total = found.members.sum(axis=1)
            chance = st.ratio((found.members * found.predicted).sum(axis=1), total**2)
            return st.ratio(st.ratio(found.correct.sum(axis=1), total) - chance, 1 - chance)

        return value

    return st.mean_of([of_pair(ratings[:, a], ratings[:, b]) for a, b in combinations(range(ratings.shape[1]), 2)])


def _of_samples(ratings: Array, figure: Callable[[Array], float]) -> Statistic:
    """Return ``figure`` of the ratings of some samples as a statistic of all of them."""
    rows = np.arange(len(ratings))
    return lambda times: np.array([figure(ratings[np.repeat(rows, often.astype(int))]) for often in times])
