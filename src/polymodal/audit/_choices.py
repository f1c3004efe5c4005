"""What an answer decides, how right it is, and how far two answers are apart; the same words for every task."""

from __future__ import annotations

import numpy as np

from polymodal.core import DataError, Target
from polymodal.data.ragged import Array


def middle(target: Target, true: Array) -> float:
    """Return the number that parts low answers from high ones: the middle of the range, else the median label."""
    return sum(target.range) / 2 if target.range else float(np.median(true))


def classes_of(target: Target, values: Array, centre: float) -> Array:
    """Return what is decided about each sample, ``(samples,)`` whole numbers: the class, or whether a number is high.

    Args:
        target: with one class or a number as answer.
        values: labels, or what a judge says: numbers, class numbers, or probabilities ``(samples, classes)``.
        centre: see ``middle``.

    Raises:
        DataError: any other target.
    """
    if target.spec.answer == "class":
        return np.asarray(values.argmax(1) if values.ndim == 2 else values, np.int64)
    if target.spec.answer == "number":
        return np.asarray(values > centre, np.int64)
    raise DataError(
        f"target {target.name!r} has {target.task} labels, and this audit asks for one class or one number per sample; "
        "audit a run with such a target"
    )


def width(target: Target, true: Array) -> float:
    """Return the width of a number's scale, from its range or its labels."""
    low, high = target.range or (float(true.min(initial=0)), float(true.max(initial=0)))
    return max(high - low, 1e-12)


def rightness(target: Target, said: Array, true: Array, scale: float) -> Array:
    """Return how right each answer is, from 0 to 1: all classes hit, or 1 - error / ``scale`` of a number."""
    if target.spec.answer == "class":
        return np.asarray(said.argmax(1) == true, float)
    if target.spec.answer == "classes":
        return np.asarray(((said > 0.5) == (true > 0.5)).all(axis=1), float)
    return np.asarray(1 - np.clip(np.abs(said - true) / scale, 0, 1))


def distance(target: Target, first: Array, second: Array, scale: float) -> Array:
    """Return how far two answers to each sample are apart, from 0 to 1: the probability that moves, or the part of
    ``scale`` that a number moves."""
    if target.spec.answer == "number":
        return np.asarray(np.clip(np.abs(first - second) / scale, 0, 1))
    moved = np.abs(first - second)
    return np.asarray(moved.sum(1) / 2 if target.spec.answer == "class" else moved.mean(1))
