"""The field's metrics, one table per task, as the public evaluation codes compute them.

Three conventions differ between corpora and are kept apart: CMU-MOSI and CMU-MOSEI (range -3..3) leave neutral samples
out of ``acc2`` and ``f1`` or count zero as positive in ``acc2_has0`` and ``f1_has0``; CH-SIMS (range -1..1) clips
everything first and counts zero as negative; every F1 is given the truth first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polymodal.core import DataError, Target
from polymodal.score import statistics as st
from polymodal.score.statistics import Array, Statistic

MOSI = ("mae", "corr", "acc2", "f1", "acc2_has0", "f1_has0", "acc3", "acc5", "acc7", "acc2_nonpos")
SIMS = ("mae", "corr", "r2", "acc2", "f1", "acc3", "acc5", "acc2_weak")
REGRESSION = ("mae", "rmse", "corr", "spearman", "r2")
LOWER_IS_BETTER = frozenset({"mae", "rmse", "eer"})


@dataclass(frozen=True)
class Measure:
    """One metric of one set of predictions: how to compute it on resamples, and the samples behind it."""

    value: Statistic
    count: int


def metric_names(target: Target) -> dict[str, bool]:
    """Return the metrics of ``target`` in table order, each with whether higher is better.

    Names with a slash (``f1/<class>``) are the figures of one class and come last.
    """
    names: tuple[str, ...]
    if target.task == "regression":
        names = MOSI if target.range == (-3, 3) else SIMS if target.range == (-1, 1) else REGRESSION
    elif target.task == "classification":
        binary = ("auc", "eer") if len(target.classes) == 2 else ()
        names = ("accuracy", "ua", "f1", "f1_macro", *binary, *(f"f1/{c}" for c in target.classes))
    else:
        details = [f"{m}/{c}" for m in ("weighted_accuracy", "f1") for c in target.classes]
        names = ("weighted_accuracy", "f1", "accuracy", "auc", *details)
    return {name: name not in LOWER_IS_BETTER for name in names}


def main_metric(target: Target) -> str:
    """Return the metric that ranks systems on ``target``: MAE for a regression, F1 otherwise."""
    return "mae" if target.task == "regression" else "f1"


def evaluate(target: Target, true: Any, predicted: Any, probability: Any = None) -> dict[str, tuple[float, int]]:
    """Return every metric of ``metric_names`` with the number of samples behind it.

    Args:
        target: what was predicted.
        true: ``(samples,)`` labels or class numbers, ``(samples, classes)`` 0/1 for multilabel.
        predicted: the same for the predictions (values, class numbers, 0/1).
        probability: ``(samples, classes)`` in [0, 1]; without it ``auc`` and ``eer`` are NaN with count 0.

    The count leaves out what the metric leaves out: neutral samples for ``acc2`` of MOSI, strong ones for
    ``acc2_weak``; it is the number of true members for the figures of one class. A metric that is undefined
    (correlation of a constant, no samples) is NaN.

    Raises:
        DataError: shapes that disagree, a NaN, a class number outside the classes; names the first sample.
    """
    table = measures(target, true, predicted, probability)
    once = np.ones((1, len(np.asarray(true))))
    return {name: (float(measure.value(once)[0]), measure.count) for name, measure in table.items()}


def measures(
    target: Target, true: Any, predicted: Any, probability: Any = None, ids: Sequence[str] | Array | None = None
) -> dict[str, Measure]:
    """Return the metrics of ``evaluate`` as statistics for resampling; ``ids`` name samples in error messages."""
    y = checked(target, "label", true, ids)
    p = checked(target, "prediction", predicted, ids)
    q = None if probability is None else checked(target, "probability", probability, ids)
    for what, values in (("predictions", p), ("probabilities", q)):
        if values is not None and len(values) != len(y):
            raise DataError(
                f"target {target.name!r} has {len(values)} {what} for {len(y)} labels; give one of each per sample"
            )
    if not len(y):
        return {name: Measure(st.undefined, 0) for name in metric_names(target)}
    if target.task == "classification":
        return _classification(target, y, p, q)
    if target.task == "multilabel":
        return _multilabel(target, y, p, q)
    names = tuple(metric_names(target))
    return _mosi(y, p) if names == MOSI else _sims(y, p) if names == SIMS else _regression(y, p)


def sample_scores(target: Target, true: Any, predicted: Any) -> Array:
    """Return what each sample contributes, ``(samples,)``: absolute error (regression, clipped for CH-SIMS), 1 or 0
    for a right or wrong class, share of right labels (multilabel). Raises DataError like ``evaluate``."""
    y, p = checked(target, "label", true), checked(target, "prediction", predicted)
    if len(y) != len(p):
        raise DataError(f"target {target.name!r} has {len(p)} predictions for {len(y)} labels; give one per sample")
    if target.task == "regression":
        return np.abs(_clip(p) - _clip(y)) if tuple(metric_names(target)) == SIMS else np.abs(p - y)
    return (y == p).astype(float) if y.ndim == 1 else (y == p).mean(axis=1)


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


def _mosi(y: Array, p: Array) -> dict[str, Measure]:
    rated = y != 0
    return {
        "mae": Measure(st.average(np.abs(p - y)), len(y)),
        "corr": Measure(st.correlation(p, y), len(y)),
        "acc2": _accuracy(y > 0, p > 0, rated),
        "f1": _f1(y > 0, p > 0, rated),
        "acc2_has0": _accuracy(y >= 0, p >= 0),
        "f1_has0": _f1(y >= 0, p >= 0),
        # np.round takes halves to the even number, as the field's codes do.
        **{f"acc{2 * k + 1}": _accuracy(np.round(np.clip(y, -k, k)), np.round(np.clip(p, -k, k))) for k in (1, 2, 3)},
        "acc2_nonpos": _accuracy(y > 0, p > 0),
    }


def _sims(y: Array, p: Array) -> dict[str, Measure]:
    y, p = _clip(y), _clip(p)
    weak = np.abs(y).astype(np.float32) <= np.float32(0.4)
    return {
        "mae": Measure(st.average(np.abs(p - y)), len(y)),
        "corr": Measure(st.correlation(p, y), len(y)),
        "r2": Measure(st.explained(y, p), len(y)),
        "acc2": _accuracy(_bin(y, 0), _bin(p, 0)),
        "f1": _f1(_bin(y, 0), _bin(p, 0)),
        "acc3": _accuracy(_bin(y, -0.1, 0.1), _bin(p, -0.1, 0.1)),
        "acc5": _accuracy(_bin(y, -0.7, -0.1, 0.1, 0.7), _bin(p, -0.7, -0.1, 0.1, 0.7)),
        "acc2_weak": _accuracy(_bin(y, 0), _bin(p, 0), weak),
    }


def _regression(y: Array, p: Array) -> dict[str, Measure]:
    statistics = {
        "mae": st.average(np.abs(p - y)),
        "rmse": st.root(st.average((p - y) ** 2)),
        "corr": st.correlation(p, y),
        "spearman": st.spearman(p, y),
        "r2": st.explained(y, p),
    }
    return {name: Measure(statistic, len(y)) for name, statistic in statistics.items()}


def _classification(target: Target, y: Array, p: Array, q: Array | None) -> dict[str, Measure]:
    n, counts = len(y), st.count_classes(y, p, len(target.classes))
    table = {
        "accuracy": _accuracy(y, p),
        "ua": Measure(lambda times: st.mean_defined(counts(times).recall), n),
        "f1": Measure(lambda times: counts(times).weighted_f1, n),
        "f1_macro": Measure(lambda times: st.mean_defined(counts(times).f1), n),
    }
    if len(target.classes) == 2:
        table["auc"] = Measure(st.undefined, 0) if q is None else Measure(st.auc(y == 1, q[:, 1]), n)
        table["eer"] = Measure(st.undefined, 0) if q is None else Measure(st.equal_error_rate(y == 1, q[:, 1]), n)
    for k, name in enumerate(target.classes):
        table[f"f1/{name}"] = Measure(st.f1(y == k, p == k), int((y == k).sum()))
    return table


def _multilabel(target: Target, y: Array, p: Array, q: Array | None) -> dict[str, Measure]:
    n, true, found = len(y), y.T == 1, p.T == 1  # (classes, samples)
    # (tp * n / p + tn) / 2n of the field, n negatives and p positives, is the mean of the recalls of both sides; a
    # class with one side only has no such accuracy.
    weighted = [_balanced(t, f) for t, f in zip(true, found, strict=True)]
    f1 = [st.f1(t, f) for t, f in zip(true, found, strict=True)]
    table = {
        "weighted_accuracy": Measure(st.mean_of(weighted), n),
        "f1": Measure(st.mean_of(f1), n),
        "accuracy": Measure(st.average((y == p).mean(axis=1)), n),
        "auc": Measure(st.undefined, 0),
    }
    if q is not None:
        table["auc"] = Measure(st.mean_of([st.auc(t, c) for t, c in zip(true, q.T, strict=True)]), n)
    for metric, parts in (("weighted_accuracy", weighted), ("f1", f1)):
        for name, t, part in zip(target.classes, true, parts, strict=True):
            table[f"{metric}/{name}"] = Measure(part, int(t.sum()))
    return table


def _balanced(true: Array, found: Array) -> Statistic:
    hits, rejections = st.recall(true, found), st.recall(~true, ~found)
    return lambda times: (hits(times) + rejections(times)) / 2


def _accuracy(y: Array, p: Array, rows: Array | None = None) -> Measure:
    return Measure(st.average(y == p, rows), len(y) if rows is None else int(rows.sum()))


def _f1(y: Array, p: Array, rows: Array | None = None) -> Measure:
    counts = st.count_classes(y, p, 2, rows)
    return Measure(lambda times: counts(times).weighted_f1, len(y) if rows is None else int(rows.sum()))


def _clip(values: Array) -> Array:
    return np.clip(values, -1.0, 1.0)


def _bin(values: Array, *edges: float) -> Array:
    """Number of the right-closed bin; compared in float32, the precision in which labels and edges agree."""
    return np.searchsorted(np.asarray(edges, np.float32), values.astype(np.float32), side="left")


def checked(target: Target, what: str, values: Any, ids: Sequence[str] | Array | None = None) -> Array:
    """Return ``values`` as a float array of the right shape; DataError naming the first bad sample otherwise."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"target {target.name!r}: each {what} must be a number, and all of one shape") from None
    rows = what == "probability" or target.task == "multilabel"
    if array.ndim != 1 + rows or (rows and array.shape[1] != len(target.classes)):
        wanted = f"(samples, {len(target.classes)})" if rows else "(samples,)"
        raise DataError(f"target {target.name!r}: the array of each {what} has shape {array.shape}, expected {wanted}")
    wanted, good = _rule(target, what, array)
    bad = ~(good.all(axis=1) if rows else good)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        sample = f"row {first}" if ids is None else f"sample {str(ids[first])!r} (row {first})"
        raise DataError(
            f"target {target.name!r}: the {what} of {sample} is {array[first]}, expected {wanted}; {int(bad.sum())} "
            f"such rows: mend or drop them before scoring"
        )
    return array


def _rule(target: Target, what: str, array: Array) -> tuple[str, Array]:
    if what == "probability":
        return "probabilities from 0 to 1, not logits", (array >= -1e-6) & (array <= 1 + 1e-6)
    if target.task == "multilabel":
        return "0 or 1 for every class", np.isin(array, (0, 1))
    if target.task == "classification":
        return f"a class number from 0 to {len(target.classes) - 1}", np.isin(array, np.arange(len(target.classes)))
    return "a finite number", np.isfinite(array)
