"""When somebody speaks and pauses, against sound that is switched on and off at known times."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from polymodal.measure.speaking import STEP, pause_measures, pauses, speaking
from polymodal.measure.voice import level
from polymodal.measure.words import rate_measures, syllables
from polymodal.media.types import RATE, Word

ON = [(0.5, 1.4), (1.55, 2.5), (2.9, 4.0), (5.2, 6.0), (9.5, 11.0)]
"""Gaps of 0.15 (no pause), 0.4, 1.2 and 3.5 seconds (another turn)."""


def gated(*, noise: float = 0.0, loud: float = 0.2) -> np.ndarray:
    """Return decibels of a coloured noise that is on at the times of ``ON``."""
    rng = np.random.default_rng(3)
    wave = noise * rng.normal(0, 1, 12 * RATE)
    for start, end in ON:
        wave[round(start * RATE) : round(end * RATE)] += loud * rng.normal(
            0, 1, round(end * RATE) - round(start * RATE)
        )
    steps = len(wave) // 160 - 3
    return np.concatenate([[np.nan, np.nan], level(wave.astype(np.float32), steps)])  # the first middle is at 20 ms


STRETCHES = [(0.4, 6.1), (9.4, 11.1)]


@pytest.mark.parametrize("noise", [0.0, 0.002, 0.02])
def test_pauses_are_found_to_fifty_milliseconds_from_silence_to_twenty_decibels_of_noise(noise: float) -> None:
    spoken = speaking(gated(noise=noise), STRETCHES, 2.0)
    assert len(spoken) == 4
    true = [(0.5, 2.5), (2.9, 4.0), (5.2, 6.0), (9.5, 11.0)]
    assert np.array(spoken) == pytest.approx(np.array(true), abs=0.05)
    silent = pauses(spoken, 2.0)
    assert np.array(silent) == pytest.approx(np.array([(2.5, 2.9), (4.0, 5.2)]), abs=0.05)


def test_the_gap_decides_what_is_a_pause_and_what_another_turn() -> None:
    spoken = speaking(gated(), STRETCHES, 2.0)
    assert [len(pauses(spoken, gap)) for gap in (0.3, 1.0, 2.0, 5.0)] == [0, 1, 2, 3]


def test_a_soft_speaker_after_a_loud_one_is_heard() -> None:
    decibels = gated()
    decibels[round(9.0 / STEP) :] -= 30
    assert speaking(decibels, STRETCHES, 2.0)[-1] == pytest.approx((9.5, 11.0), abs=0.05)


def test_nothing_is_spoken_outside_stretches_of_speech() -> None:
    decibels = gated()
    assert speaking(decibels, [], 2.0) == []
    assert speaking(np.full(100, np.nan), [(0.0, 1.0)], 2.0) == []
    assert all(b <= 2.0 for _, b in speaking(decibels, [(0.0, 2.0)], 2.0))


def test_share_number_and_length_are_those_of_the_row() -> None:
    spoken = [(0.0, 2.0), (2.5, 4.0), (5.0, 6.0)]
    silent = pauses(spoken, 2.0)
    found = pause_measures(spoken, silent, [(0.0, 8.0)])
    assert found == pytest.approx({"speaking_share": 4.5 / 8, "pauses": 2, "pause_mean": 0.75})
    window = pause_measures(spoken, silent, [(4.0, 6.0)])
    assert window == pytest.approx({"speaking_share": 0.5, "pauses": 1, "pause_mean": 1.0})
    none = pause_measures(spoken, silent, [(6.0, 8.0)])
    assert (none["speaking_share"], none["pauses"]) == pytest.approx((0.0, 0.0))
    assert np.isnan(none["pause_mean"])


@pytest.mark.parametrize(
    ("word", "count"),
    [("bin", 1), ("table", 2), ("make", 1), ("eight", 1), ("the", 1), ("banana", 3), ("Strasse", 1), ("über", 2),
     ("école", 2), ("shh", 1), ("слово", None), ("2024", None), ("", None)],
)  # fmt: skip
def test_syllables_are_groups_of_vowels(word: str, count: int | None) -> None:
    assert syllables(word) == count  # German "Strasse" has two: the rule of the silent e is English


def test_rates_are_words_and_syllables_per_second() -> None:
    times = [0.0, 0.5, 1.0, 1.5, 3.0, 3.5]
    words = [Word("banana", a, a + 0.4) for a in times]
    spoken, silent = [(0.0, 2.0), (3.0, 4.0)], [(2.0, 3.0)]
    found = rate_measures(words, spoken, silent, [(0.0, 4.0)])
    assert found == pytest.approx({"speech_rate": 6 / 4, "articulation_rate": 18 / 3})
    half = rate_measures(words, spoken, silent, [(0.0, 2.0)])
    assert half == pytest.approx({"speech_rate": 4 / 2, "articulation_rate": 12 / 2})


@pytest.mark.parametrize("words", [[], [Word("слово", 0.0, 1.0)]])
def test_what_cannot_be_counted_is_not_told(words: list[Word]) -> None:
    found = rate_measures(words, [(0.0, 2.0)], [], [(0.0, 2.0)])
    assert np.isnan(found["articulation_rate"])
    assert np.isnan(found["speech_rate"]) == (not words)
    assert all(np.isnan(v) for v in rate_measures(words, [], [], [(0.0, 2.0)]).values())


def test_planted_stretches_are_apart() -> None:
    assert [round(b[0] - a[1], 2) for a, b in pairwise(ON)] == [0.15, 0.4, 1.2, 3.5]
