from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from polymodal.media.clip.resample import SLACK, Line
from polymodal.media.types import RATE


def joined(pieces: Sequence[tuple[np.ndarray, int, float]]) -> tuple[float, np.ndarray]:
    line = Line()
    out = [s for values, rate, time in pieces for s in line.push(values.astype(np.float32), rate, time)]
    out += line.finish()
    assert all(abs(a.end - b.time) < 1e-9 for a, b in pairwise(out))
    return out[0].time, np.concatenate([s.values for s in out])


def tone(rate: int, start: float, seconds: float, frequency: float = 300.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * (start + np.arange(round(seconds * rate)) / rate))


def test_sound_at_the_target_rate_passes_unchanged() -> None:
    values = tone(RATE, 0.0, 1.0)
    start, out = joined([(values[:7000], RATE, 2.0), (values[7000:], RATE, 2.0 + 7000 / RATE)])
    assert start == 2.0
    assert np.array_equal(out, values.astype(np.float32))


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 96_000])
def test_resampling_keeps_the_wave_and_its_time(rate: int) -> None:
    whole = tone(rate, 0.0, 1.0)
    _, out = joined([(whole[i : i + 600], rate, i / rate) for i in range(0, rate, 600)])
    assert len(out) == pytest.approx(RATE, abs=2)
    assert np.abs(out - tone(RATE, 0.0, 1.0)[: len(out)])[500:-500].max() < 0.01


def test_what_is_missing_is_silence() -> None:
    _, out = joined([(np.ones(1600), RATE, 0.0), (np.ones(1600), RATE, 3.1)])
    assert len(out) == round(3.2 * RATE)
    assert np.flatnonzero(out == 0).tolist() == list(range(1600, round(3.1 * RATE)))


def test_what_overlaps_is_taken_once_from_the_earlier_piece() -> None:
    _, out = joined([(np.full(16_000, 0.1), RATE, 0.0), (np.full(16_000, 0.2), RATE, 0.5)])
    assert len(out) == 24_000
    assert (out[:16_000] == np.float32(0.1)).all()
    assert (out[16_000:] == np.float32(0.2)).all()
    _, out = joined([(np.ones(16_000), RATE, 0.0), (np.ones(1_000), RATE, 0.5)])
    assert len(out) == 16_000


def test_rounded_times_change_nothing() -> None:
    values = tone(RATE, 0.0, 1.0)
    pieces = [(values[i : i + 160], RATE, round(i / RATE + (-1) ** i * SLACK / 2, 3)) for i in range(0, 16_000, 160)]
    _, out = joined(pieces)
    assert np.array_equal(out, values.astype(np.float32))


def test_a_rate_that_changes_on_the_way_is_followed() -> None:
    _, out = joined([(tone(44_100, 0.0, 1.0), 44_100, 0.0), (tone(48_000, 1.0, 1.0), 48_000, 1.0)])
    assert len(out) == pytest.approx(2 * RATE, abs=3)
    for part in (slice(500, RATE - 500), slice(RATE + 500, 2 * RATE - 500)):
        assert np.abs(out[part] - tone(RATE, 0.0, 2.0)[part]).max() < 0.02


def test_overshoot_stays_within_one() -> None:
    square = np.sign(tone(44_100, 0.0, 1.0, 100.0))
    _, out = joined([(square, 44_100, 0.0)])
    assert np.abs(out).max() == 1.0
