"""Thresholds, fitted on a validation split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from polymodal.cascade.asking import Questions
from polymodal.cascade.records import run
from polymodal.cascade.routing import Array, Rule

GRID = tuple(round(0.1 * k, 1) for k in range(1, 11))
"""Thresholds of the large model that are tried; under the last one its answer stands whatever the small model says,
which is best where the large one is much better, however unsure it is."""

NEVER, ALWAYS = -1.0, 1.0
"""Thresholds under which the small model is never sure, so that all samples are escalated, and always."""


def by_budget(u_small: Array, rho: float) -> float:
    """Return the threshold that sends a share ``rho`` of these samples to the large model, to the nearest sample.

    Samples exactly as unsure as the last one that stays all stay: ties make the share smaller.
    """
    kept = len(u_small) - round(rho * len(u_small))
    return _after(np.sort(u_small), kept)


def by_error(u_small: Array, error_small: Array, error_large: Array) -> float:
    """Return the largest threshold under which what the small model keeps has a mean error no higher than the large
    model's on all samples; ``NEVER`` where there is none."""
    order = np.argsort(u_small, kind="stable")
    sorted_u = u_small[order]
    means = np.cumsum(error_small[order]) / np.arange(1, len(order) + 1)
    last_of_ties = np.append(sorted_u[1:] > sorted_u[:-1], True)
    fits = np.flatnonzero((means <= error_large.mean()) & last_of_ties)
    return _after(sorted_u, int(fits[-1]) + 1 if len(fits) else 0)


def _after(sorted_u: Array, kept: int) -> float:
    """Return the threshold that keeps the first ``kept`` samples: of all of them also those that are yet to come."""
    if kept == len(sorted_u):
        return ALWAYS
    return float(sorted_u[kept - 1]) if kept else NEVER


def best_large(rule: Rule, questions: Questions, error: Callable[[Array], float], grid: Sequence[float] = GRID) -> Rule:
    """Return ``rule`` with the threshold of the large model at which the whole cascade has the lowest ``error`` of its
    answers ``(samples,)``; of equals the highest, which asks again least."""
    tried = [replace(rule, large=value) for value in sorted(grid, reverse=True)]
    return min(tried, key=lambda one: error(run(one, questions).score))
