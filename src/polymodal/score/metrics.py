"""Predictions against labels: every metric of a target's task, on all samples or on resamples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from polymodal.core import DataError, Measure, Target
from polymodal.score import statistics as st
from polymodal.score.statistics import Array, Statistic


def evaluate(target: Target, true: Any, predicted: Any, probability: Any = None) -> dict[str, tuple[float, int]]:
    """Return every metric of the target's task (``target.spec.metrics``) with the number of samples behind it.

    Args:
        target: what was predicted.
        true: ``(samples,)`` labels or class numbers, ``(samples, classes)`` 0/1 for multilabel; samples whose label is
            not known (NaN, -1) count nowhere.
        predicted: the same for the predictions (values, class numbers, 0/1); ``(samples, 2)`` ranks for a retrieval.
        probability: ``(samples, classes)`` in [0, 1]; without it ``auc`` and ``eer`` are NaN with count 0.

    The count leaves out what the metric leaves out: neutral samples for ``acc2`` of MOSI, strong ones for
    ``acc2_weak``; it is the number of true members for the figures of one class. A metric that is undefined
    (correlation of a constant, no samples) is NaN.

    Raises:
        DataError: shapes that disagree, a prediction that is NaN, a class number outside the classes; names the first
            sample.
    """
    table = measures(target, true, predicted, probability)
    once = np.ones((1, len(np.asarray(true))))
    return {name: (float(measure.value(once)[0]), measure.count) for name, measure in table.items()}


def measures(
    target: Target, true: Any, predicted: Any, probability: Any = None, ids: Sequence[str] | Array | None = None
) -> dict[str, Measure]:
    """Return the metrics of ``evaluate`` as statistics for resampling; ``ids`` name samples in error messages."""
    y, p, q, known = checked(target, true, predicted, probability, ids)
    if not known.any():
        return {name: Measure(st.undefined, 0) for name in target.spec.metrics}
    table = target.spec.measures(y, p, q)
    if known.all():
        return table
    return {name: replace(measure, value=_among(known, measure.value)) for name, measure in table.items()}


def _among(rows: Array, statistic: Statistic) -> Statistic:
    """Return the statistic of the samples where ``rows`` is True, as one of all samples."""
    return lambda times: statistic(times[:, rows])


def sample_scores(target: Target, true: Any, predicted: Any) -> Array:
    """Return what each sample with a known label contributes to ``target.spec.sample_metric``: absolute error
    (regression, clipped for CH-SIMS), 1 or 0 for a right or wrong class, share of right labels (multilabel). Raises
    DataError like ``evaluate``."""
    y, p, *_ = checked(target, true, predicted)
    return target.spec.sample_scores(y, p)


def checked(
    target: Target, true: Any, predicted: Any = None, probability: Any = None, ids: Sequence[str] | Array | None = None
) -> tuple[Array, Any, Any, Array]:
    """Return labels, predictions and probabilities (None where not given) of the samples with a known label, and which
    of all samples those are, ``(samples,)`` bool. Raises DataError like ``evaluate``."""
    spec, name = target.spec, target.name
    labels = spec.label.checked(f"target {name!r}: the label", true, ids, lambda found: ~spec.known(found))
    known, parts = spec.known(labels), []
    for what, values, column in (
        ("prediction", predicted, spec.predicted),
        ("probability", probability, spec.probability),
    ):
        if values is not None and len(values) != len(labels):
            many = {"prediction": "predictions", "probability": "probabilities"}[what]
            raise DataError(
                f"target {name!r} has {len(values)} {many} for {len(labels)} labels; give one of each per sample"
            )
        if values is not None:
            values = column.checked(f"target {name!r}: the {what}", values, ids, lambda _: ~known)[known]
        parts.append(values)
    return labels[known], *parts, known


def accuracy(true: Array, predicted: Array, rows: Array | None = None) -> Measure:
    """Return the share of samples (of those where ``rows`` is True) with equal values."""
    return Measure(st.average(true == predicted, rows), len(true) if rows is None else int(rows.sum()), st.SHARE)


def weighted_f1(true: Array, predicted: Array, rows: Array | None = None) -> Measure:
    """Return F1 of two classes given as bool, averaged by true class sizes; of samples where ``rows`` is True."""
    counts = st.count_classes(true, predicted, 2, rows)
    return Measure(lambda times: counts(times).weighted_f1, len(true) if rows is None else int(rows.sum()), st.SHARE)


def f1_weighted(true: Any, predicted: Any, *, swapped: bool = False) -> float:
    """Return F1 over the class numbers ``(samples,)``, averaged by true class sizes.

    ``swapped`` averages by predicted class sizes instead, as codes do that pass prediction and truth in the wrong
    order (MISA, MulT, MMSA before 28 April 2021); only for reproducing their tables.
    """
    first, second = (predicted, true) if swapped else (true, predicted)
    _, numbers = np.unique(np.stack([np.asarray(first), np.asarray(second)]), return_inverse=True)
    a, b = numbers.reshape(2, -1)
    if not len(a):
        return float("nan")
    counts = st.count_classes(a, b, int(numbers.max()) + 1)
    return float(counts(np.ones((1, len(a)))).weighted_f1[0])
