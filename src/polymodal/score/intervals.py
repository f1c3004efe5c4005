"""Intervals of all metrics at once, for one run or the mean of several seeds.

An interval is ``value +- t * error``. The error comes from leaving out whole groups, one block of them at a time (the
delete-a-group jackknife), and from the spread over seeds where there are several; t has as many degrees of freedom as
there are groups, counted as if they had one size (Carter, Schnepel & Steigerwald, Review of Economics and Statistics
2017), joined with those of the seeds (Satterthwaite, 1946). It ends where the metric does: no share lies above 1, no
error below 0. ``benchmarks/coverage.py`` measures how often such intervals hold the truth; resampling groups and taking
percentiles holds it too rarely where groups are few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from polymodal.core import DataError, Estimate, Measure, OptionError, Schema, Scores, Target, nearest, numpy_rng
from polymodal.score.metrics import measures
from polymodal.score.statistics import Array, Statistic

FEW = 10
"""Groups below which there is no interval: so few say little of all the others."""

BLOCKS = 50
"""Most blocks of whole groups: more of them would narrow no interval and cost passes over the data."""

CELLS = 2**19
"""Cells (blocks x samples) in memory at once: 4 MiB an array, under 64 MiB with the temporaries of any metric."""


@dataclass(frozen=True)
class Blocks:
    """Samples dealt into blocks of whole groups, each of which is left out once.

    Attributes:
        member: ``(samples,)`` the block of each sample.
        groups: how many groups (speakers, videos, ...) there are; samples where no groups are known.
    """

    member: Array
    groups: int

    @classmethod
    def of(cls, samples: int, groups: Sequence[str] | Array | None = None) -> Blocks:
        """Deal ``samples`` by their ``groups``, one name each (None where every sample is on its own).

        Up to ``BLOCKS`` groups are a block each; more are dealt at random, the same way every time.

        Raises:
            DataError: other numbers of groups and samples.
        """
        group = group_numbers(samples, groups)
        count = int(group.max(initial=-1)) + 1
        place = np.arange(count)
        if count > BLOCKS:
            numpy_rng("blocks", count).shuffle(place)
            place %= BLOCKS
        return cls(place[group] if samples else group, count)

    def left_out(self, statistic: Statistic) -> Array:
        """Return ``statistic`` of all samples but those of one block, for each block ``(blocks,)``."""
        return self._each(statistic, lambda block: self.member != block)

    def alone(self, statistic: Statistic) -> Array:
        """Return ``statistic`` of the samples of each block ``(blocks,)``."""
        return self._each(statistic, lambda block: self.member == block)

    def _each(self, statistic: Statistic, kept: Callable[[Array], Array]) -> Array:
        blocks = np.arange(self.member.max(initial=-1) + 1)[:, None]
        at_once = max(1, CELLS // max(1, len(self.member)))
        parts = [statistic(kept(blocks[i : i + at_once]).astype(float)) for i in range(0, len(blocks), at_once)]
        return np.concatenate([np.empty(0), *parts])

    @property
    def freedom(self) -> float:
        """Degrees of freedom: the number of blocks, counted as if all had one size, less one."""
        sizes = np.bincount(self.member).astype(float)
        return float(sizes.sum() ** 2 / (sizes**2).sum()) - 1 if len(sizes) else 0.0


def group_numbers(samples: int, groups: Sequence[str] | Array | None) -> Array:
    """Return the number of each sample's group, counted from 0; samples without groups are one each.

    Raises:
        DataError: other numbers of groups and samples.
    """
    if groups is None:
        return np.arange(samples)
    if len(groups) != samples:
        raise DataError(f"{len(groups)} groups for {samples} samples; give one of each")
    return np.unique(np.asarray(groups), return_inverse=True)[1]


def score(schema: Schema, predictions: Mapping[str, Array], *, level: float = 0.95) -> Scores:
    """Score the prediction columns described in ``core.Scores`` for every joint target of ``schema``.

    Args:
        predictions: ``<target>/true`` and ``<target>/predicted`` per target, ``<target>/probability`` where there is
            one, ``group`` where groups are known, and ``id`` to name samples in errors.
        level: coverage of the interval.

    Raises:
        DataError: a missing column, shapes that disagree, a NaN or a class number outside the classes.
        OptionError: ``level`` outside (0, 1).
    """
    figures = {}
    for target in schema.joint_targets:
        true, predicted = (_column(predictions, f"{target.name}/{part}") for part in ("true", "predicted"))
        probability, ids = predictions.get(f"{target.name}/probability"), predictions.get("id")
        table = measures(target, true, predicted, probability, ids)
        blocks = Blocks.of(len(true), predictions.get("group"))
        figures[target.name] = summarise_tables([table], blocks, level=level)
    return Scores(figures, dict(predictions))


def summarise(
    target: Target,
    true: Any,
    predicted_by_seed: Any,
    probability_by_seed: Any = None,
    *,
    groups: Sequence[str] | Array | None = None,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Return every metric over several seeds tested on the same samples.

    The interval is that of the mean over seeds: how much it would move with other groups of samples and with other
    seeds; with one seed, with other groups only.

    Args:
        true: labels as for ``evaluate``.
        predicted_by_seed: ``(seeds, ...)``, predictions as for ``evaluate``, one row per seed.
        probability_by_seed: ``(seeds, samples, classes)`` or None.
        groups: the group of each sample; None where samples are independent.

    Raises:
        DataError: as ``evaluate``, or no seeds, or other numbers of predictions, probabilities and groups.
        OptionError: as ``score``.
    """
    tables = tables_by_seed(target, true, predicted_by_seed, probability_by_seed)
    return summarise_tables(tables, Blocks.of(len(true), groups), level=level)


