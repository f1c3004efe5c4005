"""Whole protocols by name: what is tested, and what an entry must not have been told.

A model is told where its training data lost what the test takes away, by the same kind of draw or another
(``train_stress``); a method that drops modalities as a part of itself is not, but stands apart from those that never
saw one missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

from polymodal.core import OptionError, Schema, nearest
from polymodal.stress.spec import parse_stress
from polymodal.stress.sweep import Point, conditions

Prior = Literal["none", "own", "told"]
"""What a training knew of absence: nothing, what its method does by itself, or samples with something taken away."""

RATES = tuple(round(0.1 * step, 1) for step in range(1, 8))


@dataclass(frozen=True)
class Protocol:
    """A protocol that a table can name.

    Attributes:
        name: of the protocol.
        says: one sentence: what is tested and what is forbidden.
        subsets: whether every proper subset of modalities is tested.
        stress: the stresses for the modalities of a corpus.
    """

    name: str
    says: str
    subsets: bool
    stress: Callable[[Schema], tuple[str, ...]]

    def conditions(self, schema: Schema) -> list[Point]:
        """Return all that is tested on a corpus, complete input first."""
        return conditions(schema, self.stress(schema), subsets=self.subsets)


def _rates(schema: Schema, stress: str) -> tuple[str, ...]:
    """Return the sweep of ``stress`` over the rates that exist: one of M modalities always stays."""
    count = len(schema.names)
    rates = [r for r in RATES if r * count <= count - 1]
    return (f"{stress}:rate={'/'.join(map(str, rates))}",) if rates else ()


def _missmac(schema: Schema) -> tuple[str, ...]:
    return (*_rates(schema, "missing-share"), "missing-one", "missing-rates") if len(schema.names) > 1 else ()


def _cyin(schema: Schema) -> tuple[str, ...]:
    return (*_rates(schema, "missing"), "instance:p=0.1/0.3/0.5/0.7/0.9/1") if len(schema.names) > 1 else ()


def _missbench(schema: Schema) -> tuple[str, ...]:
    names = schema.names
    if len(names) < 2:
        return ()
    turns = [(*names[i:], *names[:i]) for i in range(len(names))]
    orders = list(permutations(names)) if len(names) <= 3 else turns
    return (*_rates(schema, "missing"), *(f"imbalanced:{','.join(order)}" for order in orders))


NAMED = {
    p.name: p
    for p in (
        Protocol("complete", "Complete input only.", False, lambda schema: ()),
        Protocol(
            "missmac",
            "One model for every subset of modalities, one modality less for each sample, counted shares of missing "
            "cells, and rates of each sample's own (MissMAC-Bench); training sees complete samples only, except by "
            "what a method does itself.",
            True,
            _missmac,
        ),
        Protocol(
            "missbench",
            "Equal and unequal rates of missing modalities, and all their subsets (MissBench), for what each of them "
            "contributes.",
            True,
            _missbench,
        ),
        Protocol(
            "cyin",
            "All subsets, missing rates, and incomplete samples by probability (CyIN); one model, trained on complete "
            "samples.",
            True,
            _cyin,
        ),
    )
}


def named(name: str) -> Protocol:
    """Return the protocol called ``name``; OptionError where there is none."""
    if name not in NAMED:
        raise OptionError(f"there is no protocol {name!r}{nearest(name, NAMED)}")
    return NAMED[name]


def prior(train_stress: str, drops: bool) -> Prior:
    """Return what a training knew of absence.

    Args:
        train_stress: stress on its training data; empty for none.
        drops: whether its method drops modalities itself (``Method.drops``).
    """
    if train_stress and parse_stress(train_stress).takes_away:
        return "told"
    return "own" if drops else "none"
