"""Areas under curves: the field's golden value, their intervals and paired differences."""

from __future__ import annotations

import numpy as np
import pytest

from polymodal.core import DataError, Target
from polymodal.score import Blocks, area_measures, auilc, compare_tables, summarise_tables, tables_by_seed

SCORE = Target("sentiment", "regression", (-3.0, 3.0))


def curve(rng: np.random.Generator, true: np.ndarray, noise: list[float], seeds: int = 2) -> list:
    tables = [
        tables_by_seed(SCORE, true, np.stack([true + n * rng.standard_normal(len(true)) for _ in range(seeds)]))
        for n in noise
    ]
    return [area_measures([0.0, 0.2, 0.6], [table[i] for table in tables]) for i in range(seeds)]


def test_the_area_under_a_falling_line_is_the_cards_value():
    rates = np.linspace(0, 1, 11)
    assert auilc(rates.tolist(), (80 - 30 * rates).tolist()) == pytest.approx(65.0)


def test_the_area_per_width_is_the_mean_height():
    true = np.array([0.0, 1.0, -1.0])
    tables = [tables_by_seed(SCORE, true, (true + off)[None])[0] for off in (0.0, 1.0, 2.0)]
    area = area_measures([0.0, 0.1, 0.4], tables)["mae"]
    # Trapezoids by hand: (0 + 1) / 2 * 0.1 + (1 + 2) / 2 * 0.3 over a width of 0.4.
    assert area.value(np.ones((1, 3)))[0] == pytest.approx((0.05 + 0.45) / 0.4)


def test_a_point_without_width_counts_nothing_even_where_it_is_undefined():
    true = np.array([0.0, 1.0, -1.0])
    good, constant = (tables_by_seed(SCORE, true, p[None])[0] for p in (true, np.zeros(3)))
    area = area_measures([0.0, 0.5, 0.5, 0.5], [good, good, constant, good])["corr"]
    assert area.value(np.ones((1, 3)))[0] == pytest.approx(1.0)


@pytest.mark.parametrize(("places", "count"), [([0.0], 1), ([0.3, 0.1], 2), ([0.0, 0.1], 3)])
def test_no_area_without_a_rising_curve(places, count):
    with pytest.raises(DataError):
        auilc(places, [1.0] * count)


def test_equal_strengths_have_no_area_per_width():
    table = tables_by_seed(SCORE, np.ones(2), np.ones((1, 2)))[0]
    with pytest.raises(DataError, match="two different strengths"):
        area_measures([0.5, 0.5], [table, table])


def test_intervals_and_paired_differences_of_areas():
    rng = np.random.default_rng(0)
    true = rng.uniform(-3, 3, 200)
    good, bad = curve(rng, true, [0.2, 0.4, 0.8]), curve(rng, true, [0.2, 0.8, 1.6])
    summary = summarise_tables(good, Blocks.of(200))["mae"]
    assert summary.low < summary.mean < summary.high
    assert len(summary.seeds) == 2
    found = compare_tables(bad, good, "mae", Blocks.of(200))
    assert found.low > 0
    assert found.p < 0.05
    same = compare_tables(good, good, "mae", Blocks.of(200))
    assert (same.difference, same.p) == (0.0, 1.0)