def tables_by_seed(target: Target, true: Any, predicted: Any, probability: Any = None) -> list[dict[str, Measure]]:
    """Return ``measures`` for each seed of ``predicted`` (seeds, ...)."""
    if not len(predicted):
        raise DataError(f"target {target.name!r} has predictions of no seed; give at least one")
    if probability is not None and len(probability) != len(predicted):
        raise DataError(
            f"target {target.name!r} has predictions of {len(predicted)} seeds but probabilities of "
            f"{len(probability)}; give both for each seed"
        )
    by_seed = [None] * len(predicted) if probability is None else probability
    return [measures(target, true, p, q) for p, q in zip(predicted, by_seed, strict=True)]


def summarise_tables(
    tables: Sequence[Mapping[str, Measure]], blocks: Blocks, *, level: float = 0.95
) -> dict[str, Estimate]:
    """``summarise`` from measures, one table per seed: of predictions, or of curves (see ``score.curve``)."""
    check_level(level)
    samples = len(blocks.member)
    once = np.ones((1, samples))
    few = blocks.groups < FEW
    out = {}
    for name, measure in tables[0].items():
        values = np.array([float(table[name].value(once)[0]) for table in tables])
        mean, std, low, high, least, most = float(values.mean()), float(values.std()), *[math.nan] * 4
        if samples and not np.isnan(mean):

            def of_mean(times: Array, name: str = name) -> Array:
                return mean_over_seeds(tables, name, times)

            if few:
                alone = blocks.alone(of_mean)
                least, most = float(np.fmin.reduce(alone)), float(np.fmax.reduce(alone))  # NaN only where all are
            else:
                low, high, _ = student(mean, [jackknife(of_mean, blocks), over_seeds(values)], level)
                low, high = max(low, measure.range[0]), min(high, measure.range[1])
        out[name] = Estimate(
            mean=mean,
            std=std,
            low=low,
            high=high,
            least=least,
            most=most,
            count=measure.count,
            groups=blocks.groups,
            seeds=tuple(values.tolist()),
        )
    return out


@dataclass(frozen=True)
class Variance:
    """A squared standard error with its degrees of freedom."""

    square: float
    freedom: float


def jackknife(statistic: Statistic, blocks: Blocks) -> Variance:
    """Return the variance of ``statistic`` over groups.

    Where it is undefined without some block (a class that only one group has), that block is passed over.
    """
    parts = blocks.left_out(statistic)
    known = parts[~np.isnan(parts)]
    count = len(known)
    square = float((count - 1) / count * ((known - known.mean()) ** 2).sum()) if count > 1 else math.nan
    return Variance(square, blocks.freedom)


def over_seeds(values: Array) -> Variance:
    """Return the variance of the mean of ``values`` (seeds,); none where there is only one seed."""
    count = len(values)
    return Variance(float(values.var(ddof=1)) / count, count - 1) if count > 1 else Variance(0.0, 1.0)


def student(value: float, variances: Sequence[Variance], level: float) -> tuple[float, float, float]:
    """Return the interval around ``value`` and the two-sided p value of "it is 0", from independent variances."""
    total = sum(v.square for v in variances)
    if not total > 0:  # constant, or undefined
        return (value, value, float(value == 0)) if total == 0 else (math.nan,) * 3
    freedom = total**2 / sum(v.square**2 / v.freedom for v in variances)
    half = float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(total)
    return value - half, value + half, float(2 * stdtr(freedom, -abs(value) / math.sqrt(total)))


def check_level(level: float) -> None:
    """Raise OptionError for a level that makes no interval."""
    if not 0 < level < 1:
        raise OptionError(f"level must be above 0 and below 1, got {level}")


def mean_over_seeds(tables: Sequence[Mapping[str, Measure]], metric: str, times: Array) -> Array:
    """Return ``metric`` on each row of ``times`` (rows,), averaged over the seeds."""
    return np.mean([table[metric].value(times) for table in tables], axis=0)


def _column(predictions: Mapping[str, Array], name: str) -> Array:
    if name not in predictions:
        raise DataError(f"the predictions have no column {name!r}{nearest(name, predictions)}")
    return predictions[name]
