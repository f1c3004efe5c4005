"""Slices: clusters of samples that share what they hold, their class, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from polymodal.core import numpy_rng
from polymodal.data.ragged import Array

STARTS, STEPS, FLOOR = 5, 100, 1e-2
"""Beginnings, of which the likeliest end counts, iterations of each, and the least variance along an axis."""


@dataclass(frozen=True)
class Axes:
    """Principal axes of standardised vectors."""

    centre: Array
    scale: Array
    axes: Array

    @classmethod
    def of(cls, vectors: Array, most: int) -> Axes:
        """Return the first ``most`` axes of ``vectors`` (samples, width); channels that do not vary count as 0."""
        centre, scale = vectors.mean(0), vectors.std(0)
        scale = np.where(scale > 1e-9, scale, np.inf)
        _, sizes, axes = np.linalg.svd((vectors - centre) / scale, full_matrices=False)
        kept = axes[: min(most, int((sizes > 1e-9).sum()))]
        return cls(centre, scale, kept)

    def __call__(self, vectors: Array) -> Array:
        """Return ``(samples, axes)``."""
        found: Array = ((vectors - self.centre) / self.scale) @ self.axes.T
        return found


@dataclass(frozen=True)
class Mixture:
    """The error-aware mixture of DOMINO (Eyuboglu et al., ICLR 2022).

    log p(z, y, q | s) = log N(z; mean_s, diag var_s) + gamma (log Cat_s(y) + sum_c q_c log Cat'_s(c)), of a vector z,
    the true class y and the probabilities q.
    """

    weight: Array
    mean: Array
    variance: Array
    true: Array
    said: Array
    gamma: float

    @classmethod
    def fit(cls, z: Array, y: Array, q: Array, slices: int, gamma: float = 10.0) -> Mixture:
        """Return the mixture of ``slices`` fitted by expectation maximisation, from the cells of the confusion
        matrix, several times.

        Args:
            z: ``(samples, axes)``.
            y: ``(samples,)`` class numbers.
            q: ``(samples, classes)`` probabilities.
        """
        return max(
            (cls._climbed(z, y, q, _begin(z, y, q, slices, i), gamma) for i in range(STARTS)), key=lambda f: f[0]
        )[1]

    @classmethod
    def _climbed(cls, z: Array, y: Array, q: Array, share: Array, gamma: float) -> tuple[float, Mixture]:
        """Return the likelihood of the mixture that is reached from ``share`` (samples, slices), and the mixture."""
        likelihood = -np.inf
        for _ in range(STEPS):
            found, before = cls._estimated(z, y, q, share, gamma), likelihood
            logs = found._logs(z, y, q)
            top = logs.max(1, keepdims=True)
            share = np.exp(logs - top)
            likelihood = float((np.log(share.sum(1)) + top[:, 0]).mean())
            share /= share.sum(1, keepdims=True)
            if likelihood - before < 1e-6:
                break
        return likelihood, found

    @classmethod
    def _estimated(cls, z: Array, y: Array, q: Array, share: Array, gamma: float) -> Mixture:
        count = share.sum(0) + 1e-9
        mean = share.T @ z / count[:, None]
        variance = np.maximum(share.T @ z**2 / count[:, None] - mean**2, FLOOR)
        true = share.T @ np.eye(q.shape[1])[y] + 1e-3
        said = share.T @ q + 1e-3
        return cls(
            count / count.sum(),
            mean,
            variance,
            true / true.sum(1, keepdims=True),
            said / said.sum(1, keepdims=True),
            gamma,
        )

    def _logs(self, z: Array, y: Array, q: Array | None) -> Array:
        gaps = (z[:, None] - self.mean) ** 2 / self.variance
        logs = np.log(self.weight) - 0.5 * (gaps + np.log(self.variance)).sum(2)
        logs = logs + self.gamma * np.log(self.true[:, y]).T
        found: Array = logs if q is None else logs + self.gamma * q @ np.log(self.said).T
        return found

    def shares(self, z: Array, y: Array) -> Array:
        """Return how far each sample belongs to each slice ``(samples, slices)``, by what it holds and its class alone.

        What was said of a sample is not looked at: a slice that gathers errors by asking for them would be wrong of
        every sample, held out or not.
        """
        logs = self._logs(z, y, None)
        found: Array = np.exp(logs - logs.max(1, keepdims=True))
        return found / found.sum(1, keepdims=True)


def _begin(z: Array, y: Array, q: Array, slices: int, start: int) -> Array:
    """Return the first shares ``(samples, slices)``: cells of the confusion matrix, in turn, cut at random members."""
    cell = y * q.shape[1] + q.argmax(1)
    cells = np.unique(cell)
    rng = numpy_rng("slices", len(z), slices, start)
    share = np.full((len(z), slices), 1e-3)
    for number, own in enumerate(cells):
        rows, places = np.flatnonzero(cell == own), np.arange(number % slices, slices, min(slices, len(cells)))
        centres = z[rng.choice(rows, len(places))]
        nearest = ((z[rows, None] - centres) ** 2).sum(2).argmin(1)
        share[rows, places[nearest]] = 1
    return share / share.sum(1, keepdims=True)


def precision(confidence: Array, inside: Array, most: int = 10) -> float:
    """Return the best share, over slices, of their ``most`` surest members that are in a group: Precision@10.

    Args:
        confidence: ``(samples, slices)``.
        inside: ``(samples,)`` bool, the group.
    """
    top = np.argsort(-confidence, axis=0, kind="stable")[:most]
    return float(inside[top].mean(0).max())
