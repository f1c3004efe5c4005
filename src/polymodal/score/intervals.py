"""Bootstrap intervals of all metrics at once, for one run or the mean of several seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polymodal.core import DataError, Figure, Measure, OptionError, Schema, Scores, Target, nearest, numpy_rng
from polymodal.score.metrics import measures
from polymodal.score.statistics import Array

BLOCK = 2**19
"""Cells (resamples x samples) in memory at once: 4 MiB an array, under 64 MiB with the temporaries of any metric."""


@dataclass(frozen=True)
class Summary:
    """A metric over several seeds of one experiment.

    Attributes:
        mean: over seeds.
        std: population standard deviation over seeds, as the field reports it.
        low, high: interval of ``mean`` over resamples of the test samples; NaN where undefined.
        count: samples behind each value.
        seeds: the value of each seed.
    """

    mean: float
    std: float
    low: float
    high: float
    count: int
    seeds: tuple[float, ...]


def score(
    schema: Schema,
    predictions: Mapping[str, Array],
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Scores:
    """Score the prediction columns described in ``core.Scores`` for every joint target of ``schema``.

    Args:
        predictions: ``<target>/true`` and ``<target>/predicted`` per target, ``<target>/probability`` where there is
            one, and ``id`` to name samples in errors.
        resamples: bootstrap resamples of the test samples for the percentile interval; 0 for no intervals.
        level: coverage of the interval.
        seed: of the resamples.

    Raises:
        DataError: a missing column, shapes that disagree, a NaN or a class number outside the classes.
        OptionError: ``resamples`` below 0 or ``level`` outside (0, 1).
    """
    figures = {}
    for target in schema.joint_targets:
        true, predicted = (_column(predictions, f"{target.name}/{part}") for part in ("true", "predicted"))
        probability, ids = predictions.get(f"{target.name}/probability"), predictions.get("id")
        table = measures(target, true, predicted, probability, ids)
        summaries = summarise_tables([table], len(true), resamples=resamples, level=level, seed=seed)
        figures[target.name] = {
            name: Figure(s.mean, s.count) if np.isnan(s.low) else Figure(s.mean, s.count, s.low, s.high)
            for name, s in summaries.items()
        }
    return Scores(figures, dict(predictions))


def summarise(
    target: Target,
    true: Any,
    predicted_by_seed: Any,
    probability_by_seed: Any = None,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Summary]:
    """Return every metric over several seeds tested on the same samples.

    The interval is that of the mean over seeds: each resample draws test samples, the same ones for every seed. It
    says how much the mean would move with other test samples, ``std`` how much it moves with other seeds.

    Args:
        true: labels as for ``evaluate``.
        predicted_by_seed: ``(seeds, ...)``, predictions as for ``evaluate``, one row per seed.
        probability_by_seed: ``(seeds, samples, classes)`` or None.

    Raises:
        DataError: as ``evaluate``, or no seeds, or other numbers of predictions and probabilities.
        OptionError: as ``score``.
    """
    tables = tables_by_seed(target, true, predicted_by_seed, probability_by_seed)
    return summarise_tables(tables, len(true), resamples=resamples, level=level, seed=seed)


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


def draws(samples: int, resamples: int, seed: int) -> Iterator[Array]:
    """Yield blocks ``(some, samples)`` float: how often each bootstrap resample holds each sample.

    Depends on the three arguments only, so all metrics, seeds and systems see the same resamples. Without samples there
    is nothing to draw.
    """
    if not samples:
        return
    rng = numpy_rng("bootstrap", seed)
    size = max(1, BLOCK // samples)
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        cells = rng.integers(samples, size=(rows, samples)) + samples * np.arange(rows)[:, None]
        yield np.bincount(cells.ravel(), minlength=rows * samples).reshape(rows, samples).astype(float)


def interval(values: Array, level: float) -> tuple[float, float]:
    """Return the central ``level`` of resampled ``values``; undefined (NaN) ones are left out, NaN if all are."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def check_options(resamples: int, level: float, lowest: int = 0) -> None:
    """Raise OptionError for a number of resamples or a level that makes no interval."""
    if resamples < lowest:
        raise OptionError(f"resamples must be at least {lowest}, got {resamples}")
    if not 0 < level < 1:
        raise OptionError(f"level must be above 0 and below 1, got {level}")


def mean_over_seeds(tables: Sequence[Mapping[str, Measure]], metric: str, times: Array) -> Array:
    """Return ``metric`` on each resample (resamples,), averaged over the seeds."""
    return np.mean([table[metric].value(times) for table in tables], axis=0)


def summarise_tables(
    tables: Sequence[Mapping[str, Measure]], samples: int, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> dict[str, Summary]:
    """``summarise`` from measures, one table per seed: of predictions, or of curves (see ``score.curve``)."""
    check_options(resamples, level)
    once = np.ones((1, samples))
    blocks: dict[str, list[Array]] = {name: [np.empty(0)] for name in tables[0]}
    for times in draws(samples, resamples, seed):
        for name, kept in blocks.items():
            kept.append(mean_over_seeds(tables, name, times))
    out = {}
    for name, measure in tables[0].items():
        values = [float(table[name].value(once)[0]) for table in tables]
        low, high = interval(np.concatenate(blocks[name]), level)
        out[name] = Summary(float(np.mean(values)), float(np.std(values)), low, high, measure.count, tuple(values))
    return out


def _column(predictions: Mapping[str, Array], name: str) -> Array:
    if name not in predictions:
        raise DataError(f"the predictions have no column {name!r}{nearest(name, predictions)}")
    return predictions[name]
