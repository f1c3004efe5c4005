"""Drops, shares, synergy and equity against closed forms and numbers by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from polymodal.core import Target
from polymodal.score import Blocks, blind_guess, compare_tables, robustness, tables_by_seed

NAMES = ("text", "audio", "vision")
SUM = Target("sum", "regression", (-9.0, 9.0))
SIGN = Target("sign", "classification", None, ("no", "yes"))
MANY = Target("moods", "multilabel", None, ("joy", "fear"))


def spelled(kept):
    return "complete" if len(kept) == len(NAMES) else f"subset:{','.join(kept)}"


def game(target, weights, samples=2000, seeds=2, noise=0.05):
    """Tables of all subsets where the label is a weighted sum of what the modalities bring, and labels."""
    rng = np.random.default_rng(0)
    brings = rng.uniform(-1, 1, (samples, 3)) * weights
    true = brings.sum(axis=1)
    said = {}
    for kept in (k for size in (3, 2, 1) for k in itertools.combinations(NAMES, size)):
        values = brings[:, [NAMES.index(n) for n in kept]].sum(axis=1)
        said[spelled(kept)] = values + noise * rng.standard_normal((seeds, samples))
    if target.task == "classification":
        true, said = (true > 0).astype(int), {name: (values > 0).astype(int) for name, values in said.items()}
    return {name: tables_by_seed(target, true, values) for name, values in said.items()}, true


def hand(true, predicted, target=SUM, groups=None):
    """What is found of one seed."""
    tables = {name: tables_by_seed(target, true, np.asarray(values)[None]) for name, values in predicted.items()}
    return robustness(target, tables, NAMES, np.asarray(true), Blocks.of(len(true), groups))


@pytest.mark.parametrize("target", [SUM, SIGN])
@pytest.mark.parametrize(
    ("weights", "low", "high"), [((1, 1, 1), 0.95, 1.0), ((1, 0, 0), 0.0, 0.1), ((1, 1, 0), 0.6, 0.68)]
)
def test_equity_is_one_for_equal_modalities_and_none_for_a_single_one(target, weights, low, high):
    tables, true = game(target, np.array(weights, float))
    found = robustness(target, tables, NAMES, true, Blocks.of(len(true)))
    assert low <= found.mei.mean <= high  # two of three: log 2 / log 3 = 0.63
    assert found.mei.low <= found.mei.mean <= found.mei.high
    assert len(found.mei.seeds) == 2


def test_drops_and_shares_by_hand():
    true = np.array([-4.0, -2.0, 0.0, 2.0, 4.0] * 8)
    found = hand(true, {"complete": true + 0.4, "noise:snr=0": true + 1.4, "subset:text": true - 0.2})
    assert found.gain.mean == pytest.approx(2.4 - 0.4)  # the median misses by 2.4 on average
    noise, text = found.drops
    assert (noise.condition, text.condition) == ("noise:snr=0", "subset:text")
    assert (noise.drop.mean, noise.share.mean) == pytest.approx((1.0, 0.5))
    assert (text.drop.mean, text.share.mean) == pytest.approx((-0.2, -0.1))
    assert (found.worst, found.worst_value.mean) == ("subset:text", pytest.approx(0.2))
    assert (found.single, found.synergy, found.mei) == (None, None, None)  # not all was tested


def test_where_more_is_better_a_drop_is_still_above_zero():
    true = np.array([0, 1] * 20)
    wrong = np.where(np.arange(40) < 10, 1 - true, true)
    found = hand(true, {"complete": true, "missing-one": wrong}, SIGN)
    (drop,) = found.drops
    guess = 1 / 2  # F1 of a draw by shares; of the class that is always said it is 2 / 3 / 2
    assert drop.drop.mean == pytest.approx(0.25)
    assert drop.share.mean == pytest.approx(0.25 / (1 - guess), abs=0.05)
    assert found.higher_is_better


def test_what_is_no_better_than_a_guess_has_no_shares_and_no_equity():
    true = np.linspace(-3, 3, 40)
    subsets = [spelled(k) for size in (3, 2, 1) for k in itertools.combinations(NAMES, size)]
    found = hand(true, dict.fromkeys(subsets, -true))
    assert found.gain.mean < 0
    assert all(math.isnan(d.share.mean) for d in found.drops)
    assert found.drops[0].drop.mean == pytest.approx(0)
    assert math.isnan(found.mei.mean)


def test_a_gain_that_may_be_nothing_has_no_shares():
    true = np.array([-1.0, 1.0] * 20)
    half = np.where(np.arange(40) < 21, true, -0.9 * true)  # mean absolute error 0.9025; of 0, the best guess, 1
    found = hand(true, {"complete": half, "subset:text": -true})
    assert found.gain.low < 0 < found.gain.mean
    assert math.isnan(found.drops[0].share.mean)
    assert math.isfinite(found.drops[0].drop.mean)


def test_all_together_may_be_worse_than_one():
    true = np.linspace(-3, 3, 40)
    off = {"complete": 0.5, "subset:text": 0.2, "subset:audio": 0.9, "subset:vision": 1.5}
    found = hand(true, {name: true + by for name, by in off.items()})
    assert found.single == "subset:text"
    assert found.synergy.mean == pytest.approx(-0.3)
    assert found.worst == "subset:vision"


def test_the_interval_of_a_drop_is_that_of_the_paired_difference():
    tables, true = game(SUM, np.array([1.0, 0.5, 0.2]), seeds=1)
    groups = np.arange(len(true)) // 5
    blocks = Blocks.of(len(true), groups)
    found = next(d for d in robustness(SUM, tables, NAMES, true, blocks).drops if d.condition == "subset:text")
    paired = compare_tables(tables["subset:text"], tables["complete"], "mae", blocks)
    assert (found.drop.mean, found.drop.low, found.drop.high) == pytest.approx(
        (paired.difference, paired.low, paired.high)
    )
    assert found.drop.groups == 400
    assert found.share.low < found.share.mean < found.share.high


def test_the_worst_condition_ends_where_its_metric_does_and_what_it_costs_does_not():
    true = np.linspace(-3, 3, 40)
    said = {"complete": np.stack([true, true]), "subset:text": np.stack([true, true + 2])}
    tables = {name: tables_by_seed(SUM, true, values) for name, values in said.items()}
    found = robustness(SUM, tables, NAMES, true, Blocks.of(40))
    assert (found.worst_value.mean, found.worst_value.low) == (pytest.approx(1), 0)
    assert found.drops[0].drop.low < -1


def test_few_groups_have_a_range():
    true = np.linspace(-3, 3, 40)
    found = hand(true, {"complete": true, "subset:text": true + 1}, groups=np.arange(40) % 4)
    assert math.isnan(found.drops[0].drop.low)
    assert found.drops[0].drop.least == pytest.approx(1.0)


def test_the_best_blind_guess_at_every_kind_of_answer():
    once = np.ones((1, 4))
    assert blind_guess(SUM, np.array([0.0, 1.0, 5.0, np.nan]))(once)[0] == pytest.approx(5 / 3)
    assert blind_guess(SIGN, np.array([1, 1, 1, 0]))(once)[0] == pytest.approx(0.75 * 6 / 7)
    moods = np.array([[1, 0], [1, 0], [1, 1], [0, 0]])
    assert blind_guess(MANY, moods)(once)[0] == pytest.approx((6 / 7 + 2 / 5) / 2)
    match = Target("match", "retrieval")
    assert blind_guess(match, np.arange(4))(once)[0] == pytest.approx(1 / 4)
    assert math.isnan(blind_guess(SUM, np.full(4, np.nan))(once)[0])
