"""Windows and steps: exact numbers, right times, means of the right states."""

from __future__ import annotations

import math

import numpy as np
import pytest

from polymodal.media.pretrained.steps import WINDOW, as_track, averaged, heard, windows
from polymodal.media.types import RATE


@pytest.mark.parametrize("rate", [1, 7, 10, 50])
@pytest.mark.parametrize("seconds", [0.06, 0.1, 1.234, 29.999, 30.0, 30.001, 61.7])
def test_windows_hold_every_sample_once_and_all_steps(rate: int, seconds: float) -> None:
    samples = np.arange(round(seconds * RATE), dtype=np.float32)
    parts = list(windows(samples, rate))
    assert np.array_equal(np.concatenate([part for _, part in parts]), samples)
    assert sum(count for count, _ in parts) == math.ceil(len(samples) * rate / RATE)
    assert max(len(part) for _, part in parts) <= WINDOW * RATE
    assert len(parts) == math.ceil(seconds / WINDOW)


def test_what_is_longer_than_a_window_is_cut_evenly() -> None:
    lengths = [len(part) / RATE for _, part in windows(np.zeros(31 * RATE, np.float32), 10)]
    assert lengths == pytest.approx([15.5, 15.5])


def test_a_step_is_the_mean_of_its_states_and_an_empty_one_takes_the_nearest() -> None:
    states, times = np.array([[0.0], [2.0], [10.0], [20.0]]), np.array([0.01, 0.09, 0.15, 0.39])
    assert averaged(states, times, 4, 10).ravel() == pytest.approx([1, 10, 10, 20])
    assert averaged(states, times, 3, 10).ravel() == pytest.approx([1, 10, 20])  # a late state belongs to the last


def test_times_are_the_middles_and_never_behind_the_end() -> None:
    track = as_track([np.zeros((3, 2), np.float32)], round(0.21 * RATE), 5.0, 10, 2)
    assert track.times == pytest.approx([5.05, 5.15, 5.205])
    assert len(track.cut(5.0, 5.21)) == 3
    assert as_track([], 0, 0.0, 10, 2).values.shape == (0, 2)


def test_what_is_not_finite_is_silence_and_too_little_is_nothing() -> None:
    samples = np.full(RATE, 3.0)
    samples[5] = np.nan
    found = heard(samples)
    assert found is not None
    assert (found[5], found[6]) == (0, 1)
    assert heard(np.zeros(10)) is None
    assert heard(np.full(RATE, np.inf)) is None
