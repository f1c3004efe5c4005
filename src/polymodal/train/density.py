"""How far vectors lie from those that were seen: probabilistic principal components (Tipping & Bishop, JRSS B 1999)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from polymodal.data.ragged import Array

MOST_DIRECTIONS = 16
PER_DIRECTION = 10
"""Samples that a direction needs."""
CLIP = 10.0
"""Standard deviations: a feature that hardly varied must not make all distances its own."""
WIDE = 1024
"""Features, or samples, of which all products are formed."""
LEAST = 1e-2
"""Variance, of 1, below which no direction is taken to vary: training has too few samples to say so."""


@dataclass(frozen=True)
class Density:
    """Where samples lie.

    Attributes:
        mean, deviation: ``(width,)`` of the features.
        directions: ``(width, count)``, orthonormal, in which standardised features vary most.
        variances: ``(count,)`` along them.
        rest: ``(1,)``, mean variance across all others.
        usual: ``(2,)``, mean and deviation of the logarithms of distances in training.
    """

    mean: Array
    deviation: Array
    directions: Array
    variances: Array
    rest: Array
    usual: Array

    @classmethod
    def of(cls, values: Array) -> Density:
        """Return where ``values`` (samples, width) lie; without samples, around zero."""
        width = values.shape[1]
        if not len(values):
            return cls(
                np.zeros(width), np.ones(width), np.zeros((width, 0)), np.zeros(0), np.ones(1), np.array([0.0, 1.0])
            )
        mean, deviation = values.mean(0, dtype=float), values.std(0, dtype=float)
        deviation = np.where(deviation > 1e-6, deviation, 1.0)
        x = np.clip((values - mean) / deviation, -CLIP, CLIP)
        count = min(MOST_DIRECTIONS, len(x) // PER_DIRECTION, width)
        if width > WIDE:
            x = x[:: -(-len(x) // WIDE)]
        found, directions = _principal(x)
        rest = np.maximum([found[count:].sum() / max(1, width - count)], LEAST)
        made = cls(mean, deviation, directions[:, :count], np.maximum(found[:count], LEAST), rest, np.array([0.0, 1.0]))
        far = made.distance(values)
        return replace(made, usual=np.array([far.mean(), max(float(far.std()), 1e-3)]))

    def distance(self, values: Array) -> Array:
        """Return ``(samples,)`` how far ``values`` (samples, width) lie off.

        It is the logarithm of the distance, in deviations of that of training, so that modalities can be compared.
        """
        x = np.clip((values - self.mean) / self.deviation, -CLIP, CLIP)
        along = x @ self.directions
        across = np.maximum((x**2).sum(1) - (along**2).sum(1), 0.0)
        square = ((along**2 / self.variances).sum(1) + across / self.rest[0]) / x.shape[1]
        return np.asarray((np.log(np.maximum(square, 1e-12)) - self.usual[0]) / self.usual[1])

    def arrays(self, name: str) -> dict[str, Array]:
        """Return what belongs to the modality ``name``, for a file."""
        return {f"{name}/{part}": np.asarray(values) for part, values in asdict(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], name: str) -> Density:
        """Inverse of ``arrays``; KeyError where something is missing."""
        return cls(*(arrays[f"{name}/{part}"] for part in cls.__dataclass_fields__))


def _principal(x: Array) -> tuple[Array, Array]:
    """Return variances, falling, and their directions ``(width, count)``, of standardised ``x`` (samples, width)."""
    if len(x) <= x.shape[1]:
        _, sizes, rows = np.linalg.svd(x, full_matrices=False)
        return sizes**2 / len(x), rows.T
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]
