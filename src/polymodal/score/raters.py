"""Several raters of one target: what they say together, and how well each of them foretells the others.

Ratings are ``(samples, raters)``: numbers, or class numbers, NaN where a rater did not rate a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from polymodal.core import Estimate, Measure, Target
from polymodal.score import statistics as st
from polymodal.score.intervals import Blocks, group_numbers, summarise_tables
from polymodal.score.metrics import measures
from polymodal.score.statistics import Array, Statistic

LEAST = 1e-12
"""Probability below which a prediction is not held: the logarithm of 0 would outweigh all other samples."""


NEUTRAL = 1e-12
"""Share of the largest rating below which a mean is rounding noise of zero."""


def can_be_rated(target: Target) -> bool:
    """Whether several raters of ``target`` have a label together: numbers have a mean, single classes a majority."""
    return target.spec.answer in ("number", "class")


def consensus(target: Target, ratings: Array) -> Array:
    """Return what the raters of each sample say together, ``(samples,)``: the mean of numbers, the most frequent class.

    NaN where nobody rated, and where two classes or more were named equally often: no rater decides for the others.
    """
    rated = ~np.isnan(ratings)
    if target.spec.answer == "number":
        return _mean(np.where(rated, ratings, 0.0).sum(axis=1), rated.sum(axis=1), ratings)
    first = _first(_votes(target, ratings).sum(axis=1))
    return np.where(first.sum(axis=1) == 1, first.argmax(axis=1), np.nan)


def held_against_others(target: Target, ratings: Array) -> tuple[Array, Array, Array, Array]:
    """Return sample, rater, label and weight of every rating that others can be held against, each ``(n,)``.

    The label is what the sample's other raters say together. Where these name several classes equally often, the rating
    stands once for each of them, with weights that add up to 1: without it, easy samples would count for more.
    """
    rated = ~np.isnan(ratings)
    if target.spec.answer == "number":
        values = np.where(rated, ratings, 0.0)
        left = rated.sum(axis=1, keepdims=True) - rated
        mean = _mean(values.sum(axis=1, keepdims=True) - values, left, ratings)
        rows, raters = np.nonzero(rated & ~np.isnan(mean))
        return rows, raters, mean[rows, raters], np.ones(len(rows))
    votes = _votes(target, ratings)
    first = _first(votes.sum(axis=1, keepdims=True) - votes) & rated[..., None]
    rows, raters, labels = np.nonzero(first)
    return rows, raters, labels.astype(float), 1 / first.sum(axis=-1)[rows, raters]


def shares(target: Target, ratings: Array) -> Array:
    """Return the share of each sample's raters that named each class, ``(samples, classes)``; NaN where nobody did."""
    votes = _votes(target, ratings).sum(axis=1)
    return st.ratio(votes, votes.sum(axis=1, keepdims=True))


def one_rater(
    target: Target, ratings: Array, groups: Sequence[str] | Array | None = None, *, level: float = 0.95
) -> dict[str, Estimate]:
    """Return the target's own metrics of people: every rating held against what the others say together.

    All ratings count together, so that raters who rated few samples do no harm; ratings of one sample, and of one
    group, stay together in the interval, which says how much the figures would move with other samples, not with other
    raters. Counts are of ratings. Metrics of probabilities are left out: a rater names a class. Nothing where no sample
    has two ratings.

    Args:
        groups: the group of each sample; None where samples are independent.

    Raises:
        DataError: other numbers of groups and samples.
        OptionError: as ``score``.
    """
    rows, raters, labels, weights = held_against_others(target, ratings)
    if not len(rows):
        return {}
    table = {
        name: replace(
            measure,
            value=_weighted(measure.value, weights),
            count=round(measure.count * weights.sum() / len(weights)),
        )
        for name, measure in measures(target, labels, ratings[rows, raters]).items()
        if measure.count
    }
    owner = group_numbers(len(ratings), groups)[rows]
    return summarise_tables([table], Blocks.of(len(rows), owner), level=level)


def soft_scores(
    target: Target,
    ratings: Array,
    probability_by_seed: Array,
    groups: Sequence[str] | Array | None = None,
    *,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Hold predicted probabilities against the shares of the raters, not against their majority.

    ``cross_entropy`` is that of the shares and the prediction, in nats, the mean over rated samples; samples without a
    majority count as any other. ``entropy`` is the raters' own, below which no prediction gets. Cross entropy is how
    predictions are scored where people disagree (Peterson et al., Human uncertainty makes classification more robust,
    ICCV 2019; Leonardelli et al., SemEval-2023 task 11).

    Args:
        probability_by_seed: ``(seeds, samples, classes)``.
        groups: as in ``one_rater``.

    Raises:
        DataError, OptionError: as ``one_rater``.
    """
    said = shares(target, ratings)
    rated: Array = ~np.isnan(said[:, 0])
    said = np.where(rated[:, None], said, 0.0)
    count, blocks = int(rated.sum()), Blocks.of(len(said), groups)

    def summary(name: str, by_seed: Sequence[Array]) -> dict[str, Estimate]:
        tables = [{name: Measure(st.average(_cross_entropy(said, q), rated), count, st.ERROR)} for q in by_seed]
        return summarise_tables(tables, blocks, level=level)

    return {**summary("cross_entropy", list(probability_by_seed)), **summary("entropy", [said])}


def _cross_entropy(said: Array, predicted: Array) -> Array:
    return -(said * np.log(np.clip(predicted.astype(float), LEAST, 1.0))).sum(axis=1)


def _mean(total: Array, count: Array, ratings: Array) -> Array:
    """Return means in which what only rounding keeps from zero is zero: metrics ask which labels are neutral."""
    mean = st.ratio(total, count)
    return np.where(np.abs(mean) < NEUTRAL * np.nanmax(np.abs(ratings), initial=0), 0.0, mean)


def _votes(target: Target, ratings: Array) -> Array:
    """Return who named what, ``(samples, raters, classes)``."""
    return (ratings[..., None] == np.arange(len(target.classes))).astype(float)


def _first(votes: Array) -> Array:
    """Return the classes with most ``votes`` (..., classes), bool of the same shape; none without votes."""
    return (votes == votes.max(axis=-1, keepdims=True)) & (votes > 0)


def _weighted(statistic: Statistic, weights: Array) -> Statistic:
    return lambda times: statistic(times * weights)
