"""Answering only where it is sure enough: how large the error of what is answered can be, by the share answered.

Selective prediction with a bound on the risk (Geifman & El-Yaniv, NeurIPS 2017): a few shares are fixed beforehand, the
surest samples of each are looked at, and the bound of each holds together with all others (Bonferroni). A new clip is a
new group, so the bound is one over groups: Student's, from leaving out blocks of whole groups (``score.intervals``).
That alone would promise no error at all where none was seen by chance, so an error between 0 and 1 is at least the
bound of Clopper and Pearson (1934) as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import betaincinv

from polymodal.core import Target
from polymodal.score.intervals import FEW, Blocks, jackknife, student
from polymodal.score.statistics import Array, average

SHARES = tuple(round(0.1 * k, 1) for k in range(10, 0, -1))
"""Shares of samples answered that are looked at."""

SURE = 0.9
"""Probability, over what is drawn for validation, that every bound holds."""

FOLDS = 5
"""Parts, of whole groups, across which the expected error of numbers is fitted."""


class Step(NamedTuple):
    """What happens where only the surest samples are answered.

    Attributes:
        share: of samples that are answered.
        threshold: confidence from which on a sample is answered.
        error: mean over those that are.
        bound: what the mean error of others stays below, with probability ``SURE``.
    """

    share: float
    threshold: float
    error: float
    bound: float


def steps(confidence: Any, losses: Any, groups: Any = None, *, bounded: bool) -> list[Step]:
    """Return a step for every share in ``SHARES`` that is known, most answered first.

    Args:
        confidence: ``(samples,)``, higher is surer; not learned from ``losses`` of the same groups.
        losses: ``(samples,)``, what an answer costs.
        groups: ``(samples,)`` names; None where every sample is on its own.
        bounded: whether a loss lies between 0 and 1.

    Returns:
        Steps with different thresholds; a share of fewer than ``FEW`` groups is left out, as nothing is known of it.
    """
    sure, loss = np.asarray(confidence, float), np.asarray(losses, float)
    names = None if groups is None else np.asarray(groups)
    found: list[Step] = []
    for share in SHARES:
        if not len(sure):
            break
        threshold = float(np.sort(sure)[::-1][max(0, math.ceil(share * len(sure) - 1e-9) - 1)])
        rows = sure >= threshold
        if found and found[-1].threshold == threshold:
            continue
        error, bound = _bound(loss[rows], None if names is None else names[rows], bounded)
        if not math.isnan(bound):
            found.append(Step(float(rows.mean()), threshold, error, bound))
    return found


def _bound(losses: Array, groups: Array | None, bounded: bool) -> tuple[float, float]:
    """Return the mean of ``losses`` and its upper bound, NaN where there are too few groups."""
    blocks, mean = Blocks.of(len(losses), groups), average(losses)
    value, chance = float(losses.mean()), (1 - SURE) / len(SHARES)
    if blocks.groups < FEW:
        return value, math.nan
    high = student(value, [jackknife(mean, blocks)], 1 - 2 * chance)[1]
    return value, max(high, clopper_pearson(float(losses.sum()), len(losses), chance)) if bounded else high


def clopper_pearson(errors: float, count: int, chance: float) -> float:
    """Return the share of errors that ``errors`` of ``count`` leave possible, but for a probability of ``chance``."""
    return 1.0 if errors >= count else float(betaincinv(errors + 1, count - errors, 1 - chance))


def best_step(known: Sequence[Step], error: float) -> Step | None:
    """Return the step that answers most among those that promise ``error``; None where none does."""
    return max((s for s in known if s.bound <= error), key=lambda s: s.share, default=None)


def confidence(target: Target, said: Any, expected: Sequence[float] = ()) -> Array:
    """Return how sure each answer is, ``(samples,)``.

    Args:
        said: ``(samples,)`` values, or ``(samples, classes)`` probabilities: the highest counts, for multilabel the
            mean over classes of how far each is decided.
        expected: of a number, see ``expected_error``, which is turned round.
    """
    values = np.asarray(said, float)
    if target.spec.answer == "number":
        return np.asarray(-_powers(values.reshape(-1)) @ np.asarray(expected, float))
    if target.spec.answer == "class":
        return np.asarray(values.max(axis=1))
    return np.asarray(np.maximum(values, 1 - values).mean(axis=1))


def expected_error(said: Any, losses: Any, groups: Any = None) -> tuple[tuple[float, ...], Array]:
    """Fit the error of a number as a quadratic of what is said: models err more at some places of a scale than others.

    Args:
        said, losses: ``(samples,)``, at least one.
        groups: as ``steps``.

    Returns:
        The three coefficients from all samples, and the confidence of each by coefficients from other groups.
    """
    powers, loss = _powers(np.asarray(said, float)), np.asarray(losses, float)
    member = Blocks.of(len(loss), groups).member % FOLDS
    sure = np.zeros(len(loss))
    for fold in range(FOLDS):
        rows = member == fold
        sure[rows] = -powers[rows] @ _solved(powers[~rows], loss[~rows])
    return tuple(_solved(powers, loss).tolist()), sure


def _powers(values: Array) -> Array:
    return np.stack([np.ones_like(values), values, values**2], axis=1)


def _solved(powers: Array, loss: Array) -> Array:
    return np.asarray(np.linalg.lstsq(powers, loss, rcond=None)[0])
