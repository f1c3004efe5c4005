"""Synchrony against planted series with a known lag, and against chance."""

from __future__ import annotations

import numpy as np
import pytest

from polymodal.measure.synchrony import binned, peak, together, windows


def smooth(seed: int, count: int = 1200) -> np.ndarray:
    """Return a random series every 0.1 s that changes within about a second."""
    wave = np.random.default_rng(seed).normal(0, 1, count + 10)
    return np.convolve(wave, np.hanning(11) / np.hanning(11).sum(), mode="valid")[:count]


@pytest.mark.parametrize("lag", [-15, -4, 0, 7, 20])
def test_the_lag_is_the_one_that_was_planted(lag: int) -> None:
    first = smooth(1)
    second = np.roll(first, lag) + 0.1 * smooth(2)
    found = together(first, second, [(0.0, 120.0)], chance=True)
    assert found.lag == pytest.approx(0.1 * lag, abs=0.051)
    assert found.correlation > 0.95
    assert found.chance < 0.75
    assert found.windows == 12


def test_correlation_falls_with_noise_to_what_chance_gives() -> None:
    first, noise = smooth(1), smooth(5)
    found = [together(first, first + k * noise, [(0.0, 120.0)], chance=True) for k in (0.2, 1.0, 100.0)]
    assert found[0].correlation > found[1].correlation > found[2].correlation
    assert found[2].correlation == pytest.approx(found[2].chance, abs=0.1)
    assert found[1].correlation > found[1].chance + 0.1


def test_what_is_not_known_takes_no_part() -> None:
    first, second = smooth(1), smooth(1)
    second[::7] = np.nan
    assert together(first, second, [(0.0, 60.0)]).correlation > 0.99
    second[:] = np.nan
    nothing = together(first, second, [(0.0, 60.0)])
    assert nothing.windows == 0
    assert np.isnan([nothing.correlation, nothing.lag, nothing.chance]).all()
    assert together(np.zeros(0), first, [(0.0, 60.0)]).windows == 0
    assert peak(np.ones(100), first, 0, 100) is None  # what never changes goes with nothing


def test_short_stretches_have_none_and_long_ones_are_cut_into_equal_windows() -> None:
    assert windows([(0.0, 2.9)]) == []
    assert windows([(1.0, 4.0)]) == [(10, 40)]
    assert windows([(0.0, 26.0)]) == [(0, 86), (86, 172), (172, 258)]


def test_bins_are_means_of_what_is_known() -> None:
    values = np.arange(100, dtype=float)
    values[10:20] = np.nan
    found = binned(values, 0.01, 1.0)
    assert found[0] == pytest.approx(4.5)
    assert np.isnan(found[1])
    assert len(binned(values, 0.04, 4.0)) == 40
    assert binned(values, 0.04, 4.0)[0] == pytest.approx(0.5)
