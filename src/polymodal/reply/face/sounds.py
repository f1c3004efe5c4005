"""What the mouth does for a sound, and over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from polymodal.data.ragged import Array
from polymodal.reply.voice.speech import Sound

OPEN, WIDE, ROUND, PRESS, TUCK = range(5)
"""Opening of the jaw; lips spread; lips rounded; lips pressed together; lower lip under the teeth. Each from 0 to 1."""

REST = (0.0, 0.0, 0.0, 0.0, 0.0)
SPREAD = 0.09
"""Seconds over which neighbouring sounds blend, as in speech."""

LEAD = 0.025
"""Seconds by which the mouth is ahead of the sound: without it, lips follow the loudness of Piper by 30 to 40 ms."""

RATE = 200
"""Steps per second in which the mouth's way is worked out."""

_SHAPES: dict[str, tuple[float, float, float, float, float]] = {
    "pbm": (0.0, 0.0, 0.1, 1.0, 0.0),
    "fv": (0.12, 0.15, 0.0, 0.0, 1.0),
    "ɑaɐ": (1.0, 0.1, 0.0, 0.0, 0.0),
    "æ": (0.85, 0.4, 0.0, 0.0, 0.0),
    "ʌɜ": (0.65, 0.0, 0.1, 0.0, 0.0),
    "ɛe": (0.55, 0.45, 0.0, 0.0, 0.0),
    "əɚᵻ": (0.35, 0.1, 0.0, 0.0, 0.0),
    "ɪiy": (0.28, 0.7, 0.0, 0.0, 0.0),
    "ɔɒ": (0.75, 0.0, 0.5, 0.0, 0.0),
    "o": (0.5, 0.0, 0.75, 0.0, 0.0),
    "ʊuw": (0.22, 0.0, 1.0, 0.0, 0.0),
    "ʃʒ": (0.2, 0.0, 0.6, 0.0, 0.0),
    "ɹr": (0.25, 0.0, 0.4, 0.0, 0.0),
    "θð": (0.25, 0.15, 0.0, 0.0, 0.0),
    "szj": (0.14, 0.35, 0.0, 0.0, 0.0),
    "tdnlɾ": (0.2, 0.2, 0.0, 0.0, 0.0),
    "kgŋhɡ": (0.3, 0.1, 0.0, 0.0, 0.0),
}
_SHAPE = {letter: shape for letters, shape in _SHAPES.items() for letter in letters}
_OTHER = (0.3, 0.1, 0.0, 0.0, 0.0)


def shape_of(ipa: str) -> Array:
    """Return (5,) what the mouth does for a sound; the mean of its letters (``oʊ``), some middle for unknown ones."""
    letters = [_SHAPE[letter] for letter in ipa if letter in _SHAPE]
    return np.mean(letters or [_OTHER], axis=0)


def mouth_track(sounds: Sequence[Sound], times: Array, size: float = 1.0) -> Array:
    """Return (times, 5) what the mouth does at ``times`` (seconds).

    Sounds blend into each other, but lips that close stay closed in the middle of their sound. The mouth is LEAD ahead.

    Args:
        size: of the jaw's movements, 1 as usual.
    """
    end = max([float(times[-1]) if len(times) else 0.0, *(s.end for s in sounds)]) + 1.0
    raw = np.zeros((round(end * RATE), 5))
    for sound in sounds:
        raw[round(sound.start * RATE) : max(round(sound.start * RATE) + 1, round(sound.end * RATE))] = shape_of(
            sound.ipa
        )
    width = round(SPREAD * RATE) | 1
    window = np.hanning(width + 2)[1:-1]
    smooth = np.stack([np.convolve(column, window / window.sum(), "same") for column in raw.T], axis=1)
    for sound in sounds:
        shape = shape_of(sound.ipa)
        if shape[PRESS] > 0.5 or shape[TUCK] > 0.5:
            middle, half = (sound.start + sound.end) / 2, max(0.02, (sound.end - sound.start) / 3)
            steps = np.arange(max(0, round((middle - half) * RATE)), round((middle + half) * RATE) + 1)
            smooth[steps] = shape
    smooth[:, OPEN] *= size
    grid = np.arange(len(raw)) / RATE
    return np.stack([np.interp(times + LEAD, grid, column) for column in smooth.T], axis=1)
