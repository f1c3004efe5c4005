"""A metric over the strength of a stress: the area under its curve, with intervals and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from polymodal.core import DataError, Measure
from polymodal.score.statistics import Array


def auilc(strengths: Sequence[float], values: Sequence[float]) -> float:
    """Return the area under the line through the points, as TFR-Net sums it (AUILC): trapezoids.

    Raises:
        DataError: other numbers of strengths and values, fewer than two, or strengths that fall.
    """
    return float(_weights(strengths, len(values)) @ np.asarray(values, float))


def area_measures(strengths: Sequence[float], tables: Sequence[Mapping[str, Measure]]) -> dict[str, Measure]:
    """Return every metric's area divided by the width of the curve: its mean height, in the metric's own units.

    Args:
        strengths: rising, one per table.
        tables: ``measures`` at each strength, of the same samples in the same order.

    Raises:
        DataError: as ``auilc``, or all strengths are the same.
    """
    weights = _weights(strengths, len(tables))
    if not weights.any():
        raise DataError("an area needs at least two different strengths of the stress")
    weights = weights / weights.sum()

    def area(name: str) -> Measure:
        def value(times: Array) -> Array:
            heights = np.stack([table[name].value(times) for table in tables])
            # A point without weight may be undefined.
            return np.asarray(weights[weights > 0] @ heights[weights > 0])

        return replace(tables[0][name], value=value)

    return {name: area(name) for name in tables[0]}


def _weights(strengths: Sequence[float], count: int) -> Array:
    """Return what each point counts in the sum of trapezoids."""
    steps = np.diff(np.asarray(strengths, float))
    if len(strengths) != count or count < 2 or (steps < 0).any():
        raise DataError("an area needs two or more points with rising strengths, one value each")
    return np.asarray((np.append(steps, 0) + np.insert(steps, 0, 0)) / 2)
