"""From sounds and a manner to a pose per frame: mouth, blinks, brows, small movements of the head."""

from __future__ import annotations

import numpy as np

from polymodal.data.ragged import Array
from polymodal.reply.face.motion import Pose
from polymodal.reply.face.sounds import mouth_track
from polymodal.reply.manner import Manner
from polymodal.reply.voice.speech import Speech

BLINK = 0.24
"""Seconds from open to open."""

ONSET = 0.5
"""Seconds in which the expression comes up."""


def poses(speech: Speech, manner: Manner, fps: int) -> list[Pose]:
    """Return a pose per frame for as long as ``speech`` lasts; the same ones for the same input.

    A frame shows the middle of the time that it is seen for.
    """
    count = int(np.ceil(speech.seconds * fps))
    times = (np.arange(count) + 0.5) / fps
    mouth = mouth_track(speech.sounds, times, manner.liveliness)
    rng = np.random.default_rng(len(speech.samples))
    shut = _blinks(times, speech.seconds, manner.blinks, rng)
    stress = _loudness(speech, times)
    rise = np.clip(times / ONSET, 0, 1)
    sway = [np.sin(2 * np.pi * (rate * times + rng.random())) for rate in (0.23, 0.31, 0.17)]
    size = 0.011 * manner.liveliness
    return [
        Pose(
            mouth=mouth[k],
            smile=manner.smile * (0.35 + 0.65 * rise[k]) * (1 - 0.25 * mouth[k, 0]),
            brow_inner=manner.brow_inner * rise[k] + 0.12 * manner.liveliness * (stress[k] - 0.3),
            brow_outer=manner.brow_outer * rise[k] + 0.12 * manner.liveliness * (stress[k] - 0.3),
            lids=(1 + (manner.lids - 1) * rise[k]) * (1 - shut[k]),
            tilt=manner.lean * rise[k] + 0.7 * manner.liveliness * float(sway[0][k]),
            shift=(size * float(sway[1][k]), size * (float(sway[2][k]) + 0.9 * stress[k])),
        )
        for k in range(count)
    ]


def _blinks(times: Array, seconds: float, per_minute: float, rng: np.random.Generator) -> Array:
    """Return how far the lids are shut, 0 to 1."""
    shut = np.zeros(len(times))
    at = rng.uniform(0.4, 1.2)
    while at < seconds:
        away = np.abs(times - at) / (BLINK / 2)
        shut = np.maximum(shut, np.clip(1.25 - away, 0, 1))
        at += max(0.8, rng.normal(60 / per_minute, 15 / per_minute))
    return shut


def _loudness(speech: Speech, times: Array) -> Array:
    """Return the smoothed amplitude of speech at ``times``, 0 to 1."""
    step = speech.rate // 50
    blocks = speech.samples[: len(speech.samples) // step * step].reshape(-1, step)
    loud = np.sqrt((blocks**2).mean(1))
    loud = np.convolve(loud, np.hanning(15) / np.hanning(15).sum(), "same")
    return np.asarray(np.interp(times, (np.arange(len(loud)) + 0.5) * step / speech.rate, loud / max(loud.max(), 1e-6)))
