"""Comparisons that the plan declares: pairs of entries, tested on every corpus, corrected for their number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from polymodal.bench.board import Contrast
from polymodal.core import Measure, Target
from polymodal.score import Blocks, compare_tables, holm
from polymodal.score.robustness import blind_guess

Tables = list[dict[str, Measure]]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Side:
    """What an entry reached on a corpus.

    Attributes:
        headline: measures per seed of what entries are ordered by.
        complete: measures per seed on complete input.
        blocks: test samples by their groups.
        true: their labels.
    """

    headline: Tables
    complete: Tables
    blocks: Blocks
    true: Array


def contrasts_on(
    corpus: str,
    key: str,
    target: Target,
    sides: Mapping[str, Side],
    pairs: Sequence[tuple[str, str]],
    floor: str,
) -> list[Contrast]:
    """Return every declared pair of which both sides have results, not corrected yet.

    Args:
        key: what is compared: ``complete``, or the area under a curve.
        sides: entry -> what it reached.
        pairs: (first, second): first minus second.
        floor: name of the linear model; where it is not better than a blind guess, nothing is concluded.
    """
    metric = target.spec.main
    told = floor not in sides or above_chance(target, sides[floor])
    found = []
    for first, second in pairs:
        if first in sides and second in sides:
            result = compare_tables(sides[first].headline, sides[second].headline, metric, sides[first].blocks)
            numbers = (result.difference, result.low, result.high, result.p)
            found.append(Contrast(corpus, key, first, second, *numbers, math.nan, result.groups, told))
    return found


def corrected(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Return ``contrasts`` with p values adjusted for the number of all that are concluded from (Holm)."""
    adjusted = holm([c.p if c.above_chance else math.nan for c in contrasts])
    return [replace(c, p_holm=p) for c, p in zip(contrasts, adjusted, strict=True)]


def above_chance(target: Target, floor: Side) -> bool:
    """Whether ``floor`` is better on complete input than the best guess that sees nothing, by more than luck.

    True where that cannot be asked: what a guess reaches is unknown, or groups are too few.
    """
    metric = target.spec.main
    guess = {metric: Measure(blind_guess(target, floor.true), len(floor.true))}
    found = compare_tables(floor.complete, [guess], metric, floor.blocks)
    return not (found.low <= 0 if target.spec.metrics[metric] else found.high >= 0)
