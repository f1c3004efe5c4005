"""Comparisons that the plan declares: pairs of entries, tested on every corpus, corrected for their number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from polymodal.bench.board import Contrast
from polymodal.core import Measure, Target, numpy_rng
from polymodal.score import Blocks, compare_tables, holm
from polymodal.score.metrics import measures

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
    """Whether ``floor`` is better on complete input than guesses that see nothing, by more than luck.

    Such a guess is the best constant; for classes also a draw by their shares, which F1 prefers to a constant. True
    where that cannot be asked: no guess is known (several classes at once, and retrieval), or groups are too few.
    """
    known = floor.true[target.spec.known(floor.true)]
    if target.spec.answer not in ("number", "class") or not len(known):
        return True
    shape = len(floor.true)
    if target.spec.answer == "number":
        guesses = [np.full(shape, np.median(known))]
    else:
        drawn = numpy_rng("guess", shape).choice(known, shape)
        guesses = [np.full(shape, np.bincount(known.astype(int)).argmax()), drawn]
    metric = target.spec.main
    sign = 1 if target.spec.metrics[metric] else -1
    against = [[measures(target, floor.true, guess)] for guess in guesses]
    results = [compare_tables(floor.complete, guess, metric, floor.blocks) for guess in against]
    return not any((r.low if sign > 0 else -r.high) <= 0 for r in results)
