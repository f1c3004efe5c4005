"""Whom answers choose, and whom they are wrong about: rates by the values of a column, and their differences."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from polymodal.audit._asked import Asked, difference, figure, rate
from polymodal.audit.base import Evidence
from polymodal.core import Target, numpy_rng
from polymodal.data.ragged import Array
from polymodal.score.intervals import Blocks
from polymodal.score.statistics import Statistic

UPPER = 0.75
"""Who is above this share of all answers is chosen, who is above it in the labels deserves it."""

BINS = 50
"""Of the histograms of numbers that are compared."""


def compared(asked: Asked, values: Array, column: str, target: Target) -> list[Evidence]:
    """Return rates, errors and differences by value."""
    blocks, names = Blocks.of(len(values), asked.groups), [str(v) for v in np.unique(values)]
    is_number = target.spec.answer == "number"
    errors = _errors(asked, target)
    figures: list[tuple[str, Array, Array]] = [
        ("error" if is_number else "share right", errors, np.ones(len(values), bool))
    ]
    if is_number:
        figures.append(("answer", asked.said, np.ones(len(values), bool)))
    for name, chosen, deserving in _choices(asked, target):
        figures.append((f"chosen: {name}", chosen, np.ones(len(values), bool)))
        figures.append((f"chosen where deserved: {name}", chosen, deserving))
    lines = []
    for what, x, within in figures:
        by_value = {n: rate(x, within & (values == n)) for n in names}
        part, is_share = f"{column}: {what}", np.isin(x, (0, 1)).all()
        ends, apart = ((0.0, 1.0), (-1.0, 1.0)) if is_share else ((-np.inf, np.inf),) * 2
        for n in names:
            count = int((within & (values == n)).sum())
            lines.append(figure(f"{column} {n}: {what}", by_value[n], count, blocks, part, ends))
        for n in names if len(names) > 2 else names[:1]:
            other = f"not {n}" if len(names) > 2 else names[1]
            gap = difference(by_value[n], rate(x, within & (values != n)))
            lines.append(figure(f"difference, {n} from {other}: {what}", gap, int(within.sum()), blocks, part, apart))
        if what.startswith("chosen:"):
            named = f"ratio of lowest to highest by {column}: {what}"
            lines.append(figure(named, _ratio(by_value), len(values), blocks, part, (0.0, 1.0)))
    if is_number:
        found, chance = divergence(asked.said, values), divergence(asked.said, _dealt(values))
        part = f"{column}: divergence"
        lines.append(Evidence(f"divergence of answers by {column}", found, len(values), blocks.groups, part=part))
        lines.append(Evidence(f"the same with {column} dealt at random", chance, len(values), blocks.groups, part=part))
    return lines


def _errors(asked: Asked, target: Target) -> Array:
    answer = target.spec.answer
    if answer == "number":
        found: Array = np.abs(asked.said - asked.true)
    elif answer == "class":
        found = (asked.said.argmax(1) == asked.true).astype(float)
    else:
        found = ((asked.said > 0.5) == (asked.true > 0.5)).all(1).astype(float)
    return found


def _choices(asked: Asked, target: Target) -> list[tuple[str, Array, Array]]:
    """Return for each thing to be chosen for its name, who is, and who deserves it, ``(samples,)`` bool."""
    if target.spec.answer == "number":
        return [("upper quarter", *(x >= np.quantile(x, UPPER) for x in (asked.said, asked.true)))]
    one = target.spec.answer == "class"
    names = list(enumerate(target.classes))
    return [
        (
            name,
            asked.said.argmax(1) == c if one else asked.said[:, c] > 0.5,
            asked.true == c if one else asked.true[:, c] > 0.5,
        )
        for c, name in (names[1:] if one and len(names) == 2 else names)
    ]


def _ratio(by_value: dict[str, Statistic]) -> Statistic:
    """Return the lowest share over the highest, of the values that have them among all samples."""

    def of(times: Array) -> Array:
        shares = np.stack([share(times) for share in by_value.values()])
        high = shares.max(axis=0)
        found: Array = np.where(high > 0, shares.min(axis=0) / np.maximum(high, 1e-12), 1.0)
        return found

    return of


def divergence(said: Array, values: Array) -> float:
    """Return the mean over pairs of values of KL(P||Q) between histograms of numbers, half a sample in every bin."""
    edges = np.linspace(said.min(), said.max() + 1e-9, BINS + 1)
    counts = [np.histogram(said[values == v], edges)[0] + 0.5 for v in np.unique(values)]
    shares = [c / c.sum() for c in counts]
    return float(np.mean([(p * np.log(p / q)).sum() for p, q in combinations(shares, 2)]))


def _dealt(values: Array) -> Array:
    dealt: Array = numpy_rng("dealt", len(values)).permutation(values)
    return dealt
