"""Measures of the voice against sounds whose pitch, loudness, jitter and shimmer are known."""

from __future__ import annotations

import numpy as np
import pytest

from polymodal.core import OptionError
from polymodal.measure.voice import CHANNELS, Voice, level, voice_measures
from polymodal.media.types import RATE

SECONDS = 3.0
ALL = [(0.0, SECONDS)]


@pytest.fixture(scope="module")
def voice() -> Voice:
    try:
        return Voice()
    except OptionError as error:
        pytest.skip(str(error))


def heard(voice: Voice, samples: np.ndarray) -> dict[str, float]:
    """Return the measures of a sound that is voice from beginning to end."""
    return voice_measures(voice.describe(samples, 0.0).values, ALL, ALL)


def tone(pitch: float, *, depth: float = 0.0, amplitude: float = 0.3) -> np.ndarray:
    """Return a voice-like sound of four partials whose pitch swings by ``depth`` (a share) five times per second."""
    at = np.arange(round(SECONDS * RATE)) / RATE
    phase = 2 * np.pi * pitch * (at - depth / (2 * np.pi * 5) * np.cos(2 * np.pi * 5 * at))
    wave = sum(np.sin(k * phase) / k for k in range(1, 5))
    return (amplitude * wave / 2).astype(np.float32)


def pulses(*, jitter: float = 0.0, shimmer: float = 0.0, pitch: float = 120.0) -> np.ndarray:
    """Return pulses through two resonances; every other period and amplitude is longer by a share."""
    from scipy.signal import decimate, lfilter

    fine = 4 * RATE
    wave, at, sign = np.zeros(round(SECONDS * fine)), 0.0, 1
    while at < SECONDS - 0.05:
        place, rest = divmod(at * fine, 1.0)
        height = 1 + sign * shimmer / 2
        wave[int(place)] += height * (1 - rest)
        wave[int(place) + 1] += height * rest
        at += (1 + sign * jitter / 2) / pitch
        sign = -sign
    for frequency, width in ((500, 80), (1500, 100)):
        radius = np.exp(-np.pi * width / fine)
        wave = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * frequency / fine), radius**2], wave)
    wave = decimate(wave, 4)
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def test_hours_that_are_promised_behind_the_sound_are_not_listened_to(
    voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice._activity, "push", lambda _: pytest.fail("was listened to"))
    assert len(voice.describe(np.zeros(0, np.float32), 3600.0)) == 0


def test_pitch_and_its_range_are_those_of_a_tone_with_vibrato(voice: Voice) -> None:
    found = heard(voice, tone(200.0, depth=0.03))
    assert found["f0_median"] == pytest.approx(200.0, rel=0.01)
    # A swing of 3 % spends 80 % of its time within 0.951 of it.
    assert found["f0_range"] == pytest.approx(12 * np.log2(1.0285 / 0.9715), abs=0.2)
    assert heard(voice, tone(200.0))["f0_range"] < 0.1


@pytest.mark.parametrize("pitch", [90.0, 150.0, 300.0])
def test_pitch_is_found_from_low_to_high(voice: Voice, pitch: float) -> None:
    assert heard(voice, tone(pitch))["f0_median"] == pytest.approx(pitch, rel=0.01)


def test_twice_the_amplitude_is_six_decibels_and_half_as_loud_again(voice: Voice) -> None:
    soft, loud = heard(voice, tone(200.0, amplitude=0.1)), heard(voice, tone(200.0, amplitude=0.2))
    assert loud["level_median"] - soft["level_median"] == pytest.approx(6.02, abs=0.05)
    # eGeMAPS' loudness grows with the power 0.3 of energy, 0.6 of the amplitude.
    assert loud["loudness_median"] / soft["loudness_median"] == pytest.approx(2**0.6, rel=0.05)


@pytest.mark.parametrize("planted", [0.02, 0.04])
def test_jitter_is_what_was_planted(voice: Voice, planted: float) -> None:
    assert heard(voice, pulses(jitter=planted))["jitter"] == pytest.approx(100 * planted, rel=0.15)
    assert heard(voice, pulses())["jitter"] < 0.1


@pytest.mark.parametrize("planted", [0.1, 0.2])
def test_shimmer_is_what_was_planted(voice: Voice, planted: float) -> None:
    true = 20 * np.log10((1 + planted / 2) / (1 - planted / 2))
    assert heard(voice, pulses(shimmer=planted))["shimmer"] == pytest.approx(true, rel=0.25)
    assert heard(voice, pulses())["shimmer"] < 0.15


def test_level_is_in_decibels_below_full_scale() -> None:
    square = np.ones(RATE, np.float32)
    assert level(square, 50) == pytest.approx(np.zeros(50), abs=1e-6)
    assert level(0.1 * square, 50) == pytest.approx(np.full(50, -20.0), abs=1e-5)
    assert level(np.zeros(RATE, np.float32), 50) == pytest.approx(np.full(50, -120.0))
    assert level(np.full(RATE, np.nan, np.float32), 5) == pytest.approx(np.full(5, -120.0))


def test_what_nobody_says_is_not_measured() -> None:
    series = np.full((300, len(CHANNELS)), 1.0, np.float32)
    nothing = voice_measures(series, [], ALL)
    assert len(nothing) == 8
    assert all(np.isnan(v) for v in nothing.values())
    series[:, 0] = np.nan  # whispered
    found = voice_measures(series, ALL, ALL)
    assert np.isnan(found["f0_median"])
    assert np.isnan(found["f0_range"])
    assert found["loudness_median"] == pytest.approx(1.0)


def test_only_what_is_spoken_within_the_row_counts() -> None:
    series = np.full((300, len(CHANNELS)), 100.0, np.float32)
    series[100:200] = 200.0
    assert voice_measures(series, [(0.0, 2.0)], [(1.0, 3.0)])["f0_median"] == pytest.approx(200.0)
    assert voice_measures(series, [(0.0, 3.0)], [(0.0, 1.0)])["f0_median"] == pytest.approx(100.0)
