"""How sure a prediction is, learned on held-out samples: temperature for classes, conformal intervals for numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, logit, softmax

from polymodal.core import DataError, OptionError, Target
from polymodal.score.metrics import checked
from polymodal.score.statistics import Array

SMALLEST = 10
"""Fewer samples say nothing about a temperature."""

SHARPEST, FLATTEST = 0.25, 20.0
"""Temperatures looked at: a handful of samples that are all right must not turn into certainty."""

BINS = 15
"""Equal bins of confidence, as in Guo et al., ICML 2017."""

_TINY = 1e-7
"""Probabilities come in float32, where 1 - 1e-8 is 1."""


def temperature(target: Target, true: Any, probability: Any) -> float | None:
    """Return the temperature T with the lowest negative log likelihood of ``tempered(target, probability, T)``.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017. The likelihood is concave in 1 / T, so that a
    search in an interval finds its maximum.

    Args:
        true: ``(samples,)`` class numbers, or ``(samples, classes)`` 0/1 for multilabel; those not known do not count.
        probability: ``(samples, classes)``.

    Returns:
        T in [``SHARPEST``, ``FLATTEST``]; None for fewer than ``SMALLEST`` samples.

    Raises:
        DataError: as ``score.evaluate``, or a target whose answers have no probabilities.
    """
    several = _independent(target)
    y, _, p, _ = checked(target, true, None, probability)
    scores = _scores(p, several)
    if len(y) < SMALLEST:
        return None

    def loss(inverse: float) -> float:
        if several:
            return -float(np.mean(log_expit(inverse * scores * (2 * y - 1))))
        return -float(np.mean(log_softmax(inverse * scores, axis=1)[np.arange(len(y)), y.astype(int)]))

    found = minimize_scalar(loss, bounds=(1 / FLATTEST, 1 / SHARPEST), method="bounded", options={"xatol": 1e-6})
    return 1 / float(found.x)


def tempered(target: Target, probability: Any, temperature: Any) -> Array:
    """Return softmax(log p / T), or sigmoid(logit(p) / T) for multilabel, as float64.

    Args:
        probability: ``(samples, classes)``.
        temperature: one number, or ``(samples,)``.
    """
    several = _independent(target)
    scores = _scores(probability, several) / np.reshape(temperature, (-1, 1))
    return np.asarray(expit(scores) if several else softmax(scores, axis=1))


def _scores(probability: Any, several: bool) -> Array:
    p = np.clip(np.asarray(probability, dtype=float), _TINY, 1 - _TINY)
    return np.asarray(logit(p) if several else np.log(p))


def _independent(target: Target) -> bool:
    """Return whether classes do not exclude each other; DataError where there are no probabilities at all."""
    if target.spec.calibration != "temperature":
        raise DataError(
            f"{target.task} target {target.name!r} has no probabilities to calibrate; use residual_quantile"
        )
    return target.spec.answer == "classes"


def calibration_error(target: Target, true: Any, probability: Any) -> float:
    """Return the expected calibration error: mean over samples of |confidence - share that is right| of their bin.

    Confidence is the probability of the likeliest class; for multilabel every class of every sample counts, with its
    own probability against how often it holds. NaN without samples. Raises DataError like ``score.evaluate``.
    """
    y, _, p, _ = checked(target, true, None, probability)
    if _independent(target):
        confidence, right = p.ravel(), y.ravel().astype(float)
    else:
        confidence, right = p.max(axis=1, initial=0), (p.argmax(axis=1) == y).astype(float)
    if not len(y):
        return math.nan
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gap = np.bincount(bins, confidence - right, minlength=BINS)
    return float(np.abs(gap).sum() / len(confidence))


def residual_quantile(residuals: Any, level: float) -> float | None:
    """Return the half width w such that ``prediction - w .. prediction + w`` holds a new label with chance ``level``.

    Split conformal prediction (Lei et al., JASA 2018): the ceil((n + 1) level)-th smallest absolute residual of n
    samples that the model was not trained on and that are exchangeable with the new one. None where n is too small for
    the level, which needs n >= level / (1 - level).

    Raises:
        OptionError: a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise OptionError(f"level is a share between 0 and 1, got {level}")
    sizes = np.sort(np.abs(np.asarray(residuals, dtype=float)))
    rank = math.ceil((len(sizes) + 1) * level - 1e-9)  # 10 * 0.9 may be a hair above 9
    return float(sizes[rank - 1]) if rank <= len(sizes) else None


def coverage(true: Any, predicted: Any, half_width: Any) -> float:
    """Return the share of labels within ``half_width`` (one, or one a sample) of the prediction, NaN without any."""
    inside = np.abs(np.asarray(true, float) - np.asarray(predicted, float)) <= half_width
    return float(inside.mean()) if inside.size else math.nan
