"""One figure with all that is known of its luck, and how records are kept in JSON, which has no NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure over several seeds of one experiment; what is not defined is NaN.

    Attributes:
        mean: over seeds.
        std: population standard deviation over seeds, as the field reports it.
        low, high: interval of ``mean`` over groups and seeds; NaN where groups are too few for one.
        least, most: of the single groups, where they are too few for an interval; else NaN.
        count: samples behind each value.
        groups: groups of samples; samples where no groups are known.
        seeds: the value of each seed.
    """

    mean: float
    std: float
    low: float
    high: float
    least: float
    most: float
    count: int
    groups: int
    seeds: tuple[float, ...]

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """Return the record that ``plain`` made ``stored`` of; KeyError where a field is missing."""
        return cls(**{f.name: _unplain(stored[f.name]) for f in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class ScoreRow(Estimate):
    """One figure of an evaluation, a row of ``scores.json``. Values are as stored: a share is 0.71, not 71.

    Attributes:
        split: that was predicted.
        condition: ``complete``, ``subset:text,audio``, any stress (``missing:rate=0.3``), or ``area``.
        series: for the points of a curve and its area: the stress without its number, ``missing:rate``; else empty.
        value: the number of a point of a curve; NaN for all others.
        target, metric: names.
        higher_is_better: of the metric.
        main: whether it is the metric that ranks systems.
        chance: what guessing is expected to reach; NaN where that is not known.
    """

    split: str
    condition: str
    series: str
    value: float
    target: str
    metric: str
    higher_is_better: bool
    main: bool
    chance: float


def plain(value: Any) -> Any:
    """Return ``value`` as JSON holds it: records as objects, NaN as None."""
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    return value


def _unplain(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_unplain, value))
    return math.nan if value is None else value
