"""Features to words and clocks: against a slow twin, and against known maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.core import DataError
from polymodal.media.types import Track, Word
from polymodal.media.words.align import Clock, align_to_words


def track_of(times, width=3, seed=0):
    values = np.random.default_rng(seed).standard_normal((len(times), width)).astype(np.float32)
    return Track(np.asarray(times, np.float64), values)


def slow_align(track, words):
    """The definition, word by word and step by step."""
    rows = []
    for word in words:
        inside = [v for t, v in zip(track.times, track.values, strict=True) if word.start <= t < word.end]
        if not inside and len(track):
            middle = (word.start + word.end) / 2
            spacing = np.median(np.diff(track.times)) if len(track) > 1 else np.inf
            nearest = min(range(len(track)), key=lambda i: abs(track.times[i] - middle))
            inside = [track.values[nearest]] if abs(track.times[nearest] - middle) <= spacing else []
        rows.append(np.mean(inside, axis=0, dtype=np.float64) if inside else np.zeros(track.values.shape[1]))
    return np.array(rows).reshape(len(words), track.values.shape[1])


TIMES = st.lists(st.integers(0, 400), max_size=40, unique=True).map(lambda ticks: [t / 40 for t in sorted(ticks)])
WORDS = st.lists(st.tuples(st.integers(-80, 480), st.integers(0, 60)), max_size=10).map(
    # Off the grid of the steps by an irrational amount: no ties between two nearest steps.
    lambda spans: [Word("w", s / 40 + 0.0031415, (s + d) / 40 + 0.0042426) for s, d in spans]
)


@given(times=TIMES, words=WORDS, width=st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_words_get_the_mean_of_their_steps(times, words, width):
    track = track_of(times, width)
    aligned = align_to_words(track, words)
    assert aligned.shape == (len(words), width)
    assert aligned.dtype == np.float32
    np.testing.assert_allclose(aligned, slow_align(track, words), atol=1e-6)


def test_start_is_inside_and_end_is_not():
    track = Track(np.array([0.0, 1.0, 2.0, 3.0]), np.array([[1], [2], [4], [8]], np.float32))
    aligned = align_to_words(track, [Word("a", 0, 1), Word("b", 1, 3), Word("c", 0, 4)])
    np.testing.assert_allclose(aligned[:, 0], [1, 3, 3.75])


def test_a_short_word_takes_the_nearest_step_and_one_far_away_none():
    track = Track(np.array([0.0, 1.0, 2.0, 9.0]), np.array([[1], [2], [4], [8]], np.float32))
    words = [Word("short", 1.2, 1.3), Word("gap", 5, 6), Word("before", -3, -2), Word("after", 12, 13)]
    np.testing.assert_array_equal(align_to_words(track, words)[:, 0], [2, 0, 0, 0])


def test_a_vector_of_the_whole_utterance_is_every_words():
    aligned = align_to_words(Track(np.array([1.5]), np.array([[7.0]], np.float32)), [Word("a", 0, 1), Word("b", 2, 9)])
    np.testing.assert_array_equal(aligned, [[7], [7]])


def test_an_infinity_stays_in_its_word_and_sums_keep_their_digits():
    track = track_of(np.arange(100_000) / 100, 1)
    track.values[:] += 1000
    track.values[50] = np.inf
    aligned = align_to_words(track, [Word("a", 0, 1), Word("b", 1, 2), Word("c", 990, 1000)])[:, 0]
    assert np.isinf(aligned[0])
    np.testing.assert_allclose(aligned[1:], [track.values[100:200].mean(), track.values[99_000:].mean()], rtol=1e-6)


@given(
    offset=st.floats(-30, 30),
    drift=st.floats(-0.05, 0.05),
    length=st.sampled_from((3.0, 60.0, 7200.0)),
    count=st.integers(2, 900),
)
@settings(max_examples=50, deadline=None)
def test_exact_times_give_the_exact_clock(offset, drift, length, count):
    observed = np.linspace(0, length, count)
    clock = Clock.between(offset + (1 + drift) * observed, observed)
    np.testing.assert_allclose(clock.at(observed), offset + (1 + drift) * observed, atol=1e-6)


def test_a_fifth_of_wrong_instants_does_no_harm():
    rng = np.random.default_rng(0)
    observed = np.sort(rng.uniform(0, 100, 200))
    true = Clock(-0.3, 0.01)
    reference = true.at(observed) + 0.005 * rng.standard_normal(200)
    reference[rng.choice(200, 40, replace=False)] += rng.uniform(0.5, 5, 40)
    found = Clock.between(reference, observed)
    assert np.abs(found.at(observed) - true.at(observed)).max() < 0.003


def test_one_instant_gives_an_offset_alone():
    assert Clock.between(np.array([2.0]), np.array([1.5])) == Clock(0.5, 0.0)
    assert Clock.between(np.array([2.0, 2.5, 9.0]), np.array([1.5, 1.5, 1.5])) == Clock(1.0, 0.0)


def test_no_instants_or_unequal_numbers_are_errors():
    for reference, observed in (([], []), ([1.0], [1.0, 2.0])):
        with pytest.raises(DataError, match="give the same instants"):
            Clock.between(np.array(reference), np.array(observed))


def test_a_clock_moves_times_and_leaves_values():
    track = track_of([0.0, 1.0, 2.0])
    moved = Clock(0.5, 0.1).apply(track)
    np.testing.assert_allclose(moved.times, [0.5, 1.6, 2.7])
    assert moved.values is track.values
