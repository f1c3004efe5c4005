"""Several strengths of one stress: the points of a curve."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from polymodal.core import OptionError, Schema
from polymodal.core.conditions import COMPLETE, subset
from polymodal.stress.spec import Stress, parse_stress

_SWEPT = re.compile(r"(?P<key>[\w-]+)=(?P<values>[^,+]*/[^,+]*)")

AS_IS = Stress(COMPLETE, ())

_ENDING = ("missing:rate", "missing-share:rate")
"""Curves that end where one modality of each sample is left."""

DAMAGE = ("rate", "p", "share")
"""Options that are shares of damage: at 0 nothing happens, so a curve over them begins with complete input."""


@dataclass(frozen=True)
class Point:
    """One condition of a test.

    Attributes:
        text: the stress in its compact form.
        series: the stress without the swept number, for example ``missing:rate``; empty where none is swept.
        value: the swept number; NaN where none is.
        stress: what to apply.
    """

    text: str
    series: str
    value: float
    stress: Stress


def sweep(text: str) -> list[Point]:
    """Return the points of ``missing:rate=0.1/0.3/0.5``: one per value, or a single one where nothing is swept.

    Raises:
        OptionError: as ``parse_stress``; two options are swept, a value is no number or is there twice.
    """
    found = _SWEPT.findall(text)
    if len(found) > 1:
        raise OptionError(f"stress {text!r} sweeps {found[0][0]} and {found[1][0]}; sweep one number at a time")
    if not found:
        return [Point(text, "", math.nan, parse_stress(text))]
    key, values = found[0][0], found[0][1].split("/")
    points = []
    for value in values:
        one = _SWEPT.sub(f"{key}={value}", text)
        try:
            number = float(value)
        except ValueError:
            raise OptionError(f"stress {text!r}: {value!r} is no number; write for example {key}=0.1/0.3/0.5") from None
        points.append(Point(one, _SWEPT.sub(key, text), number, parse_stress(one)))
    if len({point.value for point in points}) < len(points):
        raise OptionError(f"stress {text!r} names a value of {key} twice")
    return sorted(points, key=lambda point: point.value)


def sweeps(texts: Iterable[str]) -> list[Point]:
    """Return the points of several stresses in order; OptionError where one comes twice."""
    points = [point for text in texts for point in sweep(text)]
    seen = set()
    for point in points:
        if point.text in seen:
            raise OptionError(f"stress {point.text!r} is asked for twice")
        seen.add(point.text)
    return points


def conditions(schema: Schema, stress: Sequence[str] = (), *, subsets: bool = True) -> list[Point]:
    """Return all that a model is tested under: complete input, then every proper subset of modalities, then ``stress``.

    What is the same is tested once: of two modalities, a missing rate of 0.7 leaves what 0.5 does.

    Raises:
        OptionError: as ``sweeps``.
    """
    kept = schema.subsets()[1:] if subsets else []
    return [Point(COMPLETE, "", math.nan, AS_IS), *_once(sweeps([*map(subset, kept), *stress]), len(schema.names))]


def _once(points: Sequence[Point], modalities: int) -> Iterator[Point]:
    """Yield ``points`` without those that equal one before: beyond the last rate that exists, one modality is left."""
    ended = set()
    for point in points:
        if point.series in _ENDING and point.value >= (modalities - 1) / modalities:
            if point.series in ended:
                continue
            ended.add(point.series)
        yield point


def curve_places(series: str, values: Sequence[float], modalities: int) -> list[float] | None:
    """Return the places of a curve's points on its axis: shares of damage, beginning with 0 for complete input.

    One of M modalities is always kept by ``missing`` and ``missing-share``, so that their rates end at (M - 1) / M.

    Args:
        series: as in ``Point``.
        values: of its points, rising.
        modalities: of the corpus.

    Returns:
        one place more than ``values``, for complete input; as many where 0 is among them; None where the strength is
        no share of damage (a signal-to-noise ratio, say), so that there is no area to speak of.
    """
    if "+" in series or re.split("[:,]", series)[-1] not in DAMAGE:
        return None
    end = (modalities - 1) / modalities if series in _ENDING else 1.0
    places = [min(value, end) for value in values]
    places = places if places[0] == 0 else [0.0, *places]
    return places if places[-1] > 0 else None
