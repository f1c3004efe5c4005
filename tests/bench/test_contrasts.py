"""Nothing is concluded where the floor is at chance, and few groups are not taken for that."""

from __future__ import annotations

import math

import numpy as np
import pytest

from polymodal.bench.contrasts import Side, above_chance, contrasts_on, corrected
from polymodal.core import Target
from polymodal.score import Blocks, tables_by_seed

SCORE = Target("score", "regression", (0, 10))
CLASS = Target("class", "classification", classes=("a", "b"))
MANY = Target("many", "multilabel", classes=("a", "b"))


def side(target: Target, true: np.ndarray, predicted: np.ndarray, groups: int) -> Side:
    shares = np.full((1, len(true), 2), 0.5) if target.classes else None
    tables = tables_by_seed(target, true, predicted[None], shares)
    return Side(tables, tables, Blocks.of(len(true), np.arange(len(true)) % groups), true)


@pytest.mark.parametrize(("groups", "blind", "sighted"), [(40, False, True), (5, True, True)])
@pytest.mark.parametrize("target", [SCORE, CLASS], ids=lambda t: t.name)
def test_a_floor_is_held_against_the_best_blind_guess(target: Target, groups: int, blind: bool, sighted: bool) -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(2, size=400) if target is CLASS else rng.uniform(0, 10, 400)
    guess = rng.permutation(true)
    assert above_chance(target, side(target, true, guess, groups)) is blind
    assert above_chance(target, side(target, true, true, groups)) is sighted


def test_several_classes_at_once_have_a_blind_guess_too() -> None:
    true = np.random.default_rng(0).integers(2, size=(60, 2))
    assert above_chance(MANY, side(MANY, true, true, 20))
    assert not above_chance(MANY, side(MANY, true, 1 - true, 20))


def test_contrasts_are_corrected_for_those_that_count() -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 10, 200)
    sides = {name: side(SCORE, true, true + size * rng.normal(size=200), 20) for name, size in (("a", 0.2), ("f", 1.0))}
    (fine,) = contrasts_on("one", "complete", SCORE, sides, [("a", "f"), ("a", "gone")], "f")
    assert fine.above_chance
    blind = {**sides, "f": side(SCORE, true, rng.permutation(true), 20)}
    (useless,) = contrasts_on("two", "complete", SCORE, blind, [("a", "f")], "f")
    first, again, left = corrected([fine, fine, useless])
    assert first.p_holm == pytest.approx(2 * fine.p)
    assert again.told
    assert math.isnan(left.p_holm)
    assert not left.told
