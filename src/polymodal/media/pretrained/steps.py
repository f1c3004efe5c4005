"""Sound in windows that a network can take, its states as steps of an even rate."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from polymodal.data.ragged import Array
from polymodal.media.types import RATE, Track

WINDOW = 30
"""Seconds that a network hears at once; the length of Whisper's window."""

SHORTEST = RATE * 60 // 1000
"""Samples below which nothing is heard, as for openSMILE."""


def windows(samples: Array, rate: int) -> Iterator[tuple[int, Array]]:
    """Yield stretches of ``samples`` of nearly the same length, WINDOW at most, each after the number of its steps.

    They begin with a step; all have ``ceil(seconds * rate)`` steps together. Thirty-one seconds are twice fifteen and a
    half, not thirty and a rest without context.
    """
    steps = math.ceil(len(samples) * rate / RATE)
    size = math.ceil(steps / math.ceil(len(samples) / (WINDOW * RATE)))
    for first in range(0, steps, size):
        last = min(first + size, steps)
        yield last - first, samples[round(first * RATE / rate) : round(last * RATE / rate)]


def averaged(states: Array, times: Array, count: int, rate: int) -> Array:
    """Return ``count`` steps, ``rate`` a second, each the mean of the ``states`` (n, width) whose ``times`` are in it.

    A step in which there is none takes the nearest.
    """
    step = np.minimum((times * rate + 1e-9).astype(int), count - 1)
    sums, found = np.zeros((count, states.shape[1])), np.bincount(step, minlength=count)
    np.add.at(sums, step, states)
    out = sums / np.maximum(found, 1)[:, None]
    for empty in np.flatnonzero(found == 0):
        out[empty] = states[np.abs(times - (empty + 0.5) / rate).argmin()]
    return out.astype(np.float32)


def as_track(parts: list[Array], samples: int, start: float, rate: int, width: int) -> Track:
    """Return the steps of all windows; a step's time is its middle, of the last one the middle of what was heard."""
    values = np.concatenate(parts) if parts else np.zeros((0, width), np.float32)
    edges = np.minimum(np.arange(len(values) + 1) / rate, samples / RATE)
    return Track(start + (edges[:-1] + edges[1:]) / 2, values)


def heard(samples: Array) -> Array | None:
    """Return ``samples`` as float32 in [-1, 1], what is not finite as 0; None where there is too little of it."""
    finite = np.isfinite(samples)
    if len(samples) < SHORTEST or not finite.any():
        return None
    return np.where(finite, samples, 0).astype(np.float32).clip(-1, 1)
