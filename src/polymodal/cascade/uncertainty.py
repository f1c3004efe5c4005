"""How unsure an answer is, from 0 (certain) to 1, and the one temperature that is fitted to it."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax, xlogy

from polymodal.score.calibration import FLATTEST, SHARPEST, SMALLEST

Array = np.ndarray[Any, Any]

_TINY = 1e-12


def entropy(probability: Array) -> Array:
    """Return the entropy of each row of ``probability`` (samples, K), divided by ln K: 0 for one sure answer, 1 where
    all are equally likely."""
    p = np.asarray(probability, float)
    # + 0.0: a certain row would give -0.
    return np.clip(-xlogy(p, p).sum(axis=1) / np.log(p.shape[1]), 0, 1) + 0.0


def sharpened(probability: Array, temperature: float) -> Array:
    """Return softmax(log p / temperature) of each row ``(samples, K)``; the order within a row stays."""
    return np.asarray(softmax(np.log(np.clip(probability, _TINY, 1)) / temperature, axis=1))


def soft_temperature(probability: Array, soft: Array) -> float | None:
    """Return the temperature at which ``probability`` (samples, K) has the lowest cross entropy with ``soft`` labels of
    the same shape, within the bounds of ``score.calibration``; None for too few samples.

    It is what ``score.calibration.temperature`` is for classes, with labels that are distributions themselves.
    """
    if len(soft) < SMALLEST:
        return None
    scores = np.log(np.clip(probability, _TINY, 1))

    def loss(inverse: float) -> float:
        return -float((soft * log_softmax(inverse * scores, axis=1)).sum(axis=1).mean())

    found = minimize_scalar(loss, bounds=(1 / FLATTEST, 1 / SHARPEST), method="bounded", options={"xatol": 1e-6})
    return 1 / float(found.x)


def spread(values: Array, half_width: Array, scale: float) -> Array:
    """Return how unsure numbers are that come without probabilities, ``(samples,)``.

    Args:
        values: ``(members, samples)``, what each member of a run says; their standard deviation counts.
        half_width: ``(samples,)`` of the interval that holds half of all labels, which is wider where modalities are
            absent.
        scale: half the width of the scale.
    """
    return np.asarray(np.clip(np.hypot(values.std(axis=0), half_width) / scale, 0, 1))
